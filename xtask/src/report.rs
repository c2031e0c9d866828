//! The findings of a step, beyond whether it failed.

use std::ops::AddAssign;

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// A part, and whether it could run: how, or why not.
#[derive(Clone, Debug)]
pub(crate) struct PartOutcome {
    pub(crate) name: String,
    pub(crate) outcome: Result<String, String>,
}

/// A test that did not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotRun {
    /// The part that it lacked, or `ignored`.
    pub(crate) part: String,
    pub(crate) test: String,
    pub(crate) reason: String,
}

/// The report of a step.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Why the step failed, if it did.
    pub(crate) failure: Option<String>,
    pub(crate) tally: Tally,
    pub(crate) failed_tests: Vec<String>,
    pub(crate) parts: Vec<PartOutcome>,
    pub(crate) not_run: Vec<NotRun>,
}

impl Report {
    /// The report of a step that has only its failure.
    pub(crate) fn failed(error: &anyhow::Error) -> Self {
        Self { failure: Some(format!("{error:#}")), ..Self::default() }
    }
}

/// A step that ran, and how long it took.
pub(crate) struct Done {
    pub(crate) name: &'static str,
    pub(crate) report: Report,
    pub(crate) seconds: f64,
    /// What the disk of the build directory had left at its end, in GB, where `df` says it.
    pub(crate) free_gigabytes: Option<f64>,
}
