//! Writing the types of key and owner columns into a profile's file.

use std::collections::BTreeMap;
use std::path::Path;

use toml_edit::{DocumentMut, InlineTable, Item, Value};

use crate::exit::CliError;
use crate::input;

/// Table → column → type.
type Types = BTreeMap<String, BTreeMap<String, String>>;

/// Writes the types of each table into the file; everything else in it stays, comments too.
pub(super) fn write(file: &Path, types: &Types) -> Result<(), CliError> {
    let unusable =
        || CliError::usage(format!("profile file {} cannot be changed: it is no TOML", file.display()));
    let text = input::read_text(file)?;
    let mut document: DocumentMut = text.parse().map_err(|_| unusable())?;
    set(&mut document, types).ok_or_else(unusable)?;
    let new = document.to_string();
    if new == *text {
        return Ok(());
    }
    let written = durable_file::write(file, &durable_file::Options::replace(), new.as_bytes());
    written.map_err(|error| CliError::usage(format!("profile file cannot be written: {error}")))
}

fn set(document: &mut DocumentMut, types: &Types) -> Option<()> {
    for table in document.get_mut("tables")?.as_array_of_tables_mut()?.iter_mut() {
        let name = table.get("name")?.as_str()?.to_owned();
        let Some(found) = types.get(&name) else { continue };
        let mut inline = InlineTable::new();
        for (column, declared) in found {
            inline.insert(column, Value::from(declared.as_str()));
        }
        table.insert("types", Item::Value(Value::InlineTable(inline)));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_and_everything_else_stays() -> Result<(), toml_edit::TomlError> {
        let text = "# ours\nname = \"crm\" # short\n\n[[tables]]\nname = \"users\"\nkey = [ \"id\" ]\n\n\
                    [tables.version]\nversion = \"v\"\n\n[[tables]]\nname = \"other\"\n";
        let mut document: DocumentMut = text.parse()?;
        let types = [("id".to_owned(), "uuid".to_owned())].into();
        assert_eq!(set(&mut document, &[("users".to_owned(), types)].into()), Some(()));
        let expected = text.replacen("[ \"id\" ]\n", "[ \"id\" ]\ntypes = { id = \"uuid\" }\n", 1);
        assert_eq!(document.to_string(), expected);
        Ok(())
    }
}
