//! The floor: the weakest form of a value that is read. `Rules::decide` is the one place that decides it.

use std::fmt;
use std::str::FromStr;

use envelope_core::{BindingPolicy, Format, OpenError};
use serde::{Deserialize, Serialize};

use crate::cipher::PlaintextPolicy;
use crate::profile::{Profile, Source};

/// The weakest form of a value that is read, from weak to strong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Floor {
    /// Every format, as the other settings allow.
    #[default]
    Any,
    /// Envelopes under the key service (`kms:v2:`, `kms:v3:`), bound to their row or not.
    Envelope,
    /// Envelopes that are bound to their row.
    Bound,
}

impl Floor {
    /// Its name in settings, profiles and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Envelope => "envelope",
            Self::Bound => "bound",
        }
    }

    /// The floor that settings and a profile come to: `READ_FLOOR` if it is set, else the profile's. `BINDING=require`
    /// with `PLAINTEXT_POLICY=forbid` always means [`Floor::Bound`].
    #[must_use]
    pub fn effective(
        set: Option<Self>,
        profile: &Profile,
        binding: BindingPolicy,
        plaintext: PlaintextPolicy,
    ) -> Self {
        let strict = binding == BindingPolicy::Require && plaintext == PlaintextPolicy::Forbid;
        if strict { Self::Bound } else { set.unwrap_or(profile.floor) }
    }

    /// The highest floor that admits a value of this format, bound to its row or not.
    fn reached_by(format: Format, bound: bool) -> Self {
        match format {
            Format::BoundEnvelope => Self::Bound,
            Format::KmsEnvelope if bound => Self::Bound,
            Format::KmsEnvelope => Self::Envelope,
            _ => Self::Any,
        }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Floor {
    type Err = FloorError;

    fn from_str(text: &str) -> Result<Self, FloorError> {
        [Self::Any, Self::Envelope, Self::Bound]
            .into_iter()
            .find(|floor| floor.name() == text)
            .ok_or(FloorError)
    }
}

/// A text is not the name of a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of any, envelope, bound")]
pub struct FloorError;

/// Everything that decides which forms of a value are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) floor: Floor,
    pub(crate) plaintext: PlaintextPolicy,
    pub(crate) binding: BindingPolicy,
    /// Whether the profile names Node KMSService's envelopes as a source.
    pub(crate) node_json: bool,
}

impl Rules {
    /// The forms that a store with these settings reads in the tables of a profile. A run that may read below the floor reads what
    /// is weaker than the settings allow, too: it is there to move it.
    pub(crate) fn new(
        set: Option<Floor>,
        profile: &Profile,
        binding: BindingPolicy,
        plaintext: PlaintextPolicy,
        below_floor: bool,
    ) -> Self {
        let node_json = profile.sources.contains(&Source::NodeJson);
        let floor = Floor::effective(set, profile, binding, plaintext);
        if !below_floor {
            return Self { floor, plaintext, binding, node_json };
        }
        let plaintext = match plaintext {
            PlaintextPolicy::Forbid => PlaintextPolicy::AllowRead,
            other => other,
        };
        let binding = match binding {
            BindingPolicy::Require => BindingPolicy::AcceptUnbound,
            other => other,
        };
        Self { floor: Floor::Any, plaintext, binding, node_json }
    }

    /// Decides whether a value of this format is read. `bound` is whether it is bound to its row, and none before it
    /// has been opened: then only what no binding could change is refused.
    ///
    /// # Errors
    /// [`OpenError::PlaintextRefused`], [`OpenError::UnboundRefused`], [`OpenError::SourceRefused`] or
    /// [`OpenError::BelowFloor`].
    pub(crate) fn decide(&self, format: Format, bound: Option<bool>) -> Result<(), OpenError> {
        let bound = bound.unwrap_or(true);
        match format {
            Format::Plaintext if self.plaintext == PlaintextPolicy::Forbid => {
                Err(OpenError::PlaintextRefused)
            }
            Format::KmsEnvelope if !bound && self.binding == BindingPolicy::Require => {
                Err(OpenError::UnboundRefused)
            }
            _ if Floor::reached_by(format, bound) < self.floor => {
                Err(OpenError::BelowFloor { format, floor: self.floor.name() })
            }
            Format::NodeJson if !self.node_json => Err(OpenError::SourceRefused { format }),
            _ => Ok(()),
        }
    }

    /// The refusal of an unbound envelope as the setting that refuses it says it.
    pub(crate) fn unbound(&self, format: Format, error: OpenError) -> OpenError {
        match (error, self.binding) {
            (OpenError::UnboundRefused, BindingPolicy::AcceptUnbound) => {
                OpenError::BelowFloor { format, floor: self.floor.name() }
            }
            (error, _) => error,
        }
    }

    /// How envelopes are opened, so that an unbound one under [`Floor::Bound`] costs no call.
    pub(crate) fn opening(&self) -> BindingPolicy {
        match (self.floor, self.binding) {
            (Floor::Bound, BindingPolicy::AcceptUnbound) => BindingPolicy::Require,
            (_, binding) => binding,
        }
    }
}

#[cfg(test)]
mod tests;
