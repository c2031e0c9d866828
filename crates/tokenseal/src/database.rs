//! The database that `DATABASE_URL` names.

use secrecy::ExposeSecret as _;
use token_store::{Database, OpenOptions};

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
    open_with(settings, access, OpenOptions::default()).await
}

/// Opens it with other options; the timeouts of statements are those of the settings.
pub(crate) async fn open_with(
    settings: &Settings,
    access: Access,
    options: OpenOptions,
) -> Result<Database, ConnectError> {
    let Some(url) = &settings.database_url else {
        return Err(SettingsError::of(
            "DATABASE_URL",
            "is not set",
            "set it to postgres://user:password@host/database or sqlite://file.db",
        )
        .into());
    };
    let options = options.timeouts(settings.database_timeouts).read_only(access == Access::ReadOnly);
    Ok(Database::open(url.expose_secret(), options).await?)
}
