//! How to get a part that tests need, and why it is unavailable.

use std::fmt;

/// The ways that are allowed to get a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Use the programs that are on the machine.
    UseWhatIsThere,
    /// Also install programs below the build directory, and build or pull images.
    Install,
}

/// Why a part is not available on this machine, and how to get it.
#[derive(Clone, Debug)]
pub struct Unavailable(String);

impl Unavailable {
    /// States the reason in a sentence fragment.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// An error met while doing something that the part needs.
    pub(crate) fn while_doing(what: &str, error: impl fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line a reason: it ends up in tables and in a tab-separated file.
        f.write_str(&self.0.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl std::error::Error for Unavailable {}

/// A part that the starter of this process has already looked for, by the environment variable about it.
///
/// Its value is an address, or `unavailable:` and the reason, so that no test process looks again.
pub(crate) fn announced(variable: &str) -> Option<Result<String, Unavailable>> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty())?;
    Some(match value.strip_prefix("unavailable:") {
        Some(reason) => Err(Unavailable::new(reason)),
        None => Ok(value),
    })
}
