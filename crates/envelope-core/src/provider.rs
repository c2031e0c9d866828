//! The key service as the rest of the system sees it: a small, object-safe trait and its error.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretSlice;

use crate::context::EncryptionContext;
use crate::hint::{self, Setting};
use crate::key::{DataKey, WrappedDataKey};

/// A key service: it makes data keys and unwraps them, and never gives out the key that wraps them.
///
/// Backends write `generate`, `unwrap`, `rewrap` and `describe`; decorators forward every method.
/// Every implementation passes the suite in `conformance`.
#[async_trait]
pub trait KeyProvider: Send + Sync {
    /// Makes a data key and wraps it under the current key and this context.
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError>;

    /// Makes a data key for one message of `message_len` bytes of plaintext, which may serve other messages too.
    ///
    /// Only for formats that derive a key of its own for every message from it. Unless a decorator reuses keys, it is a
    /// new one each time.
    async fn generate_shared(
        &self,
        context: &EncryptionContext,
        message_len: usize,
    ) -> Result<GeneratedDataKey, KeyError> {
        let _ = message_len;
        self.generate(context).await
    }

    /// Unwraps a data key. The context must equal the one that it was wrapped under.
    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError>;

    /// Wraps the same data key under the current key, without showing it to the caller.
    ///
    /// A data key that is under the current key already comes back with identical bytes.
    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError>;

    /// Whether [`rewrap`](Self::rewrap) can bring a data key under the current key. Where it cannot, another key service
    /// wrapped it: its value is opened, and sealed again.
    fn can_rewrap(&self, wrapped: &WrappedDataKey) -> bool {
        let _ = wrapped;
        true
    }

    /// Asks the key service for its current key, without using it.
    async fn describe(&self) -> Result<KeyDescription, KeyError>;

    /// Answers from memory if that is possible without waiting; only a cache can.
    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        let _ = (wrapped, context);
        None
    }

    /// Opens a value that the key service itself encrypted (AWS KMS `Encrypt`: at most 4,096 bytes of
    /// plaintext).
    ///
    /// `key_id` is the key id that is stored next to the ciphertext, a claim like that of a wrapped data key.
    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        let _ = (ciphertext, key_id, context);
        Err(KeyError::new(ErrorClass::Misconfigured, "this key service does not open values it did not wrap")
            .with_hint("set {key} to the AWS KMS key that encrypted these rows"))
    }
}

/// A new data key: the plaintext to seal with, and the wrapped form to store.
#[derive(Debug)]
#[non_exhaustive]
pub struct GeneratedDataKey {
    /// The plaintext key.
    pub key: SharedKey,
    /// The same key, wrapped. Its `key_id` is the one that the key service returned, not the alias asked for.
    pub wrapped: WrappedDataKey,
}

impl GeneratedDataKey {
    /// Puts the two halves of an answer together.
    #[must_use]
    pub fn new(key: Arc<DataKey>, wrapped: WrappedDataKey) -> Self {
        Self { key: SharedKey(key), wrapped }
    }
}

/// A shared plaintext data key whose `Debug` says nothing.
pub struct SharedKey(pub Arc<DataKey>);

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// The current key, as `describe` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyDescription {
    /// The key as it is stored next to values: an ARN, `keyring:<id>`.
    pub key_id: String,
    /// The backend: `aws-kms`, `keyring`, `memory`.
    pub backend: &'static str,
}

impl KeyDescription {
    /// Names a key and its backend.
    #[must_use]
    pub fn new(key_id: impl Into<String>, backend: &'static str) -> Self {
        Self { key_id: key_id.into(), backend }
    }
}

/// The kind of a failure, which decides the caller's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The caller's identity may not do this.
    Denied,
    /// The key does not exist, or not in this Region or account.
    NotFound,
    /// The key is disabled.
    Disabled,
    /// The key is scheduled for deletion, or in another state in which it cannot be used.
    PendingDeletion,
    /// Too many requests.
    Throttled,
    /// No answer, or a fault on the key service's side.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// The context differs, or the wrapped bytes are damaged: a key service cannot distinguish the two.
    ContextMismatchOrCorrupt,
    /// Another key wrapped it, or one that the configuration does not allow.
    WrongKey,
    /// A version of the key wrapped it that the key service still has and no longer opens with.
    VersionRetired,
    /// The key service refused the request itself.
    InvalidRequest,
    /// A setting is missing or wrong on this side.
    Misconfigured,
}

impl ErrorClass {
    /// Every class, for counters that must exist at zero.
    pub const ALL: [Self; 12] = [
        Self::Denied,
        Self::NotFound,
        Self::Disabled,
        Self::PendingDeletion,
        Self::Throttled,
        Self::Unavailable,
        Self::Timeout,
        Self::ContextMismatchOrCorrupt,
        Self::WrongKey,
        Self::VersionRetired,
        Self::InvalidRequest,
        Self::Misconfigured,
    ];

    /// Whether the same request may succeed later without any change.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Timeout)
    }

    /// Whether this is about the key service as a whole and not about one value: going on would fail alike.
    #[must_use]
    pub fn is_outage(self) -> bool {
        !matches!(
            self,
            Self::ContextMismatchOrCorrupt | Self::WrongKey | Self::VersionRetired | Self::InvalidRequest
        )
    }

    /// The label used in metrics, logs and reports.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Disabled => "disabled",
            Self::PendingDeletion => "pending_deletion",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::ContextMismatchOrCorrupt => "context_mismatch_or_corrupt",
            Self::WrongKey => "wrong_key",
            Self::VersionRetired => "version_retired",
            Self::InvalidRequest => "invalid_request",
            Self::Misconfigured => "misconfigured",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A failure of the key service: what kind, in words, and what to look at.
///
/// Cheap to clone, so that one failed call can answer every caller that waited for it, and one pointer wide.
#[derive(Clone, Debug)]
pub struct KeyError(Arc<Failure>);

#[derive(Clone, Debug)]
struct Failure {
    class: ErrorClass,
    message: Cow<'static, str>,
    /// With places for the names of settings.
    hint: Option<Cow<'static, str>>,
    hint_in_words: Option<Cow<'static, str>>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl KeyError {
    /// Says what went wrong; `message` is a lower-case fragment without secrets.
    pub fn new(class: ErrorClass, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Failure {
            class,
            message: message.into(),
            hint: None,
            hint_in_words: None,
            source: None,
        }))
    }

    /// Adds what to do: the IAM action or key state to look at. Settings and commands are named by places such as `{key}`,
    /// see [`Setting`].
    #[must_use]
    pub fn with_hint(mut self, pattern: impl Into<Cow<'static, str>>) -> Self {
        let pattern = pattern.into();
        let failure = Arc::make_mut(&mut self.0);
        failure.hint_in_words = Some(hint::in_words(pattern.clone()));
        failure.hint = Some(pattern);
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::new(source));
        self
    }

    /// The kind of the failure.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    /// The next step for the operator, if the backend knows one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint_in_words.as_deref()
    }

    /// The hint with the names that a program has for settings and commands.
    #[must_use]
    pub fn hint_naming(&self, name: impl Fn(Setting) -> &'static str) -> Option<String> {
        Some(hint::naming(self.0.hint.as_deref()?, name))
    }

    /// The hint with places for those names, for an error that repeats it.
    #[must_use]
    pub fn hint_pattern(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for KeyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
