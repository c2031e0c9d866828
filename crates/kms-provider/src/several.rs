//! One key service that seals, and others that still open data keys that they wrapped.

use std::sync::Arc;

use async_trait::async_trait;
use envelope_core::provider::{ErrorClass, GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;

use crate::redact::redact_arn;
use crate::uri::KeyUri;

/// Makes data keys with one key service, and unwraps with the one that wrapped: values can move from one to another while
/// every one of them stays readable.
///
/// The key id next to a data key identifies the service that wrapped it, or else the form of the wrapped
/// bytes. Both are claims: a service still refuses data keys that it did not wrap itself. A data key does not
/// leave its service, so [`rewrap`](KeyProvider::rewrap) stays in the one that seals;
/// [`can_rewrap`](KeyProvider::can_rewrap) says where that is possible.
pub struct Several {
    current: Member,
    others: Vec<Member>,
}

/// One of several key services.
pub struct Member {
    kind: Kind,
    provider: Arc<dyn KeyProvider>,
}

/// The kinds of key services whose wrapped data keys can be distinguished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Aws,
    Keyring,
    Vault,
}

impl Kind {
    fn of_uri(uri: &KeyUri) -> Self {
        match uri {
            KeyUri::Aws(_) | KeyUri::AwsRegions(_) => Self::Aws,
            KeyUri::Keyring(_) => Self::Keyring,
            KeyUri::Vault(_) => Self::Vault,
        }
    }

    fn of(key_id: Option<&str>, wrapped: &[u8]) -> Self {
        match key_id {
            Some(id) if id.starts_with("keyring:") => Self::Keyring,
            Some(id) if id.starts_with("vault:") => Self::Vault,
            Some(_) => Self::Aws,
            None if wrapped.starts_with(b"vault:v") => Self::Vault,
            // The magic of the layout in `wrapping`; what AWS KMS returns begins with a byte 1.
            None if wrapped.starts_with(b"K") => Self::Keyring,
            None => Self::Aws,
        }
    }
}

impl Member {
    /// The key service that a key URI names.
    pub fn new(uri: &KeyUri, provider: Arc<dyn KeyProvider>) -> Self {
        Self { kind: Kind::of_uri(uri), provider }
    }
}

impl Several {
    /// Seals with `current`, and opens with the service that wrapped the data key.
    #[must_use]
    pub fn new(current: Member, others: impl IntoIterator<Item = Member>) -> Self {
        Self { current, others: others.into_iter().collect() }
    }

    /// The services of a kind, the one that seals first.
    fn of_kind(&self, kind: Kind) -> Vec<&Arc<dyn KeyProvider>> {
        let all = std::iter::once(&self.current).chain(&self.others);
        all.filter(|member| member.kind == kind).map(|member| &member.provider).collect()
    }
}

#[async_trait]
impl KeyProvider for Several {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        self.current.provider.generate(context).await
    }

    async fn generate_shared(
        &self,
        context: &EncryptionContext,
        message_len: usize,
    ) -> Result<GeneratedDataKey, KeyError> {
        self.current.provider.generate_shared(context, message_len).await
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        let mut refused = None;
        for provider in self.of_kind(Kind::of(wrapped.key_id(), wrapped.bytes())) {
            match provider.unwrap(wrapped, context).await {
                Err(error) if error.class() == ErrorClass::WrongKey => {
                    refused.get_or_insert(error);
                }
                outcome => return outcome,
            }
        }
        Err(refused.unwrap_or_else(|| foreign(wrapped.key_id())))
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        if self.can_rewrap(wrapped) {
            return self.current.provider.rewrap(wrapped, context).await;
        }
        Err(KeyError::new(
            ErrorClass::InvalidRequest,
            "a data key does not leave the key service that wrapped it",
        )
        .with_hint("open the value, and seal it again under the new key"))
    }

    fn can_rewrap(&self, wrapped: &WrappedDataKey) -> bool {
        Kind::of(wrapped.key_id(), wrapped.bytes()) == self.current.kind
            && self.current.provider.can_rewrap(wrapped)
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.current.provider.describe().await
    }

    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        let members = self.of_kind(Kind::of(wrapped.key_id(), wrapped.bytes()));
        members.into_iter().find_map(|provider| provider.unwrap_cached(wrapped, context))
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        // Only AWS KMS encrypts values itself.
        match self.of_kind(Kind::Aws).first() {
            Some(provider) => provider.decrypt(ciphertext, key_id, context).await,
            None => self.current.provider.decrypt(ciphertext, key_id, context).await,
        }
    }
}

fn foreign(key_id: Option<&str>) -> KeyError {
    let key = key_id.map_or_else(|| "a key of another key service".into(), redact_arn);
    let key: String = key.chars().take(160).flat_map(char::escape_debug).collect();
    KeyError::new(ErrorClass::WrongKey, format!("wrapped under {key}, whose key service is not configured"))
        .with_hint("name its key in {allowed keys}, or set {key} to it")
}
