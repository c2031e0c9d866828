//! The form of new values: their envelope, and whether they are bound to their cells.

use crate::binding::BindingPolicy;
use crate::error::UnboundV3;

/// Which version of the envelope bound values are written in. Both are always read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnvelopeFormat {
    /// `kms:v2:…`: bound by the encryption context of its data key, which serves this one value.
    #[default]
    V2,
    /// `kms:v3:…`: bound by associated data, under a data key that may serve many values.
    V3,
}

/// The form of new values. All forms are read, whichever is written. There is no unbound value of version 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writing {
    /// Version 2 without the cell, for tables that other programs read.
    UnboundV2,
    /// Version 2, bound to its cell.
    #[default]
    V2,
    /// Version 3, which is always bound to its cell.
    V3,
}

impl Writing {
    /// The form that two settings of an operator name together.
    ///
    /// # Errors
    /// [`UnboundV3`] for version 3 under [`BindingPolicy::Off`].
    pub fn of(format: EnvelopeFormat, policy: BindingPolicy) -> Result<Self, UnboundV3> {
        match (format, policy) {
            (EnvelopeFormat::V2, BindingPolicy::Off) => Ok(Self::UnboundV2),
            (EnvelopeFormat::V3, BindingPolicy::Off) => Err(UnboundV3),
            (format, BindingPolicy::AcceptUnbound | BindingPolicy::Require) => Ok(format.into()),
        }
    }

    /// The version of the envelope.
    #[must_use]
    pub fn format(self) -> EnvelopeFormat {
        match self {
            Self::UnboundV2 | Self::V2 => EnvelopeFormat::V2,
            Self::V3 => EnvelopeFormat::V3,
        }
    }

    /// Whether values are bound to their cells.
    #[must_use]
    pub fn is_bound(self) -> bool {
        self != Self::UnboundV2
    }

    /// The same version, bound.
    #[must_use]
    pub fn bound(self) -> Self {
        self.format().into()
    }
}

impl From<EnvelopeFormat> for Writing {
    /// Bound to its cell.
    fn from(format: EnvelopeFormat) -> Self {
        match format {
            EnvelopeFormat::V2 => Self::V2,
            EnvelopeFormat::V3 => Self::V3,
        }
    }
}
