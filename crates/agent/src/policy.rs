//! The policy: which caller may do what, on which tables, for which owners, and with which secrets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tokenseal::secrets_cache::{SecretName, SecretRef};
use tokenseal::token_store::Profile;

use crate::caller::Caller;

/// Stands for every table or every secret.
const EVERY: &str = "*";

/// The operation of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Get,
    Put,
    Delete,
    Open,
    Seal,
    Fresh,
    Lease,
    Find,
    Secret,
}

/// Which caller may do what. Nothing is allowed that no rule allows.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    who: Who,
    actions: Option<Vec<Action>>,
    tables: Vec<String>,
    owner: BTreeMap<String, Vec<String>>,
    secrets: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Uid(u32),
    Gid(u32),
    Token(String),
}

/// The rows that a caller may work on.
#[derive(Debug)]
pub(crate) enum Scope<'a> {
    /// No row.
    None,
    /// Every row.
    Every,
    /// Rows whose owner one of these rules names: column → values.
    Owners(Vec<&'a BTreeMap<String, Vec<String>>>),
}

/// Why a policy is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("file cannot be read ({0})")]
    Unreadable(std::io::ErrorKind),
    /// It is not TOML, or not of a policy.
    #[error("line {line}: {message}")]
    Toml {
        /// The line, from 1.
        line: usize,
        /// The problem.
        message: String,
    },
    /// A rule says something that cannot be.
    #[error("rule {rule} {problem}")]
    Rule {
        /// The rule, from 1.
        rule: usize,
        /// The problem.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default)]
    allow: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    uid: Option<u32>,
    gid: Option<u32>,
    token: Option<String>,
    #[serde(rename = "do")]
    actions: Vec<Action>,
    #[serde(default)]
    tables: Vec<String>,
    #[serde(default)]
    owner: BTreeMap<String, Values>,
    #[serde(default)]
    secrets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

impl Policy {
    /// A policy under which one user may do everything, and no one else anything.
    #[must_use]
    pub fn only(uid: u32) -> Self {
        let every = || vec![EVERY.to_owned()];
        let rule = Rule {
            who: Who::Uid(uid),
            actions: None,
            tables: every(),
            owner: BTreeMap::new(),
            secrets: every(),
        };
        Self { rules: vec![rule] }
    }

    /// Reads a policy for the tables of a profile.
    ///
    /// # Errors
    /// `PolicyError`.
    pub fn read(path: &Path, profile: &Profile) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path).map_err(|error| PolicyError::Unreadable(error.kind()))?;
        Self::parse(&text, profile)
    }

    /// Parses a policy for the tables of a profile.
    ///
    /// # Errors
    /// `PolicyError`, other than `PolicyError::Unreadable`.
    pub fn parse(text: &str, profile: &Profile) -> Result<Self, PolicyError> {
        let file: FileText = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let message = error.message().replace('\n', "; ");
            PolicyError::Toml { line: before.matches('\n').count() + 1, message }
        })?;
        let rules = (1..).zip(file.allow).map(|(rule, text)| {
            Rule::of(text, profile).map_err(|problem| PolicyError::Rule { rule, problem })
        });
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// Whether any rule limits callers to the rows of some owners.
    pub(crate) fn has_owner_rules(&self) -> bool {
        self.rules.iter().any(|rule| !rule.owner.is_empty())
    }

    /// The tokens that rules name.
    pub(crate) fn token_names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|rule| match &rule.who {
            Who::Token(name) => Some(name.as_str()),
            Who::Uid(_) | Who::Gid(_) => None,
        })
    }

    /// Whether any rule is about this caller.
    pub(crate) fn knows(&self, caller: &Caller) -> bool {
        self.rules.iter().any(|rule| rule.who.is(caller))
    }

    /// Of which rows of a table a caller may do this.
    pub(crate) fn scope(&self, caller: &Caller, action: Action, table: &str) -> Scope<'_> {
        let mut owners = Vec::new();
        let of_caller = self.rules.iter().filter(|rule| rule.who.is(caller) && rule.allows(action));
        for rule in of_caller.filter(|rule| rule.tables.iter().any(|name| name == EVERY || name == table)) {
            if rule.owner.is_empty() {
                return Scope::Every;
            }
            owners.push(&rule.owner);
        }
        if owners.is_empty() { Scope::None } else { Scope::Owners(owners) }
    }

    /// Whether a caller may read a secret, or a field of it. `own` returns the source's own spelling of a name: a source that
    /// answers to several spellings must not hand out a secret by one of them that the rules refuse by
    /// another.
    pub(crate) fn allows_secret(
        &self,
        caller: &Caller,
        secret: &SecretRef,
        own: impl Fn(&SecretName) -> SecretName,
    ) -> bool {
        let name = own(secret.name()).to_string();
        let reference = secret.field().map(|field| format!("{name}#{field}"));
        let fits_as = |pattern: &str| {
            fits(pattern, &name) || reference.as_ref().is_some_and(|reference| fits(pattern, reference))
        };
        let fits = |pattern: &str| fits_as(pattern) || fits_as(&spelled(pattern, &own));
        let mut of_caller =
            self.rules.iter().filter(|rule| rule.who.is(caller) && rule.allows(Action::Secret));
        of_caller.any(|rule| rule.secrets.iter().any(|pattern| fits(pattern)))
    }

    /// Whether a caller may read secrets at all.
    pub(crate) fn allows_any_secret(&self, caller: &Caller) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.who.is(caller) && rule.allows(Action::Secret) && !rule.secrets.is_empty())
    }

    /// The first pattern that matches no name of a source whose names are variables.
    pub(crate) fn pattern_of_no_variable(&self) -> Option<&str> {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let is_beginning = |pattern: &str| {
            let beginning = pattern.strip_suffix('*')?;
            let name = beginning.split_once('#').map_or(beginning, |(name, _)| name);
            Some(name.chars().all(is_of_name))
        };
        let mut patterns = self.rules.iter().flat_map(|rule| &rule.secrets);
        patterns.find(|pattern| is_beginning(pattern) == Some(false)).map(String::as_str)
    }
}

/// A pattern with its name, or the beginning of its names, as the source spells it.
fn spelled<'a>(pattern: &'a str, own: &impl Fn(&SecretName) -> SecretName) -> Cow<'a, str> {
    let end = pattern.find(['#', '*']).unwrap_or(pattern.len());
    match SecretName::new(&pattern[..end]) {
        Ok(name) => Cow::Owned(format!("{}{}", own(&name), &pattern[end..])),
        Err(_) => Cow::Borrowed(pattern),
    }
}

impl Rule {
    fn of(text: RuleText, profile: &Profile) -> Result<Self, String> {
        let who = match (text.uid, text.gid, text.token) {
            (Some(uid), None, None) => Who::Uid(uid),
            (None, Some(gid), None) => Who::Gid(gid),
            (None, None, Some(name)) => Who::Token(name),
            _ => return Err("needs exactly one of uid, gid and token".into()),
        };
        let owner = text.owner.into_iter().map(|(column, values)| match values {
            Values::One(value) => (column, vec![value]),
            Values::Several(values) => (column, values),
        });
        let rule = Self {
            who,
            actions: Some(text.actions),
            tables: text.tables,
            owner: owner.collect(),
            secrets: text.secrets,
        };
        match rule.problem(profile) {
            Some(problem) => Err(problem),
            None => Ok(rule),
        }
    }

    fn problem(&self, profile: &Profile) -> Option<String> {
        let actions = self.actions.as_deref().unwrap_or_default();
        let on_secrets = actions.contains(&Action::Secret);
        let on_tables = actions.iter().any(|action| *action != Action::Secret);
        if actions.is_empty() {
            return Some("allows nothing: `do` is empty".into());
        }
        if on_tables == self.tables.is_empty() {
            return Some("needs `tables` where `do` has something other than secret, and only there; [\"*\"] is every table".into());
        }
        if on_secrets == self.secrets.is_empty() {
            return Some(
                "needs `secrets` where `do` has secret, and only there; [\"*\"] is every secret".into(),
            );
        }
        if let Some(pattern) = self.secrets.iter().find(|pattern| !is_pattern(pattern)) {
            let problem = "must be a name (name or name#field), or a beginning of one and `*`";
            return Some(format!("names the secrets {pattern:?}; {problem}"));
        }
        if let Some(name) =
            self.tables.iter().find(|name| *name != EVERY && profile.table(Some(name)).is_none())
        {
            return Some(format!("names the table {name:?}, which the profile does not have"));
        }
        self.owner_problem(profile)
    }

    fn owner_problem(&self, profile: &Profile) -> Option<String> {
        if self.owner.is_empty() {
            return None;
        }
        let every = self.tables.iter().any(|name| name == EVERY);
        for table in profile.tables.iter().filter(|table| every || self.tables.contains(&table.name)) {
            let unknown = self.owner.keys().find(|column| !table.owner.contains(column));
            if let Some(column) = unknown {
                return Some(format!(
                    "has an owner {column:?}, which is no owner column of table {:?}",
                    table.name
                ));
            }
        }
        let empty = self.owner.iter().find(|(_, values)| values.is_empty());
        empty.map(|(column, _)| format!("names no value for the owner {column:?}"))
    }

    fn allows(&self, action: Action) -> bool {
        self.actions.as_ref().is_none_or(|actions| actions.contains(&action))
    }
}

impl Who {
    fn is(&self, caller: &Caller) -> bool {
        match self {
            Self::Uid(uid) => caller.uid() == Some(*uid),
            Self::Gid(gid) => caller.gid() == Some(*gid),
            Self::Token(name) => caller.token.as_deref() == Some(name),
        }
    }
}

/// Whether a pattern fits any secret at all.
fn is_pattern(text: &str) -> bool {
    match text.strip_suffix('*') {
        Some(beginning) => !beginning.contains('*') && format!("{beginning}x").parse::<SecretRef>().is_ok(),
        None => !text.contains('*') && text.parse::<SecretRef>().is_ok(),
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests;
