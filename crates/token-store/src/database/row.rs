//! One row as a database holds it, and how it is named.

use std::fmt::Write as _;
use std::ops::Deref;

use envelope_core::Binding;

use super::Text;
use super::layout::Layout;
use crate::error::DatabaseError;

/// One row as it was read.
#[derive(Clone)]
pub(crate) struct StoredRow {
    pub(crate) key: StoredKey,
    pub(crate) owner: Vec<Option<String>>,
    pub(crate) version: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) key_id: Option<String>,
    pub(crate) values: Vec<Option<Text>>,
    /// The record about the tokens, where the table has one.
    pub(crate) record: Cell,
    /// The blind indexes, in the profile's order.
    pub(crate) indexes: Vec<Option<String>>,
    /// The plain columns, where they were asked for.
    pub(crate) plain: Vec<Option<String>>,
    /// Why the row cannot be worked with, where a column holds what is no text.
    pub(crate) unreadable: Option<Box<Unreadable>>,
}

/// A row's key: its texts, and how the database stores each where texts alone do not say it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StoredKey {
    texts: Vec<String>,
    classes: Vec<Class>,
}

/// How a part of a key is stored. Only SQLite stores values of several classes in one column.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Class {
    #[default]
    Text,
    Integer(i64),
    Real(f64),
}

/// A column of a row that is no text.
#[derive(Clone, Debug)]
pub(crate) struct Unreadable {
    pub(crate) column: String,
    pub(crate) reason: NoText,
}

/// Why a column's content cannot be read as text.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum NoText {
    /// Its bytes are no UTF-8.
    #[error("stored bytes are not UTF-8 text")]
    NotUtf8,
    /// It is stored as something else.
    #[error("stored as {class}, not as text: store it as text first")]
    Stored {
        /// The class of storage.
        class: &'static str,
    },
    /// The database does not return it.
    #[error("column cannot be read")]
    Refused(#[source] DatabaseError),
}

/// A column's content as it was read.
pub(crate) type Cell = Result<Option<Text>, NoText>;

impl StoredKey {
    /// A key that is stored as text.
    pub(crate) fn of_texts(texts: Vec<String>) -> Self {
        Self { texts, classes: Vec::new() }
    }

    /// A key whose parts are stored in these classes.
    pub(crate) fn of_parts(parts: impl IntoIterator<Item = (String, Class)>) -> Self {
        let (texts, classes) = parts.into_iter().unzip();
        Self { texts, classes }
    }

    /// How a part is stored.
    pub(crate) fn class(&self, index: usize) -> Class {
        self.classes.get(index).copied().unwrap_or_default()
    }
}

impl Deref for StoredKey {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.texts
    }
}

/// The cells of these columns, as far as there are any; the first that is no text makes the row unreadable.
fn take<'a>(
    cells: &mut impl Iterator<Item = Cell>,
    names: impl Iterator<Item = &'a String>,
    unreadable: &mut Option<Box<Unreadable>>,
) -> Vec<Option<Text>> {
    names
        .map_while(|column| {
            let text = cells.next()?.unwrap_or_else(|reason| {
                unreadable.get_or_insert_with(|| Box::new(Unreadable { column: column.clone(), reason }));
                None
            });
            Some(text)
        })
        .collect()
}

fn shown(cells: Vec<Option<Text>>) -> Vec<Option<String>> {
    cells.into_iter().map(|cell| cell.map(|mut text| std::mem::take(&mut *text))).collect()
}

impl StoredRow {
    /// Puts a row together from its key and the cells of its owner, version, token, record and plain columns, in this
    /// order.
    pub(crate) fn assemble(layout: &Layout, key: StoredKey, cells: impl IntoIterator<Item = Cell>) -> Self {
        let table = &layout.table;
        let mut cells = cells.into_iter();
        let mut unreadable = None;
        let owner = shown(take(&mut cells, table.owner.iter(), &mut unreadable));
        let mut marks = shown(take(&mut cells, table.version_columns(), &mut unreadable)).into_iter();
        let (version, method, key_id) =
            (marks.next().flatten(), marks.next().flatten(), marks.next().flatten());
        let values = take(&mut cells, table.tokens.iter(), &mut unreadable);
        // A record that cannot be read keeps no token from being read.
        let record = layout.record().and_then(|_| cells.next()).unwrap_or(Ok(None));
        let indexes = shown(take(&mut cells, table.index_columns(), &mut unreadable));
        let plain = shown(take(&mut cells, table.plain.iter(), &mut unreadable));
        Self { key, owner, version, method, key_id, values, record, indexes, plain, unreadable }
    }

    /// Bytes of its tokens and its record.
    pub(crate) fn bytes(&self) -> usize {
        let record = self.record.as_ref().ok().and_then(Option::as_ref);
        self.values.iter().flatten().chain(record).map(|text| text.len()).sum()
    }

    /// The text of the row's record.
    pub(crate) fn record_text(&self) -> Result<Option<&str>, &NoText> {
        self.record.as_ref().map(|text| text.as_ref().map(|text| text.as_str()))
    }

    /// A row of which only the key can be read.
    pub(crate) fn without_content(layout: &Layout, key: StoredKey, error: DatabaseError) -> Self {
        let nothing = std::iter::repeat_with(|| Ok(None));
        let row = Self::assemble(layout, key, nothing.take(layout.content_columns()));
        let column = layout.table.tokens.join(",");
        Self { unreadable: Some(Box::new(Unreadable { column, reason: NoText::Refused(error) })), ..row }
    }

    /// The identity of one of the row's cells.
    pub(crate) fn binding<'a>(&'a self, layout: &'a Layout, column: &'a str) -> Binding<'a> {
        let table = &layout.table;
        let mut binding = Binding::new(table.bound_name(), table.bound_column(column));
        for (name, value) in table.key.iter().zip(self.key.iter()) {
            binding = binding.key(table.bound_column(name), value);
        }
        for (name, value) in table.owner.iter().zip(&self.owner) {
            binding = binding.owner(table.bound_column(name), value.as_deref().unwrap_or_default());
        }
        binding
    }

    /// The row's key as `column=value,…`, as the command line takes it.
    pub(crate) fn name(&self, layout: &Layout) -> String {
        row_name(&layout.table.key, &self.key)
    }
}

/// Writes a key as `column=value,…`; commas and backslashes inside a value are escaped with a backslash, and control
/// characters as `\u{1b}`, so that no key can forge a line of a report or drive a terminal.
pub(crate) fn row_name(columns: &[String], values: &[String]) -> String {
    let mut name = String::new();
    for (index, (column, value)) in columns.iter().zip(values).enumerate() {
        name.push_str(if index == 0 { "" } else { "," });
        name.push_str(column);
        name.push('=');
        value.chars().for_each(|character| push_escaped(&mut name, character));
    }
    name
}

fn push_escaped(name: &mut String, character: char) {
    match character {
        '\\' | ',' => name.extend(['\\', character]),
        _ if is_unprintable(character) => {
            // Writing into a string does not fail.
            let _ = write!(name, "\\u{{{:x}}}", u32::from(character));
        }
        _ => name.push(character),
    }
}

/// Control characters, line and paragraph separators, and marks that change the direction of text.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::row_name;

    #[test]
    fn a_name_of_a_row_holds_no_control_character() {
        let columns = ["a".to_owned(), "b".to_owned()];
        let values = ["x,y\\".to_owned(), "\u{1b}[2J\nok\u{202e}é".to_owned()];
        assert_eq!(row_name(&columns, &values), r"a=x\,y\\,b=\u{1b}[2J\u{a}ok\u{202e}é");
    }
}
