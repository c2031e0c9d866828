//! Comparison of a value with the one that a secret has now, inside the transaction that changes it.

use super::LocalStore;
use super::record::Record;
use super::sealing;
use super::writing::Writing;
use crate::error::SourceError;
use crate::secret::Stage;
use crate::source::NewSecret;

/// The current version of a secret, against a value.
pub(super) enum Current {
    /// The secret has no value now.
    None,
    Same {
        version: String,
    },
    Other,
}

/// Compares a value with the current version of its secret.
pub(super) fn compare(
    store: &LocalStore,
    writing: &Writing<'_>,
    known: &Record,
    secret: &NewSecret,
) -> Result<Current, SourceError> {
    let Some(current) = known.version(Stage::Current.label()) else {
        return Ok(Current::None);
    };
    let accepted = sealing::accepted(writing.head.labelled);
    let there = sealing::open(&*store.ring, &secret.name, &current.envelope, current.is_binary, accepted)?;
    Ok(match there.same_as(&secret.value) {
        true => Current::Same { version: current.version.clone() },
        false => Current::Other,
    })
}
