//! Profiles: which tables hold tokens, how a row is named, and the names that its values are bound to.

mod error;
mod index;
mod record;
mod refresh;
pub(crate) mod types;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::index::Index;
pub use self::refresh::{ClientAuth, Provider, Refresh};
use crate::floor::Floor;
use crate::write_format::WriteFormat;

pub use error::ProfileError;
pub use record::Record;

/// A deployment's tables and conventions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// The name in reports and events. The keys of blind indexes belong to it: another name finds none of them.
    pub name: String,
    /// The prefix of the names of metrics.
    #[serde(default = "default_prefix")]
    pub metrics_prefix: String,
    /// The form that a rollback writes, and the form that an unmarked text is read as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<LegacyFormat>,
    /// Whether a text without any mark, in a table without version columns, is plaintext or of the legacy format.
    #[serde(default)]
    pub unmarked: Unmarked,
    /// The weakest form of a value that is read; `READ_FLOOR` overrides it.
    #[serde(default)]
    pub floor: Floor,
    /// Formats of other systems that rows may have, and that are not read otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// The pairs that every encryption context of this deployment has.
    pub context: BTreeMap<String, String>,
    /// The tables, in the order in which they are worked through.
    pub tables: Vec<Table>,
    /// The OAuth providers that refresh tokens, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub providers: BTreeMap<String, Provider>,
}

/// One table that holds tokens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Table {
    /// The table's name, without a schema.
    pub name: String,
    /// The schema that it is in. If left out, the first in the search path that has such a table when the store opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The table name that values are bound to, where the table was renamed after they were sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_as: Option<String>,
    /// The names that values are bound to of columns that were renamed after they were sealed: column → earlier name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bound_columns: BTreeMap<String, String>,
    /// The types of key and owner columns, for clients that make keys canonical by themselves.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, String>,
    /// The treatment of an index over a token column, which finds nothing after sealing.
    #[serde(default, skip_serializing_if = "LostIndexes::is_default")]
    pub lost_indexes: LostIndexes,
    /// The treatment of a history of the table that the database keeps.
    #[serde(default, skip_serializing_if = "History::is_default")]
    pub history: History,
    /// The primary-key columns, in order.
    pub key: Vec<String>,
    /// The columns that hold tokens. A table may have fields only.
    #[serde(default)]
    pub tokens: Vec<String>,
    /// Columns that a service seals by hand with [`envelope_core::field`], under the profile's context and bound to table,
    /// column, key and owner: they are verified, rewrapped and counted, and written by the service alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Columns that identify the owner of a row; part of every context of the row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owner: Vec<String>,
    /// The columns that say how a row's tokens are stored, where the table has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionColumns>,
    /// Columns that are stored as they are next to the tokens, such as an expiry: returned by a read, set by
    /// a write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plain: Vec<String>,
    /// A column that a write sets to the current time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
    /// A JSON column that describes the tokens to another program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    /// Blind indexes over token columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub index: Vec<Index>,
    /// A condition in SQL that limits which rows are looked at, such as `deleted_at IS NULL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Whether a database without this table is skipped instead of refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// How the tokens are refreshed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Refresh>,
}

/// The treatment of an index or UNIQUE over a token column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LostIndexes {
    /// A migration does not start.
    #[default]
    Refuse,
    /// The index is known to find nothing afterwards.
    Accept,
}

/// The treatment of a history of a table's rows, such as SYSTEM VERSIONING of MariaDB, in which values stay readable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum History {
    /// A migration does not start.
    #[default]
    Refuse,
    /// The history is removed by the operator after the run.
    Accept,
}

impl History {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl LostIndexes {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The names of the three columns that are always written together with a value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct VersionColumns {
    /// 0 plaintext, 1 direct AES, 2 KMS envelope.
    pub version: String,
    /// The method in words.
    pub method: String,
    /// The key that wrapped the data keys.
    pub key_id: String,
}

/// A format of the time before the key service that can still be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LegacyFormat {
    /// AES-256-GCM under `ENCRYPTION_KEY`.
    DirectAes,
    /// PulsePlan's per-user keys under `TOKEN_ENCRYPTION_KEY`.
    PulseplanLocal,
}

/// A format of another system that is read only where a profile names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Source {
    /// Node KMSService's envelopes. Those of its first version do not state their purpose: a secret of a
    /// local store under the same keyring would open as a token.
    NodeJson,
}

/// How a text without a mark is read where no version column says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unmarked {
    /// As a readable token.
    #[default]
    Plaintext,
    /// As direct AES; one that does not open is an error, not plaintext.
    DirectAes,
}

impl Profile {
    /// The built-in profiles, by name.
    pub const BUILT_IN: [(&'static str, &'static str); 3] = [
        ("vod-tender", include_str!("../profiles/vod-tender.toml")),
        ("pulseplan", include_str!("../profiles/pulseplan.toml")),
        ("autonomous", include_str!("../profiles/autonomous.toml")),
    ];

    /// Finds a built-in profile by name, or reads one from a TOML file.
    ///
    /// # Errors
    /// [`ProfileError`] if it is neither, or describes no usable layout.
    pub fn load(name_or_path: &str) -> Result<Self, ProfileError> {
        if let Some((_, text)) = Self::BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::from_toml(text);
        }
        let path = Path::new(name_or_path);
        if path.extension().is_none() && !path.exists() {
            return Err(ProfileError::Unknown { name: name_or_path.into() });
        }
        let text = std::fs::read_to_string(path)
            .map_err(|source| ProfileError::Read { path: name_or_path.into(), source })?;
        Self::from_toml(&text)
    }

    /// Parses a profile.
    ///
    /// # Errors
    /// [`ProfileError`] naming the problem.
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        let mut profile: Self = toml::from_str(text).map_err(|error| ProfileError::toml(text, &error))?;
        profile.tables.iter_mut().for_each(Table::name_refresh_columns);
        profile.check()?;
        Ok(profile)
    }

    /// The pairs of every context, as the sealer takes them.
    #[must_use]
    pub fn base_context(&self) -> Vec<(String, String)> {
        self.context.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The table of this name, or the first one.
    #[must_use]
    pub fn table(&self, name: Option<&str>) -> Option<&Table> {
        match name {
            Some(name) => self.tables.iter().find(|table| table.name == name),
            None => self.tables.first(),
        }
    }

    /// The same profile with other pairs in every encryption context.
    ///
    /// # Errors
    /// [`ProfileError::Invalid`] if a pair is named like a column that is bound.
    pub fn with_context(mut self, context: BTreeMap<String, String>) -> Result<Self, ProfileError> {
        self.context = context;
        self.check()?;
        Ok(self)
    }

    /// The same profile with refreshed tokens in one of its tables.
    ///
    /// # Errors
    /// [`ProfileError::Invalid`] if there is no such table, or the columns do not fit.
    pub fn with_refresh(mut self, table: &str, refresh: Refresh) -> Result<Self, ProfileError> {
        let Some(found) = self.tables.iter_mut().find(|own| own.name == table) else {
            let reason = format!("it names no table {table:?}");
            return Err(ProfileError::Invalid { profile: self.name, reason });
        };
        found.refresh = Some(refresh);
        found.name_refresh_columns();
        self.check()?;
        Ok(self)
    }

    /// Whether values in this form can be distinguished from everything else in the profile's tables.
    #[must_use]
    pub fn can_store(&self, format: WriteFormat) -> bool {
        match format {
            WriteFormat::KmsEnvelope => true,
            WriteFormat::DirectAes => self.marks_everything() || self.unmarked == Unmarked::DirectAes,
            WriteFormat::PulseplanLocal => self.legacy == Some(LegacyFormat::PulseplanLocal),
            WriteFormat::Plaintext => self.marks_everything() || self.unmarked == Unmarked::Plaintext,
        }
    }

    fn marks_everything(&self) -> bool {
        self.tables.iter().all(|table| table.version.is_some())
    }

    /// Why a rollback would write values into this table that no reader could read afterwards.
    fn unreadable_legacy(&self, table: &Table) -> Option<String> {
        let name = &table.name;
        match self.legacy? {
            LegacyFormat::DirectAes if table.version.is_none() && self.unmarked != Unmarked::DirectAes => {
                Some(format!(
                    "table {name:?} has no version columns, so legacy = \"direct-aes\" needs unmarked = \"direct-aes\""
                ))
            }
            LegacyFormat::PulseplanLocal if table.version.is_some() => Some(format!(
                "table {name:?} has version columns, which have no number for \"pulseplan-local\""
            )),
            LegacyFormat::PulseplanLocal if table.owner.is_empty() => {
                Some(format!("table {name:?} names no owner, whom \"pulseplan-local\" derives its keys for"))
            }
            _ => None,
        }
    }

    fn check(&self) -> Result<(), ProfileError> {
        let invalid = |reason: String| Err(ProfileError::Invalid { profile: self.name.clone(), reason });
        let prefix_is_a_name = self.metrics_prefix.starts_with(|c: char| c.is_ascii_lowercase())
            && self.metrics_prefix.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !prefix_is_a_name {
            return invalid(format!(
                "metrics_prefix {:?} is not lower-case letters, digits and _",
                self.metrics_prefix
            ));
        }
        if self.tables.is_empty() {
            return invalid("it names no table".into());
        }
        if self.unmarked == Unmarked::DirectAes && self.legacy != Some(LegacyFormat::DirectAes) {
            return invalid("unmarked = \"direct-aes\" needs legacy = \"direct-aes\"".into());
        }
        let wrong_provider = self.providers.iter().find_map(|(name, provider)| provider.problem(name));
        if let Some(reason) = wrong_provider {
            return invalid(reason);
        }
        for (index, table) in self.tables.iter().enumerate() {
            let refused = self.unreadable_legacy(table).or_else(|| table.wrong_refresh(&self.providers));
            if let Some(reason) = refused {
                return invalid(reason);
            }
            if table.key.is_empty() || table.tokens.len() + table.fields.len() == 0 {
                return invalid(format!(
                    "table {:?} needs at least one key column and one token or field column",
                    table.name
                ));
            }
            if self.tables[..index].iter().any(|other| other.name == table.name) {
                return invalid(format!("table {:?} is given twice", table.name));
            }
            if let Some(name) = table.repeated_column() {
                return invalid(format!("column {name:?} of table {:?} has two roles", table.name));
            }
            if self.tables[..index].iter().any(|other| other.bound_name() == table.bound_name()) {
                return invalid(format!(
                    "values of table {:?} would be bound to the same name as another table's: see bound_as",
                    table.name
                ));
            }
            if let Some(problem) = table.record.as_ref().and_then(|record| record.problem(table)) {
                return invalid(problem);
            }
            if let Some((field, name)) = table.unknown_column() {
                return invalid(format!(
                    "{field} of table {:?} names {name:?}, which has no such role",
                    table.name
                ));
            }
            if let Some((name, declared)) = table.unknown_type() {
                return invalid(format!(
                    "types of table {:?} gives column {name:?} the type {declared:?}, which is unknown; it must be one such \
                     as bigint, uuid or text",
                    table.name
                ));
            }
            if let Some(reason) = table.unusable_index() {
                return invalid(reason);
            }
            if let Some(name) = table.repeated_bound_name() {
                return invalid(format!(
                    "bound_columns of table {:?} gives two columns the name {name:?}",
                    table.name
                ));
            }
            if let Some(name) = table.clashing_pair(&self.context) {
                return invalid(format!(
                    "column {name:?} of table {:?} has the name of another pair of the encryption context",
                    table.name
                ));
            }
        }
        Ok(())
    }
}

impl Table {
    /// The columns that the table must bring along; the schema migration adds none of them.
    pub(crate) fn own_columns(&self) -> impl Iterator<Item = &String> {
        self.key.iter().chain(&self.owner).chain(&self.tokens).chain(&self.fields).chain(&self.plain)
    }

    /// The columns for version, method and key, in this order, where the table has any.
    pub(crate) fn version_columns(&self) -> impl Iterator<Item = &String> {
        self.version.iter().flat_map(|names| [&names.version, &names.method, &names.key_id])
    }

    /// The table name that values are bound to.
    #[must_use]
    pub fn bound_name(&self) -> &str {
        self.bound_as.as_deref().unwrap_or(&self.name)
    }

    /// The name that values of a column are bound to.
    #[must_use]
    pub fn bound_column<'a>(&'a self, column: &'a str) -> &'a str {
        self.bound_columns.get(column).map_or(column, String::as_str)
    }

    /// A name in `bound_columns` or `types` that is no column of the kind that it must be.
    fn unknown_column(&self) -> Option<(&'static str, &str)> {
        let bound = |name: &&String| {
            self.key.iter().chain(&self.owner).chain(&self.tokens).chain(&self.fields).any(|own| own == *name)
        };
        let typed = |name: &&String| self.key.iter().chain(&self.owner).any(|own| own == *name);
        let unbound = self.bound_columns.keys().find(|name| !bound(name)).map(|name| ("bound_columns", name));
        let untyped = self.types.keys().find(|name| !typed(name)).map(|name| ("types", name));
        unbound.or(untyped).map(|(field, name)| (field, name.as_str()))
    }

    fn repeated_column(&self) -> Option<&str> {
        let named =
            self.own_columns().chain(self.version_columns()).chain(&self.updated).chain(self.index_columns());
        let mut all: Vec<&str> = named.map(String::as_str).collect();
        all.sort_unstable();
        all.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }

    /// A name that two columns would be bound to: values could be moved from one to the other.
    fn repeated_bound_name(&self) -> Option<&str> {
        let rows = self.key.iter().chain(&self.owner).map(|name| self.bound_column(name)).collect::<Vec<_>>();
        let tokens = self.tokens.iter().chain(&self.fields);
        let tokens = tokens.map(|name| self.bound_column(name)).collect::<Vec<_>>();
        [rows, tokens].into_iter().find_map(|mut names| {
            names.sort_unstable();
            names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
        })
    }

    fn clashing_pair(&self, context: &BTreeMap<String, String>) -> Option<&str> {
        let names = self.key.iter().chain(&self.owner);
        names
            .map(|name| self.bound_column(name))
            .find(|name| matches!(*name, "table" | "column") || context.contains_key(*name))
    }
}

fn default_prefix() -> String {
    "tokens".into()
}
