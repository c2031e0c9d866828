//! The known forgeries against AES-GCM, by an attacker who knows every key: keyrings and sealed streams
//! withstand them.

use hkdf::Hkdf;
use sha2::{Sha256, Sha512};
use tokenseal::envelope_core::{DataKey, EncryptionContext, KeyProvider, Purpose, WrappedDataKey};
use tokenseal::kms_provider::Keyring;
use tokenseal::secrets_cache::sealed_stream::{Opens, StreamError, StreamKind, StreamReader};

use crate::gcm::{Gcm, for_all};

fn keys(number: u8) -> Vec<DataKey> {
    (1..=number).map(|n| DataKey::from_slice(&[n; 32]).unwrap()).collect()
}

fn context() -> EncryptionContext {
    EncryptionContext::new([("Application", "crm")]).unwrap()
}

/// A keyring whose only key has the id `k`.
fn keyring(key: &DataKey) -> (tempfile::TempDir, Keyring) {
    use base64::Engine;
    let directory = tempfile::tempdir().unwrap();
    let keyring = Keyring::init(directory.path().join("keys.json"), &DataKey::generate()).unwrap();
    let key = base64::engine::general_purpose::STANDARD.encode(key.expose_secret());
    keyring.import(format!(r#"{{"keys":[{{"id":"k","key":"{key}","isActive":true}}]}}"#).as_bytes()).unwrap();
    (directory, keyring)
}

/// Whether a keyring with this key unwraps these bytes.
async fn unwraps(key: &DataKey, parts: &[&[u8]]) -> bool {
    let wrapped = WrappedDataKey::new(parts.concat(), Some("keyring:k")).unwrap();
    keyring(key).1.unwrap(&wrapped, &context()).await.is_ok()
}

/// A data key that is wrapped for both of these wrapping keys.
fn for_both(wrapping: &[[u8; 32]], nonce: [u8; 12]) -> Vec<u8> {
    let associated = [b"tokenseal data key v1\0", &b"\x01k"[..], context().canonical()].concat();
    for_all(&wrapping.iter().map(|key| Gcm::new(key, &nonce)).collect::<Vec<_>>(), &associated)
}

#[tokio::test]
async fn a_wrapped_data_key_without_a_commitment_may_unwrap_under_two_ring_keys() {
    let (keys, nonce) = (keys(2), [5; 12]);
    let derived = keys.iter().map(|key| {
        let mut wrapping = [0; 32];
        let hkdf = Hkdf::<Sha256>::new(None, key.expose_secret());
        hkdf.expand(b"tokenseal keyring v1 data key", &mut wrapping).unwrap();
        wrapping
    });
    let forged = for_both(&derived.collect::<Vec<_>>(), nonce);
    for key in &keys {
        assert!(unwraps(key, &[b"K\x01\x01k", &nonce, &forged]).await);
    }
}

#[tokio::test]
async fn a_wrapped_data_key_with_a_commitment_unwraps_under_one_ring_key_only() {
    let (keys, nonce) = (keys(2), [5; 12]);
    let wrapping: Vec<_> = keys.iter().map(|key| *Purpose::DataKey.derive(key).expose_secret()).collect();
    let forged = for_both(&wrapping, nonce);
    for committed in &keys {
        let commitment = Purpose::DataKeyCommitment.derive(committed);
        for key in &keys {
            let parts: [&[u8]; 4] = [b"K\x02\x01k", commitment.expose_secret(), &nonce, &forged];
            let is_own = key.expose_secret() == committed.expose_secret();
            assert_eq!(unwraps(key, &parts).await, is_own);
        }
    }
    // The key that the bytes name is exchanged for another one of the ring, the same key by another id.
    let (_directory, ring) = keyring(&keys[0]);
    let made = ring.generate(&context()).await.unwrap();
    let mut exchanged = made.wrapped.bytes().to_vec();
    exchanged[3] = b'l';
    let export = format!(
        r#"{{"keys":[{{"id":"l","key":"{}","isActive":false}}]}}"#,
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, keys[0].expose_secret())
    );
    ring.import(export.as_bytes()).unwrap();
    assert!(ring.unwrap(&made.wrapped, &context()).await.is_ok());
    let exchanged = WrappedDataKey::new(exchanged, Some("keyring:l")).unwrap();
    assert!(ring.unwrap(&exchanged, &context()).await.is_err());
}

/// Values derived from a stream's key and header: the content key, the nonce of a first and last chunk, and
/// the commitment.
fn derived(key: &DataKey, header: &[u8], salt: &[u8; 32]) -> ([u8; 32], Vec<u8>, [u8; 32]) {
    let mut okm = [0; 71];
    let hkdf = Hkdf::<Sha512>::new(Some(salt), key.expose_secret());
    hkdf.expand_multi_info(&[b"tokenseal sealed stream", header], &mut okm).unwrap();
    let nonce = [&okm[32..39], &[0, 0, 0, 0, 1]].concat();
    (okm[..32].try_into().unwrap(), nonce, okm[39..].try_into().unwrap())
}

#[test]
fn a_sealed_stream_opens_under_one_key_only() {
    let headers: [(&[u8], Option<Purpose>); 3] = [
        (b"TKSTREAM\x01\x01\x01k", None),
        (b"TKSTREAM\x02\x01\x01\x01k", Some(Purpose::Backup)),
        (b"TKSTREAM\x02\x01\x02\x01k", Some(Purpose::SealedFile)),
    ];
    let salt = [3; 32];
    for ((header, purpose), number) in headers.into_iter().flat_map(|header| [(header, 2), (header, 5)]) {
        let keys = keys(number);
        let of_kind = |key: &DataKey| match purpose {
            Some(purpose) => purpose.derive(key),
            None => DataKey::from_slice(key.expose_secret()).unwrap(),
        };
        let each: Vec<_> = keys.iter().map(|key| derived(&of_kind(key), header, &salt)).collect();
        let gcms: Vec<_> = each.iter().map(|(content, nonce, _)| Gcm::new(content, nonce)).collect();
        // Authentic under the content key of every one of them: only the commitment can refuse it.
        let chunk = for_all(&gcms, &[]);
        for (committed, (_, _, commitment)) in each.iter().enumerate() {
            let stream = [header, &salt, commitment, &chunk].concat();
            for (at, key) in keys.iter().enumerate() {
                let opened = StreamReader::new(stream.as_slice(), key, Opens::Any)
                    .and_then(|mut reader| reader.next_chunk().map(drop));
                match at == committed {
                    true => assert!(opened.is_ok(), "{opened:?}"),
                    false => assert!(matches!(opened, Err(StreamError::WrongKey)), "{opened:?}"),
                }
            }
        }
    }
}

#[test]
fn a_sealed_stream_does_not_open_as_another_kind_nor_by_another_label_under_a_known_key() {
    // Someone who knows the key can seal for any kind; the commitment excludes one text that opens for two.
    let (key, salt) = (DataKey::generate(), [3; 32]);
    let header = b"TKSTREAM\x02\x01\x01\x01k";
    let (content, nonce, commitment) = derived(&Purpose::Backup.derive(&key), header, &salt);
    let chunk = for_all(&[Gcm::new(&content, &nonce)], &[]);
    let opens = |header: &[u8], opens: Opens| {
        let stream = [header, &salt, &commitment, &chunk].concat();
        StreamReader::new(stream.as_slice(), &key, opens).map(drop)
    };
    opens(header, Opens::Only(StreamKind::Backup)).unwrap();
    for changed in [b"TKSTREAM\x02\x01\x02\x01k", b"TKSTREAM\x02\x01\x01\x01l"] {
        assert!(matches!(opens(changed, Opens::Any), Err(StreamError::WrongKey)));
    }
}
