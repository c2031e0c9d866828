//! Settings: every variable that the programs read, in the one place that reads them.

use std::num::NonZeroU32;
use std::time::Duration;

use envelope_core::format::autonomous::DevKey;
use envelope_core::format::pulseplan_local::MasterKey;
use envelope_core::sealer::EnvelopeFormat;
use envelope_core::{BindingPolicy, DataKey};
use kms_provider::{KeyUri, ReuseLimits};
use token_store::{PlaintextPolicy, Profile, UserKeys};

use crate::exit::CliError;

/// How to make a key for the variables that hold one.
pub(crate) const KEY_HINT: &str = "make one with `openssl rand -base64 32`";

/// Where the program runs. Behaviour meant for development is refused in production.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Environment {
    #[default]
    Development,
    Staging,
    Production,
}

impl Environment {
    /// Its name, as `ENVIRONMENT` says it.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "only metrics name it"))]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// The configuration of both programs, parsed. Values that hold keys cannot be printed.
pub(crate) struct Settings {
    pub(crate) database_url: Option<String>,
    pub(crate) profile: Profile,
    pub(crate) key: Option<KeyUri>,
    pub(crate) allowed_keys: Vec<String>,
    pub(crate) direct_key: Option<DataKey>,
    pub(crate) master_key: Option<DataKey>,
    pub(crate) user_keys: Option<UserKeys>,
    pub(crate) development_key: Option<DevKey>,
    pub(crate) cache_ttl: Duration,
    pub(crate) cache_max: u64,
    pub(crate) reuse: ReuseLimits,
    pub(crate) envelope: EnvelopeFormat,
    pub(crate) binding: BindingPolicy,
    pub(crate) plaintext: PlaintextPolicy,
    pub(crate) fallback: bool,
    pub(crate) environment: Environment,
    /// How often a line of metrics for CloudWatch is printed; never, if left out.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "this build has no metrics to print"))]
    pub(crate) emf_every: Option<Duration>,
}

/// A variable, for `doctor` and the documentation.
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// Whether its value must never be shown.
    pub(crate) secret: bool,
}

/// Every variable that is read, in the order of the documentation.
pub(crate) const VARIABLES: &[Variable] = &[
    Variable { name: "DATABASE_URL", secret: true },
    Variable { name: "TOKEN_PROFILE", secret: false },
    Variable { name: "KMS_KEY_ID", secret: false },
    Variable { name: "TOKEN_ENCRYPTION_KEY_ID", secret: false },
    Variable { name: "USE_KMS", secret: false },
    Variable { name: "KMS_ALLOWED_KEYS", secret: false },
    Variable { name: "ENCRYPTION_KEY", secret: true },
    Variable { name: "TOKEN_ENCRYPTION_KEY", secret: true },
    Variable { name: "ENCRYPTION_KEY_VERSION", secret: false },
    Variable { name: "DEV_ENCRYPTION_KEY", secret: true },
    Variable { name: "KMS_MASTER_KEY", secret: true },
    Variable { name: "ENCRYPTION_CONTEXT", secret: false },
    Variable { name: "DEK_CACHE_TTL", secret: false },
    Variable { name: "DEK_CACHE_MAX", secret: false },
    Variable { name: "DATA_KEY_REUSE", secret: false },
    Variable { name: "ENVELOPE_FORMAT", secret: false },
    Variable { name: "BINDING", secret: false },
    Variable { name: "PLAINTEXT_POLICY", secret: false },
    Variable { name: "KMS_FALLBACK", secret: false },
    Variable { name: "ENVIRONMENT", secret: false },
    Variable { name: "APP_ENV", secret: false },
    Variable { name: "NODE_ENV", secret: false },
    Variable { name: "EMF_METRICS", secret: false },
    Variable { name: "AWS_REGION", secret: false },
    Variable { name: "AWS_ENDPOINT_URL", secret: false },
    Variable { name: "AWS_ENDPOINT_URL_KMS", secret: false },
    Variable { name: "AWS_ENDPOINT_URL_SECRETS_MANAGER", secret: false },
];

impl Settings {
    /// Reads the process's environment, and reports every problem at once.
    pub(crate) fn from_environment() -> Result<Self, CliError> {
        let mut reader = Reader::default();
        reader.refuse_what_is_no_text();
        let environment = reader.environment();
        let profile = reader.profile();
        let settings = Self {
            database_url: reader.text("DATABASE_URL"),
            key: reader.key_uri(),
            allowed_keys: reader.list("KMS_ALLOWED_KEYS"),
            direct_key: reader.key("ENCRYPTION_KEY"),
            master_key: reader.key("KMS_MASTER_KEY"),
            user_keys: reader.user_keys(),
            development_key: reader.development_key(environment),
            cache_ttl: reader.duration("DEK_CACHE_TTL").unwrap_or(Duration::from_secs(300)),
            cache_max: reader.number("DEK_CACHE_MAX").unwrap_or(10_000),
            reuse: reader.reuse(),
            envelope: reader
                .choice("ENVELOPE_FORMAT", &[("v2", EnvelopeFormat::V2), ("v3", EnvelopeFormat::V3)]),
            binding: reader.choice(
                "BINDING",
                &[
                    ("accept-unbound", BindingPolicy::AcceptUnbound),
                    ("require", BindingPolicy::Require),
                    ("off", BindingPolicy::Off),
                ],
            ),
            plaintext: reader.choice(
                "PLAINTEXT_POLICY",
                &[
                    ("allow", PlaintextPolicy::Allow),
                    ("allow-read", PlaintextPolicy::AllowRead),
                    ("forbid", PlaintextPolicy::Forbid),
                ],
            ),
            fallback: reader.choice("KMS_FALLBACK", &[("off", false), ("local", true)]),
            environment,
            emf_every: reader.emf_period(),
            profile: profile.unwrap_or_else(fallback_profile),
        };
        if settings.envelope == EnvelopeFormat::V3 && settings.binding == BindingPolicy::Off {
            reader
                .problem("BINDING", "is off, and ENVELOPE_FORMAT=v3 always binds: set one of them otherwise");
        }
        if settings.fallback && settings.direct_key.is_none() {
            reader.problem("ENCRYPTION_KEY", "is not set, and KMS_FALLBACK=local writes under it");
        }
        if !settings.reuse.is_off() && settings.envelope == EnvelopeFormat::V2 {
            reader.problem(
                "DATA_KEY_REUSE",
                "needs ENVELOPE_FORMAT=v3: a version 2 data key is bound to one value and can serve no other",
            );
        }
        match reader.problems {
            problems if problems.is_empty() => Ok(settings),
            problems => Err(CliError::Usage {
                problems,
                hint: Some("docs/configuration.md lists every variable".into()),
            }),
        }
    }
}

/// Only there to go on collecting problems after the profile was refused; it never leaves this module.
fn fallback_profile() -> Profile {
    #[expect(clippy::expect_used, reason = "the built-in profiles are tested to load")]
    Profile::load("vod-tender").expect("the built-in profile loads")
}

#[derive(Default)]
struct Reader {
    problems: Vec<String>,
}

impl Reader {
    /// A variable's value; an empty one counts as not set.
    fn text(&self, name: &str) -> Option<String> {
        let value = std::env::var_os(name)?.into_string().ok();
        value.filter(|value| !value.trim().is_empty())
    }

    /// Taken for not set, such a variable would lose a policy or a key without a word.
    fn refuse_what_is_no_text(&mut self) {
        for Variable { name, .. } in VARIABLES {
            if std::env::var_os(name).is_some_and(|value| value.to_str().is_none()) {
                self.problem(name, "is not UTF-8 text");
            }
        }
    }

    fn problem(&mut self, name: &str, what: impl std::fmt::Display) {
        self.problems.push(format!("{name}: {what}"));
    }

    fn key(&mut self, name: &'static str) -> Option<DataKey> {
        let text = zeroize::Zeroizing::new(self.text(name)?);
        match text.parse() {
            Ok(key) => Some(key),
            Err(error) => {
                let error: envelope_core::key::KeyTextError = error;
                self.problem(name, format_args!("{error}; base64 of exactly 32 bytes is wanted: {KEY_HINT}"));
                None
            }
        }
    }

    fn user_keys(&mut self) -> Option<UserKeys> {
        let version = match self.number("ENCRYPTION_KEY_VERSION") {
            None => Some(NonZeroU32::MIN),
            Some(number) => u32::try_from(number).ok().and_then(NonZeroU32::new),
        };
        let Some(version) = version else {
            self.problem("ENCRYPTION_KEY_VERSION", "is not a positive whole number");
            return None;
        };
        let text = zeroize::Zeroizing::new(self.text("TOKEN_ENCRYPTION_KEY")?);
        match MasterKey::from_variable(&text) {
            Ok(master) => Some(UserKeys::new(master, version)),
            Err(error) => {
                self.problem("TOKEN_ENCRYPTION_KEY", error);
                None
            }
        }
    }

    /// The development key is not even looked at in production.
    fn development_key(&mut self, environment: Environment) -> Option<DevKey> {
        if environment == Environment::Production {
            return None;
        }
        let text = zeroize::Zeroizing::new(self.text("DEV_ENCRYPTION_KEY")?);
        match DevKey::from_variable(text.trim()) {
            Ok(key) => Some(key),
            Err(error) => {
                self.problem("DEV_ENCRYPTION_KEY", format_args!("{error}; a Fernet key is wanted"));
                None
            }
        }
    }

    fn key_uri(&mut self) -> Option<KeyUri> {
        let name =
            ["KMS_KEY_ID", "TOKEN_ENCRYPTION_KEY_ID"].into_iter().find(|name| self.text(name).is_some());
        let Some(name) = name else {
            if self.text("USE_KMS").is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
                self.problem("USE_KMS", "is true, but KMS_KEY_ID is not set");
            }
            return None;
        };
        let uri: KeyUri = match self.text(name)?.trim().parse() {
            Ok(uri) => uri,
            Err(error) => {
                let error: kms_provider::uri::KeyUriError = error;
                self.problem(name, error);
                return None;
            }
        };
        if matches!(uri, KeyUri::Keyring(_)) && self.text("KMS_MASTER_KEY").is_none() {
            self.problem(
                "KMS_MASTER_KEY",
                format_args!("is not set, and {name} names a local keyring: {KEY_HINT}"),
            );
        }
        Some(uri)
    }

    fn reuse(&mut self) -> ReuseLimits {
        let text = self.text("DATA_KEY_REUSE").unwrap_or_else(|| "off".into());
        text.trim().parse().unwrap_or_else(|error: kms_provider::reuse::ReuseLimitsError| {
            self.problem("DATA_KEY_REUSE", error);
            ReuseLimits::OFF
        })
    }

    fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(Into::into).collect()
    }

    fn profile(&mut self) -> Option<Profile> {
        let name = self.text("TOKEN_PROFILE").unwrap_or_else(|| "vod-tender".into());
        let mut profile = match Profile::load(name.trim()) {
            Ok(profile) => profile,
            Err(error) => {
                self.problem("TOKEN_PROFILE", crate::exit::chain(&error));
                return None;
            }
        };
        if let Some(text) = self.text("ENCRYPTION_CONTEXT") {
            let pairs = parse_pairs(&text);
            match pairs
                .and_then(|pairs| profile.clone().with_context(pairs).map_err(|error| error.to_string()))
            {
                Ok(with_context) => profile = with_context,
                Err(problem) => self.problem("ENCRYPTION_CONTEXT", problem),
            }
        }
        Some(profile)
    }

    fn environment(&mut self) -> Environment {
        for name in ["ENVIRONMENT", "APP_ENV", "NODE_ENV"] {
            let Some(value) = self.text(name) else { continue };
            match value.trim().to_ascii_lowercase().as_str() {
                "development" | "dev" | "local" | "test" => return Environment::Development,
                "staging" | "stage" => return Environment::Staging,
                "production" | "prod" => return Environment::Production,
                _ => {
                    self.problem(name, format_args!("{value:?} is none of development, staging, production"))
                }
            }
            return Environment::Production;
        }
        Environment::default()
    }

    fn emf_period(&mut self) -> Option<Duration> {
        let text = self.text("EMF_METRICS").filter(|text| text.trim() != "off")?;
        if cfg!(not(feature = "metrics")) {
            self.problem("EMF_METRICS", "needs a build with the feature `metrics`");
            return None;
        }
        let period = parse_duration(text.trim()).filter(|period| !period.is_zero());
        if period.is_none() {
            self.problem("EMF_METRICS", format_args!("{text:?} is neither off nor a time such as 1m"));
        }
        period
    }

    fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        if let Some(value) = self.text(name) {
            let found = choices.iter().find(|(word, _)| *word == value.trim());
            if let Some((_, choice)) = found {
                return *choice;
            }
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.problem(name, format_args!("{value:?} is none of {}", words.join(", ")));
        }
        choices[0].1
    }

    fn number(&mut self, name: &str) -> Option<u64> {
        let value = self.text(name)?;
        let number = value.trim().parse().ok();
        if number.is_none() {
            self.problem(name, format_args!("{value:?} is not a whole number"));
        }
        number
    }

    fn duration(&mut self, name: &str) -> Option<Duration> {
        let value = self.text(name)?;
        let duration = parse_duration(value.trim());
        if duration.is_none() {
            self.problem(name, format_args!("{value:?} is not a duration such as 30s, 5m or 1h"));
        }
        duration
    }
}

/// Reads `5m`, `90s`, `1h`, `250ms` or a bare number of seconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "ms" => return Some(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(unit)?))
}

/// Reads `name=value,name=value`.
fn parse_pairs(text: &str) -> Result<std::collections::BTreeMap<String, String>, String> {
    let mut pairs = std::collections::BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not name=value"))?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.is_empty() {
            return Err(format!("{pair:?} has an empty name or value"));
        }
        if matches!(name, "table" | "column") {
            return Err(format!("{name:?} is added for each value and cannot be set"));
        }
        if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("{name:?} stands twice"));
        }
    }
    Ok(pairs)
}
