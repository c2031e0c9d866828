//! The limits and settings that `ALTER ROLE` gave the first user, for the second.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::database::failed;
use super::error::RotationError;
use super::postgres::quoted;

pub(super) const COPY: &str = "copy the limits and settings of the first user";
const READ: &str = "look up the limits and settings of a user";

/// Settings that are lists of names (`GUC_LIST_QUOTE` in PostgreSQL): each name is quoted by itself, as `pg_dump` does.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// The statements that give `user` the limits and settings of `base`, in place of those that it has. It takes on the role of
/// `base` when it logs in, unless `base` itself takes on another one.
pub(super) async fn copy(
    connection: &mut PgConnection,
    base: &str,
    user: &str,
) -> Result<Vec<String>, RotationError> {
    let read = |error: sqlx::Error| failed(READ)(&error);
    let role = format!("ALTER ROLE {}", quoted(user));
    let query =
        "SELECT rolconnlimit, coalesce(rolvaliduntil, 'infinity')::text FROM pg_roles WHERE rolname = $1";
    let row = sqlx::query(query).bind(base.to_owned()).fetch_one(&mut *connection).await.map_err(read)?;
    let (limit, until): (i32, String) = (row.try_get(0).map_err(read)?, row.try_get(1).map_err(read)?);
    let mut statements = vec![format!("{role} CONNECTION LIMIT {limit} VALID UNTIL {}", literal(&until))];
    for (database, _) in settings(connection, user).await? {
        statements.push(format!("{role}{} RESET ALL", in_database(database.as_deref())));
    }
    statements.push(format!("{role} SET role TO {}", quoted(base)));
    for (database, setting) in settings(connection, base).await? {
        let unknown = || RotationError::Database { action: READ, code: "unknown".into() };
        let (name, value) = setting.split_once('=').ok_or_else(unknown)?;
        let value = value_of(name, value).ok_or_else(unknown)?;
        statements.push(format!(
            "{role}{} SET {} TO {value}",
            in_database(database.as_deref()),
            quoted(name)
        ));
    }
    statements.dedup();
    Ok(statements)
}

/// The settings of a user, each with the database that it is for; none for all of them.
async fn settings(
    connection: &mut PgConnection,
    user: &str,
) -> Result<Vec<(Option<String>, String)>, RotationError> {
    let query = "SELECT d.datname::text, c.setting FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole \
                 CROSS JOIN LATERAL unnest(s.setconfig) WITH ORDINALITY AS c (setting, place) \
                 LEFT JOIN pg_database d ON d.oid = s.setdatabase WHERE r.rolname = $1 ORDER BY s.setdatabase, c.place";
    let rows = sqlx::query(query).bind(user.to_owned()).fetch_all(connection).await;
    let read = |error: sqlx::Error| failed(READ)(&error);
    let rows = rows.map_err(read)?;
    let setting = |row: &PgRow| -> Result<(Option<String>, String), RotationError> {
        Ok((row.try_get(0).map_err(read)?, row.try_get(1).map_err(read)?))
    };
    rows.iter().map(setting).collect()
}

fn in_database(database: Option<&str>) -> String {
    database.map(|database| format!(" IN DATABASE {}", quoted(database))).unwrap_or_default()
}

/// A stored value, as it is written in a statement. None for a list that does not parse.
fn value_of(name: &str, value: &str) -> Option<String> {
    if !LISTS.contains(&name) {
        return Some(literal(value));
    }
    let names: Vec<String> = list(value)?.iter().map(|name| literal(name)).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The names in a list such as `"$user", public`: quoted, with quotes doubled, or as they are.
fn list(value: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = value.trim_start();
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => in_quotes(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim_end().to_owned(), &rest[end..])
            }
        };
        names.push(name);
        let after = after.trim_start();
        if after.is_empty() {
            return Some(names);
        }
        rest = after.strip_prefix(',')?.trim_start();
    }
}

/// The name up to the closing quote, and the text after that.
fn in_quotes(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

/// A text in a statement, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!(" E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_it_was_stored() {
        for (name, value, expected) in [
            ("search_path", "\"$user\", public", Some("'$user', 'public'")),
            ("search_path", "\"a\"\"b, c\",d", Some("'a\"b, c', 'd'")),
            ("search_path", "\"\"", Some("''")),
            ("search_path", "\"open", None),
            ("search_path", "\"a\" b", None),
            ("statement_timeout", "5s", Some("'5s'")),
            ("app.note", "it's \\ one", Some(" E'it''s \\\\ one'")),
            ("DateStyle", "ISO, DMY", Some("'ISO, DMY'")),
        ] {
            assert_eq!(value_of(name, value).as_deref(), expected, "{name}={value}");
        }
    }
}
