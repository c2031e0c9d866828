//! Table definitions for MariaDB, out of those that PostgreSQL and SQLite take.

/// A `CREATE TABLE` whose text columns MariaDB takes: part of a key as `varchar`, because it indexes no `text`, and
/// otherwise as `longtext`, because its `text` is short. Any other statement comes back as it is.
pub(super) fn adapted(sql: &str) -> String {
    let is_definition =
        sql.trim_start().get(..12).is_some_and(|start| start.eq_ignore_ascii_case("create table"));
    let Some((open, close)) = is_definition.then(|| body(sql)).flatten() else { return sql.to_owned() };
    let parts = split(&sql[open + 1..close]);
    let keys: Vec<String> = parts.iter().flat_map(|part| key_columns(part)).collect();
    let parts: Vec<String> = parts.iter().map(|part| column(part, &keys)).collect();
    format!("{}({}){}", &sql[..open], parts.join(","), &sql[close + 1..])
}

/// Where the list of columns begins and ends.
fn body(sql: &str) -> Option<(usize, usize)> {
    let open = sql.find('(')?;
    let mut depth = 0;
    for (at, character) in sql.char_indices().skip_while(|(at, _)| *at < open) {
        match character {
            '(' => depth += 1,
            ')' if depth == 1 => return Some((open, at)),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn split(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts
}

/// The columns of a constraint over several, or the one that has it.
fn key_columns(part: &str) -> Vec<String> {
    let upper = part.to_ascii_uppercase();
    if !upper.contains("PRIMARY KEY") && !upper.contains("UNIQUE") {
        return Vec::new();
    }
    if upper.trim_start().starts_with("PRIMARY KEY") || upper.trim_start().starts_with("UNIQUE") {
        let names =
            part.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("", |(names, _)| names);
        return names.split(',').map(|name| name.trim().to_owned()).collect();
    }
    name_and_type(part).map(|(name, ..)| name.to_owned()).into_iter().collect()
}

fn column(part: &str, keys: &[String]) -> String {
    let Some((name, kind, at)) = name_and_type(part) else { return part.to_owned() };
    let new = match kind.to_ascii_lowercase().as_str() {
        "text" if keys.iter().any(|key| key == name) => "varchar(190)",
        "text" => "longtext",
        "timestamptz" => "datetime(6)",
        _ => return part.to_owned(),
    };
    format!("{}{new}{}", &part[..at], &part[at + kind.len()..])
}

/// A column's name, its type, and where the type begins.
fn name_and_type(part: &str) -> Option<(&str, &str, usize)> {
    let trimmed = part.trim_start();
    let start = part.len() - trimmed.len();
    let length = match trimmed.strip_prefix('"') {
        Some(quoted) => quoted.find("\" ")? + 2,
        None => trimmed.find(' ')?,
    };
    let at = start + length + 1;
    let kind = part.get(at..)?.split([' ', '\n']).next()?;
    Some((&trimmed[..length], kind, at))
}

#[cfg(test)]
mod tests {
    use super::adapted;

    #[test]
    fn text_columns_become_what_mariadb_takes() {
        for (given, expected) in [
            (
                "CREATE TABLE t (id text PRIMARY KEY, token TEXT, n int DEFAULT (1))",
                "CREATE TABLE t (id varchar(190) PRIMARY KEY, token longtext, n int DEFAULT (1))",
            ),
            (
                "CREATE TABLE t (a TEXT NOT NULL, b TEXT NOT NULL DEFAULT '', c TEXT, PRIMARY KEY (a, b))",
                "CREATE TABLE t (a varchar(190) NOT NULL, b varchar(190) NOT NULL DEFAULT '', c longtext, PRIMARY KEY (a, b))",
            ),
            (
                r#"CREATE TABLE "x y" ("the id" text UNIQUE)"#,
                r#"CREATE TABLE "x y" ("the id" varchar(190) UNIQUE)"#,
            ),
            ("INSERT INTO t (text) VALUES (1)", "INSERT INTO t (text) VALUES (1)"),
        ] {
            assert_eq!(adapted(given), expected);
        }
    }
}
