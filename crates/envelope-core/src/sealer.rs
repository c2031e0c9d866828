//! The sealer: what a service calls to seal and open a value for a cell.

mod prepared;
mod writing;

use std::borrow::Cow;
use std::sync::Arc;

use secrecy::SecretString;

use crate::binding::{Binding, BindingPolicy};
use crate::context::{ContextError, EncryptionContext};
use crate::error::{OpenError, SealError};
use crate::format::bound::{self, Suite};
use crate::format::{Format, MAX_PLAINTEXT_LEN, kms_envelope};
use crate::key::{DataKey, WrappedDataKey};
use crate::provider::{ErrorClass, GeneratedDataKey, KeyProvider};
use crate::rewrap::Rewrapped;
use crate::stored::StoredEnvelope;

pub use self::prepared::PreparedKey;
pub use self::writing::{EnvelopeFormat, Writing};

/// Is shown each value that does not open, so that it can be counted.
pub type FailureObserver = Arc<dyn Fn(&OpenError) + Send + Sync>;

/// Seals and opens values under data keys of one provider.
pub struct Sealer {
    provider: Arc<dyn KeyProvider>,
    /// For data keys that serve one value each: all but those of version 3.
    single: Arc<dyn KeyProvider>,
    base: Vec<(String, String)>,
    /// The context of `base` alone, which the data keys of version 3 are wrapped under.
    pub(crate) base_context: EncryptionContext,
    writing: Writing,
    refuses_unbound: bool,
    pub(crate) suite: Suite,
    observer: Option<FailureObserver>,
}

impl Sealer {
    /// Seals under `provider`; `base` are the pairs that every context of this application has, such as
    /// `Application` and `Purpose`.
    ///
    /// # Errors
    /// [`ContextError`] if `base` does not make a context.
    pub fn new(provider: Arc<dyn KeyProvider>, base: Vec<(String, String)>) -> Result<Self, ContextError> {
        let pairs = base.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let base_context = EncryptionContext::new(pairs)?;
        Ok(Self {
            single: provider.clone(),
            provider,
            base,
            base_context,
            writing: Writing::default(),
            refuses_unbound: false,
            suite: Suite::default(),
            observer: None,
        })
    }

    /// Changes the form of new values.
    #[must_use]
    pub fn with_writing(mut self, writing: impl Into<Writing>) -> Self {
        self.writing = writing.into();
        self
    }

    /// Refuses values that are not bound to their cells, or reads them again. A sealer that writes unbound values reads
    /// them in either case.
    #[must_use]
    pub fn refusing_unbound(mut self, refuses: bool) -> Self {
        self.refuses_unbound = refuses;
        self
    }

    /// Changes the suite of new version 3 envelopes. Every suite is always read.
    #[must_use]
    pub fn with_suite(mut self, suite: Suite) -> Self {
        self.suite = suite;
        self
    }

    /// Unwraps data keys that serve one value through another way to the same key service, one without a cache.
    ///
    /// A run that opens every value once finds none of those keys in a cache, and keeping them there costs more than opening
    /// the value. They are the data keys of version 2, and through [`single_use`](Self::single_use) the callers of
    /// [`autonomous::open`](crate::format::autonomous::open) and
    /// [`pulseplan_kms::open`](crate::format::pulseplan_kms::open) take the same way. The data keys of version 3 serve many
    /// values, and go on through [`provider`](Self::provider).
    #[must_use]
    pub fn with_uncached(mut self, provider: Arc<dyn KeyProvider>) -> Self {
        self.single = provider;
        self
    }

    /// Shows every value that does not open to an observer, fields of
    /// [`decrypt_field`](crate::field::decrypt_field) included.
    #[must_use]
    pub fn with_failure_observer(mut self, observer: FailureObserver) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The provider that makes and unwraps the data keys.
    #[must_use]
    pub fn provider(&self) -> &Arc<dyn KeyProvider> {
        &self.provider
    }

    /// The provider for values whose data key serves no other value, and for those that the key service opens itself: the
    /// one of [`with_uncached`](Self::with_uncached), else [`provider`](Self::provider).
    #[must_use]
    pub fn single_use(&self) -> &Arc<dyn KeyProvider> {
        &self.single
    }

    /// How values are bound to their cells.
    #[must_use]
    pub fn policy(&self) -> BindingPolicy {
        match self.writing {
            Writing::UnboundV2 => BindingPolicy::Off,
            Writing::V2 | Writing::V3 if self.refuses_unbound => BindingPolicy::Require,
            Writing::V2 | Writing::V3 => BindingPolicy::AcceptUnbound,
        }
    }

    /// The form of new values.
    #[must_use]
    pub fn writing(&self) -> Writing {
        self.writing
    }

    /// The context of this application for a row's owner, without the row's identity.
    ///
    /// # Errors
    /// [`ContextError`] if the row's owner does not make one.
    pub fn plain_context(&self, binding: &Binding<'_>) -> Result<EncryptionContext, ContextError> {
        binding.plain_context(&self.base)
    }

    /// Seals a value for a cell: in version 2 under a data key of its own, in version 3 under the one that the
    /// provider gives.
    ///
    /// The empty string stays the empty string, and costs no call.
    ///
    /// # Errors
    /// [`SealError`]. Nothing weaker is ever returned in its place.
    pub async fn seal(&self, plaintext: &str, binding: &Binding<'_>) -> Result<Sealed, SealError> {
        if plaintext.len() > MAX_PLAINTEXT_LEN {
            return Err(SealError::TooLong { actual: plaintext.len(), limit: MAX_PLAINTEXT_LEN });
        }
        if plaintext.is_empty() {
            return Ok(Sealed { text: String::new(), key_id: None });
        }
        let generated = match self.writing {
            Writing::UnboundV2 | Writing::V2 => {
                self.provider.generate(&self.sealing_context(binding)?).await?
            }
            Writing::V3 => self.provider.generate_shared(&self.base_context, plaintext.len()).await?,
        };
        self.seal_under(generated, plaintext, binding)
    }

    /// Opens a value that is stored in this cell. `key_id` is the key that the row names, if it names one.
    ///
    /// # Errors
    /// [`OpenError`]; the same one for a damaged value and for one that was copied here from another cell.
    pub async fn open(
        &self,
        text: &str,
        key_id: Option<&str>,
        binding: &Binding<'_>,
    ) -> Result<Opened, OpenError> {
        self.observed(self.open_unobserved(text, key_id, binding).await)
    }

    /// Shows a failure to the observer, and hands on the outcome.
    pub(crate) fn observed<T>(&self, outcome: Result<T, OpenError>) -> Result<T, OpenError> {
        if let (Err(error), Some(observer)) = (&outcome, &self.observer) {
            observer(error);
        }
        outcome
    }

    /// Opens a value as [`open`](Self::open) does, without showing a failure to the observer: for callers that count the
    /// failures of all formats themselves.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_unobserved(
        &self,
        text: &str,
        key_id: Option<&str>,
        binding: &Binding<'_>,
    ) -> Result<Opened, OpenError> {
        if text.is_empty() {
            return Ok(Opened { plaintext: SecretString::default(), bound: true });
        }
        self.open_stored(&StoredEnvelope::parse(text, key_id)?, binding).await
    }

    /// Opens a value that is parsed already; a failure is not shown to the observer.
    ///
    /// # Errors
    /// [`OpenError`], as for [`open`](Self::open).
    pub async fn open_stored(
        &self,
        stored: &StoredEnvelope<'_>,
        binding: &Binding<'_>,
    ) -> Result<Opened, OpenError> {
        let context = match stored.format() {
            Format::BoundEnvelope => Cow::Borrowed(&self.base_context),
            _ => Cow::Owned(binding.bound_context(&self.base)?),
        };
        let (key, bound) = match self.provider_of(stored).unwrap_cached(stored.wrapped(), &context) {
            Some(key) => (key, true),
            // In a box, because every future that opens a value would be as large as this one.
            None => Box::pin(self.unwrap_by_call(stored, binding, &context)).await?,
        };
        Ok(Opened { plaintext: stored.open(&key, binding)?, bound })
    }

    fn provider_of(&self, stored: &StoredEnvelope<'_>) -> &Arc<dyn KeyProvider> {
        match stored.format() {
            Format::BoundEnvelope => &self.provider,
            _ => &self.single,
        }
    }

    /// Unwraps the data key of a value that is not held under its bound context, and returns whether the value is bound to
    /// its cell.
    async fn unwrap_by_call(
        &self,
        stored: &StoredEnvelope<'_>,
        binding: &Binding<'_>,
        bound: &EncryptionContext,
    ) -> Result<(Arc<DataKey>, bool), OpenError> {
        let wrapped = stored.wrapped();
        if stored.format() == Format::BoundEnvelope {
            return Ok((self.provider.unwrap(wrapped, bound).await?, true));
        }
        let plain = binding.plain_context(&self.base)?;
        match self.policy() {
            BindingPolicy::Off => {
                let (key, plain_first) = self.unwrap_either(wrapped, &plain, bound).await?;
                Ok((key, !plain_first))
            }
            BindingPolicy::AcceptUnbound => self.unwrap_either(wrapped, bound, &plain).await,
            BindingPolicy::Require => match self.unwrap_either(wrapped, bound, &plain).await? {
                (_, false) => Err(OpenError::UnboundRefused),
                is_bound => Ok(is_bound),
            },
        }
    }

    /// Whether [`rewrap`](Self::rewrap) can bring a stored value under the provider's current key. Where it cannot, another
    /// key service wrapped its data key.
    ///
    /// # Errors
    /// [`OpenError`] if the text is not an envelope of version 2 or 3.
    pub fn can_rewrap(&self, text: &str, key_id: Option<&str>) -> Result<bool, OpenError> {
        if text.is_empty() {
            return Ok(true);
        }
        Ok(self.provider.can_rewrap(StoredEnvelope::parse(text, key_id)?.wrapped()))
    }

    /// Wraps a stored value's data key under the provider's current key, without opening the value.
    ///
    /// A value that is under that key already, and the empty string, come back as they are.
    ///
    /// # Errors
    /// [`OpenError`], as for [`open`](Self::open).
    pub async fn rewrap(
        &self,
        text: &str,
        key_id: Option<&str>,
        binding: &Binding<'_>,
    ) -> Result<Rewrapped, OpenError> {
        if text.is_empty() {
            return Ok(Rewrapped::unchanged(text, key_id));
        }
        let stored = StoredEnvelope::parse(text, key_id)?;
        let mut refused = OpenError::NotAuthentic;
        for context in stored.contexts(&self.base, binding, self.policy())? {
            match self.provider.rewrap(stored.wrapped(), &context).await.map_err(OpenError::from) {
                Ok(wrapped) => return Ok(stored.replace(&wrapped)?),
                Err(OpenError::NotAuthentic) => refused = OpenError::NotAuthentic,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// Seals under a data key that was made for this form and cell.
    fn seal_under(
        &self,
        generated: GeneratedDataKey,
        plaintext: &str,
        binding: &Binding<'_>,
    ) -> Result<Sealed, SealError> {
        let GeneratedDataKey { key, wrapped } = generated;
        let text = match self.writing {
            Writing::UnboundV2 | Writing::V2 => kms_envelope::seal(&key.0, &wrapped, plaintext),
            Writing::V3 => bound::seal(self.suite, &key.0, &wrapped, binding, plaintext.as_bytes())?,
        };
        Ok(Sealed { text, key_id: wrapped.into_key_id() })
    }

    /// Unwraps under one context or the other, and returns whether it was the first.
    ///
    /// Both are looked up in memory before the key service is called, so that an unbound value that is read twice costs no
    /// failed call the second time.
    async fn unwrap_either(
        &self,
        wrapped: &WrappedDataKey,
        first: &EncryptionContext,
        second: &EncryptionContext,
    ) -> Result<(Arc<DataKey>, bool), OpenError> {
        for (context, is_first) in [(first, true), (second, false)] {
            if let Some(key) = self.single.unwrap_cached(wrapped, context) {
                return Ok((key, is_first));
            }
        }
        match self.single.unwrap(wrapped, first).await {
            Ok(key) => Ok((key, true)),
            Err(error) if error.class() == ErrorClass::ContextMismatchOrCorrupt => {
                Ok((self.single.unwrap(wrapped, second).await?, false))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A sealed value and the key that wrapped its data key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sealed {
    /// The text to store.
    pub text: String,
    /// The key id to store with it; none for the empty string.
    pub key_id: Option<String>,
}

/// An opened value.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The value; printing it takes an explicit `expose_secret`.
    pub plaintext: SecretString,
    /// Whether it is bound to its cell. Only opening a value shows that.
    pub bound: bool,
}
