//! Why a profile was refused.

/// Why a profile was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Neither a built-in name nor a file.
    #[error(
        "unknown profile {name:?}: it is none of vod-tender, pulseplan, autonomous, and no such file exists"
    )]
    Unknown {
        /// The requested profile.
        name: String,
    },
    /// The file cannot be read.
    #[error("profile file {path:?} cannot be read")]
    Read {
        /// The path.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The text is not a profile in TOML.
    #[error("profile is not valid TOML: line {line}: {message}")]
    Toml {
        /// The line, from 1.
        line: usize,
        /// The problem, without the line's text: another file may have been named, such as one of secrets. At most
        /// the name of a key is in it, or a value where a profile has another kind of value.
        message: String,
    },
    /// The profile contradicts itself.
    #[error("profile {profile:?} is not usable: {reason}")]
    Invalid {
        /// The profile's name.
        profile: String,
        /// The problem.
        reason: String,
    },
}

impl ProfileError {
    pub(super) fn toml(text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        Self::Toml { line: before.matches('\n').count() + 1, message: error.message().replace('\n', "; ") }
    }
}
