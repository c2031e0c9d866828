//! AWS KMS as a key service: one call each to make, open, rewrap and describe.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyMetadata, KeyState};
use envelope_core::provider::{ErrorClass, GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;
use zeroize::Zeroizing;

use super::Aws;
use super::error::{Operation, map_error, not_an_answer};
use crate::redact::redact_arn;

/// The next step after a data key that came twice.
const TWICE: &str = "nothing was stored; check AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS and what answers in the key service's place";

#[async_trait]
impl KeyProvider for Aws {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        let key_id = self.keys.current();
        let request = self
            .client
            .generate_data_key()
            .key_id(key_id)
            .key_spec(DataKeySpec::Aes256)
            .set_encryption_context(pairs(context));
        let answer =
            request.send().await.map_err(|error| map_error(Operation::GenerateDataKey, key_id, error))?;
        // Taken out first, so that it is wiped even if the rest is invalid.
        let plaintext = secret(answer.plaintext);
        let (Some(plaintext), Some(wrapped), Some(arn)) = (plaintext, answer.ciphertext_blob, answer.key_id)
        else {
            return Err(not_an_answer(Operation::GenerateDataKey));
        };
        self.check_answer(key_id, &arn).await?;
        let key = DataKey::from_slice(&plaintext).map_err(|_| not_an_answer(Operation::GenerateDataKey))?;
        self.last.accept(&key).map_err(|error| error.with_hint(TWICE))?;
        Ok(GeneratedDataKey::new(Arc::new(key), named(wrapped.into_inner(), &arn)?))
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        let opened = self.open(wrapped.bytes(), wrapped.key_id(), context).await?;
        let key = DataKey::from_slice(&opened).map_err(|error| {
            KeyError::new(
                ErrorClass::ContextMismatchOrCorrupt,
                "AWS KMS opened something that is not a data key",
            )
            .with_source(error)
        })?;
        Ok(Arc::new(key))
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        let pins = self.pins(wrapped.key_id()).await?;
        let answer = first_that_fits(&pins, |pin| async move {
            let request = self
                .client
                .re_encrypt()
                .ciphertext_blob(Blob::new(wrapped.bytes()))
                .source_key_id(pin)
                .destination_key_id(self.keys.current())
                .set_source_encryption_context(pairs(context))
                .set_destination_encryption_context(pairs(context));
            let answer = request.send().await.map_err(|error| map_error(Operation::ReEncrypt, pin, error))?;
            let source =
                answer.source_key_id.as_deref().ok_or_else(|| not_an_answer(Operation::ReEncrypt))?;
            self.check_answer(pin, source).await?;
            Ok(answer)
        });
        let answer = answer.await?;
        let (Some(rewrapped), Some(arn)) = (answer.ciphertext_blob, answer.key_id) else {
            return Err(not_an_answer(Operation::ReEncrypt));
        };
        self.check_answer(self.keys.current(), &arn).await?;
        // Only KMS knows which key the bytes are really under, so that they were already under the current one is seen
        // from its answer and not from the claim.
        let unchanged = answer.source_key_id.as_ref() == Some(&arn);
        named(if unchanged { wrapped.bytes().into() } else { rewrapped.into_inner() }, &arn)
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        let key_id = self.keys.current();
        let metadata = describe(&self.client, key_id).await?;
        let arn = metadata.arn.ok_or_else(|| not_an_answer(Operation::DescribeKey))?;
        self.keys.learn(key_id, &arn)?;
        match metadata.key_state {
            None | Some(KeyState::Enabled) => Ok(KeyDescription::new(arn, "aws-kms")),
            Some(state) => Err(unusable(&arn, &state)),
        }
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        let opened = self.open(ciphertext, key_id, context).await?;
        // A copy of exactly the right size, because boxing a longer buffer would leave one that is not wiped.
        Ok(opened.to_vec().into())
    }
}

impl Aws {
    async fn open(
        &self,
        ciphertext: &[u8],
        claim: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let pins = self.pins(claim).await?;
        let answer = first_that_fits(&pins, |pin| async move {
            let request = self
                .client
                .decrypt()
                .ciphertext_blob(Blob::new(ciphertext))
                .key_id(pin)
                .set_encryption_context(pairs(context));
            let mut answer =
                request.send().await.map_err(|error| map_error(Operation::Decrypt, pin, error))?;
            // Taken out first, so that it is wiped even if the rest is invalid.
            let plaintext =
                secret(answer.plaintext.take()).ok_or_else(|| not_an_answer(Operation::Decrypt))?;
            let arn = answer.key_id.as_deref().ok_or_else(|| not_an_answer(Operation::Decrypt))?;
            self.check_answer(pin, arn).await?;
            Ok(plaintext)
        });
        answer.await
    }

    async fn check_answer(&self, asked: &str, answered: &str) -> Result<(), KeyError> {
        self.keys.check_answer(asked, answered, |alias| self.resolve(alias)).await
    }

    /// Asks KMS for the ARN of an alias's key.
    fn resolve(&self, alias: String) -> impl Future<Output = Result<String, KeyError>> + Send + 'static {
        let client = self.client.clone();
        async move {
            let arn = describe(&client, &alias).await?.arn;
            arn.ok_or_else(|| not_an_answer(Operation::DescribeKey))
        }
    }

    async fn pins(&self, claim: Option<&str>) -> Result<Vec<String>, KeyError> {
        self.keys.pins(claim, |alias| self.resolve(alias)).await
    }
}

/// Tries one key after the other while the failure is about the key that was tried and not about the value.
///
/// If none matches, a failure that an operator can fix is reported rather than "another key".
async fn first_that_fits<'a, T, F>(pins: &'a [String], attempt: impl Fn(&'a str) -> F) -> Result<T, KeyError>
where
    F: Future<Output = Result<T, KeyError>>,
{
    let mut told: Option<KeyError> = None;
    for pin in pins {
        match attempt(pin).await {
            Err(error) if is_about_the_key(error.class()) => match &told {
                Some(earlier) if earlier.class() != ErrorClass::WrongKey => {}
                _ => told = Some(error),
            },
            outcome => return outcome,
        }
    }
    Err(told.unwrap_or_else(|| KeyError::new(ErrorClass::Misconfigured, "no AWS KMS key is configured")))
}

fn is_about_the_key(class: ErrorClass) -> bool {
    use ErrorClass::{Denied, Disabled, NotFound, PendingDeletion, WrongKey};
    matches!(class, WrongKey | Denied | NotFound | Disabled | PendingDeletion)
}

async fn describe(client: &aws_sdk_kms::Client, key_id: &str) -> Result<KeyMetadata, KeyError> {
    let answer = client.describe_key().key_id(key_id).send().await;
    let answer = answer.map_err(|error| map_error(Operation::DescribeKey, key_id, error))?;
    answer.key_metadata.ok_or_else(|| not_an_answer(Operation::DescribeKey))
}

fn unusable(arn: &str, state: &KeyState) -> KeyError {
    let class = match state {
        KeyState::Disabled => ErrorClass::Disabled,
        KeyState::Unavailable => ErrorClass::Unavailable,
        _ => ErrorClass::PendingDeletion,
    };
    KeyError::new(class, format!("AWS KMS key {} is in state {}", redact_arn(arn), state.as_str())).with_hint(
        "kms:EnableKey enables a disabled key; kms:CancelKeyDeletion keeps one that is pending deletion",
    )
}

/// Moves a secret out of an answer, so that it is wiped when dropped.
fn secret(blob: Option<Blob>) -> Option<Zeroizing<Vec<u8>>> {
    blob.map(|blob| Zeroizing::new(blob.into_inner()))
}

/// The context as the SDK takes it; an empty one is left out of the call.
fn pairs(context: &EncryptionContext) -> Option<HashMap<String, String>> {
    let pairs = || context.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    (!context.is_empty()).then(pairs)
}

fn named(bytes: Vec<u8>, arn: &str) -> Result<WrappedDataKey, KeyError> {
    WrappedDataKey::new(bytes, Some(arn)).map_err(|error| {
        KeyError::new(
            ErrorClass::Unavailable,
            "AWS KMS answered with a wrapped data key of an impossible length",
        )
        .with_source(error)
    })
}
