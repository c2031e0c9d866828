//! A million seals never repeat a (key, nonce) pair, and without reuse every value has its own data key.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use envelope_core::format::{bound, direct_aes, kms_envelope, node_json, pulseplan_local};
use envelope_core::{Binding, DataKey, EnvelopeFormat, Sealer, WrappedDataKey};

use crate::support::memory::{MemoryKms, OneKey};
use crate::support::{now, pairs};

/// All under one key, which is the hardest case: with a key each, nonces may even repeat.
fn assert_no_repetition<const N: usize>(seals: usize, mut nonce: impl FnMut() -> [u8; N]) {
    let mut seen = HashSet::with_capacity(seals);
    for _ in 0..seals {
        assert!(seen.insert(nonce()), "a nonce repeated after {} seals", seen.len());
    }
}

#[test]
fn a_million_direct_seals_under_one_key_repeat_no_nonce() {
    let key = DataKey::generate();
    assert_no_repetition::<12>(1_000_000, || {
        let text = direct_aes::seal(&key, "x");
        STANDARD.decode(&text[..16]).unwrap().try_into().unwrap()
    });
}

#[test]
fn version_2_seals_under_one_key_repeat_no_nonce() {
    let (key, wrapped) = (DataKey::generate(), WrappedDataKey::new(*b"wrapped", None).unwrap());
    assert_no_repetition::<12>(50_000, || {
        let text = kms_envelope::seal(&key, &wrapped, "x");
        let (_, payload) = text.rsplit_once(':').unwrap();
        STANDARD.decode(&payload[..16]).unwrap().try_into().unwrap()
    });
}

#[test]
fn version_3_seals_under_one_key_repeat_no_message_id_and_so_no_content_key() {
    let (key, wrapped) = (DataKey::generate(), WrappedDataKey::new(*b"wrapped", None).unwrap());
    let binding = Binding::new("t", "c").key("id", "1");
    assert_no_repetition::<32>(50_000, || {
        let text = bound::seal(bound::Suite::default(), &key, &wrapped, &binding, b"x").unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix("kms:v3:").unwrap()).unwrap();
        bytes[4..36].try_into().unwrap()
    });
}

#[test]
fn local_and_json_seals_under_one_key_repeat_no_iv() {
    let key = DataKey::generate();
    assert_no_repetition::<32>(50_000, || {
        let text = pulseplan_local::seal(&key, NonZeroU32::MIN, "x");
        text.as_bytes()[3..35].try_into().unwrap()
    });
    let ring = OneKey::generate();
    assert_no_repetition::<16>(50_000, || {
        let text = node_json::seal_unlabelled(&ring, None, b"x", 0);
        let at = text.find("\"iv\":\"").unwrap() + 6;
        text.as_bytes()[at..at + 16].try_into().unwrap()
    });
}

#[test]
fn without_reuse_every_value_has_its_own_data_key() {
    for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
        let kms = Arc::new(MemoryKms::new());
        let sealer = Sealer::new(kms.clone(), pairs(&[])).unwrap().with_writing(format);
        let binding = Binding::new("t", "c").key("id", "1");
        let mut wrapped = HashSet::new();
        for _ in 0..100 {
            let sealed = now(sealer.seal("token", &binding)).unwrap();
            let stored = envelope_core::stored::StoredEnvelope::parse(&sealed.text, None).unwrap();
            assert!(wrapped.insert(stored.wrapped().clone()));
        }
        assert_eq!(kms.calls(), 100);
    }
}
