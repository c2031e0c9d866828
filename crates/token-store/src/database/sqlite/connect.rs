//! Opening a file.

use std::path::Path;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::Connections;
use crate::database::WAIT;
use crate::database::connect::{address, parameters};
use crate::database::options::OpenOptions;
use crate::error::{DatabaseError, StoreError};

const PARAMETERS: [&str; 4] = ["mode", "cache", "immutable", "vfs"];

pub(in crate::database) async fn connect(url: &str, open: OpenOptions) -> Result<Connections, StoreError> {
    if let Some((name, _)) = parameters(url).find(|(name, _)| !PARAMETERS.contains(&name.as_str())) {
        let known = PARAMETERS.join(", ");
        return Err(address(format!("parameter {name:?} is not known: use one of {known}")));
    }
    let options: SqliteConnectOptions = url.parse().map_err(|_| address("it cannot be parsed"))?;
    check_file(url, options.get_filename())?;
    // Rows wait in a buffer until they are taken. Each may be large, and a buffer that is full costs a switch of threads.
    let options =
        options.read_only(open.read_only).create_if_missing(false).busy_timeout(WAIT).row_buffer_size(64);
    // Without idle timeout and lifetime, because the task that they need may never end in sqlx 0.9.
    let pool = SqlitePoolOptions::new()
        .max_connections(open.connections_or(4))
        .acquire_timeout(open.acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.disable_statement_logging())
        .await;
    match pool {
        Ok(pool) => Ok(Connections { pool }),
        Err(error) => {
            let mut error = DatabaseError::from(error);
            error.unreachable = true;
            Err(StoreError::Database(error))
        }
    }
}

/// A pool of the caller's.
pub(in crate::database) fn of_pool(pool: sqlx::SqlitePool) -> Connections {
    Connections { pool }
}

/// A third slash makes a path absolute, which often is not meant.
fn check_file(url: &str, file: &Path) -> Result<(), StoreError> {
    let is_missing = file.is_absolute() && url.starts_with("sqlite:///") && !file.exists();
    let relative = file.file_name().filter(|_| file.parent() == Some(Path::new("/")));
    match relative {
        Some(name) if is_missing && Path::new(name).exists() => {
            let name = name.to_string_lossy();
            Err(address(format!(
                "three slashes name the file /{name}, which does not exist; for {name} in the working directory write \
                 sqlite://{name}"
            )))
        }
        _ => Ok(()),
    }
}
