//! Rewrapping of index keys: the same keys under another key of the key service, or under another key service.

use super::keys::failed;
use super::wrapped::{WrappedIndexKey, seal};
use crate::database::index::StoredIndexKey;
use crate::database::layout::Layout;
use crate::error::StoreError;
use crate::migration::is_chosen;
use crate::store::TokenStore;

/// Brings the index keys of every table under the current key, and returns how many were moved. The key service wraps them
/// again; one that another service made is opened, and sealed under the current key. Indexes stay as they are.
///
/// Only keys under one of `from`, where it is given; none that names `to` already. A dry run asks the key service as a real
/// run does, except that no new data key is made.
///
/// # Errors
/// [`StoreError::IndexKey`], [`StoreError::Database`].
pub(crate) async fn rewrap_keys(
    store: &TokenStore,
    from: Option<&[String]>,
    to: &str,
    dry_run: bool,
) -> Result<u64, StoreError> {
    let mut rewrapped = 0;
    for layout in store.layouts().iter().filter(|layout| !layout.table.index.is_empty()) {
        for key in store.database().index_keys(layout).await? {
            let is_there = key.key_id.as_deref() == Some(to);
            let is_other = !is_chosen(from, key.key_id.as_deref());
            if !is_there && !is_other && rewrap_key(store, layout, &key, dry_run).await? {
                rewrapped += 1;
            }
        }
        store.held_keys().forget(&layout.table.name);
    }
    Ok(rewrapped)
}

async fn rewrap_key(
    store: &TokenStore,
    layout: &Layout,
    key: &StoredIndexKey,
    dry_run: bool,
) -> Result<bool, StoreError> {
    let index =
        layout.table.index.iter().find(|index| layout.table.bound_column(&index.column) == key.column);
    // Keys of a column that the profile does not name any more stay as they are.
    let Some(index) = index else { return Ok(false) };
    let fail = |error| failed(layout, index, error);
    let context = store.index_key_context(layout, key).map_err(fail)?;
    let provider = store.index_provider().map_err(fail)?;
    let stored = WrappedIndexKey::parse(key).map_err(fail)?;
    let new = if stored.can_be_rewrapped(provider) {
        stored.rewrap(provider, &context).await.map_err(fail)?
    } else {
        let index_key = stored.unwrap(provider, &context).await.map_err(fail)?;
        if dry_run {
            return Ok(true);
        }
        seal(&index_key, provider, &context).await.map_err(|error| fail(error.into()))?
    };
    if new.text == key.wrapped && new.key_id == key.key_id {
        return Ok(false);
    }
    if dry_run {
        return Ok(true);
    }
    // One statement replaces the old form, if no other process did: a key is never stored in neither.
    let written = store.database().rewrap_index_key(layout, key, &new.text, new.key_id.as_deref()).await?;
    if written {
        let now = StoredIndexKey { key_id: new.key_id, ..key.clone() };
        store.trail("rewrap").index_key(crate::audit::INDEX_KEY_REWRAPPED, layout, &now);
    }
    Ok(written)
}
