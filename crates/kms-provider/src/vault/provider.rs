//! Transit as a key service: one call each to make, open, rewrap and describe.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::key::DATA_KEY_LEN;
use envelope_core::provider::{ErrorClass, GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use serde::Deserialize;
use serde_json::json;
use vault_client::VaultClient;
use zeroize::Zeroizing;

use super::Vault;
use super::ciphertext::Ciphertext;
use super::error::{
    Operation, TWICE, another_key, does_not_open, map_error, not_an_answer, not_derived, unsuited,
};
use crate::uri::TransitKey;

/// The answer of `datakey/plaintext`. Text is borrowed from the buffer that is wiped.
#[derive(Deserialize)]
struct Generated<'a> {
    plaintext: &'a str,
    ciphertext: &'a str,
    #[serde(default)]
    key_version: Option<u32>,
}

/// The answer of `decrypt`.
#[derive(Deserialize)]
struct Decrypted<'a> {
    plaintext: &'a str,
}

/// The answer of `rewrap` and `encrypt`.
#[derive(Deserialize)]
struct Encrypted<'a> {
    ciphertext: &'a str,
    #[serde(default)]
    key_version: Option<u32>,
}

/// The answer of `keys`, as far as it matters.
#[derive(Deserialize)]
struct Key {
    name: String,
    #[serde(default)]
    derived: bool,
    #[serde(default)]
    supports_derivation: bool,
    #[serde(default)]
    soft_deleted: bool,
    latest_version: u32,
}

#[async_trait]
impl KeyProvider for Vault {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        const OPERATION: Operation = Operation::DataKey;
        let key = self.keys.current();
        self.ensure_fit(key).await?;
        let body = json!({ "context": encoded(context), "bits": DATA_KEY_LEN * 8 });
        let answer = self.client.post(&OPERATION.path(key), &body).await;
        let answer = answer.map_err(|error| map_error(OPERATION, key, error))?;
        let made: Generated<'_> = answer.data().map_err(|_| not_an_answer(OPERATION))?;
        let plaintext = data_key(made.plaintext).ok_or_else(|| not_an_answer(OPERATION))?;
        let wrapped = named(made.ciphertext, made.key_version, key, OPERATION)?;
        self.last.accept(&plaintext).map_err(|error| error.with_hint(TWICE))?;
        Ok(GeneratedDataKey::new(Arc::new(plaintext), wrapped))
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        let pins = self.keys.pins(wrapped.key_id())?;
        let ciphertext = Ciphertext::parse(wrapped.bytes()).ok_or_else(does_not_open)?;
        self.open(pins, ciphertext, context).await.map(Arc::new)
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        let pins = self.keys.pins(wrapped.key_id())?;
        let ciphertext = Ciphertext::parse(wrapped.bytes()).ok_or_else(does_not_open)?;
        let current = self.keys.current();
        if pins.contains(current) {
            match self.rewrap_within(current, ciphertext, context).await {
                Err(error) if pins.len() > 1 && is_about_the_key(error.class()) => {}
                outcome => return outcome,
            }
        }
        let others: Vec<TransitKey> = pins.iter().filter(|pin| *pin != current).cloned().collect();
        let key = self.open(&others, ciphertext, context).await?;
        self.wrap_under_current(&key, context).await
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        let key = self.keys.current();
        let described = look_at(&self.client, key).await?;
        self.keys.note_fit(key);
        Ok(KeyDescription::new(key.version(described.latest_version), "vault"))
    }
}

impl Vault {
    /// Opens a wrapped data key with the first of these keys that does.
    ///
    /// If none does, a failure that an operator can fix is reported rather than "does not open".
    async fn open(
        &self,
        pins: &[TransitKey],
        ciphertext: Ciphertext<'_>,
        context: &EncryptionContext,
    ) -> Result<DataKey, KeyError> {
        let mut reported: Option<KeyError> = None;
        for pin in pins {
            match self.open_with(pin, ciphertext, context).await {
                Ok(key) => return Ok(key),
                Err(error) if is_about_the_key(error.class()) => match &reported {
                    Some(earlier) if earlier.class() != ErrorClass::ContextMismatchOrCorrupt => {}
                    _ => reported = Some(error),
                },
                Err(error) => return Err(error),
            }
        }
        Err(reported.unwrap_or_else(does_not_open))
    }

    async fn open_with(
        &self,
        key: &TransitKey,
        ciphertext: Ciphertext<'_>,
        context: &EncryptionContext,
    ) -> Result<DataKey, KeyError> {
        const OPERATION: Operation = Operation::Decrypt;
        self.ensure_fit(key).await?;
        let body = json!({ "context": encoded(context), "ciphertext": ciphertext.text });
        let answer = self.client.post(&OPERATION.path(key), &body).await;
        let answer = answer.map_err(|error| map_error(OPERATION, key, error))?;
        let opened: Decrypted<'_> = answer.data().map_err(|_| not_an_answer(OPERATION))?;
        // Some other text that the same key encrypted is not a data key.
        data_key(opened.plaintext).ok_or_else(does_not_open)
    }

    /// The server's own rewrap, which shows the data key to no client.
    async fn rewrap_within(
        &self,
        key: &TransitKey,
        ciphertext: Ciphertext<'_>,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        const OPERATION: Operation = Operation::Rewrap;
        self.ensure_fit(key).await?;
        let body = json!({ "context": encoded(context), "ciphertext": ciphertext.text });
        let answer = self.client.post(&OPERATION.path(key), &body).await;
        let answer = answer.map_err(|error| map_error(OPERATION, key, error))?;
        let new: Encrypted<'_> = answer.data().map_err(|_| not_an_answer(OPERATION))?;
        let version =
            Ciphertext::parse(new.ciphertext.as_bytes()).ok_or_else(|| not_an_answer(OPERATION))?.version;
        // The newest version wraps, and no key has a newer version that is older.
        if version < ciphertext.version {
            return Err(not_an_answer(OPERATION));
        }
        // The server re-wraps even at the current version. A key at the current version keeps its bytes here.
        let unchanged = version == ciphertext.version;
        named(if unchanged { ciphertext.text } else { new.ciphertext }, new.key_version, key, OPERATION)
    }

    /// Transit cannot rewrap from one key to another, so the data key is opened and wrapped here.
    async fn wrap_under_current(
        &self,
        data_key: &DataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        const OPERATION: Operation = Operation::Encrypt;
        let key = self.keys.current();
        // Also because `encrypt` would create a key of a mistyped name.
        look_at(&self.client, key).await?;
        self.keys.note_fit(key);
        let mut plaintext = Zeroizing::new(String::with_capacity(DATA_KEY_LEN * 2));
        STANDARD.encode_string(data_key.expose_secret(), &mut plaintext);
        let context = encoded(context);
        // Base64 needs no escaping, so the body is built without an unwiped copy.
        let mut body = Zeroizing::new(Vec::with_capacity(context.len() + plaintext.len() + 64));
        for part in ["{\"context\":\"", &context, "\",\"plaintext\":\"", &plaintext, "\"}"] {
            body.extend_from_slice(part.as_bytes());
        }
        let answer = self.client.post_bytes(&OPERATION.path(key), &body).await;
        let answer = answer.map_err(|error| map_error(OPERATION, key, error))?;
        let new: Encrypted<'_> = answer.data().map_err(|_| not_an_answer(OPERATION))?;
        named(new.ciphertext, new.key_version, key, OPERATION)
    }

    async fn ensure_fit(&self, key: &TransitKey) -> Result<(), KeyError> {
        let ask = |key: TransitKey| {
            let client = self.client.clone();
            async move { look_at(&client, &key).await.map(drop) }
        };
        self.keys.ensure_fit(key, ask).await
    }
}

/// Reads a key, and refuses another than the one that was asked for, and one that would not bind the context.
async fn look_at(client: &VaultClient, key: &TransitKey) -> Result<Key, KeyError> {
    const OPERATION: Operation = Operation::ReadKey;
    let answer = client.get(&OPERATION.path(key)).await;
    let answer = answer.map_err(|error| map_error(OPERATION, key, error))?;
    let read: Key = answer.data().map_err(|_| not_an_answer(OPERATION))?;
    if read.name != key.name() {
        return Err(another_key(key));
    }
    match read {
        Key { soft_deleted: true, .. } => Err(unsuited(key, ErrorClass::PendingDeletion)),
        Key { supports_derivation: false, .. } => Err(unsuited(key, ErrorClass::Misconfigured)),
        Key { derived: false, .. } => Err(not_derived(key)),
        read => Ok(read),
    }
}

/// Whether another of the allowed keys may do what this one did not.
fn is_about_the_key(class: ErrorClass) -> bool {
    use ErrorClass::{ContextMismatchOrCorrupt, Denied, NotFound, PendingDeletion, VersionRetired};
    matches!(class, ContextMismatchOrCorrupt | Denied | NotFound | PendingDeletion | VersionRetired)
}

/// The context as Transit takes it. Also the empty context has a canonical form of two bytes.
fn encoded(context: &EncryptionContext) -> String {
    STANDARD.encode(context.canonical())
}

fn data_key(text: &str) -> Option<DataKey> {
    let mut bytes = Zeroizing::new([0; DATA_KEY_LEN + 2]);
    let length = STANDARD.decode_slice(text, bytes.as_mut_slice()).ok()?;
    DataKey::from_slice(&bytes[..length]).ok()
}

/// The name of the key with the version that the wrapped data key carries. Where the answer states the version too, both agree.
fn named(
    ciphertext: &str,
    stated: Option<u32>,
    key: &TransitKey,
    operation: Operation,
) -> Result<WrappedDataKey, KeyError> {
    let parsed = Ciphertext::parse(ciphertext.as_bytes()).ok_or_else(|| not_an_answer(operation))?;
    if stated.is_some_and(|version| version != parsed.version) {
        return Err(not_an_answer(operation));
    }
    let wrapped = WrappedDataKey::new(parsed.text, Some(&key.version(parsed.version)));
    wrapped.map_err(|_| not_an_answer(operation))
}
