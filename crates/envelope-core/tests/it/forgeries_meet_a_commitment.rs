//! The forgeries that are known against AES-GCM without a commitment, tried against each format.
//!
//! All of them need keys that a thief of the database does not have. Formats 1, 2, 3, 5 and version 1 of format 6 are fixed by
//! the programs that read them, and do not withstand; version 2 of format 6 and format 7 do. Keyrings and sealed streams
//! have the same tests in the crate `tokenseal`, which sees them all.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use envelope_core::format::node_json::{self, Accepted};
use envelope_core::format::{autonomous, bound, direct_aes, kms_envelope, pulseplan_local};
use envelope_core::{Binding, DataKey, OpenError, Purpose, WrappedDataKey};
use hkdf::Hkdf;
use secrecy::ExposeSecret;
use sha2::Sha512;

use crate::support::ANY;
use crate::support::gcm::{Gcm, for_all, times};
use crate::support::memory::OneKey;

const NONCE: [u8; 12] = [7; 12];

fn keys(number: u8) -> Vec<[u8; 32]> {
    (1..=number).map(|n| [n; 32]).collect()
}

fn key(bytes: &[u8; 32]) -> DataKey {
    DataKey::from_slice(bytes).unwrap()
}

fn ring(bytes: &[u8; 32]) -> OneKey {
    OneKey("ring-1".into(), Arc::new(key(bytes)))
}

/// The opened bytes are no text, which shows only after they were found authentic.
fn is_authentic<T>(opened: Result<T, OpenError>) -> bool {
    match opened {
        Ok(_) | Err(OpenError::NotText) => true,
        Err(OpenError::NotAuthentic) => false,
        Err(error) => panic!("{error}"),
    }
}

fn all_authentic(keys: &[[u8; 32]], iv: &[u8], aad: &[u8]) -> Vec<u8> {
    for_all(&keys.iter().map(|key| Gcm::new(key, iv)).collect::<Vec<_>>(), aad)
}

/// Format 5 around a data key that was wrapped as `key`.
fn autonomous(sealed: &[u8]) -> String {
    let parts = [b"key".as_slice(), &NONCE, sealed].map(|part| STANDARD.encode(part));
    STANDARD.encode(format!("v1|{}", parts.join("|")))
}

fn json_v1(sealed: &[u8]) -> String {
    let (ciphertext, tag) = sealed.split_at(sealed.len() - 16);
    format!(
        r#"{{"v":1,"alg":"aes-256-gcm","keyId":"ring-1","iv":"{}","tag":"{}","ciphertext":"{}","aad":null,"timestamp":7}}"#,
        STANDARD.encode(NONCE),
        STANDARD.encode(tag),
        STANDARD.encode(ciphertext)
    )
}

#[test]
fn formats_without_a_commitment_have_texts_for_two_and_for_many_keys() {
    for number in [2, 5] {
        let keys = keys(number);
        let forged = all_authentic(&keys, &NONCE, &[]);
        let sealed = STANDARD.encode([&NONCE[..], &forged].concat());
        let open = |bytes: &[u8; 32]| {
            let version_2 = kms_envelope::Envelope::parse(&format!("kms:v2:AAAA:{sealed}")).unwrap();
            let format_5 = autonomous::Envelope::parse(&autonomous(&forged)).unwrap();
            [
                ("format 1", is_authentic(direct_aes::open(&key(bytes), &sealed))),
                ("format 2", is_authentic(version_2.open(&key(bytes)))),
                ("format 5", is_authentic(format_5.open(&key(bytes)))),
                (
                    "format 6, version 1",
                    is_authentic(node_json::open(&ring(bytes), ANY, None, &json_v1(&forged))),
                ),
            ]
        };
        for bytes in &keys {
            assert!(open(bytes).iter().all(|(_, is_authentic)| *is_authentic), "{:?}", open(bytes));
        }
        assert!(open(&[99; 32]).iter().all(|(_, is_authentic)| !is_authentic), "and for no other key");
    }
}

#[test]
fn a_text_of_pulseplan_may_open_for_several_users_and_under_several_versions_of_the_key() {
    // The keys of users, and of a user's versions, are derived from one master key, and nothing but the key binds a value.
    let master = pulseplan_local::MasterKey::from_variable("a master key that is no base64!").unwrap();
    let derived = |user: &str, version: u32| {
        let version = std::num::NonZeroU32::new(version).unwrap();
        *pulseplan_local::derive_user_key(master.writing(), user, version).expose_secret()
    };
    let keys = [derived("ada", 1), derived("bob", 1), derived("ada", 2)];
    let iv = [7; 16];
    let forged = all_authentic(&keys, &iv, &[]);
    let (ciphertext, tag) = forged.split_at(forged.len() - 16);
    for (version, bytes) in [(1, keys[0]), (1, keys[1]), (2, keys[2])] {
        let parts = [&iv[..], tag, ciphertext].map(hex::encode).join(":");
        let envelope = pulseplan_local::Envelope::parse(&format!("v{version}:{parts}")).unwrap();
        assert!(is_authentic(envelope.open(&key(&bytes))), "version {version}");
        assert!(!is_authentic(envelope.open(&key(&[99; 32]))), "and for no other key");
    }
}

const LABEL: &[u8] = b"tokenseal json envelope v2\0";
const MESSAGE_ID: [u8; 32] = [3; 32];

fn derived(bytes: &[u8; 32], info: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha512>::new(Some(&MESSAGE_ID), bytes).expand_multi_info(info, &mut out).unwrap();
    out
}

/// The associated data of a secret in version 2 of the JSON envelope.
fn associated(key_id: &str, aad: &[u8]) -> Vec<u8> {
    let length = u16::try_from(key_id.len()).unwrap().to_be_bytes();
    let time = 7_u64.to_be_bytes();
    [LABEL, b"secret\0", &length, key_id.as_bytes(), &MESSAGE_ID, &time, &[1], aad].concat()
}

fn json_v2(key_id: &str, aad: &[u8], commitment: &[u8], sealed: &[u8]) -> String {
    let (ciphertext, tag) = sealed.split_at(sealed.len() - 16);
    format!(
        r#"{{"v":2,"alg":"aes-256-gcm-hkdf-sha512-commit","purpose":"secret","keyId":"{key_id}","messageId":"{}","commitment":"{}","tag":"{}","ciphertext":"{}","aad":"{}","timestamp":7}}"#,
        STANDARD.encode(MESSAGE_ID),
        STANDARD.encode(commitment),
        STANDARD.encode(tag),
        STANDARD.encode(ciphertext),
        STANDARD.encode(aad)
    )
}

#[test]
fn version_2_of_the_json_envelope_opens_under_one_key_only() {
    for number in [2, 5] {
        let keys = keys(number);
        let associated = associated("ring-1", b"name");
        let content: Vec<_> =
            keys.iter().map(|key| derived(key, &[LABEL, b"secret", b"\0content key"])).collect();
        let forged = all_authentic(&content, &[0; 12], &associated);
        for committed in &keys {
            let commitment = derived(committed, &[LABEL, b"secret", b"\0commitment\0", &associated]);
            let text = json_v2("ring-1", b"name", &commitment, &forged);
            for bytes in &keys {
                let accepted = Accepted::Only(Purpose::Secret);
                let opened = node_json::open(&ring(bytes), accepted, Some(b"name"), &text);
                assert_eq!(is_authentic(opened), bytes == committed);
            }
        }
    }
}

#[test]
fn version_2_of_the_json_envelope_does_not_open_under_another_key_of_the_ring_nor_for_another_context() {
    let bytes = [1; 32];
    let ring = ring(&bytes);
    let accepted = Accepted::Only(Purpose::Secret);
    let text = node_json::seal(&ring, Purpose::Secret, Some(b"name"), b"value", 7);
    let two = OneKey("ring-2".into(), ring.1.clone());
    let exchanged = text.replace("ring-1", "ring-2");
    assert!(
        !is_authentic(node_json::open(&two, accepted, Some(b"name"), &exchanged)),
        "the same key by another id"
    );

    // Under a known key, associated data with the same tag are found by one division. Version 1 takes them.
    let sealed = node_json::seal_unlabelled(&ring, Some(&[0; 32]), b"sixteen bytes...", 7);
    let fields: serde_json::Value = serde_json::from_str(&sealed).unwrap();
    let iv: [u8; 12] = STANDARD.decode(fields["iv"].as_str().unwrap()).unwrap().try_into().unwrap();
    let hash = Gcm::new(&bytes, &iv).hash;
    // A change of the first of two blocks is made up for by one of the second.
    let other = [1_u128.to_be_bytes(), times(1, hash).to_be_bytes()].concat();
    let claim = format!("\"aad\":\"{}\"", STANDARD.encode(&other));
    let old = format!("\"aad\":\"{}\"", STANDARD.encode([0; 32]));
    assert!(is_authentic(node_json::open(&ring, ANY, Some(&other), &sealed.replace(&old, &claim))));

    let aad = [0; 32];
    let moved = node_json::seal(&ring, Purpose::Secret, Some(&aad), b"sixteen bytes...", 7);
    let exchanged = moved.replace(&STANDARD.encode(aad), &STANDARD.encode(&other));
    assert!(!is_authentic(node_json::open(&ring, accepted, Some(&other), &exchanged)));
}

#[test]
fn a_bound_envelope_opens_under_one_key_only() {
    let (keys, wrapped) = (keys(2), WrappedDataKey::new(*b"wrapped", None).unwrap());
    let binding = Binding::new("t", "c").key("id", "1");
    for suite in [bound::Suite::Aes256Gcm, bound::Suite::ChaCha20Poly1305] {
        let text = bound::seal(suite, &key(&keys[0]), &wrapped, &binding, b"token").unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix("kms:v3:").unwrap()).unwrap();
        let open = |bytes: &[u8], key: &DataKey| {
            let text = format!("kms:v3:{}", URL_SAFE_NO_PAD.encode(bytes));
            bound::Envelope::parse(&text)
                .unwrap()
                .open(key, &binding)
                .map(|opened| opened.expose_secret().to_owned())
        };
        assert!(is_authentic(open(&bytes, &key(&keys[0]))) && !is_authentic(open(&bytes, &key(&keys[1]))));
        // Whatever the payload is, the commitment in the header is to one key.
        let id: [u8; 32] = bytes[4..36].try_into().unwrap();
        let mut other = [0; 32];
        Hkdf::<Sha512>::new(Some(&id), &keys[1]).expand(b"COMMITKEY", &mut other).unwrap();
        bytes[36..68].copy_from_slice(&other);
        assert!(keys.iter().all(|bytes_of_key| !is_authentic(open(&bytes, &key(bytes_of_key)))));
    }
}
