//! The findings of `doctor` of either program: checks by name, each with a hint if it failed.

use std::borrow::Cow;

use serde::Serialize;
use token_store::findings::Finding;

use crate::exit::{CliError, Exit, Failed, chain};
use crate::output::{Format, emit};

#[derive(Default, Serialize)]
pub(crate) struct Report {
    checks: Vec<Check>,
    /// The obstacles in the tables, for a program that works on tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) findings: Option<Vec<Finding>>,
}

#[derive(Serialize)]
struct Check {
    name: Cow<'static, str>,
    ok: bool,
    detail: String,
    hint: Option<String>,
    /// The exit code if this is the first check that failed.
    #[serde(skip)]
    exit: Exit,
}

impl Report {
    /// The report of a program that works on tables: its list of obstacles is there even if it is empty.
    pub(crate) fn of_tables() -> Self {
        Self { findings: Some(Vec::new()), ..Self::default() }
    }

    pub(crate) fn pass(&mut self, name: impl Into<Cow<'static, str>>, detail: impl Into<String>) {
        let (name, detail) = (name.into(), detail.into());
        self.checks.push(Check { name, ok: true, detail, hint: None, exit: Exit::Done });
    }

    pub(crate) fn fail(&mut self, name: impl Into<Cow<'static, str>>, error: &impl Failed) {
        let (name, detail) = (name.into(), chain(error));
        self.checks.push(Check { name, ok: false, detail, hint: error.hint(), exit: error.exit() });
    }

    /// Whether no check has failed so far.
    pub(crate) fn is_well(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// Prints every check, and returns the exit code.
    pub(crate) fn print(&self, format: Format) -> Result<Exit, CliError> {
        emit(format, self, Self::lines)?;
        Ok(self.checks.iter().find(|check| !check.ok).map_or(Exit::Done, |check| check.exit))
    }

    fn lines(&self) -> String {
        let mut lines = Vec::new();
        for Check { name, ok, detail, hint, .. } in &self.checks {
            lines.push(format!("{}  {name}: {detail}", if *ok { "ok  " } else { "FAIL" }));
            lines.extend(hint.iter().map(|hint| format!("      {hint}")));
        }
        lines.join("\n")
    }
}
