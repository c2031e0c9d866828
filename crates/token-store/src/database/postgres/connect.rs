//! Connecting, directly or through a pooler.

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::Connections;
use crate::database::WAIT;
use crate::database::connect::{address, parameters};
use crate::database::options::{OpenOptions, Timeouts};
use crate::error::{DatabaseError, StoreError};

/// The parameters of an address that the driver reads.
const PARAMETERS: [&str; 17] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// A setting that a server accepts from a connection of ours and a pooler does not pass on.
const PROBE: &str = "tokenseal.direct";

pub(in crate::database) async fn connect(url: &str, open: OpenOptions) -> Result<Connections, StoreError> {
    check_parameters(url)?;
    // The parser's own message may quote the address, and with it a password.
    let options: PgConnectOptions = url.parse().map_err(|_| address("it cannot be parsed"))?;
    let options = options.disable_statement_logging();
    let direct = options.clone().options([(PROBE, "on")]);
    let (options, pooled) = match is_direct(&direct).await {
        Ok(true) => (options, false),
        Ok(false) => (through_pooler(url, options)?, true),
        // A pooler refuses parameters of the session that it does not keep.
        Err(error) if error.code.as_deref() == Some("08P01") => {
            let options = through_pooler(url, options)?;
            is_direct(&options).await.map_err(unreachable)?;
            (options, true)
        }
        Err(error) => return Err(unreachable(error)),
    };
    // Without idle timeout and lifetime. With either, sqlx 0.9 keeps a task that walks `num_idle` connections; that
    // number can be read between a `pop` and the `add` it belongs to, wrapped around, and the task then never ends, nor
    // does the runtime that it keeps busy.
    let pool = PgPoolOptions::new()
        .max_connections(open.connections_or(8))
        .acquire_timeout(open.acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options);
    Ok(Connections { pool, read_only: open.read_only, pooled, timeouts: open.timeouts })
}

/// A pool of the caller's. Whether it leads through a pooler is not known, so it is used as if it did.
pub(in crate::database) fn of_pool(pool: sqlx::PgPool) -> Connections {
    Connections { pool, read_only: false, pooled: true, timeouts: Timeouts::default() }
}

/// Opens one connection, which reports at once what is wrong where a pool keeps trying and then only says that time ran
/// out, and asks whether its settings are the server's.
async fn is_direct(options: &PgConnectOptions) -> Result<bool, DatabaseError> {
    let asked = async {
        let mut connection = PgConnection::connect_with(options).await?;
        let sql = format!("SELECT pg_catalog.current_setting('{PROBE}', true)");
        let mut transaction = connection.begin().await?;
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).persistent(false);
        let row = query.fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        let setting: Option<String> = row.try_get(0)?;
        let _ = connection.close().await;
        Ok(setting.as_deref() == Some("on"))
    };
    let answer = tokio::time::timeout(WAIT, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    answer.map_err(DatabaseError::from)
}

fn through_pooler(url: &str, options: PgConnectOptions) -> Result<PgConnectOptions, StoreError> {
    let named = parameters(url).find(|(name, _)| name == "options" || name.starts_with("options["));
    if let Some((name, _)) = named {
        return Err(address(format!(
            "the pooler that it leads to takes no {name}: name the schema in the profile (schema = \"…\"), or \
             connect to the server itself"
        )));
    }
    tracing::info!("connected through a pooler: every statement runs in a transaction of its own");
    Ok(options.extra_float_digits(None))
}

/// An unknown parameter is passed over by the driver, and the wrong schema or no encryption would be used.
fn check_parameters(url: &str) -> Result<(), StoreError> {
    for (name, value) in parameters(url) {
        match name.as_str() {
            "statement-cache-capacity" => {}
            "sslmode" | "ssl-mode" if !is_ssl_mode(&value) => {
                return Err(address(
                    "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full; \
                     require encrypts without checking the certificate",
                ));
            }
            known if PARAMETERS.contains(&known) || known.starts_with("options[") => {}
            "ssl" | "tls" | "usessl" | "useSSL" => {
                return Err(address(format!(
                    "parameter {name:?} is not known: write sslmode=require, or sslmode=verify-full to check the \
                     certificate"
                )));
            }
            "schema" | "currentSchema" | "search_path" | "searchpath" => {
                return Err(address(format!(
                    "parameter {name:?} is not known: name the schema in the profile (schema = \"…\"), or write \
                     options=-csearch_path%3D…"
                )));
            }
            "pgbouncer" | "prepared_statements" | "prepareThreshold" => {
                return Err(address(format!(
                    "parameter {name:?} is not known and not needed: a pooler is recognized"
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
    matches!(value, "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full")
}

fn unreachable(mut error: DatabaseError) -> StoreError {
    error.unreachable = true;
    StoreError::Database(error)
}
