//! The kind of deployment, which decides whether development-only behaviour is allowed.

use std::str::FromStr;

/// The kind of deployment. Whoever assembles the program says which; nothing here reads a variable for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Environment {
    /// A developer's machine, or a test.
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

    /// Reads a name in any case; `dev`, `test`, `stage` and `prod` are understood as well.
    fn from_str(name: &str) -> Result<Self, UnknownEnvironment> {
        match name.trim().to_ascii_lowercase().as_str() {
            "development" | "dev" | "test" => Ok(Self::Development),
            "staging" | "stage" => Ok(Self::Staging),
            "production" | "prod" => Ok(Self::Production),
            _ => Err(UnknownEnvironment),
        }
    }
}

/// A text names no environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of development, staging, production")]
pub struct UnknownEnvironment;
