//! Connecting.

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::{Connections, bind, text};
use crate::database::WAIT;
use crate::database::connect::{address, parameters};
use crate::database::options::{OpenOptions, Timeouts};
use crate::error::{DatabaseError, StoreError};

/// The parameters of an address that the driver reads.
const PARAMETERS: [&str; 11] = [
    "charset",
    "collation",
    "socket",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "sslca",
    "sslcert",
    "sslkey",
    "statement-cache-capacity",
];

const SSL_MODES: &str = "DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY";

/// Further settings of a session: values that do not fit are refused, and rows are read as they are stored.
const MODE: &str = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION";

pub(in crate::database) async fn connect(url: &str, open: OpenOptions) -> Result<Connections, StoreError> {
    check_parameters(url)?;
    let url = url.replacen("mariadb://", "mysql://", 1);
    // The parser's own message may quote the address, and with it a password.
    let options: MySqlConnectOptions = url.parse().map_err(|_| address("it cannot be parsed"))?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(address("it names no database: mysql://user:password@host/database"));
    }
    let options = options.charset("utf8mb4").disable_statement_logging();
    let session = session(&options, open.timeouts).await?;
    // Without idle timeout and lifetime: see the pool of PostgreSQL.
    let pool = MySqlPoolOptions::new()
        .max_connections(open.connections_or(8))
        .acquire_timeout(open.acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            let session = session.clone();
            Box::pin(async move { connection.execute(AssertSqlSafe(session)).await.map(drop) })
        })
        .connect_lazy_with(options);
    Ok(Connections { pool, read_only: open.read_only })
}

/// A pool of the caller's, whose sessions are checked before each write.
pub(in crate::database) fn of_pool(pool: sqlx::MySqlPool) -> Connections {
    Connections { pool, read_only: false }
}

/// Opens one connection, which reports at once what is wrong where a pool keeps trying, and returns the statement that
/// sets up every session of this server.
async fn session(options: &MySqlConnectOptions, timeouts: Timeouts) -> Result<String, StoreError> {
    let asked = async {
        let mut connection = MySqlConnection::connect_with(options).await?;
        let row = bind("SELECT CAST(VERSION() AS CHAR)", &[]).fetch_one(&mut connection).await?;
        let _ = connection.close().await;
        Ok::<_, sqlx::Error>(if row.is_empty() { None } else { text(&row, 0) })
    };
    let answer = tokio::time::timeout(WAIT, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    let version = answer.map_err(|error| {
        let mut error = DatabaseError::from(error);
        error.unreachable = true;
        StoreError::Database(error)
    })?;
    let is_mariadb = version.is_some_and(|version| version.contains("MariaDB"));
    Ok(session_sql(is_mariadb, timeouts))
}

/// Whole seconds, and at least one: zero would mean no wait at all, or no limit.
fn session_sql(is_mariadb: bool, timeouts: Timeouts) -> String {
    let seconds = |limit: std::time::Duration| limit.as_secs().max(1);
    let mut settings = vec![format!("sql_mode = '{MODE}'")];
    if !timeouts.lock.is_zero() {
        settings.push(format!("innodb_lock_wait_timeout = {}", seconds(timeouts.lock)));
    }
    // MySQL has a limit for reading statements only.
    if is_mariadb && !timeouts.statement.is_zero() {
        settings.push(format!("max_statement_time = {}", seconds(timeouts.statement)));
    }
    let settings: Vec<String> = settings.into_iter().map(|setting| format!("SESSION {setting}")).collect();
    format!("SET {}", settings.join(", "))
}

/// An unknown parameter is passed over by the driver, and no encryption would be used.
fn check_parameters(url: &str) -> Result<(), StoreError> {
    for (name, value) in parameters(url) {
        match name.as_str() {
            "ssl-mode" | "sslmode" if !is_ssl_mode(&value) => {
                return Err(address(format!(
                    "ssl-mode must be one of {SSL_MODES}; REQUIRED encrypts without checking the certificate"
                )));
            }
            "ssl-mode" | "sslmode" => {}
            "charset" if !value.eq_ignore_ascii_case("utf8mb4") => {
                return Err(address("charset must be utf8mb4, or left out: any other loses characters"));
            }
            known if PARAMETERS.contains(&known) => {}
            "ssl" | "tls" | "useSSL" | "usessl" | "requireSSL" | "sslMode" => {
                return Err(address(format!(
                    "parameter {name:?} is not known: write ssl-mode=REQUIRED, or ssl-mode=VERIFY_IDENTITY to check \
                     the certificate"
                )));
            }
            "schema" | "currentSchema" | "database" => {
                return Err(address(format!(
                    "parameter {name:?} is not known: the database is the path (mysql://host/database)"
                )));
            }
            _ => {
                return Err(address(format!(
                    "parameter {name:?} is not known: use one of {}",
                    PARAMETERS.join(", ")
                )));
            }
        }
    }
    Ok(())
}

fn is_ssl_mode(value: &str) -> bool {
    SSL_MODES.split(", ").any(|mode| mode.eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Timeouts, check_parameters, session_sql};

    #[test]
    fn a_session_is_strict_and_within_its_limits_of_time() {
        let timeouts = Timeouts::new(Duration::from_millis(200), Duration::from_secs(60));
        let sql = session_sql(true, timeouts);
        assert!(sql.starts_with("SET SESSION sql_mode = 'STRICT_TRANS_TABLES,"), "{sql}");
        assert!(
            sql.contains("innodb_lock_wait_timeout = 1,") && sql.ends_with("max_statement_time = 60"),
            "{sql}"
        );
        assert!(!session_sql(false, timeouts).contains("max_statement_time"));
        assert!(!session_sql(true, Timeouts::new(Duration::ZERO, Duration::ZERO)).contains("time"));
    }

    #[test]
    fn a_parameter_that_would_be_passed_over_is_refused() {
        for url in
            ["mysql://h/d", "mysql://h/d?ssl-mode=required&ssl-ca=/ca.pem", "mysql://h/d?charset=utf8mb4"]
        {
            assert!(check_parameters(url).is_ok(), "{url}");
        }
        for parameter in
            ["ssl=true", "tls=skip-verify", "sslmode=require", "schema=x", "charset=latin1", "parseTime=true"]
        {
            assert!(check_parameters(&format!("mysql://h/d?{parameter}")).is_err(), "{parameter}");
        }
    }
}
