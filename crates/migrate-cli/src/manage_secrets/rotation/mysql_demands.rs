//! What MariaDB and MySQL demand of a login, and its limits, for the second user as for the first.

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::database::failed;
use super::error::RotationError;
use super::mysql::execute;

const READ: &str = "look up the TLS requirement and the limits of a user";
const COPY: &str = "set the TLS requirement and the limits of the first user";

/// The limits of a user: a column of `mysql.user`, and its name in a statement.
const LIMITS: [(&str, &str); 4] = [
    ("max_questions", "MAX_QUERIES_PER_HOUR"),
    ("max_updates", "MAX_UPDATES_PER_HOUR"),
    ("max_connections", "MAX_CONNECTIONS_PER_HOUR"),
    ("max_user_connections", "MAX_USER_CONNECTIONS"),
];
/// MariaDB has it only.
const STATEMENT_TIME: (&str, &str) = ("max_statement_time", "MAX_STATEMENT_TIME");

/// Copies `REQUIRE` and the limits of an account.
pub(super) async fn copy(
    connection: &mut MySqlConnection,
    base: &str,
    host: &str,
    account: &str,
) -> Result<(), RotationError> {
    let mut limits = LIMITS.to_vec();
    let known = "SELECT count(*) FROM information_schema.columns \
                 WHERE table_schema = 'mysql' AND table_name = 'user' AND column_name = ?";
    let known = sqlx::query(known).bind(STATEMENT_TIME.0).fetch_one(&mut *connection).await;
    let known = known.and_then(|row| row.try_get::<i64, _>(0)).map_err(|error| failed(READ)(&error))?;
    limits.extend((known > 0).then_some(STATEMENT_TIME));
    let texts = ["ssl_type", "ssl_cipher", "x509_issuer", "x509_subject"];
    let columns = texts.iter().chain(limits.iter().map(|(column, _)| column));
    let columns: Vec<String> = columns.map(|column| format!("CAST({column} AS CHAR)")).collect();
    let query = format!("SELECT {} FROM mysql.user WHERE User = ? AND Host = ?", columns.join(", "));
    let query = sqlx::query(AssertSqlSafe(query)).bind(base.to_owned()).bind(host.to_owned());
    let row = query.fetch_one(&mut *connection).await.map_err(|error| failed(READ)(&error))?;
    let value = |at: usize| {
        let value = row.try_get::<Option<String>, _>(at).map_err(|error| failed(READ)(&error));
        value.map(Option::unwrap_or_default)
    };
    let demand = demand(&value(0)?, &value(1)?, &value(2)?, &value(3)?).ok_or_else(unknown)?;
    let mut statement = format!("ALTER USER {account} REQUIRE {demand} WITH");
    for (at, (_, name)) in limits.iter().enumerate() {
        let limit = value(texts.len() + at)?;
        // Digits, a point and a sign are all that can be in a number.
        if limit.is_empty() || !limit.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte)) {
            return Err(unknown());
        }
        statement.push_str(&format!(" {name} {limit}"));
    }
    execute(connection, statement, COPY).await
}

/// `REQUIRE`, from its columns. None for a form that is not known, or text that could end its quotes.
fn demand(kind: &str, cipher: &str, issuer: &str, subject: &str) -> Option<String> {
    match kind {
        "" => Some("NONE".into()),
        "ANY" => Some("SSL".into()),
        "X509" => Some("X509".into()),
        "SPECIFIED" => {
            let parts = [("CIPHER", cipher), ("ISSUER", issuer), ("SUBJECT", subject)];
            let parts = parts.iter().filter(|(_, text)| !text.is_empty());
            let is_plain = |text: &str| !text.chars().any(|c| c.is_control() || "'\\\"".contains(c));
            let parts: Option<Vec<String>> =
                parts.map(|(word, text)| is_plain(text).then(|| format!("{word} '{text}'"))).collect();
            parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join(" AND "))
        }
        _ => None,
    }
}

fn unknown() -> RotationError {
    RotationError::Database {
        action: "show the TLS requirement of a user in a known form",
        code: "unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_is_copied_and_one_that_could_end_its_quotes_refused() {
        for (columns, expected) in [
            (["", "", "", ""], Some("NONE")),
            (["ANY", "", "", ""], Some("SSL")),
            (["X509", "", "", ""], Some("X509")),
            (["SPECIFIED", "AES", "/C=a, b", ""], Some("CIPHER 'AES' AND ISSUER '/C=a, b'")),
            (["SPECIFIED", "", "", "/CN=x"], Some("SUBJECT '/CN=x'")),
            (["SPECIFIED", "", "", "x' AND y"], None),
            (["SPECIFIED", "", "", "x\\"], None),
            (["SPECIFIED", "", "", ""], None),
            (["OTHER", "", "", ""], None),
        ] {
            let [kind, cipher, issuer, subject] = columns;
            assert_eq!(demand(kind, cipher, issuer, subject).as_deref(), expected, "{columns:?}");
        }
    }
}
