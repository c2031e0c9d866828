//! Rows that are not at a run's target, counted by the database by their marks.

use envelope_core::Format;

use super::rewrap::RewrapGoal;
use crate::cipher::{Recorded, TokenCipher};
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::database::select::{Mark, MarkCount, Walk};
use crate::error::StoreError;
use crate::marks::Version;
use crate::store::TokenStore;
use crate::write_format::WriteFormat;

/// The number of rows of a table that are not in a form, the profile's filter and the store's conditions respected.
pub(crate) async fn pending(store: &TokenStore, layout: &Layout, to: WriteFormat) -> Result<u64, StoreError> {
    let named = match mark(store, layout, to) {
        Some(mark) => store.database().count_without(layout, &mark).await?,
        None => by_text(store, layout, to).await?,
    };
    Ok(named + store.database().count_unnamed(layout).await?)
}

/// The number of rows whose version columns name another key than the one that data keys come under.
pub(super) async fn under_other_keys(
    store: &TokenStore,
    layout: &Layout,
    goal: &RewrapGoal,
) -> Result<u64, StoreError> {
    let unnamed = store.database().count_unnamed(layout).await?;
    if layout.version().is_none() {
        return Ok(unnamed);
    }
    let counts = store.database().count_by_marks(layout).await?;
    let is_left = |count: &&MarkCount| {
        Version::read(count.version.as_deref()) == Some(Version::Envelope)
            && count.key_id.as_ref().is_none_or(|key| *key != goal.to && !goal.also.contains(key))
            && goal.chooses(layout, count.key_id.as_deref())
    };
    Ok(unnamed + counts.iter().filter(is_left).map(|count| count.rows).sum::<u64>())
}

/// The marks by which the database recognises a row at the target; `None` where only reading the texts shows it.
fn mark(store: &TokenStore, layout: &Layout, to: WriteFormat) -> Option<Mark> {
    let version = layout.version().map(|_| to.version());
    let prefixes: &[&str] = match store.cipher().goal(to) {
        Format::BoundEnvelope => &["kms:v3:"],
        // The second is base64 of the first: an envelope that was encoded once more.
        Format::KmsEnvelope => &["kms:v2:", "a21zOnYyO"],
        _ => {
            version?;
            &[]
        }
    };
    Some(Mark { version, prefixes })
}

async fn by_text(store: &TokenStore, layout: &Layout, to: WriteFormat) -> Result<u64, StoreError> {
    const PAGE: usize = 1_000;
    let goal = store.cipher().goal(to);
    let is_pending = |row: &StoredRow| {
        let recorded = Recorded::of(row, layout, store.profile().unmarked);
        let mut texts = row.values.iter().flatten().filter(|text| !text.is_empty());
        row.unreadable.is_some() || texts.any(|text| TokenCipher::classify(text, recorded).ok() != Some(goal))
    };
    let mut walk = Walk::new(store.database(), layout, PAGE);
    let mut pending = 0;
    loop {
        let page = walk.next().await?;
        if page.is_empty() {
            return Ok(pending);
        }
        pending += page.iter().filter(|row| is_pending(row)).count() as u64;
    }
}
