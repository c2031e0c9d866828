//! Reads variables into types and collects what is wrong with them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use envelope_core::format::autonomous::DevKey;
use envelope_core::format::pulseplan_local::MasterKey;
use envelope_core::{BindingPolicy, DataKey, EnvelopeFormat, Environment, Writing, duration};
#[cfg(feature = "metrics")]
use kms_provider::metrics::emf::EmfDimensions;
use kms_provider::{KeyUri, ReuseLimits};
use secrecy::SecretString;
use token_store::profile::LegacyFormat;
use token_store::{Profile, Timeouts, UserKeys};
use zeroize::Zeroizing;

use super::error::{Problem, SettingsError};
use super::variables::{VARIABLES, file_variable};
use super::{KEY_HINT, secret_file};
use crate::error::chain;

/// The rule for a name in audit events.
pub const ACTOR_RULE: &str = "must be 1 to 256 characters without control characters";

/// Whether a text can be the name in audit events.
#[must_use]
pub fn is_actor(name: &str) -> bool {
    (1..=256).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

pub(super) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<OsString>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { lookup, problems: Vec::new() }
    }

    /// Succeeds if nothing was wrong.
    pub(super) fn finish(self) -> Result<(), SettingsError> {
        match self.problems {
            problems if problems.is_empty() => Ok(()),
            problems => {
                Err(SettingsError { problems, hint: "docs/configuration.md lists every variable".into() })
            }
        }
    }

    /// Adds a problem whose message follows the variable's name: `is not set`.
    pub(super) fn problem(&mut self, name: impl Into<Cow<'static, str>>, predicate: impl Display) {
        let variable = name.into();
        let message = format!("{variable} {predicate}");
        self.problems.push(Problem { variable, message });
    }

    /// Refuses a secret that is set twice, whatever needs it.
    #[cfg(feature = "vault")]
    pub(super) fn refuse_twice(&mut self, name: &'static str) {
        if self.text(name).is_some() && self.file_of(name).is_some() {
            self.problem(name, format_args!("and {} are both set: unset one of them", file_variable(name)));
        }
    }

    /// Adds the problems of a part that was read apart.
    #[cfg(feature = "vault")]
    pub(super) fn add(&mut self, error: &SettingsError) {
        let new = error.problems.iter().filter(|problem| !self.problems.contains(problem));
        let new: Vec<Problem> = new.cloned().collect();
        self.problems.extend(new);
    }

    /// Adds an error that a parser returned.
    fn refused(&mut self, name: impl Into<Cow<'static, str>>, error: impl Display) {
        let variable = name.into();
        let message = format!("{variable}: {error}");
        self.problems.push(Problem { variable, message });
    }

    /// A variable's value; an empty one counts as not set.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name)?.into_string().ok();
        value.filter(|value| !value.trim().is_empty())
    }

    /// Whether a variable, or the one that names its file, is set to anything.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.text(name).is_some() || self.file_of(name).is_some()
    }

    /// Taken for not set, such a variable would lose a policy or a key without a word.
    pub(super) fn refuse_what_is_no_text(&mut self) {
        for variable in VARIABLES {
            if (self.lookup)(variable.name).is_some_and(|value| value.to_str().is_none()) {
                self.problem(variable.name, "is not UTF-8 text");
            }
        }
    }

    /// A secret variable's value, from the environment or from the file that `<NAME>_FILE` names.
    fn secret(&mut self, name: &'static str) -> Option<Zeroizing<String>> {
        let value = self.text(name).map(Zeroizing::new);
        let Some(path) = self.file_of(name) else { return value };
        let file_name = file_variable(name);
        if value.is_some() {
            self.problem(name, format_args!("and {file_name} are both set: unset one of them"));
            return None;
        }
        match secret_file::read(Path::new(&path)) {
            Ok(text) => Some(text),
            Err(error) => {
                self.refused(file_name, error);
                None
            }
        }
    }

    fn file_of(&self, name: &str) -> Option<OsString> {
        (self.lookup)(&file_variable(name)).filter(|path| !path.is_empty())
    }

    pub(super) fn database_url(&mut self) -> Option<SecretString> {
        self.secret("DATABASE_URL").map(|url| SecretString::from(url.trim()))
    }

    pub(super) fn key(&mut self, name: &'static str) -> Option<DataKey> {
        let text = self.secret(name)?;
        match text.parse() {
            Ok(key) => Some(key),
            Err(error) => {
                let error: envelope_core::key::KeyTextError = error;
                self.refused(name, format_args!("{error}; expected base64 of exactly 32 bytes: {KEY_HINT}"));
                None
            }
        }
    }

    pub(super) fn user_keys(&mut self) -> Option<UserKeys> {
        let version = match self.number("ENCRYPTION_KEY_VERSION") {
            None => Some(NonZeroU32::MIN),
            Some(number) => u32::try_from(number).ok().and_then(NonZeroU32::new),
        };
        let Some(version) = version else {
            self.problem("ENCRYPTION_KEY_VERSION", "is not a positive whole number");
            return None;
        };
        let text = self.secret("TOKEN_ENCRYPTION_KEY")?;
        match MasterKey::from_variable(&text) {
            Ok(master) => Some(UserKeys::new(master, version)),
            Err(error) => {
                self.refused("TOKEN_ENCRYPTION_KEY", error);
                None
            }
        }
    }

    /// The development key is not even looked at in production.
    pub(super) fn development_key(&mut self, environment: Environment) -> Option<DevKey> {
        if environment == Environment::Production {
            return None;
        }
        let text = self.secret("DEV_ENCRYPTION_KEY")?;
        match DevKey::from_variable(text.trim()) {
            Ok(key) => Some(key),
            Err(error) => {
                self.refused("DEV_ENCRYPTION_KEY", format_args!("{error}; expected a Fernet key"));
                None
            }
        }
    }

    pub(super) fn key_uri(&mut self) -> Option<KeyUri> {
        let name =
            ["KMS_KEY_ID", "TOKEN_ENCRYPTION_KEY_ID"].into_iter().find(|name| self.text(name).is_some());
        let Some(name) = name else {
            if self.text("USE_KMS").is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
                self.problem("USE_KMS", "is true, but KMS_KEY_ID is not set");
            }
            return None;
        };
        let uri: KeyUri = self.parsed(name)?;
        if matches!(uri, KeyUri::Keyring(_)) && !self.is_set("KMS_MASTER_KEY") {
            self.problem(
                "KMS_MASTER_KEY",
                format_args!("is not set, and {name} names a local keyring: {KEY_HINT}"),
            );
        }
        Some(uri)
    }

    /// Whether new tokens are sealed under the key service: PulsePlan has a switch for that.
    pub(super) fn seals(&mut self, profile: Option<&Profile>) -> bool {
        let has_switch = profile.is_some_and(|profile| profile.legacy == Some(LegacyFormat::PulseplanLocal));
        let Some(text) = self.text("USE_KMS") else { return true };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => !has_switch,
            _ => {
                self.problem("USE_KMS", format_args!("is {text:?}; must be true or false"));
                true
            }
        }
    }

    /// A name for audit events: one line, so that it forges no other.
    pub(super) fn actor(&mut self) -> Option<String> {
        let name = self.text("AUDIT_ACTOR")?.trim().to_owned();
        if !is_actor(&name) {
            self.problem("AUDIT_ACTOR", ACTOR_RULE);
            return None;
        }
        Some(name)
    }

    /// A value by its type's own parser.
    pub(super) fn parsed<T: std::str::FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        match self.text(name)?.trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.refused(name, error);
                None
            }
        }
    }

    pub(super) fn reuse(&mut self) -> ReuseLimits {
        self.parsed("DATA_KEY_REUSE").unwrap_or(ReuseLimits::OFF)
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(Into::into).collect()
    }

    pub(super) fn profile(&mut self) -> Option<Profile> {
        let name = self.text("TOKEN_PROFILE").unwrap_or_else(|| "vod-tender".into());
        let mut profile = match Profile::load(name.trim()) {
            Ok(profile) => profile,
            Err(error) => {
                self.refused("TOKEN_PROFILE", chain(&error));
                return None;
            }
        };
        if let Some(text) = self.text("ENCRYPTION_CONTEXT") {
            let pairs = parse_pairs(&text).and_then(refuse_own_names);
            match pairs
                .and_then(|pairs| profile.clone().with_context(pairs).map_err(|error| error.to_string()))
            {
                Ok(with_context) => profile = with_context,
                Err(problem) => self.refused("ENCRYPTION_CONTEXT", problem),
            }
        }
        Some(profile)
    }

    /// An unknown name counts as production while the other problems are collected.
    pub(super) fn environment(&mut self) -> Environment {
        let set = ["ENVIRONMENT", "APP_ENV", "NODE_ENV"].into_iter().find(|name| self.text(name).is_some());
        let Some(name) = set else { return Environment::default() };
        self.parsed(name).unwrap_or(Environment::Production)
    }

    pub(super) fn emf_period(&mut self) -> Option<Duration> {
        let text = self.text("EMF_METRICS").filter(|text| text.trim() != "off")?;
        if cfg!(not(feature = "metrics")) {
            self.problem("EMF_METRICS", "needs a build with the feature `metrics`");
            return None;
        }
        let period = duration::parse(&text).filter(|period| !period.is_zero());
        if period.is_none() {
            self.problem("EMF_METRICS", format_args!("is {text:?}; must be off, or a duration such as 1m"));
        }
        period
    }

    /// Pairs as in `ENCRYPTION_CONTEXT`, which CloudWatch must take as dimensions.
    #[cfg(feature = "metrics")]
    pub(super) fn emf_dimensions(&mut self) -> Option<EmfDimensions> {
        let pairs = parse_pairs(&self.text("EMF_DIMENSIONS")?);
        match pairs.and_then(|pairs| EmfDimensions::new(pairs).map_err(|error| error.to_string())) {
            Ok(dimensions) => Some(dimensions),
            Err(problem) => {
                self.refused("EMF_DIMENSIONS", problem);
                None
            }
        }
    }

    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> T {
        if let Some(value) = self.text(name) {
            let found = choices.iter().find(|(word, _)| *word == value.trim());
            if let Some((_, choice)) = found {
                return *choice;
            }
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.problem(name, format_args!("is {value:?}; must be one of {}", words.join(", ")));
        }
        choices[0].1
    }

    pub(super) fn number(&mut self, name: &'static str) -> Option<u64> {
        let value = self.text(name)?;
        let number = value.trim().parse().ok();
        if number.is_none() {
            self.problem(name, format_args!("is {value:?}; must be a whole number"));
        }
        number
    }

    /// The form of new envelopes, and what is read.
    pub(super) fn writing(&mut self) -> (Writing, BindingPolicy) {
        let formats = [("v2", EnvelopeFormat::V2), ("v3", EnvelopeFormat::V3)];
        let format = self.choice("ENVELOPE_FORMAT", &formats);
        let policies = [
            ("accept-unbound", BindingPolicy::AcceptUnbound),
            ("require", BindingPolicy::Require),
            ("off", BindingPolicy::Off),
        ];
        let policy = self.choice("BINDING", &policies);
        let writing = Writing::of(format, policy).unwrap_or_else(|_| {
            self.problem("BINDING", "is off, and ENVELOPE_FORMAT=v3 always binds: change one of them");
            format.into()
        });
        (writing, policy)
    }

    pub(super) fn database_timeouts(&mut self) -> Timeouts {
        let usual = Timeouts::default();
        let lock = self.duration("DATABASE_LOCK_TIMEOUT").unwrap_or(usual.lock);
        Timeouts::new(lock, self.duration("DATABASE_STATEMENT_TIMEOUT").unwrap_or(usual.statement))
    }

    pub(super) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        let value = self.text(name)?;
        let duration = duration::parse(&value);
        if duration.is_none() {
            self.problem(name, format_args!("is {value:?}; must be a duration such as 30s, 5m or 1h 30m"));
        }
        duration
    }
}

/// Reads `name=value,name=value`.
fn parse_pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not name=value"))?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.is_empty() {
            return Err(format!("{pair:?} has an empty name or value"));
        }
        if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("{name:?} is given twice"));
        }
    }
    Ok(pairs)
}

/// Refuses the pairs that the store adds to a context by itself.
fn refuse_own_names(pairs: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    match pairs.keys().find(|name| matches!(name.as_str(), "table" | "column")) {
        Some(name) => Err(format!("{name:?} is added for each value and cannot be set")),
        None => Ok(pairs),
    }
}
