//! Values that the Node key service exported open, and are then bound to their names.

use envelope_core::DataKey;
use secrets_cache::local::{LocalStore, OtherValue};
use secrets_cache::{SecretSource, SourceError, Stage};
use test_support::vectors::{self, StoredFormat};

use crate::support::{Ring, name, text};

#[tokio::test]
async fn every_vector() {
    let directory = tempfile::tempdir().unwrap();
    let ring = Ring::of(1);
    let store = LocalStore::open_or_create(directory.path().join("store.db"), ring.clone()).await.unwrap();
    for (n, vector) in vectors::of(StoredFormat::NodeJson).iter().enumerate() {
        let key: DataKey = vector.require_data_key().parse().unwrap();
        ring.add(vector.data_key_id.as_deref().unwrap(), key, false);
        let (secret, aad) = (name(&format!("imported-{n}")), vector.aad.as_deref().map(str::as_bytes));
        let imported = store.import_envelope(&secret, aad, &vector.stored, OtherValue::Keep).await;
        if vector.plaintext.is_empty() {
            assert!(matches!(imported, Err(SourceError::Invalid { .. })));
            continue;
        }
        imported.unwrap();
        assert_eq!(text(&store.get(&secret, &Stage::Current).await.unwrap()), vector.plaintext);
        let other = store.import_envelope(&secret, Some(b"another"), &vector.stored, OtherValue::Keep).await;
        assert!(matches!(other, Err(SourceError::Sealed { .. })), "its own statement is not trusted");
    }
    let keys = store.status().await.unwrap().keys;
    assert!(keys.iter().all(|key| key.active), "sealed anew: {keys:?}");
}
