//! Rewrapping of index keys: the same keys under another key of the key service.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::keys::failed;
use crate::database::index::StoredIndexKey;
use crate::database::layout::Layout;
use crate::error::StoreError;
use crate::migration::is_chosen;
use crate::store::TokenStore;

/// Wraps the index keys of every table again, and returns how many were.
///
/// Only keys under one of `from`, where it is given; none that is under `to` already.
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
            if !is_there && !is_other && (dry_run || rewrap_key(store, layout, &key).await?) {
                rewrapped += 1;
            }
        }
        store.held_keys().forget(&layout.table.name);
    }
    Ok(rewrapped)
}

async fn rewrap_key(store: &TokenStore, layout: &Layout, key: &StoredIndexKey) -> Result<bool, StoreError> {
    let index =
        layout.table.index.iter().find(|index| layout.table.bound_column(&index.column) == key.column);
    // Keys of a column that the profile does not name any more stay as they are.
    let Some(index) = index else { return Ok(false) };
    let fail = |error| failed(layout, index, error);
    let (wrapped, context) = store.wrapped_index_key(layout, key).map_err(fail)?;
    let provider = store.index_provider().map_err(fail)?;
    let new = provider.rewrap(&wrapped, &context).await.map_err(|error| fail(error.into()))?;
    if new == wrapped {
        return Ok(false);
    }
    let text = STANDARD.encode(new.bytes());
    let written = store.database().rewrap_index_key(layout, key, &text, new.key_id()).await?;
    if written {
        let now = StoredIndexKey { key_id: new.key_id().map(ToOwned::to_owned), ..key.clone() };
        store.trail("rewrap").index_key(crate::audit::INDEX_KEY_REWRAPPED, layout, &now);
    }
    Ok(written)
}
