//! From the old envelope of a document to a new one, under the active key of the keyring.

use envelope_core::format::node_json::{self, Accepted, DataKeyRing, Envelope};
use envelope_core::ledger::{LedgerError, refuses_unlabelled};
use envelope_core::{OpenError, Purpose};
use kms_provider::Keyring;
use secrecy::{ExposeSecret as _, SecretSlice};
use time::OffsetDateTime;

use super::Form;
use super::document::Document;

/// Seals documents for one program.
pub(super) struct Resealing {
    ring: Keyring,
    form: Form,
    accepted: Accepted,
}

/// The outcome for a document's value.
pub(super) enum Outcome {
    /// It is sealed as it should be.
    Already,
    /// The new envelope.
    Resealed(String),
}

impl Resealing {
    pub(super) fn new(ring: Keyring, form: Form, accept_unlabelled: bool) -> Result<Self, LedgerError> {
        let stores = ring.ledger().map(|ledger| ledger.records()).transpose()?.unwrap_or_default();
        let accepted = match refuses_unlabelled(&stores) && !accept_unlabelled {
            true => Accepted::Only(Purpose::Field),
            false => Accepted::OrUnlabelled(Purpose::Field),
        };
        Ok(Self { ring, form, accepted })
    }

    /// Opens the value of a document for the text that it is bound to, and seals it for the same text.
    pub(super) fn reseal(&self, document: &Document<'_>) -> Result<Outcome, OpenError> {
        let aad = Some(document.aad.as_bytes());
        let value = node_json::open(&self.ring, self.accepted, aad, &document.envelope)?;
        if self.is_as_it_should_be(&document.envelope)? {
            return Ok(Outcome::Already);
        }
        let new = self.seal(aad, &value);
        // Written only if it opens again.
        let again = node_json::open(&self.ring, Accepted::OrUnlabelled(Purpose::Field), aad, &new)?;
        match again.expose_secret() == value.expose_secret() {
            true => Ok(Outcome::Resealed(new)),
            false => Err(OpenError::NotAuthentic),
        }
    }

    fn is_as_it_should_be(&self, envelope: &str) -> Result<bool, OpenError> {
        let envelope = Envelope::parse(envelope)?;
        let purpose = match self.form {
            Form::Field => Some(Purpose::Field),
            Form::Node => None,
        };
        Ok(envelope.key_id() == self.ring.active().0 && envelope.claimed_purpose() == purpose)
    }

    fn seal(&self, aad: Option<&[u8]>, value: &SecretSlice<u8>) -> String {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        let now = u64::try_from(now).unwrap_or_default();
        match self.form {
            Form::Field => node_json::seal(&self.ring, Purpose::Field, aad, value.expose_secret(), now),
            Form::Node => node_json::seal_unlabelled(&self.ring, aad, value.expose_secret(), now),
        }
    }
}
