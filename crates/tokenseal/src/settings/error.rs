//! Everything that is wrong with the settings.

use std::borrow::Cow;
use std::fmt;

/// One variable that is missing or wrong. It never repeats a value that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The variable.
    pub variable: Cow<'static, str>,
    /// The whole message, which names the variable.
    pub message: String,
}

/// Every problem of the settings, and what to do about them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingsError {
    /// One entry for each problem.
    pub problems: Vec<Problem>,
    /// The next step for the operator.
    pub hint: Cow<'static, str>,
}

impl SettingsError {
    /// For one variable, with a message that follows its name, such as `is not set`.
    pub fn of(
        variable: impl Into<Cow<'static, str>>,
        predicate: impl fmt::Display,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        let variable = variable.into();
        let message = format!("{variable} {predicate}");
        Self { problems: vec![Problem { variable, message }], hint: hint.into() }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages: Vec<&str> = self.problems.iter().map(|problem| problem.message.as_str()).collect();
        f.write_str(&messages.join("; "))
    }
}

impl std::error::Error for SettingsError {}
