//! The JSON column that describes a row's tokens to another program.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Table;

/// A JSON column of a table (`jsonb`, `json` or text) whose object says how the row's tokens are stored. It is kept true by
/// every write, and never decides how a token is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Record {
    /// The column.
    pub column: String,
    /// The member that names the method.
    pub method: String,
    /// The member that names the key of the key service; absent where no key service wrapped the row's data keys.
    pub key_id: String,
    /// Whether a table without the column is worked with all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Our methods and the other program's names for them; a method that is not listed keeps its own name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

impl Record {
    /// A problem of this record in a table, if any.
    pub(super) fn problem(&self, table: &Table) -> Option<String> {
        let mut taken = table.key.iter().chain(&table.owner).chain(&table.tokens);
        let mut versions = table.version_columns().chain(&table.updated);
        if taken.any(|name| *name == self.column) || versions.any(|name| *name == self.column) {
            return Some(format!(
                "record of table {:?} is in column {:?}, which has another role",
                table.name, self.column
            ));
        }
        (self.method == self.key_id)
            .then(|| format!("record of table {:?} gives two members the name {:?}", table.name, self.method))
    }
}
