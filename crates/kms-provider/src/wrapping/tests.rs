//! Tests that need private functions: the commitment, the earlier layout, and the bound on wraps.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

fn context() -> EncryptionContext {
    EncryptionContext::new([("Application", "test")]).unwrap()
}

fn keys() -> (DataKey, WrappingKey) {
    let key = DataKey::generate();
    let uncommitted = Aes256Gcm::new(DataKey::generate().expose_secret().into());
    let wrapping = WrappingKey::new(&key, Some(uncommitted));
    (key, wrapping)
}

#[test]
fn bytes_that_state_another_commitment_do_not_unwrap() {
    let (data_key, wrapping) = keys();
    let wrapped = wrapping.wrap("k", &data_key, &context()).unwrap();
    assert!(Parsed::parse(&wrapped).unwrap().unwrap(&wrapping, &context()).is_ok());
    // A forgery by an attacker who knows the key: everything is right except the commitment.
    let (_, other) = keys();
    let mut forged = wrapped.to_vec();
    forged[4..4 + COMMITMENT_LEN].copy_from_slice(&other.commitment);
    for key in [&wrapping, &other] {
        let refused = Parsed::parse(&forged).unwrap().unwrap(key, &context());
        assert!(refused.is_err_and(|error| error.class() == ErrorClass::ContextMismatchOrCorrupt));
    }
}

#[test]
fn the_version_without_a_commitment_is_read_under_its_own_key_only() {
    let (data_key, wrapping) = keys();
    let named = [&[1][..], b"k"].concat();
    let seal = |cipher: &Aes256Gcm| {
        let mut body = data_key.expose_secret().to_vec();
        let aad = associated_data(DATA_KEY, &named, &context());
        let nonce = [9; NONCE_LEN];
        let tag =
            cipher.encrypt_inout_detached(&Nonce::from(nonce), &aad, body.as_mut_slice().into()).unwrap();
        [&[MAGIC, UNCOMMITTED][..], &named, &nonce, &body, &tag].concat()
    };
    let old = seal(wrapping.uncommitted.as_ref().unwrap());
    let opened = Parsed::parse(&old).unwrap().unwrap(&wrapping, &context()).unwrap();
    assert_eq!(opened.expose_secret(), data_key.expose_secret());
    // The key of version 2 opens nothing of version 1, and the other way round.
    let mixed = seal(&wrapping.cipher);
    assert!(Parsed::parse(&mixed).unwrap().unwrap(&wrapping, &context()).is_err());
    let without = WrappingKey { uncommitted: None, ..keys().1 };
    assert!(Parsed::parse(&old).unwrap().unwrap(&without, &context()).is_err());
}

#[test]
fn each_generated_key_unwraps_and_has_a_key_and_a_nonce_of_its_own() {
    let (_, wrapping) = keys();
    let mut drawn = std::collections::HashSet::new();
    for _ in 0..100 {
        let (key, wrapped) = wrapping.generate("k", &context()).unwrap();
        let parsed = Parsed::parse(&wrapped).unwrap();
        assert!(drawn.insert(key.expose_secret().to_vec()) && drawn.insert(parsed.nonce.to_vec()));
        let opened = parsed.unwrap(&wrapping, &context()).unwrap();
        assert_eq!(opened.expose_secret(), key.expose_secret());
    }
}

#[test]
fn a_key_wraps_no_more_than_its_bound() {
    let (data_key, wrapping) = keys();
    wrapping.wraps.store(MOST_WRAPS - 1, Ordering::Relaxed);
    assert!(wrapping.wrap("k", &data_key, &context()).is_ok());
    for _ in 0..3 {
        let refused = [
            wrapping.wrap("k", &data_key, &context()).map(drop),
            wrapping.generate("k", &context()).map(drop),
        ];
        for error in refused.map(Result::unwrap_err) {
            assert_eq!(error.class(), ErrorClass::Misconfigured);
            assert!(error.hint().is_some_and(|hint| hint.contains("rotate")));
        }
    }
}

#[test]
fn truncated_and_unknown_layouts_are_not_taken_apart() {
    let (data_key, wrapping) = keys();
    let wrapped = wrapping.wrap("k", &data_key, &context()).unwrap();
    for length in 0..4 + COMMITMENT_LEN + NONCE_LEN + TAG_LEN {
        assert!(Parsed::parse(&wrapped[..length]).is_none(), "{length}");
    }
    for version in [0, 3, 255] {
        let mut other = wrapped.to_vec();
        other[1] = version;
        assert!(Parsed::parse(&other).is_none());
    }
}
