//! A stored value, recognized and parsed once for whatever is done with it.

use std::fmt;

use secrecy::SecretString;

use crate::binding::{Binding, BindingPolicy};
use crate::context::{ContextError, EncryptionContext};
use crate::error::OpenError;
use crate::format::{
    self, Format, FormatError, autonomous, bound, kms_envelope, node_json, pulseplan_kms, pulseplan_local,
};
use crate::key::{DataKey, WrappedDataKey};
use crate::rewrap::Rewrapped;

/// A stored text whose format is known.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stored<'a> {
    /// An envelope of version 2 or 3.
    Envelope(StoredEnvelope<'a>),
    /// A well-formed text of another format.
    Other(Format),
}

impl<'a> Stored<'a> {
    /// Finds out the format by the rules of [`detect`](crate::detect). `key_id` is the key that the row names, if it
    /// names one.
    ///
    /// # Errors
    /// [`FormatError`] where the text carries a mark but is not well-formed.
    pub fn detect(text: &'a str, key_id: Option<&str>) -> Result<Self, FormatError> {
        let claimed = format::claimed(text)?;
        let is_well_formed = match claimed {
            Format::KmsEnvelope | Format::BoundEnvelope => {
                return StoredEnvelope::parse(text, key_id).map(Self::Envelope);
            }
            Format::PulseplanKms => pulseplan_kms::Envelope::parse(text).map(drop),
            Format::Autonomous => autonomous::Envelope::parse(text).map(drop),
            Format::AutonomousDev => autonomous::DevEnvelope::parse(text).map(drop),
            Format::PulseplanLocal => pulseplan_local::Envelope::parse(text).map(drop),
            Format::NodeJson => node_json::Envelope::parse(text).map(drop),
            Format::Plaintext | Format::DirectAes => Ok(()),
        };
        is_well_formed.map(|()| Self::Other(claimed))
    }

    /// The format of the text.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::Envelope(envelope) => envelope.format(),
            Self::Other(format) => *format,
        }
    }
}

/// A stored value of version 2 or 3: its wrapped data key, its payload, and the text that they came from.
pub struct StoredEnvelope<'a> {
    text: &'a str,
    wrapped: WrappedDataKey,
    payload: Payload,
}

/// The parsed text, by version.
enum Payload {
    /// The data key is wrapped for the cell, or at least for the owner.
    V2(kms_envelope::Envelope),
    /// The data key is wrapped for the application alone.
    V3(bound::Envelope),
}

impl<'a> StoredEnvelope<'a> {
    /// Parses a value. `key_id` is the key that the row names, if it names one.
    ///
    /// # Errors
    /// [`FormatError`] if the text is not an envelope of version 2 or 3.
    pub fn parse(text: &'a str, key_id: Option<&str>) -> Result<Self, FormatError> {
        if text.starts_with(bound::MARK) {
            let envelope = bound::Envelope::parse(text)?;
            let wrapped = envelope.wrapped_data_key(key_id)?;
            return Ok(Self { text, wrapped, payload: Payload::V3(envelope) });
        }
        let mut envelope = kms_envelope::Envelope::parse(text)?;
        let wrapped = envelope.wrapped_data_key(key_id)?;
        Ok(Self { text, wrapped, payload: Payload::V2(envelope) })
    }

    /// The format of the text.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.payload {
            Payload::V2(_) => Format::KmsEnvelope,
            Payload::V3(_) => Format::BoundEnvelope,
        }
    }

    /// The wrapped data key.
    #[must_use]
    pub fn wrapped(&self) -> &WrappedDataKey {
        &self.wrapped
    }

    /// Opens the payload with the unwrapped data key. A value of version 3 is checked against the cell; one of version 2
    /// is bound by the context that its data key was unwrapped under, or not at all.
    ///
    /// # Errors
    /// [`OpenError::NotAuthentic`], [`OpenError::NotText`], [`OpenError::Context`].
    pub fn open(&self, key: &DataKey, binding: &Binding<'_>) -> Result<SecretString, OpenError> {
        match &self.payload {
            Payload::V2(envelope) => envelope.open(key),
            Payload::V3(envelope) => envelope.open(key, binding),
        }
    }

    /// The contexts that the data key may be wrapped under, in the order in which to try them.
    ///
    /// Version 3 has one, that of the application. Version 2 has the bound one and, unless unbound values are
    /// refused, the plain one.
    ///
    /// # Errors
    /// [`ContextError`] where the row's identity does not make a context.
    pub fn contexts(
        &self,
        base: &[(String, String)],
        binding: &Binding<'_>,
        policy: BindingPolicy,
    ) -> Result<Vec<EncryptionContext>, ContextError> {
        if matches!(self.payload, Payload::V3(_)) {
            let pairs = base.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            return Ok(vec![EncryptionContext::new(pairs)?]);
        }
        let bound = binding.bound_context(base)?;
        Ok(match policy {
            BindingPolicy::Require => vec![bound],
            BindingPolicy::AcceptUnbound => vec![bound, binding.plain_context(base)?],
            BindingPolicy::Off => vec![binding.plain_context(base)?, bound],
        })
    }

    /// Puts a re-wrapped data key in the old one's place; the payload is not touched.
    ///
    /// The same wrapped bytes give the same text back, to the byte.
    ///
    /// # Errors
    /// [`FormatError`], which a parsed value never has.
    pub fn replace(&self, wrapped: &WrappedDataKey) -> Result<Rewrapped, FormatError> {
        let key_id = wrapped.key_id();
        if wrapped.bytes() == self.wrapped.bytes() {
            return Ok(Rewrapped::unchanged(self.text, key_id));
        }
        let text = match self.payload {
            Payload::V2(_) => kms_envelope::replace_wrapped(self.text, wrapped)?,
            Payload::V3(_) => bound::replace_wrapped(self.text, wrapped)?,
        };
        Ok(Rewrapped { text, key_id: key_id.map(Into::into), changed: true })
    }
}

impl fmt::Debug for StoredEnvelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredEnvelope").field("format", &self.format()).finish_non_exhaustive()
    }
}
