//! Rewrapping changes the wrapped key only, never sees the plaintext, and changes nothing where nothing is to change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::stored::StoredEnvelope;
use envelope_core::{
    Binding, DataKey, EncryptionContext, EnvelopeFormat, KeyError, KeyProvider, OpenError, Sealer,
    WrappedDataKey, Writing,
};
use secrecy::ExposeSecret;

use crate::support::memory::MemoryKms;
use crate::support::{now, pairs, vectors};

/// A key service that gives out no key during a rewrap, and whose key can be set to be the current one.
#[derive(Default)]
struct Guarded {
    kms: MemoryKms,
    current: AtomicBool,
    sealed_off: AtomicBool,
}

#[async_trait]
impl KeyProvider for Guarded {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        self.kms.generate(context).await
    }
    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        assert!(!self.sealed_off.load(Ordering::SeqCst), "a rewrap asked for a plaintext key");
        self.kms.unwrap(wrapped, context).await
    }
    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        if self.current.load(Ordering::SeqCst) {
            self.kms.unwrap(wrapped, context).await?;
            return Ok(wrapped.clone());
        }
        self.kms.rewrap(wrapped, context).await
    }
    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.kms.describe().await
    }
}

fn binding() -> Binding<'static> {
    Binding::new("t", "c").key("id", "1").owner("tenant", "acme")
}

#[test]
fn both_envelopes_are_rewrapped_without_being_opened() {
    for (writing, refuses_unbound) in
        [(Writing::V2, false), (Writing::UnboundV2, false), (Writing::V2, true), (Writing::V3, true)]
    {
        let kms = Arc::new(Guarded::default());
        let sealer = Sealer::new(kms.clone(), pairs(&[("Application", "a")])).unwrap();
        let sealer = sealer.with_writing(writing).refusing_unbound(refuses_unbound);
        let sealed = now(sealer.seal("token", &binding())).unwrap();

        kms.sealed_off.store(true, Ordering::SeqCst);
        let rewrapped = now(sealer.rewrap(&sealed.text, None, &binding())).unwrap();
        assert!(rewrapped.changed && rewrapped.text != sealed.text && rewrapped.key_id.is_some());
        assert_eq!(payload(&rewrapped.text), payload(&sealed.text));

        kms.sealed_off.store(false, Ordering::SeqCst);
        let opened = now(sealer.open(&rewrapped.text, None, &binding())).unwrap();
        assert_eq!(opened.plaintext.expose_secret(), "token");

        kms.current.store(true, Ordering::SeqCst);
        let again = now(sealer.rewrap(&rewrapped.text, None, &binding())).unwrap();
        assert_eq!((again.text, again.changed), (rewrapped.text, false));
    }
}

#[test]
fn the_spelling_that_is_no_longer_written_stays_where_nothing_changes() {
    let vector = vectors::all().into_iter().find(|vector| vector.format == "kms-v2-twice").unwrap();
    let stored = StoredEnvelope::parse(&vector.stored, None).unwrap();
    let same = stored.replace(stored.wrapped()).unwrap();
    assert_eq!((same.text.as_str(), same.changed), (vector.stored.as_str(), false));
    let other = stored.replace(&WrappedDataKey::new(*b"other", None).unwrap()).unwrap();
    assert!(other.changed && other.text.starts_with("kms:v2:"));
}

#[test]
fn values_of_another_application_and_texts_that_are_no_envelope_are_not_rewrapped() {
    for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
        let sealer = Sealer::new(Arc::new(MemoryKms::new()), pairs(&[("Application", "a")])).unwrap();
        let sealer = sealer.with_writing(format);
        let sealed = now(sealer.seal("token", &binding())).unwrap();
        let other = Sealer::new(sealer.provider().clone(), pairs(&[("Application", "b")])).unwrap();
        assert!(matches!(now(other.rewrap(&sealed.text, None, &binding())), Err(OpenError::NotAuthentic)));
    }
    let sealer = Sealer::new(Arc::new(MemoryKms::new()), pairs(&[])).unwrap();
    assert!(matches!(now(sealer.rewrap("token", None, &binding())), Err(OpenError::Malformed(_))));
    let empty = now(sealer.rewrap("", None, &binding())).unwrap();
    assert_eq!((empty.text.as_str(), empty.changed), ("", false));
}

/// The parts of a value other than its wrapped key.
fn payload(text: &str) -> Vec<u8> {
    let stored = StoredEnvelope::parse(text, None).unwrap();
    let wrapped = stored.wrapped().bytes();
    let bytes = match text.strip_prefix("kms:v3:") {
        Some(encoded) => {
            base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, encoded).unwrap()
        }
        None => {
            let parts = text.rsplit(':').take(2).map(vectors::decode);
            parts.collect::<Vec<_>>().into_iter().rev().flatten().collect()
        }
    };
    let at = bytes.windows(wrapped.len()).position(|window| window == wrapped).unwrap();
    [&bytes[..at], &bytes[at + wrapped.len()..]].concat()
}
