//! Small things that several modules need.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope_core::{EncryptionContext, ErrorClass, KeyError, KeyProvider, WrappedDataKey};

pub(crate) fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::new(pairs.iter().copied()).unwrap()
}

pub(crate) fn row(number: usize) -> EncryptionContext {
    context(&[("Application", "test"), ("row", &number.to_string())])
}

/// A wrapped data key of the provider.
pub(crate) async fn wrapped(provider: &dyn KeyProvider, context: &EncryptionContext) -> WrappedDataKey {
    provider.generate(context).await.unwrap().wrapped
}

pub(crate) fn claimed(wrapped: &WrappedDataKey, key_id: Option<&str>) -> WrappedDataKey {
    WrappedDataKey::new(wrapped.bytes(), key_id).unwrap()
}

/// An error as all of its words: itself, its hint and every cause.
pub(crate) fn told(error: &KeyError) -> String {
    let mut told = format!("{error} | {error:?} | {:?}", error.hint());
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push_str(&format!(" | {error} | {error:?}"));
        cause = error.source();
    }
    told
}

#[track_caller]
pub(crate) fn class<T>(outcome: Result<T, KeyError>) -> ErrorClass {
    match outcome {
        Ok(_) => panic!("works, and should not"),
        Err(error) => error.class(),
    }
}

/// Waits for something that happens by itself.
#[track_caller]
pub(crate) fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same, leaving the async runtime to others meanwhile.
pub(crate) async fn within_async(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn shared(provider: impl KeyProvider + 'static) -> Arc<dyn KeyProvider> {
    Arc::new(provider)
}
