//! The report of an import or a dry run.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;

use secrets_cache::{SecretName, SourceError};
use serde::Serialize;

use super::plan::Move;
use crate::exit::{Exit, chain, failures_exit};

#[derive(Default, Serialize)]
pub(super) struct Report {
    pub(super) dry_run: bool,
    /// Settings with a value.
    pub(super) total: usize,
    pub(super) created: Vec<String>,
    pub(super) updated: Vec<String>,
    pub(super) unchanged: Vec<String>,
    /// In the source with another value, and left alone.
    pub(super) conflicts: Vec<String>,
    /// Those of `conflicts` that `--overwrite` does not settle; a warning says why.
    #[serde(skip)]
    pub(super) not_overwritten: HashSet<String>,
    /// Without a value: there is nothing to move.
    pub(super) empty: Vec<String>,
    /// Neither moved nor taken out of the file.
    pub(super) kept: Vec<Listed>,
    /// Not moved, because readers of such files do not agree on the value.
    pub(super) doubtful: Vec<Listed>,
    /// Settings that are in the source under another spelling of their name.
    pub(super) matched: BTreeMap<String, String>,
    pub(super) failures: Vec<Failed>,
    pub(super) warnings: Vec<String>,
    pub(super) stripped: bool,
    /// Why the file was left as it is after all values were stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_stripped: Option<String>,
    pub(super) interrupted: bool,
    /// A line that does not count has a value that is nowhere else.
    #[serde(skip)]
    pub(super) hides_another: bool,
    #[serde(skip)]
    pub(super) strip_is_blocked_by_repetition: bool,
}

/// A setting, and why nothing was done with it.
#[derive(Serialize)]
pub(super) struct Listed {
    name: Option<String>,
    pub(super) line: u32,
    reason: String,
}

/// A secret that a command could not do its work on.
#[derive(Serialize)]
pub(super) struct Failed {
    name: String,
    class: &'static str,
    error: String,
    /// The next step that the source names.
    #[serde(skip)]
    hint: Option<&'static str>,
}

fn failed(name: String, error: &SourceError) -> Failed {
    Failed { name, class: error.class(), error: chain(error), hint: error.hint() }
}

impl Listed {
    pub(super) fn new(name: Option<&SecretName>, line: u32, reason: impl Display) -> Self {
        Self { name: name.map(ToString::to_string), line, reason: reason.to_string() }
    }

    fn show(&self) -> String {
        format!("{} (line {}): {}", self.name.as_deref().unwrap_or("no name"), self.line, self.reason)
    }
}

impl Report {
    /// Whether every setting that was asked for is where it should be.
    pub(super) fn is_moved(&self) -> bool {
        self.failures.is_empty()
            && self.conflicts.is_empty()
            && self.doubtful.is_empty()
            && !self.interrupted
            && !self.strip_is_blocked_by_repetition
    }

    /// A setting that cannot be stored, before anything was tried.
    pub(super) fn refuse(&mut self, name: &SecretName, error: &SourceError) {
        self.failures.push(failed(name.to_string(), error));
    }

    /// A value that differs, and that `--overwrite` does not store either.
    pub(super) fn keep_apart(&mut self, name: String, reason: String) {
        self.warnings.push(format!("{name} {reason}"));
        self.not_overwritten.insert(name.clone());
        self.conflicts.push(name);
    }

    /// A change that did not succeed.
    pub(super) fn fail(&mut self, change: &Move, error: &SourceError) {
        self.forget(change);
        self.refuse(&change.name, error);
    }

    /// A change that was announced and not made.
    pub(super) fn forget(&mut self, change: &Move) {
        let name = change.name.to_string();
        for list in [&mut self.created, &mut self.updated, &mut self.unchanged] {
            list.retain(|listed| *listed != name);
        }
    }

    /// All changes, where none was made.
    pub(super) fn forget_all(&mut self) {
        self.created.clear();
        self.updated.clear();
    }

    pub(super) fn failed_names(&self) -> HashSet<String> {
        self.failures.iter().map(|failure| failure.name.clone()).collect()
    }

    pub(super) fn exit(&self) -> Exit {
        match (self.interrupted, self.is_moved() && self.not_stripped.is_none()) {
            (true, _) => Exit::Interrupted,
            (false, true) => Exit::Done,
            (false, false) if self.is_nothing_but_failures() => {
                failures_exit(self.failures.iter().map(|failure| failure.class))
            }
            (false, false) => Exit::Partial,
        }
    }

    fn is_nothing_but_failures(&self) -> bool {
        let names = [&self.created, &self.updated, &self.unchanged, &self.conflicts];
        !self.failures.is_empty() && self.doubtful.is_empty() && names.iter().all(|list| list.is_empty())
    }

    /// The next step after the first failure.
    pub(super) fn hint(&self) -> Option<&'static str> {
        self.failures.first()?.hint
    }

    pub(super) fn lines(&self, origin: &str) -> String {
        let (create, update) =
            if self.dry_run { ("would create", "would update") } else { ("created", "updated") };
        let mut lines = Vec::new();
        lines.extend(self.created.iter().map(|name| format!("{create} {name}")));
        lines.extend(self.updated.iter().map(|name| format!("{update} {name}")));
        lines.extend(self.matched.iter().map(|(name, there)| format!("{name} is {there} in the source")));
        let differs = |name: &String| match self.not_overwritten.contains(name) {
            true => format!("differs, left alone: {name}"),
            false => format!("differs, left alone: {name} (--overwrite replaces it)"),
        };
        lines.extend(self.conflicts.iter().map(differs));
        lines.extend(self.empty.iter().map(|name| format!("empty, nothing to move: {name}")));
        lines.extend(self.kept.iter().map(|listed| format!("kept in the file: {}", listed.show())));
        lines.extend(self.doubtful.iter().map(|listed| format!("doubtful, not moved: {}", listed.show())));
        lines.extend(
            self.failures.iter().map(|failure| format!("failed: {}: {}", failure.name, failure.error)),
        );
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        lines.extend(self.not_stripped.iter().map(|reason| format!("the file was left as it is: {reason}")));
        if self.interrupted {
            lines.push("interrupted: run it again to move the rest".to_owned());
        }
        lines.push(format!(
            "{origin}: {} settings with a value, {} {create}, {} {update}, {} unchanged{}",
            self.total,
            self.created.len(),
            self.updated.len(),
            self.unchanged.len(),
            if self.stripped { "; their values are no longer in the file" } else { "" }
        ));
        lines.join("\n")
    }
}
