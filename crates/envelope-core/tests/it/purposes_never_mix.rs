//! A value sealed for one purpose opens for no other, and a value without a purpose only where it is still accepted.

use std::collections::HashSet;
use std::sync::Arc;

use envelope_core::field::{FieldKeys, decrypt_field, encrypt_field};
use envelope_core::format::node_json::{self, Accepted};
use envelope_core::{Binding, DataKey, OpenError, Purpose};
use secrecy::ExposeSecret;
use serde::Deserialize;

use crate::support::memory::OneKey;
use crate::support::now;

const NAME: Option<&[u8]> = Some(b"DATABASE_URL");

#[test]
fn a_value_of_each_purpose_opens_for_that_purpose_and_for_no_other() {
    let ring = OneKey::generate();
    for sealed_for in Purpose::ALL {
        let text = node_json::seal(&ring, sealed_for, NAME, b"value", 7);
        assert_eq!(node_json::Envelope::parse(&text).unwrap().claimed_purpose(), Some(sealed_for));
        for opened_for in Purpose::ALL {
            for accepted in [Accepted::Only(opened_for), Accepted::OrUnlabelled(opened_for)] {
                let opened = node_json::open(&ring, accepted, NAME, &text);
                if sealed_for == opened_for {
                    assert_eq!(opened.unwrap().expose_secret(), b"value");
                } else {
                    assert!(
                        matches!(opened, Err(OpenError::NotAuthentic)),
                        "{sealed_for:?} as {opened_for:?}"
                    );
                    // A claim that was changed to the expected purpose does not help: the keys differ.
                    let label = |purpose: Purpose| format!("\"purpose\":\"{}\"", purpose.label());
                    let forged = text.replace(&label(sealed_for), &label(opened_for));
                    let opened = node_json::open(&ring, accepted, NAME, &forged);
                    assert!(matches!(opened, Err(OpenError::NotAuthentic)));
                }
            }
        }
    }
}

#[test]
fn a_value_without_a_purpose_opens_only_where_such_are_accepted() {
    let ring = OneKey::generate();
    let text = node_json::seal_unlabelled(&ring, NAME, b"value", 7);
    for purpose in Purpose::ALL {
        let only = node_json::open(&ring, Accepted::Only(purpose), NAME, &text);
        assert!(matches!(only, Err(OpenError::UnlabelledRefused)), "{purpose:?}");
        let either = node_json::open(&ring, Accepted::OrUnlabelled(purpose), NAME, &text);
        assert_eq!(either.unwrap().expose_secret(), b"value");
    }
}

#[test]
fn a_value_of_another_purpose_is_refused_before_its_key_is_looked_for() {
    let (ring, other) = (OneKey::generate(), OneKey("ring-2".into(), OneKey::generate().1));
    let text = node_json::seal(&ring, Purpose::Secret, NAME, b"value", 7);
    let opened = node_json::open(&other, Accepted::Only(Purpose::Token), NAME, &text);
    assert!(matches!(opened, Err(OpenError::NotAuthentic)));
    let opened = node_json::open(&other, Accepted::Only(Purpose::Secret), NAME, &text);
    assert!(matches!(opened, Err(OpenError::UnknownDataKey { .. })));
}

#[test]
fn a_value_with_a_purpose_is_not_read_as_one_without() {
    let ring = OneKey::generate();
    let labelled = node_json::seal(&ring, Purpose::Secret, NAME, b"value", 7);
    let fields: serde_json::Value = serde_json::from_str(&labelled).unwrap();
    // The same tag and ciphertext in the fields of version 1, under the nonce that version 2 uses.
    let stripped = format!(
        r#"{{"v":1,"alg":"aes-256-gcm","keyId":"ring-1","iv":"AAAAAAAAAAAAAAAA","tag":{},"ciphertext":{},"aad":{},"timestamp":7}}"#,
        fields["tag"], fields["ciphertext"], fields["aad"]
    );
    let opened = node_json::open(&ring, Accepted::OrUnlabelled(Purpose::Secret), NAME, &stripped);
    assert!(matches!(opened, Err(OpenError::NotAuthentic)));
}

#[test]
fn a_secret_does_not_open_as_a_field_nor_a_field_as_a_secret() {
    let ring = OneKey::generate();
    let cell = Binding::new("customers", "email").key("id", "7");
    let aad = cell.canonical().unwrap();
    let field = now(encrypt_field(FieldKeys::Ring(&ring), &cell, "ada")).unwrap();
    let as_secret = node_json::open(&ring, Accepted::OrUnlabelled(Purpose::Secret), Some(&aad), &field);
    assert!(matches!(as_secret, Err(OpenError::NotAuthentic)));
    let secret = node_json::seal(&ring, Purpose::Secret, Some(&aad), b"ada", 7);
    let as_field = now(decrypt_field(FieldKeys::Ring(&ring), &cell, &secret));
    assert!(matches!(as_field, Err(OpenError::NotAuthentic)));
    // A field from before there were purposes is read in its cell.
    let old = node_json::seal_unlabelled(&ring, Some(&aad), b"ada", 7);
    let opened = now(decrypt_field(FieldKeys::Ring(&ring), &cell, &old)).unwrap();
    assert_eq!(opened.expose_secret(), "ada");
}

#[test]
fn every_purpose_has_a_name_and_a_key_of_its_own() {
    let key = DataKey::generate();
    let names: HashSet<_> = Purpose::ALL.iter().map(|purpose| purpose.label()).collect();
    let keys: HashSet<_> = Purpose::ALL.iter().map(|purpose| *purpose.derive(&key).expose_secret()).collect();
    assert_eq!((names.len(), keys.len()), (Purpose::ALL.len(), Purpose::ALL.len()));
    assert!(!keys.contains(key.expose_secret()));
    for purpose in Purpose::ALL {
        assert_eq!(Purpose::from_label(purpose.label()), Some(purpose));
        assert!(purpose.label().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        assert_eq!(purpose.derive(&key).expose_secret(), purpose.derive(&key).expose_secret());
    }
    assert_eq!(Purpose::from_label("Secret"), None);
}

#[test]
fn the_derivation_of_a_purposes_key_does_not_change() {
    // Made with Python's `cryptography`: HKDF(SHA512, 32, salt=None, info=b"tokenseal purpose v1\0backup").
    let key = DataKey::from_slice(&[7; 32]).unwrap();
    assert_eq!(
        hex::encode(Purpose::Backup.derive(&key).expose_secret()),
        "0baf5af932eef83e017ba825d14764ef81dbe9db792abb31790b6d68c3ad70dd"
    );
}

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    purpose: String,
    key_id: String,
    data_key: String,
    aad: Option<String>,
    plaintext: String,
    expect: String,
    stored: String,
}

impl Vector {
    fn open(&self, text: &str) -> Result<Vec<u8>, OpenError> {
        let ring = OneKey(self.key_id.clone(), Arc::new(self.data_key.parse().unwrap()));
        let aad = self.aad.as_deref().map(|aad| {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.decode(aad).unwrap()
        });
        let purpose = Purpose::from_label(&self.purpose).unwrap();
        let opened = node_json::open(&ring, Accepted::Only(purpose), aad.as_deref(), text)?;
        Ok(opened.expose_secret().to_vec())
    }
}

fn vectors() -> Vec<Vector> {
    let file: File = serde_json::from_str(include_str!("../vectors/json_v2.json")).unwrap();
    file.vectors
}

#[test]
fn vectors_of_version_2_open_or_fail_as_they_say() {
    for vector in vectors() {
        let outcome = match vector.open(&vector.stored) {
            Ok(opened) if opened == vector.plaintext.as_bytes() => "opens",
            Ok(_) => "opens to something else",
            Err(OpenError::NotAuthentic) => "not_authentic",
            Err(OpenError::Malformed(_)) => "malformed",
            Err(error) => panic!("{}: {error}", vector.name),
        };
        assert_eq!(outcome, vector.expect, "{}", vector.name);
        assert_eq!(vector.name.starts_with("fail_"), vector.expect != "opens", "{}", vector.name);
    }
}

#[test]
fn no_byte_of_version_2_can_be_changed_and_none_left_out() {
    let vector = vectors().into_iter().find(|vector| vector.name == "secret").unwrap();
    for at in 0..vector.stored.len() {
        assert!(vector.open(&vector.stored[..at]).is_err() || at == 0, "cut to {at}");
        for flip in 1..=255_u8 {
            let mut bytes = vector.stored.clone().into_bytes();
            bytes[at] ^= flip;
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(vector.open(&text).is_err(), "byte {at} changed by {flip}");
                let detected = envelope_core::detect(&text);
                assert_ne!(detected, Ok(envelope_core::Format::Plaintext), "byte {at} changed by {flip}");
            }
        }
    }
}
