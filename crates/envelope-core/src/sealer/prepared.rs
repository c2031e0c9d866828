//! Data keys that are made before there is a value to seal, so that sealing it later needs no key service.

use super::{EnvelopeFormat, Sealed, Sealer};
use crate::binding::{Binding, BindingPolicy};
use crate::context::EncryptionContext;
use crate::error::SealError;
use crate::format::{MAX_PLAINTEXT_LEN, bound, kms_envelope};
use crate::provider::GeneratedDataKey;

/// A data key for one value of one cell. It seals once, and is wiped when dropped.
pub struct PreparedKey {
    generated: GeneratedDataKey,
    /// The context that the key is wrapped under: sealing for another cell would make a value that does not open.
    context: EncryptionContext,
    format: EnvelopeFormat,
}

impl std::fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedKey").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Makes a data key for the next value of a cell.
    ///
    /// # Errors
    /// [`SealError`], as for [`seal`](Self::seal).
    pub async fn prepare(&self, binding: &Binding<'_>) -> Result<PreparedKey, SealError> {
        self.check_format()?;
        let context = self.sealing_context(binding)?;
        let generated = self.provider.generate(&context).await?;
        Ok(PreparedKey { generated, context, format: self.format })
    }

    /// Seals a value for the cell that the key was made for, without any call. `None` where the key was made for another
    /// cell, or by a sealer with other settings.
    ///
    /// # Errors
    /// [`SealError::TooLong`], [`SealError::Context`].
    pub fn seal_prepared(
        &self,
        prepared: PreparedKey,
        plaintext: &str,
        binding: &Binding<'_>,
    ) -> Result<Option<Sealed>, SealError> {
        if plaintext.len() > MAX_PLAINTEXT_LEN {
            return Err(SealError::TooLong { actual: plaintext.len(), limit: MAX_PLAINTEXT_LEN });
        }
        if plaintext.is_empty() {
            return Ok(Some(Sealed { text: String::new(), key_id: None }));
        }
        if prepared.format != self.format || prepared.context != self.sealing_context(binding)? {
            return Ok(None);
        }
        let GeneratedDataKey { key, wrapped } = prepared.generated;
        let text = match self.format {
            EnvelopeFormat::V2 => kms_envelope::seal(&key.0, &wrapped, plaintext),
            EnvelopeFormat::V3 => bound::seal(self.suite, &key.0, &wrapped, binding, plaintext.as_bytes())?,
        };
        Ok(Some(Sealed { text, key_id: wrapped.into_key_id() }))
    }

    /// The context that a data key for a cell is wrapped under.
    fn sealing_context(&self, binding: &Binding<'_>) -> Result<EncryptionContext, SealError> {
        Ok(match (self.format, self.policy) {
            (EnvelopeFormat::V3, _) => self.base_context.clone(),
            (EnvelopeFormat::V2, BindingPolicy::Off) => binding.plain_context(&self.base)?,
            (EnvelopeFormat::V2, _) => binding.bound_context(&self.base)?,
        })
    }
}
