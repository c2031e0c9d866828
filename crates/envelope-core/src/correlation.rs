//! The name of one failure, wherever it is reported.

use std::fmt;

use serde::{Serialize, Serializer};

/// Names one failure wherever it is reported: in the error, in the log, in the audit trail and in reports.
///
/// It is random and says nothing of the row, the secret or the value, so that a service can show it to its user.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CorrelationId(u64);

impl CorrelationId {
    /// Makes a name for a failure that has none yet.
    #[must_use]
    pub fn random() -> Self {
        Self(u64::from_be_bytes(crate::random::bytes()))
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for CorrelationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
