//! A secret as a source returns it: the value, its version, and its metadata.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::name::SecretName;
use crate::typed;
use crate::value::SecretValue;

/// Which version of a secret is meant, in AWS Secrets Manager's terms (its "staging labels").
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// `AWSCURRENT`: the version in use.
    #[default]
    Current,
    /// `AWSPREVIOUS`: the one before it.
    Previous,
    /// `AWSPENDING`: one that a rotation has made and not yet put into use.
    Pending,
    /// A label of the user's own.
    Other(Arc<str>),
}

impl Stage {
    /// The label.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Current => "AWSCURRENT",
            Self::Previous => "AWSPREVIOUS",
            Self::Pending => "AWSPENDING",
            Self::Other(label) => label,
        }
    }
}

impl From<&str> for Stage {
    /// Reads a label; `current`, `previous` and `pending` are understood as well.
    fn from(label: &str) -> Self {
        match label {
            "AWSCURRENT" | "current" => Self::Current,
            "AWSPREVIOUS" | "previous" => Self::Previous,
            "AWSPENDING" | "pending" => Self::Pending,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One version of a secret, with its value.
#[derive(Debug)]
#[non_exhaustive]
pub struct Secret {
    /// Its name, as it was asked for.
    pub name: SecretName,
    /// The value.
    pub value: SecretValue,
    /// The version, as its source names it.
    pub version: String,
    /// The stages that this version is under.
    pub stages: Vec<Stage>,
    /// When this version was made, where the source knows.
    pub created: Option<OffsetDateTime>,
    /// When it stops being served, if ever.
    pub expires: Option<OffsetDateTime>,
    /// The source that it came from.
    pub source: Arc<str>,
    /// Whether the source keeps the members of the JSON object, and not its text.
    members_only: bool,
}

impl Secret {
    /// A secret about which nothing more is known; `source` names where it came from.
    #[must_use]
    pub fn new(name: SecretName, value: SecretValue, source: impl Into<Arc<str>>) -> Self {
        Self {
            name,
            value,
            version: String::new(),
            stages: vec![Stage::Current],
            created: None,
            expires: None,
            source: source.into(),
            members_only: false,
        }
    }

    /// Adds which version it is.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>, stages: Vec<Stage>) -> Self {
        self.version = version.into();
        self.stages = stages;
        self
    }

    /// The source keeps the members of the JSON object apart from each other, and returns them in an order and notation of
    /// its own.
    #[cfg(feature = "vault")]
    pub(crate) fn of_members(mut self) -> Self {
        self.members_only = true;
        self
    }

    /// Whether its source keeps the members of a JSON object, and not its text.
    #[cfg(feature = "vault")]
    pub(crate) fn is_of_members(&self) -> bool {
        self.members_only
    }

    /// Whether it has this value. The members of a JSON object count where the source keeps only those; elsewhere every byte
    /// of the text does.
    #[must_use]
    pub fn holds(&self, value: &SecretValue) -> bool {
        self.value.same_as(value) || self.members_only && typed::has_same_members(&self.value, value)
    }

    /// Adds when it was made and when it stops being served.
    #[must_use]
    pub fn with_times(mut self, created: Option<OffsetDateTime>, expires: Option<OffsetDateTime>) -> Self {
        self.created = created;
        self.expires = expires;
        self
    }
}

/// The metadata of a secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretMetadata {
    /// Its name.
    pub name: SecretName,
    /// Its versions, the current one first where there is one.
    pub versions: Vec<VersionMetadata>,
    /// When it was first stored.
    pub created: Option<OffsetDateTime>,
    /// When its value last changed.
    pub changed: Option<OffsetDateTime>,
    /// When it stops being served, if ever.
    pub expires: Option<OffsetDateTime>,
    /// How long a new value lives that comes without an expiry of its own, where the source knows.
    pub lifetime: Option<Duration>,
    /// When its policy requires a new value, if it has a policy.
    pub rotate_by: Option<OffsetDateTime>,
    /// Its rotation policy.
    pub rotation: Option<RotationPolicy>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Whether all of this is as it was stored, as far as its source can tell. Otherwise the secret's value
    /// is refused.
    pub is_authentic: bool,
}

impl SecretMetadata {
    /// A secret about which only the name is known.
    #[must_use]
    pub fn new(name: SecretName) -> Self {
        Self {
            name,
            versions: Vec::new(),
            created: None,
            changed: None,
            expires: None,
            lifetime: None,
            rotate_by: None,
            rotation: None,
            tags: BTreeMap::new(),
            is_authentic: true,
        }
    }

    /// Whether it is no longer served.
    #[must_use]
    pub fn is_expired(&self, now: OffsetDateTime) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// Whether its policy requires a new value by now.
    #[must_use]
    pub fn is_due(&self, now: OffsetDateTime) -> bool {
        self.rotate_by.is_some_and(|at| at <= now)
    }

    /// The version under a stage.
    #[must_use]
    pub fn version(&self, stage: &Stage) -> Option<&VersionMetadata> {
        self.versions.iter().find(|version| version.stages.contains(stage))
    }
}

/// The metadata of a version, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionMetadata {
    /// The version, as its source names it.
    pub version: String,
    /// The stages that it is under.
    pub stages: Vec<Stage>,
    /// When it was made, where the source knows.
    pub created: Option<OffsetDateTime>,
}

impl VersionMetadata {
    /// A version under these stages.
    #[must_use]
    pub fn new(version: impl Into<String>, stages: Vec<Stage>, created: Option<OffsetDateTime>) -> Self {
        Self { version: version.into(), stages, created }
    }
}

/// How often a secret needs a new value, and how long the old one stays readable afterwards.
///
/// As text: `30d`, or `every=30d,grace=12h`; a hundred years at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationPolicy {
    /// The age at which a value is due for rotation.
    pub every: Duration,
    /// How long the value before stays readable under [`Stage::Previous`].
    pub grace: Duration,
}

impl RotationPolicy {
    /// The longest time of a policy: a hundred years.
    pub const LONGEST: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

    /// How long a replaced value stays readable unless a policy says otherwise: a day.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

    /// Rotation every so often, with the default grace period.
    #[must_use]
    pub fn every(every: Duration) -> Self {
        Self { every, grace: Self::DEFAULT_GRACE }
    }
}

impl fmt::Display for RotationPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (every, grace) = (humantime::format_duration(self.every), humantime::format_duration(self.grace));
        let text = format!("every={every},grace={grace}");
        f.write_str(&text.replace(' ', ""))
    }
}

impl FromStr for RotationPolicy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let (mut every, mut grace) = (None, None);
        for part in text.split(',') {
            let (key, duration) = part.split_once('=').unwrap_or(("every", part));
            let duration = envelope_core::duration::parse(duration).ok_or(PolicyError)?;
            match key.trim() {
                "every" => every = Some(duration),
                "grace" => grace = Some(duration),
                _ => return Err(PolicyError),
            }
        }
        let every = every.filter(|every| !every.is_zero()).ok_or(PolicyError)?;
        let grace = grace.unwrap_or(Self::DEFAULT_GRACE);
        if every > Self::LONGEST || grace > Self::LONGEST {
            return Err(PolicyError);
        }
        Ok(Self { every, grace })
    }
}

/// A text is not a rotation policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a rotation policy such as `30d` or `every=30d,grace=12h`, of a hundred years at most")]
pub struct PolicyError;
