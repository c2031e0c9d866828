//! Secrets cannot be printed, cloned, compared or serialized, are wiped when dropped, and are in no error.

use std::error::Error;
use std::sync::Arc;

use envelope_core::format::bound::{self, Suite};
use envelope_core::format::pulseplan_local::{MasterKey, Reading};
use envelope_core::format::{
    autonomous, direct_aes, kms_envelope, node_json, pulseplan_kms, pulseplan_local,
};
use envelope_core::{Binding, DataKey, OpenError, Sealer, WrappedDataKey};
use secrecy::{SecretSlice, SecretString};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::support::memory::{MemoryKms, OneKey};
use crate::support::{ANY, now, pairs, vectors};

/// Does not compile if a type has the trait: the method would then be ambiguous.
macro_rules! assert_lacks {
    ($type:ty: $($lacking:path),+) => {$(
        const _: fn() = || {
            trait AmbiguousIfImplemented<A> { fn method() {} }
            impl<T: ?Sized> AmbiguousIfImplemented<()> for T {}
            struct Implemented;
            impl<T: ?Sized + $lacking> AmbiguousIfImplemented<Implemented> for T {}
            let _ = <$type as AmbiguousIfImplemented<_>>::method;
        };
    )+};
}

macro_rules! assert_secret {
    ($($type:ty),+) => {$(
        assert_lacks!($type: std::fmt::Debug, std::fmt::Display, Clone, PartialEq, PartialOrd, std::hash::Hash, serde::Serialize, serde::de::DeserializeOwned);
    )+};
}

assert_secret!(DataKey, autonomous::DevKey, MasterKey, Reading);
// An opened value may show that it exists, and no more.
assert_lacks!(SecretString: std::fmt::Display, PartialEq, serde::Serialize);
assert_lacks!(SecretSlice<u8>: PartialEq, serde::Serialize);

const fn wiped_on_drop<T: ZeroizeOnDrop>() {}

const _: () = {
    wiped_on_drop::<DataKey>();
    wiped_on_drop::<autonomous::DevKey>();
    wiped_on_drop::<Reading>();
    wiped_on_drop::<SecretString>();
    wiped_on_drop::<SecretSlice<u8>>();
    wiped_on_drop::<Zeroizing<Vec<u8>>>();
    // The prepared ciphers hold key schedules; their crates wipe them if a feature says so.
    wiped_on_drop::<aes_gcm::Aes256Gcm>();
    wiped_on_drop::<aes::Aes128>();
    wiped_on_drop::<chacha20poly1305::ChaCha20Poly1305>();
};

const CANARY: &str = "canary-7f3a9c";

fn assert_silent(what: &str, said: &str) {
    assert!(!said.contains(CANARY), "{what}: {said}");
    assert!(!said.contains(&vectors::encode(CANARY.as_bytes())), "{what}: {said}");
}

fn assert_error_silent(error: &OpenError) {
    assert_silent("debug", &format!("{error:?} {error:#?}"));
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(error) = next {
        assert_silent("error", &error.to_string());
        next = error.source();
    }
}

#[test]
fn opened_values_print_nothing() {
    let sealer = Sealer::new(Arc::new(MemoryKms::new()), pairs(&[])).unwrap();
    let binding = Binding::new("t", "c");
    let sealed = now(sealer.seal(CANARY, &binding)).unwrap();
    assert_silent("sealed", &format!("{sealed:?}"));
    let opened = now(sealer.open(&sealed.text, None, &binding)).unwrap();
    assert_silent("opened", &format!("{opened:?} {opened:#?}"));
    let generated = now(sealer.provider().generate(&binding.plain_context(&[]).unwrap())).unwrap();
    let said = format!("{generated:?}");
    assert!(!said.contains(&format!("{:?}", generated.key.0.expose_secret())) && said.contains("REDACTED"));
}

#[test]
fn errors_do_not_quote_what_they_refuse() {
    let (kms, ring) = (MemoryKms::new(), OneKey::generate());
    let context = envelope_core::EncryptionContext::empty();
    let sealer = Sealer::new(Arc::new(MemoryKms::new()), pairs(&[])).unwrap();
    let canary64 = vectors::encode(CANARY.repeat(4).as_bytes());
    let texts = [
        CANARY.to_owned(),
        format!("kms:v2:{CANARY}"),
        format!("kms:v2:{canary64}:{canary64}"),
        format!("kms:v3:{CANARY}"),
        format!("v1:{CANARY}:{CANARY}:{CANARY}"),
        format!("{{\"ciphertext\": \"{CANARY}\", \"{CANARY}\": \"{CANARY}\"}}"),
        format!("{{\"v\": \"{CANARY}\"}}"),
        format!("{{\"alg\": \"aes-256-gcm\", \"{CANARY}"),
        canary64,
    ];
    for text in &texts {
        let binding = Binding::new("t", "c").key("id", CANARY);
        let refused = [
            now(sealer.open(text, None, &binding)).map(drop),
            direct_aes::open(&ring.1, text).map(drop),
            pulseplan_local::Envelope::parse(text).map(drop).map_err(OpenError::from),
            now(pulseplan_kms::open(&kms, text, &context)).map(drop),
            now(autonomous::open(&kms, text)).map(drop),
            node_json::open(&ring, ANY, None, text).map(drop),
            bound::Envelope::parse(text).map(drop).map_err(OpenError::from),
            envelope_core::detect(text).map(drop).map_err(OpenError::from),
        ];
        refused.iter().filter_map(|result| result.as_ref().err()).for_each(assert_error_silent);
    }
    for key in [CANARY, &vectors::encode(CANARY.as_bytes())] {
        let said = format!("{:?}", key.parse::<DataKey>().err().unwrap());
        assert_silent("key", &said);
    }
}

#[test]
fn plaintext_that_is_not_text_is_wiped_and_not_quoted() {
    let key = DataKey::generate();
    let wrapped = WrappedDataKey::new(*b"wrapped", None).unwrap();
    let binding = Binding::new("t", "c");
    let bytes = [CANARY.as_bytes(), &[0xff]].concat();
    let text = bound::seal(Suite::Aes256Gcm, &key, &wrapped, &binding, &bytes).unwrap();
    let error = bound::Envelope::parse(&text).unwrap().open(&key, &binding).unwrap_err();
    assert!(matches!(error, OpenError::NotText));
    assert_error_silent(&error);
}

#[test]
fn a_bad_tag_a_bad_context_and_a_bad_commitment_are_one_public_error() {
    let (key, other) = (DataKey::generate(), DataKey::generate());
    let wrapped = WrappedDataKey::new(*b"wrapped", None).unwrap();
    let binding = Binding::new("t", "c").key("id", "1");
    let text = bound::seal(Suite::Aes256Gcm, &key, &wrapped, &binding, b"x").unwrap();
    let bytes_changed = |text: &str| {
        let (last, rest) = (text.chars().next_back().unwrap(), &text[..text.len() - 1]);
        // The last character may carry stray bits; the one before it never does.
        let before = rest.chars().next_back().unwrap();
        format!("{}{}{last}", &rest[..rest.len() - 1], if before == 'A' { 'B' } else { 'A' })
    };
    let v2 = kms_envelope::seal(&key, &wrapped, "a longer plaintext");
    let sealer = Sealer::new(Arc::new(MemoryKms::new()), pairs(&[])).unwrap();
    let sealed = now(sealer.seal("token", &binding)).unwrap();
    let errors = [
        bound::Envelope::parse(&bytes_changed(&text)).unwrap().open(&key, &binding).unwrap_err(),
        bound::Envelope::parse(&text).unwrap().open(&key, &Binding::new("t", "d")).unwrap_err(),
        bound::Envelope::parse(&text).unwrap().open(&other, &binding).unwrap_err(),
        kms_envelope::Envelope::parse(&v2).unwrap().open(&other).unwrap_err(),
        now(sealer.open(&sealed.text, None, &Binding::new("t", "c").key("id", "2"))).unwrap_err(),
        now(sealer.open(&text, None, &binding)).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(format!("{error:?}"), "NotAuthentic");
        assert_eq!(error.class(), "context_mismatch_or_corrupt");
        assert!(error.source().is_none());
    }
}
