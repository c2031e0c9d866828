//! The columns that are written next to the tokens: marks and blind indexes.

use super::{Finding, Kind, Severity};
use crate::database::Kind as Values;
use crate::database::layout::{Column, Layout};

/// Characters of the method `kms-envelope`.
const METHOD: u64 = 12;
/// Characters of `keyring:` and a UUID. An ARN has about 80; a key of OpenBao or Vault may have fewer.
const KEY_ID: u64 = 44;

/// Problems of these columns, because of which most rows would fail one by one.
pub(super) fn of_own(layout: &Layout) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(names) = layout.version() {
        let version = layout.column(&names.version).filter(|column| !holds_number(column));
        found.extend(version.map(|column| wrong_type(layout, column, "a number")));
        found.extend(of_text(layout, &names.method, METHOD));
        // It is not known here which key service is used, and rows that do not fit are named.
        found.extend(of_text(layout, &names.key_id, KEY_ID).map(|finding| match finding.kind {
            Kind::ColumnLength => Finding { severity: Severity::Warn, ..finding },
            _ => finding,
        }));
    }
    for index in &layout.table.index {
        found.extend(of_text(layout, &index.into, index_length(index.bits)));
    }
    found
}

/// Characters of a blind index: the number of its key, and the hash in hexadecimal.
fn index_length(bits: u16) -> u64 {
    const NUMBER: u64 = "k1:".len() as u64;
    NUMBER + 2 * u64::from(bits.div_ceil(8))
}

fn of_text(layout: &Layout, name: &str, length: u64) -> Option<Finding> {
    let column = layout.column(name)?;
    if !holds_words(column) {
        return Some(wrong_type(layout, column, "text"));
    }
    let limit = column.limit.filter(|limit| *limit < length)?;
    let hint = format!(
        "it holds {limit} characters, and {length} or more are written into it: change its type to text"
    );
    let finding = Finding::new(layout, Kind::ColumnLength, Severity::Refuse, hint);
    Some(finding.on(name).of(column.declared.clone()))
}

fn wrong_type(layout: &Layout, column: &Column, what: &str) -> Finding {
    let hint = format!("{what} is written into it: change its type");
    let finding = Finding::new(layout, Kind::ColumnType, Severity::Refuse, hint);
    finding.on(&column.name).of(column.declared.clone())
}

fn holds_words(column: &Column) -> bool {
    column.holds_text || matches!(column.kind, Values::Text | Values::Padded | Values::IntegerOrText)
}

fn holds_number(column: &Column) -> bool {
    let is_of_bytes = column.declared.contains("bytea") || column.declared.contains("blob");
    !is_of_bytes && !matches!(column.kind, Values::Uuid | Values::Boolean)
}

#[cfg(test)]
mod tests {
    use super::index_length;

    #[test]
    fn a_blind_index_is_as_long_as_its_bits() {
        assert_eq!((index_length(256), index_length(8), index_length(12)), (67, 5, 7));
    }
}
