//! MariaDB and MySQL: the second user has a copy of the grants of the first.

use secrecy::ExposeSecret as _;
use secrets_cache::generate;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::credentials::{Login, Tls};
use super::database::{self, SET, failed};
use super::error::RotationError;
use super::mysql_demands;

/// The length of a password that is never disclosed.
const UNKNOWN_LEN: usize = 32;
const LOOK_UP: &str = "look up a user";
const GRANT: &str = "grant the rights of the first user";

/// Logs in and asks for an answer.
pub(super) async fn log_in(login: &Login) -> Result<bool, RotationError> {
    let Some(mut connection) = connect(login).await? else {
        return Ok(false);
    };
    let answer = sqlx::query("SELECT 1").execute(&mut connection).await;
    answer.map_err(|error| failed("answer a query of the new user")(&error))?;
    let _ = connection.close().await;
    Ok(true)
}

/// There are no transactions over users here: the password comes last, so that once it is set, all of it is done.
pub(super) async fn provide(administrator: &Login, pending: &Login) -> Result<(), RotationError> {
    let mut connection = connect(administrator).await?.ok_or(RotationError::AdministratorRefused)?;
    let (user, base) = (pending.user.as_str(), pending.base());
    let hosts = hosts(&mut connection, base).await?;
    if hosts.is_empty() {
        return Err(RotationError::NoUser { user: base.to_owned() });
    }
    for host in &hosts {
        let account = account(user, host)?;
        if user != base {
            let unknown = generate::alphanumeric(UNKNOWN_LEN);
            let create =
                format!("CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{}'", unknown.expose_secret());
            execute(&mut connection, create, SET).await?;
            mysql_demands::copy(&mut connection, base, host, &account).await?;
            copy_grants(&mut connection, base, host, &account).await?;
        }
    }
    for host in &hosts {
        let account = account(user, host)?;
        let password = pending.password.expose_secret();
        execute(&mut connection, format!("ALTER USER {account} IDENTIFIED BY '{password}'"), SET).await?;
    }
    let _ = connection.close().await;
    Ok(())
}

async fn connect(login: &Login) -> Result<Option<MySqlConnection>, RotationError> {
    let tls = match login.tls {
        Tls::Preferred => MySqlSslMode::Preferred,
        Tls::Verified => MySqlSslMode::VerifyIdentity,
        Tls::Off => MySqlSslMode::Disabled,
    };
    let options = MySqlConnectOptions::new()
        .host(&login.host)
        .port(login.port)
        .username(&login.user)
        .password(login.password.expose_secret())
        .ssl_mode(tls);
    let options = match &login.database {
        Some(name) => options.database(name),
        None => options,
    };
    database::connect(options).await
}

/// The hosts that a user may come from: each is an account of its own.
async fn hosts(connection: &mut MySqlConnection, user: &str) -> Result<Vec<String>, RotationError> {
    let query = "SELECT CAST(Host AS CHAR) FROM mysql.user WHERE User = ? ORDER BY Host";
    let rows = sqlx::query(query).bind(user.to_owned()).fetch_all(connection).await;
    let rows = rows.map_err(|error| failed(LOOK_UP)(&error))?;
    rows.iter().map(|row| row.try_get(0).map_err(|error| failed(LOOK_UP)(&error))).collect()
}

async fn copy_grants(
    connection: &mut MySqlConnection,
    base: &str,
    host: &str,
    account: &str,
) -> Result<(), RotationError> {
    let show = format!("SHOW GRANTS FOR {}", self::account(base, host)?);
    let rows = sqlx::raw_sql(AssertSqlSafe(show)).fetch_all(&mut *connection).await;
    for row in rows.map_err(|error| failed(LOOK_UP)(&error))? {
        let grant: String = row.try_get(0).map_err(|error| failed(LOOK_UP)(&error))?;
        if let Some(copy) = for_account(&grant, base, host, account)? {
            execute(connection, copy, GRANT).await?;
        }
    }
    Ok(())
}

/// The same grant for another account; none for a line that grants nothing.
fn for_account(grant: &str, base: &str, host: &str, account: &str) -> Result<Option<String>, RotationError> {
    let unknown = || RotationError::Database {
        action: "show the grants of a user in a known form",
        code: "unknown".into(),
    };
    let spellings = ["`", "'"].map(|quote| format!(" TO {quote}{base}{quote}@{quote}{host}{quote}"));
    let found = spellings.iter().find_map(|to| grant.rfind(to.as_str()).map(|at| (at, to.len())));
    let (at, length) = match found {
        Some(found) if grant.starts_with("GRANT ") => found,
        // MariaDB shows the default role too, which a user takes on by itself.
        _ if grant.starts_with("SET DEFAULT ROLE ") => {
            return default_role(grant, account).ok_or_else(unknown).map(Some);
        }
        _ => return Err(unknown()),
    };
    let (rights, rest) = (&grant[..at], grant[at + length..].trim());
    let options = match rest {
        "WITH ADMIN OPTION" => format!(" {rest}"),
        "" => String::new(),
        // Password, TLS and limits of the login are set apart from the grants.
        _ if ["IDENTIFIED ", "REQUIRE ", "WITH "].iter().any(|begin| rest.starts_with(begin)) => {
            let with_option = outside_quotes(rest).ok_or_else(unknown)?.contains("WITH GRANT OPTION");
            if with_option { " WITH GRANT OPTION".to_owned() } else { String::new() }
        }
        _ => return Err(unknown()),
    };
    // To use nothing is what every user may do.
    let is_nothing = rights == "GRANT USAGE ON *.*" && options.is_empty();
    Ok((!is_nothing).then(|| format!("{rights} TO {account}{options}")))
}

/// A text without its quoted parts; none where a quote is not closed, or more than one statement may be in it.
fn outside_quotes(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split('\'').collect();
    let is_closed = parts.len() % 2 == 1;
    let outside: String = parts.into_iter().step_by(2).collect();
    (is_closed && !outside.contains(';')).then_some(outside)
}

/// `SET DEFAULT ROLE role FOR 'user'@'host'` for another account.
fn default_role(line: &str, account: &str) -> Option<String> {
    let (role, _) = line.rsplit_once(" FOR ")?;
    Some(format!("{role} FOR {account}"))
}

pub(super) async fn execute(
    connection: &mut MySqlConnection,
    statement: String,
    action: &'static str,
) -> Result<(), RotationError> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await;
    done.map_err(|error| failed(action)(&error))?;
    Ok(())
}

/// An account in a statement. Characters that could end the quotes in any `sql_mode` are refused.
fn account(user: &str, host: &str) -> Result<String, RotationError> {
    let is_plain = |text: &str| !text.chars().any(|c| c.is_control() || "'\\`\"".contains(c));
    match is_plain(user) && is_plain(host) {
        true => Ok(format!("'{user}'@'{host}'")),
        false => Err(RotationError::UserName("user or host has a quote, a backslash or a control character")),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test reports by panicking")]
mod tests {
    use super::*;

    fn copy(grant: &str) -> Result<Option<String>, RotationError> {
        for_account(grant, "app", "%", "'app_clone'@'%'")
    }

    #[test]
    fn grants_are_copied_without_passwords() {
        for (grant, expected) in [
            ("GRANT USAGE ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*AB'", None),
            ("GRANT USAGE ON *.* TO 'app'@'%'", None),
            (
                "GRANT SELECT, INSERT ON `crm`.* TO `app`@`%` WITH GRANT OPTION",
                Some("GRANT SELECT, INSERT ON `crm`.* TO 'app_clone'@'%' WITH GRANT OPTION"),
            ),
            (
                "GRANT SELECT ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*AB' WITH GRANT OPTION",
                Some("GRANT SELECT ON *.* TO 'app_clone'@'%' WITH GRANT OPTION"),
            ),
            (
                "GRANT SELECT ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*AB' REQUIRE SSL WITH GRANT OPTION MAX_UPDATES_PER_HOUR 5",
                Some("GRANT SELECT ON *.* TO 'app_clone'@'%' WITH GRANT OPTION"),
            ),
            (
                "GRANT SELECT ON *.* TO `app`@`%` REQUIRE SUBJECT '/CN=x WITH GRANT OPTION' WITH MAX_USER_CONNECTIONS 3",
                Some("GRANT SELECT ON *.* TO 'app_clone'@'%'"),
            ),
            ("GRANT `readers` TO `app`@`%`", Some("GRANT `readers` TO 'app_clone'@'%'")),
            (
                "SET DEFAULT ROLE `readers` FOR `app`@`%`",
                Some("SET DEFAULT ROLE `readers` FOR 'app_clone'@'%'"),
            ),
            (
                "GRANT SELECT ON `a TO ``app``@``%``.b`.* TO `app`@`%`",
                Some("GRANT SELECT ON `a TO ``app``@``%``.b`.* TO 'app_clone'@'%'"),
            ),
        ] {
            assert_eq!(copy(grant).unwrap().as_deref(), expected, "{grant}");
        }
        for other in [
            "GRANT SELECT ON *.* TO `else`@`%`",
            "DROP TABLE x",
            "GRANT X TO `app`@`%`; DROP TABLE x",
            "GRANT X TO `app`@`%` WITH x; DROP TABLE x",
        ] {
            assert!(copy(other).is_err(), "{other}");
        }
    }

    #[test]
    fn names_that_could_end_their_quotes_are_refused() {
        for name in ["a'b", "a\\", "a`b", "a\"b", "a\nb"] {
            assert!(account(name, "%").is_err() && account("app", name).is_err(), "{name:?}");
        }
    }
}
