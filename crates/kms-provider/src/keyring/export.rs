//! Keys exported by the Node program whose secrets the local store takes over.

use envelope_core::DataKey;
use serde::Deserialize;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::error::KeyringError;
use super::ring::is_id;

/// A key of an export.
pub(super) struct Exported {
    pub(super) id: String,
    pub(super) key: DataKey,
    pub(super) active: bool,
}

/// Reads `{"keys":[{"id":"…","key":"<base64 of 32 bytes>","isActive":true},…]}`; other fields are ignored.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Exported>, KeyringError> {
    // The parser's own words may repeat a key, so only the place is kept.
    let export: Export = serde_json::from_slice(text).map_err(|error| KeyringError::NotAnExport {
        what: "not the expected JSON",
        line: error.line(),
        column: error.column(),
    })?;
    let refused = |what| Err(KeyringError::NotAnExport { what, line: 0, column: 0 });
    if export.keys.is_empty() {
        return refused("no keys");
    }
    if export.keys.iter().filter(|key| key.is_active).count() > 1 {
        return refused("more than one active key");
    }
    let keys = export.keys.iter().zip(1..).map(|(exported, number)| {
        let unusable = |what| KeyringError::UnusableKey { number, what };
        if !is_id(&exported.id) {
            return Err(unusable("its id is not 1 to 255 visible ASCII characters"));
        }
        let key = exported.key.parse().map_err(|_| unusable("its key is not base64 of 32 bytes"))?;
        Ok(Exported { id: exported.id.clone(), key, active: exported.is_active })
    });
    keys.collect()
}

#[derive(Deserialize)]
struct Export {
    keys: Vec<ExportedKey>,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(rename_all = "camelCase")]
struct ExportedKey {
    id: String,
    key: String,
    is_active: bool,
}
