//! Data keys that are made before there is a value to seal, so that sealing it later needs no key service.

use super::{Sealed, Sealer, Writing};
use crate::binding::Binding;
use crate::context::{ContextError, EncryptionContext};
use crate::error::SealError;
use crate::format::MAX_PLAINTEXT_LEN;
use crate::provider::GeneratedDataKey;

/// A data key for one value of one cell. It seals once, and is wiped when dropped.
pub struct PreparedKey {
    generated: GeneratedDataKey,
    /// The context that the key is wrapped under: sealing for another cell would make a value that does not open.
    context: EncryptionContext,
    writing: Writing,
}

impl std::fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedKey").field("writing", &self.writing).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Makes a data key for the next value of a cell.
    ///
    /// # Errors
    /// [`SealError`], as for [`seal`](Self::seal).
    pub async fn prepare(&self, binding: &Binding<'_>) -> Result<PreparedKey, SealError> {
        let context = self.sealing_context(binding)?;
        let generated = self.provider.generate(&context).await?;
        Ok(PreparedKey { generated, context, writing: self.writing })
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
        if prepared.writing != self.writing || prepared.context != self.sealing_context(binding)? {
            return Ok(None);
        }
        self.seal_under(prepared.generated, plaintext, binding).map(Some)
    }

    /// The context that a data key for a cell is wrapped under.
    pub(super) fn sealing_context(&self, binding: &Binding<'_>) -> Result<EncryptionContext, ContextError> {
        match self.writing {
            Writing::UnboundV2 => binding.plain_context(&self.base),
            Writing::V2 => binding.bound_context(&self.base),
            Writing::V3 => Ok(self.base_context.clone()),
        }
    }
}
