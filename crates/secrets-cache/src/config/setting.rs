//! The declaration of a setting.

use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::IgnoredAny;
use url::Url;

use crate::typed::{self, Json};

/// A setting: its name, its type, its allowed values, and where it may be found.
///
/// It is required unless made [`optional`](Self::optional) or given a [default](Self::or).
#[derive(Clone, Debug)]
pub struct Setting {
    name: String,
    kind: Kind,
    is_secret: bool,
    is_required: bool,
    default: Option<String>,
    reference: Option<String>,
}

#[derive(Clone, Debug)]
enum Kind {
    Text { length: RangeInclusive<usize> },
    Integer { range: RangeInclusive<i64> },
    Boolean,
    Url { schemes: Vec<String> },
    Duration { range: RangeInclusive<Duration> },
    OneOf(Vec<String>),
    Json,
}

impl Setting {
    /// Any text that is not empty.
    #[must_use]
    pub fn text(name: impl Into<String>) -> Self {
        Self::new(name, Kind::Text { length: 1..=usize::MAX })
    }

    /// Text of a length in characters within a range: a key of 32 at least is `32..=usize::MAX`.
    #[must_use]
    pub fn text_of(name: impl Into<String>, length: RangeInclusive<usize>) -> Self {
        Self::new(name, Kind::Text { length })
    }

    /// An integer within a range.
    #[must_use]
    pub fn integer(name: impl Into<String>, range: RangeInclusive<i64>) -> Self {
        Self::new(name, Kind::Integer { range })
    }

    /// True or false.
    #[must_use]
    pub fn boolean(name: impl Into<String>) -> Self {
        Self::new(name, Kind::Boolean)
    }

    /// A URL of one of these schemes, or of any if there are none.
    #[must_use]
    pub fn url(name: impl Into<String>, schemes: &[&str]) -> Self {
        Self::new(name, Kind::Url { schemes: schemes.iter().map(ToString::to_string).collect() })
    }

    /// A duration within a range.
    #[must_use]
    pub fn duration(name: impl Into<String>, range: RangeInclusive<Duration>) -> Self {
        Self::new(name, Kind::Duration { range })
    }

    /// One of these words.
    #[must_use]
    pub fn one_of(name: impl Into<String>, words: &[&str]) -> Self {
        Self::new(name, Kind::OneOf(words.iter().map(ToString::to_string).collect()))
    }

    /// Any JSON.
    #[must_use]
    pub fn json(name: impl Into<String>) -> Self {
        Self::new(name, Kind::Json)
    }

    /// Makes it a secret: looked for among the secrets first, and not shown. Of the URL of a database or a broker,
    /// [`Config::public`](super::Config::public) shows user, host and database.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// Lets it be missing.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.is_required = false;
        self
    }

    /// Sets what counts where it is missing.
    #[must_use]
    pub fn or(mut self, default: impl Into<String>) -> Self {
        self.default = Some(default.into());
        self
    }

    /// Says where it is among the secrets, if not under its own name: `database/prod#password`.
    #[must_use]
    pub fn found_at(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn reference(&self) -> &str {
        self.reference.as_deref().unwrap_or(&self.name)
    }

    /// Whether it may be among the secrets: a secret, or one that says where.
    pub(super) fn is_among_secrets(&self) -> bool {
        self.is_secret || self.reference.is_some()
    }

    pub(super) fn is_secret(&self) -> bool {
        self.is_secret
    }

    pub(super) fn is_required(&self) -> bool {
        self.is_required
    }

    pub(super) fn default(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// Whether a value matches its declaration.
    pub(super) fn allows(&self, value: &SecretString) -> bool {
        match &self.kind {
            Kind::Text { length } => length.contains(&value.expose_secret().chars().count()),
            Kind::Integer { range } => {
                typed::parse::<i64>(value).is_some_and(|number| range.contains(&number))
            }
            Kind::Boolean => typed::parse::<bool>(value).is_some(),
            Kind::Url { schemes } => typed::parse::<Url>(value)
                .is_some_and(|url| schemes.is_empty() || schemes.iter().any(|scheme| scheme == url.scheme())),
            Kind::Duration { range } => {
                typed::parse::<Duration>(value).is_some_and(|time| range.contains(&time))
            }
            Kind::OneOf(words) => words.iter().any(|word| word == value.expose_secret()),
            Kind::Json => typed::parse::<Json<IgnoredAny>>(value).is_some(),
        }
    }

    /// The declaration, in words.
    pub(super) fn expected(&self) -> String {
        match &self.kind {
            Kind::Text { length } if *length.end() == usize::MAX => {
                format!("text of at least {} characters", length.start())
            }
            Kind::Text { length } => format!("text of {} to {} characters", length.start(), length.end()),
            Kind::Integer { range } => format!("an integer from {} to {}", range.start(), range.end()),
            Kind::Boolean => "true or false".into(),
            Kind::Url { schemes } if schemes.is_empty() => "a URL".into(),
            Kind::Url { schemes } => format!("a URL of the scheme {}", schemes.join(" or ")),
            Kind::Duration { range } => {
                let show = |duration: &Duration| humantime::format_duration(*duration).to_string();
                format!("a duration from {} to {}", show(range.start()), show(range.end()))
            }
            Kind::OneOf(words) => format!("one of {}", words.join(", ")),
            Kind::Json => "JSON".into(),
        }
    }

    fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self { name: name.into(), kind, is_secret: false, is_required: true, default: None, reference: None }
    }
}
