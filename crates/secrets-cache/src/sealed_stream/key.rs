//! The key of new streams, and what their headers say about it.

use std::fmt;
use std::sync::Arc;

use envelope_core::provider::GeneratedDataKey;
use envelope_core::{DataKey, WrappedDataKey};

/// A key to seal streams with.
pub struct StreamKey {
    key: Arc<DataKey>,
    label: String,
    wrapped: Option<WrappedDataKey>,
}

impl StreamKey {
    /// A key in memory. `label` describes it in words; it is readable, and may be empty.
    #[must_use]
    pub fn new(key: impl Into<Arc<DataKey>>, label: impl Into<String>) -> Self {
        Self { key: key.into(), label: label.into(), wrapped: None }
    }

    /// A data key that a key service made for one stream, under the [context](super::StreamKind::context) of its kind. Its
    /// wrapped form is in the header, and the label names the key that wrapped it.
    #[must_use]
    pub fn generated(generated: GeneratedDataKey) -> Self {
        let label = generated.wrapped.key_id().unwrap_or_default().to_owned();
        Self { key: generated.key.0, label, wrapped: Some(generated.wrapped) }
    }

    /// The key itself, to read a stream that was just sealed.
    #[must_use]
    pub fn key(&self) -> &DataKey {
        &self.key
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn wrapped(&self) -> Option<&WrappedDataKey> {
        self.wrapped.as_ref()
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamKey").field("label", &self.label).finish_non_exhaustive()
    }
}
