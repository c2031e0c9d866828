//! Loading settings from where they may be.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use secrecy::SecretString;

use super::{Config, ConfigError, Loaded, Problem, ProblemKind, Setting};
use crate::cache::SecretsCache;
use crate::error::SourceError;
use crate::name::SecretRef;
use crate::secret::{Secret, Stage};
use crate::source::SecretSource;
use crate::typed;

/// Where settings are looked for: secrets among the secrets first and then in the environment; others in the environment,
/// and then among the secrets if they say where.
#[derive(Clone, Copy)]
pub struct Origins<'a> {
    environment: &'a dyn SecretSource,
    secrets: Option<&'a SecretsCache>,
}

type Fetched = HashMap<String, Result<Arc<Secret>, SourceError>>;

impl<'a> Origins<'a> {
    /// The environment only: [`EnvironmentVariables`](crate::source::environment::EnvironmentVariables), or
    /// a replacement for it.
    #[must_use]
    pub fn environment(environment: &'a dyn SecretSource) -> Self {
        Self { environment, secrets: None }
    }

    /// Secrets as well.
    #[must_use]
    pub fn and_secrets(mut self, secrets: &'a SecretsCache) -> Self {
        self.secrets = Some(secrets);
        self
    }
}

pub(super) async fn load(settings: &[Setting], origins: &Origins<'_>) -> Result<Config, ConfigError> {
    let fetched = fetch(settings, origins).await;
    let (mut loaded, mut problems) = (BTreeMap::new(), Vec::new());
    for setting in settings {
        match load_one(setting, origins, &fetched).await {
            Ok(value) => {
                loaded.insert(setting.name().to_owned(), value);
            }
            Err(kind) => problems.push(Problem { setting: setting.name().to_owned(), kind }),
        }
    }
    if problems.is_empty() { Ok(Config { settings: loaded }) } else { Err(ConfigError { problems }) }
}

/// Fetches what may be among the secrets, together.
async fn fetch(settings: &[Setting], origins: &Origins<'_>) -> Fetched {
    let Some(cache) = origins.secrets else {
        return Fetched::new();
    };
    // The others are not even asked for: a policy may well deny names that are not stored.
    let wanted = settings.iter().filter(|setting| setting.is_among_secrets());
    let references = wanted.filter_map(|setting| setting.reference().parse::<SecretRef>().ok());
    let mut names: Vec<String> = references.map(|reference| reference.name().to_string()).collect();
    names.sort_unstable();
    names.dedup();
    let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
    let answers = cache.get_many(&borrowed).await;
    names.into_iter().zip(answers).collect()
}

async fn load_one(
    setting: &Setting,
    origins: &Origins<'_>,
    fetched: &Fetched,
) -> Result<Loaded, ProblemKind> {
    let first = match setting.is_secret() {
        true => among_secrets(setting, fetched)?,
        false => in_environment(setting, origins).await?,
    };
    let found = match (first, setting.is_secret()) {
        (Some(found), _) => Some(found),
        (None, true) => in_environment(setting, origins).await?,
        (None, false) => among_secrets(setting, fetched)?,
    };
    let default = || setting.default().map(|text| (SecretString::from(text), "default".to_owned()));
    let is_secret = setting.is_secret();
    match found.or_else(default) {
        Some((value, origin)) if setting.allows(&value) => {
            Ok(Loaded { is_secret, value: Some(value), origin: Some(origin) })
        }
        Some((_, origin)) if origin == "default" => Err(ProblemKind::Declaration),
        Some(_) => Err(ProblemKind::Wrong { expected: setting.expected() }),
        None if setting.is_required() => Err(ProblemKind::Missing),
        None => Ok(Loaded { is_secret, value: None, origin: None }),
    }
}

type Found = Option<(SecretString, String)>;

fn among_secrets(setting: &Setting, fetched: &Fetched) -> Result<Found, ProblemKind> {
    let reference: SecretRef = setting.reference().parse().map_err(|_| ProblemKind::Declaration)?;
    match fetched.get(reference.name().as_str()) {
        None => Ok(None),
        Some(Err(error)) if error.is_not_found() => Ok(None),
        Some(Err(error)) => Err(ProblemKind::Unavailable(error.clone())),
        Some(Ok(secret)) => {
            let wrong = |_| ProblemKind::Wrong { expected: setting.expected() };
            let value: SecretString = typed::interpret(secret, &reference).map_err(wrong)?;
            Ok(Some((value, secret.source.to_string())))
        }
    }
}

async fn in_environment(setting: &Setting, origins: &Origins<'_>) -> Result<Found, ProblemKind> {
    let name = setting.name().parse().map_err(|_| ProblemKind::Declaration)?;
    match origins.environment.get(&name, &Stage::Current).await {
        // An empty variable is how many shells and files say "not set".
        Ok(secret) if secret.value.is_empty() => Ok(None),
        Ok(secret) => {
            let text = secret.value.expose_text().map(SecretString::from);
            let text = text.ok_or_else(|| ProblemKind::Wrong { expected: setting.expected() })?;
            Ok(Some((text, secret.source.to_string())))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(ProblemKind::Unavailable(error)),
    }
}
