//! Cells are bound to what their vectors say, which the clients in other languages follow as well.

use std::collections::BTreeMap;

use envelope_core::Binding;
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    profile: Profile,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Profile {
    context: BTreeMap<String, String>,
    tables: Vec<Table>,
}

#[derive(Deserialize)]
struct Table {
    name: String,
    key: Vec<String>,
    #[serde(default)]
    owner: Vec<String>,
    bound_as: Option<String>,
    #[serde(default)]
    bound_columns: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    table: String,
    column: String,
    #[serde(default)]
    canonical_row: BTreeMap<String, String>,
    #[serde(default)]
    canonical_owner: BTreeMap<String, Option<String>>,
    #[serde(default)]
    bound_context: BTreeMap<String, String>,
    #[serde(default)]
    plain_context: BTreeMap<String, String>,
    #[serde(default)]
    canonical_binding: String,
}

impl Table {
    fn bound<'a>(&'a self, column: &'a str) -> &'a str {
        self.bound_columns.get(column).map_or(column, String::as_str)
    }

    fn binding<'a>(&'a self, vector: &'a Vector) -> Binding<'a> {
        let table = self.bound_as.as_deref().unwrap_or(&self.name);
        let mut binding = Binding::new(table, self.bound(&vector.column));
        for column in &self.key {
            binding = binding.key(self.bound(column), vector.canonical_row[column].as_str());
        }
        for column in &self.owner {
            let value = vector.canonical_owner[column].as_deref();
            binding = binding.owner(self.bound(column), value.unwrap_or_default());
        }
        binding
    }
}

#[test]
fn a_cell_is_bound_to_the_canonical_text_of_its_key_and_owner() {
    let file: File = serde_json::from_str(include_str!("../vectors/canonical.json")).unwrap();
    let base: Vec<(String, String)> = file.profile.context.into_iter().collect();
    let good: Vec<&Vector> = file.vectors.iter().filter(|vector| !vector.name.starts_with("fail_")).collect();
    assert!(good.len() >= 20 && file.vectors.len() > good.len());
    for vector in good {
        let table = file.profile.tables.iter().find(|table| table.name == vector.table).unwrap();
        let binding = table.binding(vector);
        let pairs = |context: envelope_core::EncryptionContext| -> BTreeMap<String, String> {
            context.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        assert_eq!(pairs(binding.bound_context(&base).unwrap()), vector.bound_context, "{}", vector.name);
        assert_eq!(pairs(binding.plain_context(&base).unwrap()), vector.plain_context, "{}", vector.name);
        assert_eq!(hex::encode(binding.canonical().unwrap()), vector.canonical_binding, "{}", vector.name);
    }
}
