//! Whether a row's blind indexes are those of its values.

use envelope_core::Format;
use secrecy::{ExposeSecret as _, SecretString};

use super::{LayoutKeys, Make};
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::error::StoreError;
use crate::store::TokenStore;

/// A problem of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexProblem {
    /// A sealed value has none, and is not found.
    Missing,
    /// It is of another value.
    Misfit,
}

impl IndexProblem {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Missing => "index_missing",
            Self::Misfit => "index_misfit",
        }
    }

    /// The meaning of the problem, and how to fix it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Missing => "has no blind index, and is not found by its value",
            Self::Misfit => {
                "has the blind index of another value, and is found by that one: write the value again, and find out \
                 what changed the index or the value by itself"
            }
        }
    }
}

/// Compares the index over a column with the value that was opened; `None` for a column without an index.
pub(crate) async fn check_index(
    store: &TokenStore,
    layout: &Layout,
    row: &StoredRow,
    column: &str,
    opened: Option<(&SecretString, Format)>,
) -> Result<Option<IndexProblem>, StoreError> {
    let Some(place) = layout.table.index_over(column) else { return Ok(None) };
    let index = row.indexes.get(place).and_then(Option::as_deref);
    let Some((value, format)) = opened else {
        return Ok(index.map(|_| IndexProblem::Misfit));
    };
    let keys = store.index_keys(layout, Make::Nothing).await?;
    Ok(problem(keys.as_deref(), place, index, value, format))
}

fn problem(
    keys: Option<&LayoutKeys>,
    place: usize,
    index: Option<&str>,
    value: &SecretString,
    format: Format,
) -> Option<IndexProblem> {
    let keys = keys.and_then(|keys| keys.column(place));
    let fits = keys.is_some_and(|keys| keys.fits(index, value.expose_secret()));
    let is_envelope = matches!(format, Format::KmsEnvelope | Format::BoundEnvelope);
    match index {
        Some(_) => (!fits).then_some(IndexProblem::Misfit),
        // Values that are not under the key service yet are indexed when they come there.
        None => (is_envelope && !fits).then_some(IndexProblem::Missing),
    }
}
