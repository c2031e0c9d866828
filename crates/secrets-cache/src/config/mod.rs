//! Declared configuration, loaded from environment and secrets together, with every problem reported at once.

mod load;
pub mod mask;
mod setting;

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::error::SourceError;
use crate::typed::{self, FromSecret, ReadError};

pub use load::Origins;
pub use setting::Setting;

/// The settings that a service declares for itself.
#[derive(Clone, Debug, Default)]
pub struct Declared(Vec<Setting>);

impl Declared {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a setting. Declaring a name again replaces the setting.
    #[must_use]
    pub fn with(mut self, setting: Setting) -> Self {
        self.0.retain(|known| known.name() != setting.name());
        self.0.push(setting);
        self
    }

    /// Loads all settings.
    ///
    /// # Errors
    /// [`ConfigError`], which lists every setting that is missing or wrong, not just the first.
    pub async fn load(&self, origins: &Origins<'_>) -> Result<Config, ConfigError> {
        load::load(&self.0, origins).await
    }
}

/// Settings that were found and are right.
pub struct Config {
    settings: BTreeMap<String, Loaded>,
}

struct Loaded {
    is_secret: bool,
    value: Option<SecretString>,
    origin: Option<String>,
}

impl Config {
    /// A setting as a type.
    ///
    /// # Errors
    /// [`ReadError::WrongType`] if it was declared as something else, [`ReadError::Source`] if it is optional and
    /// not set, or was not declared.
    pub fn get<T: FromSecret>(&self, name: &str) -> Result<T, ReadError> {
        match self.get_optional(name)? {
            Some(value) => Ok(value),
            None => Err(SourceError::NotFound { name: name.parse()? }.into()),
        }
    }

    /// A setting as a type, or none if it is not set.
    ///
    /// # Errors
    /// [`ReadError::WrongType`] if it was declared as something else.
    pub fn get_optional<T: FromSecret>(&self, name: &str) -> Result<Option<T>, ReadError> {
        let value = self.settings.get(name).and_then(|loaded| loaded.value.as_ref());
        let wrong = || ReadError::WrongType { reference: name.to_owned(), expected: T::EXPECTED };
        value.map(|text| typed::parse(text).ok_or_else(wrong)).transpose()
    }

    /// The settings that are fit for a log or a status page: those that are no secrets, with passwords in connection
    /// strings masked, and of the secrets those that are the URL of a database or a broker, as user, host and database.
    #[must_use]
    pub fn public(&self) -> BTreeMap<&str, String> {
        let shown = |loaded: &Loaded| {
            let text = loaded.value.as_ref()?.expose_secret();
            match loaded.is_secret {
                true => mask::secret_connection_string(text),
                false => Some(mask::connection_string(text)),
            }
        };
        self.settings.iter().filter_map(|(name, loaded)| Some((name.as_str(), shown(loaded)?))).collect()
    }

    /// Which settings are set and where they came from; no values.
    #[must_use]
    pub fn status(&self) -> Vec<SettingStatus> {
        let status = |(name, loaded): (&String, &Loaded)| SettingStatus {
            name: name.clone(),
            is_secret: loaded.is_secret,
            origin: loaded.origin.clone(),
        };
        self.settings.iter().map(status).collect()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Config").field(&self.public()).finish()
    }
}

/// The metadata of a setting, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingStatus {
    /// Its name.
    pub name: String,
    /// Whether it is a secret.
    pub is_secret: bool,
    /// The source it came from, or `default`; none if it is not set.
    pub origin: Option<String>,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConfigError {
    /// One entry a setting.
    pub problems: Vec<Problem>,
}

/// The problem of a setting.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{setting}: {kind}")]
#[non_exhaustive]
pub struct Problem {
    /// The setting.
    pub setting: String,
    /// The problem.
    pub kind: ProblemKind,
}

/// The kinds of things that are wrong with a setting. None carries its value.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// It is required, and set nowhere.
    #[error("required, but not set")]
    Missing,
    /// It is something else than declared.
    #[error("not {expected}")]
    Wrong {
        /// The requirement.
        expected: String,
    },
    /// It could not be fetched.
    #[error("could not be fetched ({})", .0.class())]
    Unavailable(#[source] SourceError),
    /// Its own declaration does not hold together.
    #[error("declared with a default or a name that does not fit")]
    Declaration,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the settings are missing or wrong", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
    }
}

impl std::error::Error for ConfigError {}
