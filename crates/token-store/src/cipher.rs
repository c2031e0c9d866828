//! Everything that tokens are sealed and opened with, and the rules that say which applies to a cell.

mod stored;
mod user_keys;

use std::sync::Arc;

use envelope_core::field::{self, FieldKeys};
use envelope_core::format::node_json::{self, Accepted, DataKeyRing};
use envelope_core::format::{FormatError, autonomous, direct_aes, pulseplan_kms};
use envelope_core::ledger::refuses_unlabelled;
use envelope_core::stored::Stored;
use envelope_core::{
    Binding, BindingPolicy, DataKey, ErrorClass, Format, OpenError, Purpose, SealError, Sealer, Writing,
};
use secrecy::{ExposeSecret, SecretString};

pub use envelope_core::sealer::FailureObserver;
pub(crate) use stored::Recorded;
pub use user_keys::UserKeys;

use crate::error::{Needed, SealFailure};
use crate::floor::{Floor, Rules};
use crate::profile::{LegacyFormat, Profile};
use crate::write_format::WriteFormat;

/// The treatment of readable tokens. The policy is meant to move one way only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlaintextPolicy {
    /// They are read, and written where nothing to seal with is configured; each write is warned of.
    #[default]
    Allow,
    /// They are read, and no longer written.
    AllowRead,
    /// They are neither read nor written.
    Forbid,
}

/// The keys and policies that a store reads and writes with.
///
/// Reading uses the method that a row was written with; writing uses the first that is configured of the key
/// service, the profile's legacy format and plaintext.
#[derive(Default)]
pub struct TokenCipher {
    sealer: Option<Sealer>,
    direct: Option<DataKey>,
    user_keys: Option<UserKeys>,
    development: Option<autonomous::DevKey>,
    ring: Option<Arc<dyn DataKeyRing>>,
    plaintext: PlaintextPolicy,
    fallback: bool,
    observer: Option<FailureObserver>,
    sealer_only_opens: bool,
    read_floor: Option<Floor>,
    below_floor: bool,
    /// The forms that are read, once the profile is known.
    rules: Rules,
}

/// An opened cell.
pub(crate) struct OpenedCell {
    pub(crate) plaintext: SecretString,
    pub(crate) format: Format,
    /// Whether it is bound to its cell; nothing but an envelope can be.
    pub(crate) bound: bool,
}

/// A cell ready to be stored.
pub(crate) struct SealedCell {
    pub(crate) text: String,
    pub(crate) key_id: Option<String>,
}

impl TokenCipher {
    /// A cipher that can read and write plaintext only, until it is given keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the key service, under which new tokens are sealed.
    #[must_use]
    pub fn with_sealer(mut self, sealer: Sealer) -> Self {
        self.sealer = Some(sealer);
        self
    }

    /// Adds the key service for opening only: the first step of a rollout, in which every instance becomes
    /// able to read envelopes before the first one writes any.
    #[must_use]
    pub fn with_sealer_for_reading(mut self, sealer: Sealer) -> Self {
        self.sealer_only_opens = true;
        self.with_sealer(sealer)
    }

    /// Adds `ENCRYPTION_KEY`, for direct AES.
    #[must_use]
    pub fn with_direct_key(mut self, key: DataKey) -> Self {
        self.direct = Some(key);
        self
    }

    /// Adds `TOKEN_ENCRYPTION_KEY`, for PulsePlan's per-user keys.
    #[must_use]
    pub fn with_user_keys(mut self, keys: UserKeys) -> Self {
        self.user_keys = Some(keys);
        self
    }

    /// Adds `DEV_ENCRYPTION_KEY`, so that the autonomous platform's development tokens open. Not for production.
    #[must_use]
    pub fn with_development_key(mut self, key: autonomous::DevKey) -> Self {
        self.development = Some(key);
        self
    }

    /// Adds the data keys that Node KMSService's envelopes name.
    #[must_use]
    pub fn with_data_key_ring(mut self, ring: Arc<dyn DataKeyRing>) -> Self {
        self.ring = Some(ring);
        self
    }

    /// Sets the policy for readable tokens.
    #[must_use]
    pub fn with_plaintext_policy(mut self, policy: PlaintextPolicy) -> Self {
        self.plaintext = policy;
        self
    }

    /// Sets the weakest form of a value that is read; overrides the profile.
    #[must_use]
    pub fn with_read_floor(mut self, floor: Floor) -> Self {
        self.read_floor = Some(floor);
        self
    }

    /// Reads below the floor, for one run that moves existing values. A moved value is trusted like one that
    /// was sealed by this program: an operator has to be sure that every value is where it belongs.
    #[must_use]
    pub fn with_reading_below_floor(mut self) -> Self {
        self.below_floor = true;
        self
    }

    /// The weakest form of a value that is read.
    #[must_use]
    pub fn floor(&self) -> Floor {
        self.rules.floor
    }

    /// Whether values below the floor are read.
    #[must_use]
    pub fn reads_below_floor(&self) -> bool {
        self.below_floor
    }

    /// Fixes the forms that are read in the tables of a profile.
    pub(crate) fn for_profile(mut self, profile: &Profile) -> Self {
        let binding = self.sealer.as_ref().map_or(BindingPolicy::default(), Sealer::policy);
        self.rules = Rules::new(self.read_floor, profile, binding, self.plaintext, self.below_floor);
        let refuses_unbound = self.rules.opening() == BindingPolicy::Require;
        self.sealer = self.sealer.map(|sealer| sealer.refusing_unbound(refuses_unbound));
        self
    }

    /// Lets new tokens be written in the profile's older form while the key service is unavailable: in direct AES, or under
    /// PulsePlan's per-user keys. They are marked, so that a migration finds and re-seals them. Never for reads, and never where the key service refuses.
    #[must_use]
    pub fn with_local_fallback(mut self) -> Self {
        self.fallback = true;
        self
    }

    /// The form that a write that failed like this falls back to, if it may.
    pub(crate) fn falls_back(&self, profile: &Profile, failure: &SealFailure) -> Option<WriteFormat> {
        let SealFailure::Envelope(SealError::Key(error)) = failure else { return None };
        let is_away = matches!(error.class(), ErrorClass::Unavailable | ErrorClass::Timeout);
        let format = match profile.legacy {
            Some(LegacyFormat::PulseplanLocal) if self.user_keys.is_some() => WriteFormat::PulseplanLocal,
            _ if self.direct.is_some() => WriteFormat::DirectAes,
            _ => return None,
        };
        (self.fallback && is_away && profile.can_store(format)).then_some(format)
    }

    /// The sealer, where a key service is configured.
    #[must_use]
    pub fn key_service(&self) -> Option<&Sealer> {
        self.sealer.as_ref()
    }

    /// Whether PulsePlan's per-user keys are configured.
    #[must_use]
    pub fn has_user_keys(&self) -> bool {
        self.user_keys.is_some()
    }

    /// Whether `ENCRYPTION_KEY` is configured.
    #[must_use]
    pub fn has_direct_key(&self) -> bool {
        self.direct.is_some()
    }

    /// The form of a new token under this profile.
    #[must_use]
    pub fn write_format(&self, profile: &Profile) -> WriteFormat {
        match profile.legacy {
            _ if self.sealer.is_some() && !self.sealer_only_opens => WriteFormat::KmsEnvelope,
            Some(LegacyFormat::DirectAes) if self.direct.is_some() => WriteFormat::DirectAes,
            Some(LegacyFormat::PulseplanLocal) if self.user_keys.is_some() => WriteFormat::PulseplanLocal,
            _ => WriteFormat::Plaintext,
        }
    }

    /// Shows every value that does not open to an observer that counts them.
    #[must_use]
    pub fn with_failure_observer(mut self, observer: FailureObserver) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Opens a cell by the rules of [`classify`](Self::classify).
    pub(crate) async fn open(
        &self,
        text: &str,
        recorded: Recorded<'_>,
        binding: &Binding<'_>,
    ) -> Result<OpenedCell, OpenError> {
        let opened = self.open_unobserved(text, recorded, binding).await;
        if let (Err(error), Some(observer)) = (&opened, &self.observer) {
            observer(error);
        }
        opened
    }

    /// Opens a field that a service sealed by hand: an envelope as any other, or one of a ring for this purpose.
    pub(crate) async fn open_field(
        &self,
        text: &str,
        recorded: Recorded<'_>,
        binding: &Binding<'_>,
    ) -> Result<OpenedCell, OpenError> {
        match (&self.ring, Self::classify(text, recorded)) {
            (Some(ring), Ok(Format::NodeJson)) => {
                let opened = field::decrypt_field(FieldKeys::Ring(ring.as_ref()), binding, text).await;
                if let (Err(error), Some(observer)) = (&opened, &self.observer) {
                    observer(error);
                }
                opened.map(|plaintext| OpenedCell { plaintext, format: Format::BoundEnvelope, bound: true })
            }
            _ => self.open(text, recorded, binding).await,
        }
    }

    async fn open_unobserved(
        &self,
        text: &str,
        recorded: Recorded<'_>,
        binding: &Binding<'_>,
    ) -> Result<OpenedCell, OpenError> {
        let stored = Self::recognize(text, recorded)?;
        let format = stored.format();
        if !text.is_empty() {
            self.rules.decide(format, None)?;
        }
        let unbound = |plaintext| Ok(OpenedCell { plaintext, format, bound: false });
        if let Stored::Envelope(envelope) = &stored {
            let opened = self.sealer(format)?.open_stored(envelope, binding).await;
            let opened = opened.map_err(|error| self.rules.unbound(format, error))?;
            self.rules.decide(format, Some(opened.bound))?;
            return Ok(OpenedCell { plaintext: opened.plaintext, format, bound: opened.bound });
        }
        match format {
            Format::Plaintext if text.is_empty() => unbound(SecretString::default()),
            Format::Plaintext => unbound(SecretString::from(text)),
            Format::DirectAes => {
                let key = self.direct.as_ref().ok_or(missing(format, Needed::DirectKey))?;
                unbound(direct_aes::open(key, text)?)
            }
            Format::PulseplanLocal => {
                let keys = self.user_keys.as_ref().ok_or(missing(format, Needed::UserKeys))?;
                // Without its user a row has no key; it opens under none.
                unbound(keys.open(text, binding.owner_id().ok_or(OpenError::NotAuthentic)?).await?)
            }
            Format::PulseplanKms => {
                let sealer = self.sealer(format)?;
                let expected = sealer.plain_context(binding)?;
                unbound(pulseplan_kms::open(sealer.single_use().as_ref(), text, &expected).await?)
            }
            Format::Autonomous => {
                unbound(autonomous::open(self.sealer(format)?.single_use().as_ref(), text).await?)
            }
            Format::AutonomousDev => {
                let key = self.development.as_ref().ok_or(OpenError::DevelopmentToken)?;
                unbound(autonomous::open_dev(key, text)?)
            }
            Format::NodeJson => unbound(self.open_node_json(text, binding)?),
            _ => Err(FormatError::UnknownVersion.into()),
        }
    }

    /// The associated data of such a value is its owner or its row's key, or there is none; a claim inside it
    /// is not believed.
    fn open_node_json(&self, text: &str, binding: &Binding<'_>) -> Result<SecretString, OpenError> {
        let ring = self.ring.as_ref().ok_or(missing(Format::NodeJson, Needed::Keyring))?;
        let names =
            [binding.owner_id(), binding.key_id()].into_iter().flatten().map(|name| Some(name.as_bytes()));
        let accepted = accepted_labels(ring.as_ref());
        let mut refused = OpenError::NotAuthentic;
        for aad in names.chain([None]) {
            match node_json::open_text(ring.as_ref(), accepted, aad, text) {
                Err(error) => refused = error,
                opened => return opened,
            }
        }
        Err(refused)
    }

    fn sealer(&self, format: Format) -> Result<&Sealer, OpenError> {
        self.sealer.as_ref().ok_or(missing(format, Needed::KeyService))
    }

    /// The format that a row must be in to count as moved.
    pub(crate) fn goal(&self, format: WriteFormat) -> Format {
        match format {
            WriteFormat::KmsEnvelope => match self.sealer.as_ref().map(Sealer::writing) {
                Some(Writing::V3) => Format::BoundEnvelope,
                _ => Format::KmsEnvelope,
            },
            WriteFormat::DirectAes => Format::DirectAes,
            WriteFormat::PulseplanLocal => Format::PulseplanLocal,
            WriteFormat::Plaintext => Format::Plaintext,
        }
    }

    /// Seals a token for a cell.
    pub(crate) async fn seal(
        &self,
        format: WriteFormat,
        plaintext: &SecretString,
        binding: &Binding<'_>,
    ) -> Result<SealedCell, SealFailure> {
        let plaintext = plaintext.expose_secret();
        match format {
            WriteFormat::KmsEnvelope => {
                let missing =
                    SealFailure::MissingKey { format: Format::KmsEnvelope, needed: Needed::KeyService };
                let sealed = self.sealer.as_ref().ok_or(missing)?.seal(plaintext, binding).await?;
                Ok(SealedCell { text: sealed.text, key_id: sealed.key_id })
            }
            WriteFormat::DirectAes => {
                let missing =
                    SealFailure::MissingKey { format: Format::DirectAes, needed: Needed::DirectKey };
                let text = direct_aes::seal(self.direct.as_ref().ok_or(missing)?, plaintext);
                Ok(SealedCell { text, key_id: Some(direct_aes::KEY_ID.into()) })
            }
            WriteFormat::Plaintext if self.plaintext == PlaintextPolicy::Allow => {
                tracing::warn!(
                    table = binding.table(),
                    column = binding.column(),
                    "token is written in plaintext: neither a key service nor a key is configured"
                );
                Ok(SealedCell { text: plaintext.to_owned(), key_id: None })
            }
            WriteFormat::Plaintext => Err(SealFailure::PlaintextForbidden),
            WriteFormat::PulseplanLocal => {
                let missing =
                    SealFailure::MissingKey { format: Format::PulseplanLocal, needed: Needed::UserKeys };
                let keys = self.user_keys.as_ref().ok_or(missing)?;
                let text = keys.seal(plaintext, binding.owner_id().ok_or(SealFailure::NoUser)?).await;
                Ok(SealedCell { text, key_id: None })
            }
        }
    }
}

fn missing(format: Format, needed: Needed) -> OpenError {
    OpenError::MissingKey { format, needed }
}

/// A ring that remembers a local store that was re-sealed accepts no value without a purpose any more: a secret from before
/// could be put into a row.
fn accepted_labels(ring: &dyn DataKeyRing) -> Accepted {
    let is_complete = ring.ledger().is_some_and(|ledger| {
        // Unknown forms are not accepted.
        ledger.records().map_or(true, |stores| refuses_unlabelled(&stores))
    });
    if is_complete { Accepted::Only(Purpose::Token) } else { Accepted::OrUnlabelled(Purpose::Token) }
}
