//! Names of secrets, and references to one field of a JSON secret.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name, in bytes: AWS Secrets Manager's limit (`Name` in the `CreateSecret` reference).
pub const MAX_NAME_LEN: usize = 512;

/// The name of a secret: 1 to 512 bytes, without control characters, without `#`, and not surrounded by space.
///
/// `#` is kept free for [`SecretRef`]. A backend may accept less.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretName(Arc<str>);

impl SecretName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() || name.trim() != name {
            return Err(NameError::Blank);
        }
        if name.len() > MAX_NAME_LEN {
            return Err(NameError::TooLong { actual: name.len() });
        }
        if name.contains('#') || name.chars().any(char::is_control) {
            return Err(NameError::Character);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as an environment variable: `db/password` is `DB_PASSWORD`, and a name that is a variable is itself.
    #[must_use]
    pub fn variable(&self) -> String {
        if is_variable(self.as_str()) {
            return self.to_string();
        }
        let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let made: String = self.as_str().chars().map(letter).collect();
        if is_variable(&made) { made } else { format!("_{made}") }
    }

    /// The variables that a name can be: first the one that is asked for, then the one that it is written as, and that in
    /// upper case.
    pub(crate) fn spellings(&self) -> [String; 3] {
        [self.to_string(), self.variable(), self.variable().to_ascii_uppercase()]
    }

    /// Whether two names are the same variable in two spellings, as `database-url` and `DATABASE_URL` are. Two names that
    /// are variables are so only if they are equal: programs read `http_proxy` and `HTTP_PROXY` as two settings.
    #[must_use]
    pub fn is_spelling_of(&self, other: &Self) -> bool {
        if is_variable(self.as_str()) && is_variable(other.as_str()) {
            return self == other;
        }
        self.variable().eq_ignore_ascii_case(&other.variable())
    }

    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Borrow<str> for SecretName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl FromStr for SecretName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

/// Whether a text can name an environment variable that every shell knows.
#[must_use]
pub fn is_variable(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// A secret, or one field of a JSON secret: `name`, `name#field`, `name#/pointer/to/field`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    name: SecretName,
    field: Option<Box<str>>,
}

impl SecretRef {
    /// The secret.
    #[must_use]
    pub fn name(&self) -> &SecretName {
        &self.name
    }

    /// The field: a key of the JSON object, or a JSON pointer (RFC 6901) if it begins with `/`.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }
}

impl FromStr for SecretRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('#') {
            None => Ok(Self { name: SecretName::new(text)?, field: None }),
            Some((_, "")) => Err(NameError::EmptyField),
            Some((name, field)) => Ok(Self { name: SecretName::new(name)?, field: Some(field.into()) }),
        }
    }
}

impl From<SecretName> for SecretRef {
    fn from(name: SecretName) -> Self {
        Self { name, field: None }
    }
}

/// Why a text is not a secret's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It is empty, or begins or ends with space.
    #[error("name is empty, or begins or ends with space")]
    Blank,
    /// It is over [`MAX_NAME_LEN`].
    #[error("name is {actual} bytes long, over {MAX_NAME_LEN}")]
    TooLong {
        /// Its length, in bytes.
        actual: usize,
    },
    /// It has a control character or `#`.
    #[error("name has a control character or `#`")]
    Character,
    /// A prefix ends in a letter or digit.
    #[error("prefix must end in a separator such as `/`")]
    Prefix,
    /// A reference ends in `#`.
    #[error("no field is named after `#`")]
    EmptyField,
}
