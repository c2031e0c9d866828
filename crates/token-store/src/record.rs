//! A JSON column next to the tokens that describes them to another program, kept true by every write.
//!
//! It never decides how a token is read.

mod edit;

use serde_json::Value;

use crate::database::layout::Layout;
use crate::database::row::{NoText, StoredRow};
use crate::profile::Record;
use edit::Object;
pub use edit::RecordError;

/// The word of a record for tokens that are in no form of the profile's map and not sealed.
const PLAINTEXT: &str = "plaintext";
/// The suffix of the method of a write that fell back to an older form.
const FALLBACK: &str = "-fallback";

/// The record of a row after a write: `None` for a table without one.
///
/// A row without a record gets an object of the two members. All bytes outside the two members stay.
///
/// # Errors
/// [`RecordError`] where the record is no JSON object, or repeats a member.
pub(crate) fn rewritten(
    layout: &Layout,
    stored: Result<Option<&str>, &NoText>,
    method: Option<&str>,
    key_id: Option<&str>,
) -> Result<Option<String>, RecordError> {
    let Some(record) = layout.record() else { return Ok(None) };
    let text = stored.map_err(|_| RecordError::NotAnObject)?.unwrap_or("{}");
    let mut object = Object::parse(text)?;
    object.set(&record.method, word(record, method))?;
    match key_id {
        Some(key_id) => object.set(&record.key_id, key_id)?,
        None => object.remove(&record.key_id)?,
    }
    Ok(Some(object.into_text()))
}

/// Whether a row's record says that its tokens are in this form. A table without records says nothing wrong, and neither does
/// a row without tokens.
pub(crate) fn is_true(layout: &Layout, row: &StoredRow, method: Option<&str>) -> bool {
    let Some(record) = layout.record() else { return true };
    if row.values.iter().flatten().all(|text| text.is_empty()) {
        return true;
    }
    let Ok(text) = row.record_text() else { return false };
    let said = text.and_then(|text| Object::parse(text).ok()?.get(&record.method));
    said.as_deref() == Some(word(record, method))
}

/// Whether a row's record can be kept true by a write.
///
/// # Errors
/// [`RecordError`], as for [`rewritten`].
pub(crate) fn check(layout: &Layout, row: &StoredRow) -> Result<(), RecordError> {
    rewritten(layout, row.record_text(), None, None).map(|_| ())
}

/// Whether two texts are the same JSON: a column of type `jsonb` writes it in its own way.
pub(crate) fn is_same(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
            one == other || parse(one).is_some_and(|one| Some(one) == parse(other))
        }
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// The other program's name of a method.
fn word<'a>(record: &'a Record, method: Option<&'a str>) -> &'a str {
    let method = method.unwrap_or(PLAINTEXT);
    let method = method.strip_suffix(FALLBACK).unwrap_or(method);
    record.values.get(method).map_or(method, String::as_str)
}
