//! The kind of deployment, which decides whether development-only behaviour is allowed.

use std::str::FromStr;

/// The kind of deployment. The program that is assembled sets it; the libraries read no variable for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Environment {
    /// A developer's machine, or a test.
    #[default]
    Development,
    /// Like production, for rehearsal.
    Staging,
    /// The real thing: development-only behaviour is refused.
    Production,
}

impl Environment {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

impl FromStr for Environment {
    type Err = UnknownEnvironment;

    /// Reads a name in any case; `dev`, `local`, `test`, `stage` and `prod` are understood as well.
    fn from_str(name: &str) -> Result<Self, UnknownEnvironment> {
        match name.trim().to_ascii_lowercase().as_str() {
            "development" | "dev" | "local" | "test" => Ok(Self::Development),
            "staging" | "stage" => Ok(Self::Staging),
            "production" | "prod" => Ok(Self::Production),
            _ => Err(UnknownEnvironment),
        }
    }
}

/// A text names no environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of development, staging, production")]
pub struct UnknownEnvironment;
