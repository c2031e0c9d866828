//! The keys that the configuration allows, and how a claimed key is compared with them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use envelope_core::KeyError;
use envelope_core::provider::ErrorClass;
use tokio::time::Instant;

use crate::arn::KmsArn;
use crate::flight::SingleFlight;
use crate::redact::{redact_arn, shown};

/// How long an alias is taken to name the same key. KMS itself takes up to five minutes to honour a change
/// ("Controlling access to aliases", AWS KMS Developer Guide).
const ALIAS_TTL: Duration = Duration::from_secs(300);

/// How old an answer must be before a claim that matches nothing has the alias resolved again. Without it, each foreign
/// row would cost a call.
const MIN_AGE: Duration = Duration::from_secs(10);

/// The key that wraps, and the keys that may have wrapped.
pub(super) struct AllowedKeys {
    // Never empty; the first one wraps.
    keys: Vec<AllowedKey>,
    aliases: Arc<Mutex<HashMap<Box<str>, Resolved>>>,
    flights: SingleFlight<Box<str>, Arc<str>>,
}

#[derive(Clone, Debug)]
enum AllowedKey {
    /// A key's ARN.
    Arn(String),
    /// An alias's name or ARN.
    Alias(String),
    /// A bare id, or another text that KMS will resolve.
    Id(String),
}

#[derive(Clone)]
struct Resolved {
    arn: Arc<str>,
    at: Instant,
}

/// The keys to try for a claim, each named so that KMS itself refuses any other.
pub(super) type Pins = Vec<String>;

impl AllowedKeys {
    pub(super) fn new(key: String, others: impl Iterator<Item = String>) -> Self {
        let mut keys = vec![AllowedKey::from(key)];
        for other in others.map(AllowedKey::from) {
            if keys.iter().all(|key| key.text() != other.text()) {
                keys.push(other);
            }
        }
        Self { keys, aliases: Arc::default(), flights: SingleFlight::new() }
    }

    /// The key that wraps, as it was configured.
    pub(super) fn current(&self) -> &str {
        self.keys[0].text()
    }

    /// Compares the key that an answer names with the one that the call named, before anything of the answer is used.
    ///
    /// An alias is resolved: from the last minutes' answers, and again where that differs, because the alias may
    /// have been pointed at another key.
    ///
    /// # Errors
    /// [`ErrorClass::WrongKey`] if they differ, and the errors of `resolve`.
    pub(super) async fn check_answer<F>(
        &self,
        asked: &str,
        answered: &str,
        resolve: impl Fn(String) -> F,
    ) -> Result<(), KeyError>
    where
        F: Future<Output = Result<String, KeyError>> + Send + 'static,
    {
        if alias_name(asked).is_none() {
            return if is_answer_of(asked, answered) { Ok(()) } else { Err(not_asked_for(answered)) };
        }
        for oldest in [ALIAS_TTL, Duration::ZERO] {
            let arn = self.resolved(asked, oldest, &resolve).await?;
            if is_answer_of(&arn, answered) && is_near(asked, answered) {
                return Ok(());
            }
        }
        Err(not_asked_for(answered))
    }

    /// Compares the key that KMS describes with the one that it was asked about; the key of an alias is remembered.
    ///
    /// # Errors
    /// [`ErrorClass::WrongKey`] if they differ.
    pub(super) fn learn(&self, asked: &str, described: &str) -> Result<(), KeyError> {
        if alias_name(asked).is_none() {
            return if is_answer_of(asked, described) { Ok(()) } else { Err(not_asked_for(described)) };
        }
        if !is_answer_of(described, described) || !is_near(asked, described) {
            return Err(not_asked_for(described));
        }
        let resolved = Resolved { arn: described.into(), at: Instant::now() };
        lock(&self.aliases).insert(asked.into(), resolved);
        Ok(())
    }

    /// Turns a claim into the keys to try.
    ///
    /// `resolve` asks KMS for the ARN of an alias's key; it is called only where a claimed ARN or id matches no other
    /// configured key.
    ///
    /// # Errors
    /// [`ErrorClass::WrongKey`] if the claim names no allowed key, and the errors of `resolve`.
    pub(super) async fn pins<F>(
        &self,
        claim: Option<&str>,
        resolve: impl Fn(String) -> F,
    ) -> Result<Pins, KeyError>
    where
        F: Future<Output = Result<String, KeyError>> + Send + 'static,
    {
        let Some(claim) = claim else {
            return Ok(self.starting_with(0));
        };
        if alias_name(claim).is_some() {
            let index = self.keys.iter().position(|key| key.is_same_alias(claim));
            return index.map(|index| self.starting_with(index)).ok_or_else(|| self.foreign(claim));
        }
        if key_id(claim).is_none() {
            return Err(self.foreign(claim));
        }
        if let Some(key) = self.keys.iter().find(|key| key.is_same_key(claim)) {
            return Ok(vec![key.text().into()]);
        }
        for oldest in [ALIAS_TTL, MIN_AGE] {
            for alias in self.keys.iter().filter_map(AllowedKey::alias) {
                let arn = self.resolved(alias, oldest, &resolve).await?;
                if is_same_key(&arn, claim) {
                    return Ok(vec![arn.to_string()]);
                }
            }
        }
        Err(self.foreign(claim))
    }

    /// Every allowed key, in the configured order, except for the first one to try.
    fn starting_with(&self, index: usize) -> Pins {
        let (first, others) = (&self.keys[index], self.keys.iter().enumerate().filter(|(i, _)| *i != index));
        std::iter::once(first).chain(others.map(|(_, key)| key)).map(|key| key.text().into()).collect()
    }

    async fn resolved<F>(
        &self,
        alias: &str,
        oldest: Duration,
        resolve: &impl Fn(String) -> F,
    ) -> Result<Arc<str>, KeyError>
    where
        F: Future<Output = Result<String, KeyError>> + Send + 'static,
    {
        let remembered = self.remembered(alias);
        if let Some(known) = remembered.as_ref().filter(|known| known.at.elapsed() < oldest) {
            return Ok(known.arn.clone());
        }
        let landed = || {
            let known = self.remembered(alias)?;
            (known.at.elapsed() < oldest).then_some(known.arn)
        };
        let answer = self.flights.join(alias.into(), landed, || {
            let (answer, aliases, alias) =
                (resolve(alias.to_owned()), self.aliases.clone(), Box::from(alias));
            async move {
                let arn: Arc<str> = answer.await?.into();
                lock(&aliases).insert(alias, Resolved { arn: arn.clone(), at: Instant::now() });
                Ok(arn)
            }
        });
        match (answer.await, remembered) {
            // An alias rarely changes: while KMS cannot be reached, the last answer is better than none.
            (Err(error), Some(known)) if error.class().is_retryable() => Ok(known.arn),
            (answer, _) => answer,
        }
    }

    fn remembered(&self, alias: &str) -> Option<Resolved> {
        lock(&self.aliases).get(alias).cloned()
    }

    fn foreign(&self, claim: &str) -> KeyError {
        KeyError::new(ErrorClass::WrongKey, format!("wrapped under {}, which is not allowed", shown(claim))).with_hint(
            "add the key to {allowed keys} if it is yours, for example after an alias was pointed at another key",
        )
    }
}

impl fmt::Debug for AllowedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| redact_arn(key.text()))).finish()
    }
}

impl From<String> for AllowedKey {
    fn from(text: String) -> Self {
        match (alias_name(&text), text.starts_with("arn:")) {
            (Some(_), _) => Self::Alias(text),
            (None, true) => Self::Arn(text),
            (None, false) => Self::Id(text),
        }
    }
}

impl AllowedKey {
    fn text(&self) -> &str {
        match self {
            Self::Arn(text) | Self::Alias(text) | Self::Id(text) => text,
        }
    }

    fn alias(&self) -> Option<&str> {
        match self {
            Self::Alias(text) => Some(text),
            Self::Arn(_) | Self::Id(_) => None,
        }
    }

    fn is_same_alias(&self, claim: &str) -> bool {
        self.alias().is_some_and(|own| match (own.starts_with("arn:"), claim.starts_with("arn:")) {
            (true, true) => own == claim,
            _ => alias_name(own) == alias_name(claim),
        })
    }

    /// Whether a claimed key ARN or id is this key, as far as that is known without asking. An id without an ARN is
    /// enough: the call names the configured key, not the claimed one.
    fn is_same_key(&self, claim: &str) -> bool {
        match self {
            Self::Arn(own) | Self::Id(own) => is_same_key(own, claim),
            Self::Alias(_) => false,
        }
    }
}

/// Whether an answer's key is the one that the call named; for an alias, `arn` is the key of the alias.
///
/// KMS answers with the ARN of the key in its own Region. An id is compared with the ARN's; so is anything else that KMS
/// may have made a key of.
fn is_answer_of(asked: &str, answered: &str) -> bool {
    let answered_key = KmsArn::parse(answered).filter(|arn| arn.key_id().is_some());
    answered_key.is_some() && is_same_key(asked, answered)
}

/// Whether two key ARNs, two ids, or one of each, name the same key.
fn is_same_key(own: &str, claim: &str) -> bool {
    match (own.starts_with("arn:"), claim.starts_with("arn:")) {
        (true, true) => own == claim || are_replicas(own, claim),
        _ => key_id(own).is_some() && key_id(own) == key_id(claim),
    }
}

/// Whether a key is where the alias's own ARN says: the same partition, Region and account.
fn is_near(alias: &str, answered: &str) -> bool {
    match (KmsArn::parse(alias), KmsArn::parse(answered)) {
        (Some(alias), Some(answered)) => alias.is_near(&answered),
        // A bare name is of the Region and account of the credentials, which only KMS knows.
        _ => true,
    }
}

fn not_asked_for(answered: &str) -> KeyError {
    KeyError::new(
        ErrorClass::WrongKey,
        format!("the key service answered for {}, which is not the key that was asked for", shown(answered)),
    )
    .with_hint(
        "nothing was stored; check AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS, the Region and the network path to the key service",
    )
}

/// Whether two ARNs name a multi-Region key in different Regions.
fn are_replicas(own: &str, claim: &str) -> bool {
    let (Some(own), Some(claim)) = (KmsArn::parse(own), KmsArn::parse(claim)) else {
        return false;
    };
    own.is_multi_region() && own.in_region(claim.region()) == claim
}

/// `alias/…` out of an alias's name or ARN.
fn alias_name(text: &str) -> Option<&str> {
    let name = KmsArn::parse(text).map_or(text, |arn| arn.resource());
    name.starts_with("alias/").then_some(name)
}

/// The id out of a key's ARN, or a text that can be an id.
fn key_id(text: &str) -> Option<&str> {
    let id = match KmsArn::parse(text) {
        Some(arn) => arn.key_id()?,
        None => text,
    };
    (!id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')).then_some(id)
}

fn lock(aliases: &Mutex<HashMap<Box<str>, Resolved>>) -> MutexGuard<'_, HashMap<Box<str>, Resolved>> {
    // Every entry is whole: a panic elsewhere does not make one wrong.
    aliases.lock().unwrap_or_else(PoisonError::into_inner)
}
