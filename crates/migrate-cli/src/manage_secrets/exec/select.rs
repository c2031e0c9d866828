//! Which secrets the program gets, and as which variables.

use std::collections::BTreeMap;
use std::str::FromStr;

use secrecy::SecretString;
use secrets_cache::name::{NameError, is_variable};
use secrets_cache::source::{ListRequest, list_all};
use secrets_cache::typed::{self, ReadError};
use secrets_cache::{SecretName, SecretRef, SecretValue, SourceError};
use serde::Serialize;

use super::Args;
use super::environment::{self, MAX_STRING};
use crate::exit::chain;
use crate::manage_secrets::failure::Failure;
use crate::manage_secrets::source::Opened;
use crate::output::note;

/// A secret or one of its fields, and the name of its variable: `name`, `name#field`, `VARIABLE=name#field`.
#[derive(Clone, Debug)]
pub(super) struct Pick {
    variable: Option<String>,
    secret: SecretRef,
}

impl FromStr for Pick {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A name can hold `=`: it renames only if a variable is before it.
        let (variable, secret) = match text.split_once('=') {
            Some((variable, secret)) if is_variable(variable) => (Some(variable.to_owned()), secret),
            _ => (None, text),
        };
        Ok(Self { variable, secret: secret.parse().map_err(|error: NameError| error.to_string())? })
    }
}

impl Pick {
    fn whole(name: SecretName) -> Self {
        Self { variable: None, secret: name.into() }
    }

    /// `db#password` is `DB_PASSWORD`: a field alone would say too little.
    fn variable(&self) -> String {
        match (&self.variable, self.secret.field()) {
            (Some(variable), _) => variable.clone(),
            (None, None) => self.secret.name().variable(),
            (None, Some(field)) => {
                let joined = format!("{}_{}", self.secret.name(), field.trim_start_matches('/'));
                SecretName::new(&joined).map_or(joined, |name| name.variable().to_ascii_uppercase())
            }
        }
    }
}

/// The values that the program gets.
#[derive(Default)]
pub(super) struct Collected {
    /// By variable.
    pub(super) values: BTreeMap<String, Given>,
    /// Values for files, by the variable that gets the path.
    pub(super) files: BTreeMap<String, Given>,
}

pub(super) struct Given {
    pub(super) secret: SecretName,
    pub(super) value: SecretValue,
}

impl Collected {
    /// Whether the program would be started with the same values.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let same = |one: &BTreeMap<String, Given>, other: &BTreeMap<String, Given>| {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, given)| other.get(name).is_some_and(|o| o.value.same_as(&given.value)))
        };
        same(&self.values, &other.values) && same(&self.files, &other.files)
    }

    pub(super) fn largest(&self) -> Option<&SecretName> {
        self.values.values().max_by_key(|given| given.value.len()).map(|given| &given.secret)
    }
}

/// A secret that keeps the program from being started.
#[derive(Serialize)]
pub(super) struct Refused {
    name: String,
    pub(super) class: &'static str,
    error: String,
    /// The next step that the source names.
    #[serde(skip)]
    pub(super) hint: Option<&'static str>,
}

impl Refused {
    fn new(name: impl ToString, class: &'static str, error: impl Into<String>) -> Self {
        Self { name: name.to_string(), class, error: error.into(), hint: None }
    }
}

/// Fetches the program's variables, or returns every problem with them.
pub(super) async fn collect(
    args: &Args,
    opened: &Opened,
) -> Result<Result<Collected, Vec<Refused>>, Failure> {
    let picks = picks(args, opened).await?;
    let as_file = picks.len();
    let all: Vec<&Pick> = picks.iter().chain(&args.files).collect();
    let names: Vec<SecretName> = all.iter().map(|pick| pick.secret.name().clone()).collect();
    let mut collected = Collected::default();
    let mut refused = Vec::new();
    for (n, (pick, answer)) in all.iter().zip(opened.source.get_many(&names).await?).enumerate() {
        let is_file = n >= as_file;
        let is_asked_for = is_file || !args.names.is_empty();
        match value(pick, answer, is_asked_for, is_file) {
            Ok(Some(value)) => {
                let given = Given { secret: pick.secret.name().clone(), value };
                collected.add(pick, is_file, given)?;
            }
            Ok(None) => {}
            Err(error) => refused.push(error),
        }
    }
    refused.iter().for_each(|refused| note(&format!("failed: {}: {}", refused.name, refused.error)));
    Ok(if refused.is_empty() { Ok(collected) } else { Err(refused) })
}

async fn picks(args: &Args, opened: &Opened) -> Result<Vec<Pick>, Failure> {
    if !args.names.is_empty() {
        return Ok(args.names.clone());
    }
    let all = list_all(&*opened.source, &ListRequest::default()).await?;
    let known: Vec<SecretName> = all.into_iter().map(|secret| secret.name).collect();
    if let Some(unknown) = args.except.iter().find(|name| !known.contains(name)) {
        return Err(Failure::usage(
            format!("there is no secret {unknown}"),
            "check the names after --except",
        ));
    }
    let is_file = |name: &SecretName| args.files.iter().any(|pick| pick.secret.name() == name);
    let left = known.into_iter().filter(|name| !args.except.contains(name) && !is_file(name));
    let picks: Vec<Pick> = left.map(Pick::whole).collect();
    if let Some(loader) =
        picks.iter().map(|pick| pick.secret.name()).find(|name| environment::is_loader(&name.variable()))
    {
        return Err(Failure::usage(
            format!("the secret {loader} would become {}, which decides what code runs", loader.variable()),
            "leave it out with --except, or name it with --names",
        ));
    }
    Ok(picks)
}

/// The value for the program; none for a secret that it does without.
fn value(
    pick: &Pick,
    answer: Result<secrets_cache::Secret, SourceError>,
    is_asked_for: bool,
    is_file: bool,
) -> Result<Option<SecretValue>, Refused> {
    let name = pick.secret.name();
    let secret = match answer {
        Ok(secret) => secret,
        Err(error @ (SourceError::Expired { .. } | SourceError::Unfit { .. })) if !is_asked_for => {
            note(&format!("left out: {error}"));
            return Ok(None);
        }
        Err(error) => {
            return Err(Refused { hint: error.hint(), ..Refused::new(name, error.class(), chain(&error)) });
        }
    };
    if is_file && pick.secret.field().is_none() {
        return Ok(Some(secret.value));
    }
    if secret.value.is_binary() && !is_asked_for {
        note(&format!("left out: secret {name:?} is binary; --file {name} writes it to a file"));
        return Ok(None);
    }
    let text = typed::interpret::<SecretString>(&secret, &pick.secret).map_err(|error| match error {
        ReadError::WrongType { .. } => {
            Refused::new(name, "binary", "it is binary; --file writes it to a file")
        }
        error => Refused::new(name, "no_field", error.to_string()),
    })?;
    let value = SecretValue::text(text);
    if is_file {
        return Ok(Some(value));
    }
    if value.expose_bytes().contains(&0) {
        return Err(Refused::new(name, "binary", "it has a NUL byte; --file writes it to a file"));
    }
    let length = pick.variable().len() + value.len() + 2;
    if length > MAX_STRING {
        let error = format!(
            "it has {} bytes, and a variable has at most {MAX_STRING} with its name; --file writes it to a file",
            value.len()
        );
        return Err(Refused::new(name, "too_large", error));
    }
    Ok(Some(value))
}

impl Collected {
    fn add(&mut self, pick: &Pick, is_file: bool, given: Given) -> Result<(), Failure> {
        let variable = match is_file && pick.variable.is_none() {
            true => format!("{}_FILE", pick.variable()),
            false => pick.variable(),
        };
        let taken = [&self.values, &self.files].into_iter().find_map(|there| there.get(&variable));
        if let Some(other) = taken {
            // Two spellings of one secret with one value break nothing.
            if !is_file && other.value.same_as(&given.value) && other.secret.is_spelling_of(&given.secret) {
                return Ok(());
            }
            let problem = format!("{} and {} make the same variable", other.secret, given.secret);
            return Err(Failure::usage(problem, "choose with --names or --except"));
        }
        if is_file { &mut self.files } else { &mut self.values }.insert(variable, given);
        Ok(())
    }
}
