//! The operations that a rotation needs of a database server of any kind.

use std::time::Duration;

#[cfg(any(feature = "mysql", feature = "postgres"))]
use sqlx::ConnectOptions;

use super::credentials::{Engine, Login};
use super::error::RotationError;

/// How long a server has for a whole step.
const LIMIT: Duration = Duration::from_secs(20);
const LOG_IN: &str = "log in";
pub(super) const SET: &str = "set the password of a user";

/// Whether the credentials log in, and a statement is answered.
pub(super) async fn logs_in(login: &Login) -> Result<bool, RotationError> {
    let answer = tokio::time::timeout(LIMIT, async {
        match login.engine {
            #[cfg(feature = "postgres")]
            Engine::Postgres => super::postgres::log_in(login).await,
            #[cfg(feature = "mysql")]
            Engine::MySql => super::mysql::log_in(login).await,
            #[allow(unreachable_patterns, reason = "a build with both kinds has no other")]
            engine => Err(not_built(engine)),
        }
    });
    answer.await.map_err(|_| RotationError::Unreachable { action: LOG_IN })?
}

/// Whether the server lets the user in with a password that no one has set: then a login proves nothing.
pub(super) async fn lets_in_with_any_password(login: &Login) -> Result<bool, RotationError> {
    logs_in(&login.with_another_password()).await
}

/// Lets the pending user log in with its password and the rights of the base user. May be repeated: once the pending
/// password is set, all of it is done.
pub(super) async fn provide(administrator: &Login, pending: &Login) -> Result<(), RotationError> {
    let done = tokio::time::timeout(LIMIT, async {
        match pending.engine {
            #[cfg(feature = "postgres")]
            Engine::Postgres => super::postgres::provide(administrator, pending).await,
            #[cfg(feature = "mysql")]
            Engine::MySql => super::mysql::provide(administrator, pending).await,
            #[allow(unreachable_patterns, reason = "a build with both kinds has no other")]
            engine => Err(not_built(engine)),
        }
    });
    done.await.map_err(|_| RotationError::Unreachable { action: SET })?
}

#[allow(dead_code, reason = "a build with both kinds has no other")]
fn not_built(engine: Engine) -> RotationError {
    RotationError::Engine(match engine {
        Engine::Postgres => "PostgreSQL",
        Engine::MySql => "MariaDB and MySQL",
    })
}

/// Logs in; none if the server refuses the credentials. Every connection of a rotation is made here: the driver's own log
/// quotes slow statements, and these hold passwords.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) async fn connect<O: ConnectOptions>(options: O) -> Result<Option<O::Connection>, RotationError>
where
    O::Connection: Sized,
{
    match options.disable_statement_logging().connect().await {
        Ok(connection) => Ok(Some(connection)),
        Err(error) => refused_or(&error),
    }
}

/// The outcome of an attempt to log in: refused, or failed in another way.
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn refused_or<T>(error: &sqlx::Error) -> Result<Option<T>, RotationError> {
    // Class 28 of SQLSTATE: invalid authorization.
    match error.as_database_error().and_then(|error| error.code()) {
        Some(code) if code.starts_with("28") => Ok(None),
        _ => Err(failed(LOG_IN)(error)),
    }
}

/// An error with the code of the database, and none of its text.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) fn failed(action: &'static str) -> impl Fn(&sqlx::Error) -> RotationError {
    move |error| match error.as_database_error() {
        Some(error) => {
            let code = error.code().unwrap_or_default();
            let is_code = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
            RotationError::Database {
                action,
                code: if is_code { code.into_owned() } else { "unknown".into() },
            }
        }
        None => RotationError::Unreachable { action },
    }
}
