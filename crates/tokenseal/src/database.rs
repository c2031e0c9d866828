//! The database that `DATABASE_URL` names.

use secrecy::ExposeSecret as _;
use token_store::Database;

use crate::error::ConnectError;
use crate::settings::{Settings, SettingsError};

/// How a database is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Nothing can be written.
    ReadOnly,
    /// Rows can be read and written.
    #[default]
    ReadWrite,
}

/// Opens the database that `DATABASE_URL` names.
///
/// # Errors
/// [`ConnectError::Settings`] where it is not set, [`ConnectError::Store`] where nothing answers.
pub async fn open(settings: &Settings, access: Access) -> Result<Database, ConnectError> {
    let Some(url) = &settings.database_url else {
        return Err(SettingsError::of(
            "DATABASE_URL",
            "is not set",
            "set it to postgres://user:password@host/database or sqlite://file.db",
        )
        .into());
    };
    let (url, timeouts) = (url.expose_secret(), settings.database_timeouts);
    let database = match access {
        Access::ReadOnly => Database::connect_read_only_with(url, timeouts).await,
        Access::ReadWrite => Database::connect_with(url, timeouts).await,
    };
    Ok(database?)
}
