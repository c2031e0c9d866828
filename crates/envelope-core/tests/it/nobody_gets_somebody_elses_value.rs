//! A value copied to another row, column, table, user or tenant does not open, with the cache cold and warm.

use std::sync::Arc;

use envelope_core::error::UnboundV3;
use envelope_core::format::{node_json, pulseplan_kms};
use envelope_core::{Binding, BindingPolicy, EncryptionContext, EnvelopeFormat, OpenError, Sealer, Writing};
use secrecy::ExposeSecret;

use crate::support::memory::{KEY_ID, MemoryKms, OneKey};
use crate::support::vectors::user_context;
use crate::support::{ANY, now, pairs};

fn home() -> Binding<'static> {
    Binding::new("oauth_tokens", "access_token")
        .key("provider", "twitch")
        .key("channel", "mine")
        .owner("tenant", "acme")
}

fn elsewhere() -> [(&'static str, Binding<'static>); 6] {
    let (table, column) = ("oauth_tokens", "access_token");
    let key = |binding: Binding<'static>| binding.key("provider", "twitch").key("channel", "mine");
    [
        (
            "row",
            Binding::new(table, column)
                .key("provider", "twitch")
                .key("channel", "yours")
                .owner("tenant", "acme"),
        ),
        ("column", key(Binding::new(table, "refresh_token")).owner("tenant", "acme")),
        ("table", key(Binding::new("other_tokens", column)).owner("tenant", "acme")),
        ("tenant", key(Binding::new(table, column)).owner("tenant", "globex")),
        ("no tenant", key(Binding::new(table, column))),
        ("no row", Binding::new(table, column).owner("tenant", "acme")),
    ]
}

fn sealer(format: EnvelopeFormat) -> Sealer {
    // One shared data key where a context allows it, and every key stays in the cache.
    let kms = MemoryKms::new().caching().reusing();
    Sealer::new(Arc::new(kms), pairs(&[("Application", "vod-tender"), ("Purpose", "oauth-token")]))
        .unwrap()
        .with_writing(format)
}

#[test]
fn values_of_both_envelopes_open_at_home_only_even_with_a_warm_cache() {
    for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
        let sealer = sealer(format);
        let sealed = now(sealer.seal("token", &home())).unwrap();
        for (_, other) in elsewhere() {
            // Warms the cache with the other cells' own keys.
            let own = now(sealer.seal("other", &other)).unwrap();
            now(sealer.open(&own.text, own.key_id.as_deref(), &other)).unwrap();
        }
        for _ in 0..2 {
            let opened = now(sealer.open(&sealed.text, sealed.key_id.as_deref(), &home())).unwrap();
            assert_eq!(opened.plaintext.expose_secret(), "token");
            assert!(opened.bound);
            for (what, other) in elsewhere() {
                let refused = now(sealer.open(&sealed.text, sealed.key_id.as_deref(), &other));
                assert!(
                    matches!(refused, Err(OpenError::NotAuthentic)),
                    "{format:?} in another {what}: {refused:?}"
                );
            }
        }
    }
}

#[test]
fn bound_envelopes_share_a_data_key_and_still_stay_at_home() {
    let sealer = sealer(EnvelopeFormat::V3);
    let mine = now(sealer.seal("mine", &home())).unwrap();
    let (_, row) = &elsewhere()[0];
    let yours = now(sealer.seal("yours", row)).unwrap();
    let wrapped = |text: &str| {
        let envelope = envelope_core::format::bound::Envelope::parse(text).unwrap();
        envelope.wrapped_data_key(None).unwrap()
    };
    assert_eq!(wrapped(&mine.text), wrapped(&yours.text));
    assert!(matches!(now(sealer.open(&mine.text, None, row)), Err(OpenError::NotAuthentic)));
}

#[test]
fn a_payload_moved_to_another_rows_data_key_does_not_open() {
    for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
        let sealer = Sealer::new(Arc::new(MemoryKms::new().caching()), pairs(&[])).unwrap();
        let sealer = sealer.with_writing(format);
        let (_, row) = &elsewhere()[0];
        let (mine, yours) =
            (now(sealer.seal("mine", &home())).unwrap(), now(sealer.seal("yours", row)).unwrap());
        let stored = envelope_core::stored::StoredEnvelope::parse(&yours.text, None).unwrap();
        let foreign = envelope_core::stored::StoredEnvelope::parse(&mine.text, None).unwrap();
        let mixed = foreign.replace(stored.wrapped()).unwrap();
        for binding in [&home(), row] {
            assert!(matches!(now(sealer.open(&mixed.text, None, binding)), Err(OpenError::NotAuthentic)));
        }
    }
}

#[test]
fn an_unbound_value_opens_unless_that_is_refused() {
    let kms = Arc::new(MemoryKms::new().caching());
    let sealer = || Sealer::new(kms.clone(), pairs(&[("Application", "a")])).unwrap();
    let writes_unbound = sealer().with_writing(Writing::UnboundV2);
    let unbound = now(writes_unbound.seal("token", &home())).unwrap();
    for _ in 0..2 {
        let opened = now(sealer().open(&unbound.text, None, &home())).unwrap();
        assert!(!opened.bound);
        let refused = now(sealer().refusing_unbound(true).open(&unbound.text, None, &home()));
        assert!(matches!(refused, Err(OpenError::UnboundRefused)));
    }
    let own = now(writes_unbound.refusing_unbound(true).open(&unbound.text, None, &home())).unwrap();
    assert!(!own.bound, "what a sealer writes it reads");
}

#[test]
fn the_settings_of_an_operator_name_every_form_but_an_unbound_version_3() {
    let policies = [BindingPolicy::AcceptUnbound, BindingPolicy::Require, BindingPolicy::Off];
    for (format, forms) in [
        (EnvelopeFormat::V2, [Ok(Writing::V2), Ok(Writing::V2), Ok(Writing::UnboundV2)]),
        (EnvelopeFormat::V3, [Ok(Writing::V3), Ok(Writing::V3), Err(UnboundV3)]),
    ] {
        assert_eq!(policies.map(|policy| Writing::of(format, policy)), forms);
    }
}

#[test]
fn a_kms_row_copied_to_another_user_is_refused_without_a_call() {
    let mine = user_context("user-1");
    let kms = MemoryKms::new().with(b"blob", mine.clone(), b"token");
    let text = r#"kms:{"ciphertext": "YmxvYg==", "key_id": "KEY", "encryption_context": {"user_id": "user-1", "service": "pulseplan", "data_type": "auth_token"}, "algorithm": "KMS", "encrypted_at": "2025-10-30T12:00:00"}"#
        .replace("KEY", KEY_ID);
    assert_eq!(now(pulseplan_kms::open(&kms, &text, &mine)).unwrap().expose_secret(), "token");
    let calls = kms.calls();
    for other in [user_context("user-2"), EncryptionContext::empty()] {
        assert!(matches!(now(pulseplan_kms::open(&kms, &text, &other)), Err(OpenError::NotAuthentic)));
    }
    // The claim is not trusted either: if it is changed to the other user's row, KMS refuses it.
    let forged = text.replace("user-1", "user-2");
    assert_eq!(kms.calls(), calls);
    assert!(matches!(
        now(pulseplan_kms::open(&kms, &forged, &user_context("user-2"))),
        Err(OpenError::NotAuthentic)
    ));
}

#[test]
fn a_key_that_is_not_allowed_is_refused_without_a_call() {
    let kms = Arc::new(MemoryKms::new());
    for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
        let sealer = Sealer::new(kms.clone(), pairs(&[])).unwrap().with_writing(format);
        let sealed = now(sealer.seal("token", &home())).unwrap();
        let calls = kms.calls();
        let refused = now(sealer.open(&sealed.text, Some("arn:aws:kms:eu-west-1:1:key/other"), &home()));
        assert_eq!(refused.unwrap_err().class(), "wrong_key");
        assert_eq!(kms.calls(), calls);
    }
}

#[test]
fn a_json_envelope_is_bound_to_what_the_caller_names() {
    let ring = OneKey::generate();
    let text = node_json::seal_unlabelled(&ring, Some(b"DB_PASSWORD"), b"secret", 1_761_500_000_000);
    let open = |text: &str, aad: Option<&[u8]>| node_json::open(&ring, ANY, aad, text);
    assert_eq!(open(&text, Some(b"DB_PASSWORD")).unwrap().expose_secret(), b"secret");
    for aad in [Some(&b"API_KEY"[..]), Some(b""), None] {
        assert!(matches!(open(&text, aad), Err(OpenError::NotAuthentic)));
    }
    // "QVBJX0tFWQ==" is API_KEY: a claim that agrees with the caller does not make the tag right.
    let forged = text.replace("REJfUEFTU1dPUkQ=", "QVBJX0tFWQ==");
    assert_ne!(forged, text);
    assert!(matches!(open(&forged, Some(b"API_KEY")), Err(OpenError::NotAuthentic)));
    let unknown = text.replace("ring-1", "ring-2");
    assert!(
        matches!(open(&unknown, Some(b"DB_PASSWORD")), Err(OpenError::UnknownDataKey { id }) if &*id == "ring-2")
    );
}
