//! A value that cannot be sealed is not written in a weaker form, and a text that is no envelope is not returned as plaintext.

use std::sync::Arc;

use async_trait::async_trait;
use envelope_core::provider::{ErrorClass, GeneratedDataKey, KeyDescription};
use envelope_core::{
    Binding, DataKey, EncryptionContext, EnvelopeFormat, KeyError, KeyProvider, OpenError, Sealer,
    WrappedDataKey,
};

use crate::support::memory::MemoryKms;
use crate::support::{now, pairs};

/// A key service that always gives this answer.
struct Broken(ErrorClass);

impl Broken {
    fn error<T>(&self) -> Result<T, KeyError> {
        Err(KeyError::new(self.0, "broken on purpose"))
    }
}

#[async_trait]
impl KeyProvider for Broken {
    async fn generate(&self, _: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        self.error()
    }
    async fn unwrap(&self, _: &WrappedDataKey, _: &EncryptionContext) -> Result<Arc<DataKey>, KeyError> {
        self.error()
    }
    async fn rewrap(&self, _: &WrappedDataKey, _: &EncryptionContext) -> Result<WrappedDataKey, KeyError> {
        self.error()
    }
    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.error()
    }
}

#[test]
fn a_failing_key_service_seals_nothing_and_each_failure_has_its_class() {
    let binding = Binding::new("t", "c").key("id", "1");
    let good = Sealer::new(Arc::new(MemoryKms::new()), pairs(&[])).unwrap();
    let sealed = now(good.seal("token", &binding)).unwrap();
    for class in ErrorClass::ALL {
        for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
            let sealer = Sealer::new(Arc::new(Broken(class)), pairs(&[])).unwrap().with_writing(format);
            assert_eq!(now(sealer.seal("token", &binding)).unwrap_err().class(), class.label());
            assert_eq!(now(sealer.open(&sealed.text, None, &binding)).unwrap_err().class(), class.label());
            assert_eq!(now(sealer.rewrap(&sealed.text, None, &binding)).unwrap_err().class(), class.label());
        }
    }
}

#[test]
fn a_text_that_is_no_envelope_is_never_returned() {
    let sealer = Sealer::new(Arc::new(MemoryKms::new()), pairs(&[])).unwrap();
    for text in ["token", "kms:", "kms:v2:", "kms:v4:AAAA:AAAA", "v1:00:00:00", "{}", " ", "QUJD"] {
        let opened = now(sealer.open(text, None, &Binding::new("t", "c")));
        assert!(matches!(opened, Err(OpenError::Malformed(_))), "{text}");
    }
}

#[test]
fn a_value_over_the_limit_is_refused_not_cut() {
    let sealer = Sealer::new(Arc::new(MemoryKms::new()), pairs(&[])).unwrap();
    let binding = Binding::new("t", "c");
    let limit = envelope_core::format::MAX_PLAINTEXT_LEN;
    for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
        let sealer = Sealer::new(sealer.provider().clone(), pairs(&[])).unwrap().with_writing(format);
        let sealed = now(sealer.seal(&"x".repeat(limit), &binding)).unwrap();
        assert!(now(sealer.open(&sealed.text, None, &binding)).is_ok());
        assert_eq!(now(sealer.seal(&"x".repeat(limit + 1), &binding)).unwrap_err().class(), "too_long");
    }
}
