//! Fields are sealed for one cell, as text or bytes, under a key service or a ring.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use envelope_core::field::{
    FieldKeys, decrypt_field, decrypt_field_bytes, encrypt_field, encrypt_field_bytes,
};
use envelope_core::format::bound::Suite;
use envelope_core::{Binding, EncryptionContext, Format, OpenError, Sealer, detect};
use secrecy::ExposeSecret;

use crate::support::memory::{MemoryKms, OneKey};
use crate::support::now;

fn email(row: &str) -> Binding<'_> {
    Binding::new("customers", "email").key("id", row).owner("tenant", "acme")
}

fn with_each(check: impl Fn(FieldKeys<'_>, Format)) {
    let (kms, ring) = (MemoryKms::new().caching().reusing(), OneKey::generate());
    let context = EncryptionContext::new([("Application", "crm")]).unwrap();
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        check(FieldKeys::Provider { provider: &kms, context: &context, suite }, Format::BoundEnvelope);
    }
    let sealer = sealer(MemoryKms::new());
    check(FieldKeys::Sealer(&sealer), Format::BoundEnvelope);
    check(FieldKeys::Ring(&ring), Format::NodeJson);
}

fn sealer(kms: MemoryKms) -> Sealer {
    Sealer::new(Arc::new(kms), vec![("Application".into(), "crm".into())]).unwrap()
}

#[test]
fn text_and_bytes_come_back_in_their_cell_only() {
    with_each(|keys, format| {
        let stored = now(encrypt_field(keys, &email("7"), "ada@example.org")).unwrap();
        assert_eq!(detect(&stored), Ok(format));
        assert_eq!(
            now(decrypt_field(keys, &email("7"), &stored)).unwrap().expose_secret(),
            "ada@example.org"
        );
        for other in
            [email("8"), email("7").with_column("phone"), Binding::new("customers", "email").key("id", "7")]
        {
            assert!(matches!(now(decrypt_field(keys, &other, &stored)), Err(OpenError::NotAuthentic)));
        }
        let photo = [0xff, 0x00, 0x80];
        let stored = now(encrypt_field_bytes(keys, &email("7"), &photo)).unwrap();
        assert_eq!(now(decrypt_field_bytes(keys, &email("7"), &stored)).unwrap().expose_secret(), photo);
        assert!(matches!(now(decrypt_field(keys, &email("7"), &stored)), Err(OpenError::NotText)));
    });
}

#[test]
fn empty_fields_stay_empty_and_long_ones_are_refused() {
    with_each(|keys, _| {
        assert_eq!(now(encrypt_field(keys, &email("7"), "")).unwrap(), "");
        assert_eq!(now(decrypt_field(keys, &email("7"), "")).unwrap().expose_secret(), "");
        assert_eq!(now(decrypt_field_bytes(keys, &email("7"), "")).unwrap().expose_secret(), b"");
        let long = "x".repeat(envelope_core::format::MAX_PLAINTEXT_LEN + 1);
        assert_eq!(now(encrypt_field(keys, &email("7"), &long)).unwrap_err().class(), "too_long");
        assert!(now(decrypt_field(keys, &email("7"), "ada@example.org")).is_err());
    });
}

#[test]
fn fields_that_do_not_open_are_shown_to_the_observer_of_their_sealer() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let shown = seen.clone();
    let sealer = sealer(MemoryKms::new());
    let sealer =
        sealer.with_failure_observer(Arc::new(move |error| shown.lock().unwrap().push(error.class())));
    let keys = FieldKeys::Sealer(&sealer);
    let stored = now(encrypt_field(keys, &email("7"), "ada@example.org")).unwrap();
    assert!(now(decrypt_field(keys, &email("7"), &stored)).is_ok());
    assert!(now(decrypt_field(keys, &email("8"), &stored)).is_err());
    assert!(now(decrypt_field_bytes(keys, &email("7"), "kms:v3:nonsense")).is_err());
    assert!(now(sealer.open(&stored, None, &email("9"))).is_err());
    assert!(now(sealer.open_unobserved(&stored, None, &email("9"))).is_err());
    let expected = ["context_mismatch_or_corrupt", "malformed", "context_mismatch_or_corrupt"];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn fields_share_data_keys_where_the_key_service_reuses_them() {
    let kms = MemoryKms::new().reusing();
    let context = EncryptionContext::new([("Application", "crm")]).unwrap();
    let keys = FieldKeys::Provider { provider: &kms, context: &context, suite: Suite::default() };
    for row in 0..100 {
        now(encrypt_field(keys, &email(&row.to_string()), "ada@example.org")).unwrap();
    }
    assert_eq!((kms.shared.load(Ordering::SeqCst), kms.calls()), (100, 1));
}
