//! One exported document: the envelope in it and the text that it is bound to, found without changing another byte.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of a JSON object, in their order and as they are written.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((Cow::Owned(name), value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The path of a member: names with dots between them.
#[derive(Clone, Debug)]
pub(super) struct MemberPath(Vec<String>);

impl std::str::FromStr for MemberPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names: Vec<String> = text.split('.').map(ToOwned::to_owned).collect();
        match names.iter().any(String::is_empty) {
            true => Err("must be the name of a member, or names with dots between them"),
            false => Ok(Self(names)),
        }
    }
}

impl fmt::Display for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// Why a document cannot be dealt with. No value of it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("the line is not a JSON object")]
    NotAnObject,
    #[error("a member is given twice")]
    Repeated,
    #[error("the member that it is bound to is missing")]
    NoAad,
    #[error("the member that it is bound to has no text form that is known")]
    Aad,
    #[error("the value is neither an envelope nor the text of one")]
    NotAnEnvelope,
}

/// The document on a line.
#[derive(Debug)]
pub(super) struct Document<'a> {
    line: &'a str,
    /// The value of the field as it is written in the line.
    raw: &'a str,
    /// The envelope, in the one spelling that it is opened in.
    pub(super) envelope: String,
    pub(super) aad: String,
}

impl<'a> Document<'a> {
    /// Finds the envelope; none if the document has no such field, or nothing in it.
    pub(super) fn read(
        line: &'a str,
        field: &MemberPath,
        aad: &MemberPath,
    ) -> Result<Option<Self>, DocumentError> {
        let Some(value) = find(line, field)? else {
            return Ok(None);
        };
        let raw = value.get();
        let envelope = match raw {
            "null" | "\"\"" => return Ok(None),
            _ => envelope(value)?,
        };
        let aad = aad_text(find(line, aad)?.ok_or(DocumentError::NoAad)?)?;
        Ok(Some(Self { line, raw, envelope, aad }))
    }

    /// The line with another envelope, in the form that the field has: an object or a text.
    pub(super) fn with(&self, envelope: &str) -> String {
        let new = match self.raw.starts_with('"') {
            true => serde_json::Value::from(envelope).to_string(),
            false => envelope.to_owned(),
        };
        // Both are parts of one text, so their distance is the field's place in it.
        let start = self.raw.as_ptr() as usize - self.line.as_ptr() as usize;
        [&self.line[..start], &new, &self.line[start + self.raw.len()..]].concat()
    }
}

fn find<'a>(line: &'a str, path: &MemberPath) -> Result<Option<&'a RawValue>, DocumentError> {
    let mut json = line;
    let mut found = None;
    for name in &path.0 {
        let members: Members<'a> = serde_json::from_str(json).map_err(|_| DocumentError::NotAnObject)?;
        let mut named = members.0.into_iter().filter(|(member, _)| member == name);
        found = named.next().map(|(_, value)| value);
        if named.next().is_some() {
            return Err(DocumentError::Repeated);
        }
        match found {
            Some(value) => json = value.get(),
            None => return Ok(None),
        }
    }
    Ok(found)
}

/// An envelope as `JSON.stringify` writes it: an export may put blanks between members, and numbers into objects.
fn envelope(value: &RawValue) -> Result<String, DocumentError> {
    if let Ok(text) = serde_json::from_str::<String>(value.get()) {
        return Ok(text);
    }
    let members: Members<'_> = serde_json::from_str(value.get()).map_err(|_| DocumentError::NotAnEnvelope)?;
    let mut parts = Vec::new();
    for (name, value) in &members.0 {
        let value = number(value).unwrap_or_else(|| value.get().to_owned());
        parts.push(format!("{}:{value}", serde_json::Value::from(&**name)));
    }
    Ok(format!("{{{}}}", parts.join(",")))
}

/// A number that an export writes as `{"$numberLong":"…"}` or `{"$numberInt":"…"}` (MongoDB Extended JSON, version 2).
fn number(value: &RawValue) -> Option<String> {
    let (name, text) = extended(value)?;
    let is_number =
        !text.is_empty() && text.strip_prefix('-').unwrap_or(&text).bytes().all(|b| b.is_ascii_digit());
    (matches!(&*name, "$numberLong" | "$numberInt") && is_number).then_some(text)
}

/// The one member of an object, whose value is a text.
fn extended(value: &RawValue) -> Option<(String, String)> {
    let members: Members<'_> = serde_json::from_str(value.get()).ok()?;
    let [(name, value)] = <[_; 1]>::try_from(members.0).ok()?;
    Some((name.into_owned(), serde_json::from_str(value.get()).ok()?))
}

/// The text that the old program bound the value to: what `String(document._id)` gives in Node.
fn aad_text(value: &RawValue) -> Result<String, DocumentError> {
    let raw = value.get();
    if let Ok(text) = serde_json::from_str::<String>(raw) {
        return Ok(text);
    }
    if serde_json::from_str::<i64>(raw).is_ok_and(|number| number.to_string() == raw) {
        return Ok(raw.to_owned());
    }
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    match extended(value) {
        Some((name, text)) if name == "$oid" && text.len() == 24 && is_hex(&text) => Ok(text),
        Some((name, text)) if name == "$uuid" && is_hex(&text.replace('-', "")) => Ok(text),
        _ => number(value).ok_or(DocumentError::Aad),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test reports by panicking")]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<(String, String)>, DocumentError> {
        let (field, aad) = ("e".parse().unwrap(), "_id".parse().unwrap());
        Ok(Document::read(line, &field, &aad)?.map(|found| (found.envelope, found.aad)))
    }

    #[test]
    fn an_envelope_is_found_in_every_form_that_an_export_has() {
        let expected = Ok(Some((r#"{"v":1,"keyId":"k","timestamp":17}"#.to_owned(), "a1".to_owned())));
        for envelope in [
            r#"{"v":1,"keyId":"k","timestamp":17}"#,
            r#"{ "v" : {"$numberInt":"1"}, "keyId":"k", "timestamp":{"$numberLong":"17"} }"#,
            r#""{\"v\":1,\"keyId\":\"k\",\"timestamp\":17}""#,
        ] {
            assert_eq!(read(&format!(r#"{{"e":{envelope},"_id":"a1"}}"#)), expected, "{envelope}");
        }
        assert_eq!(read(r#"{"_id":"a1"}"#), Ok(None));
        assert_eq!(read(r#"{"_id":"a1","e":null}"#), Ok(None));
        assert_eq!(read(r#"{"_id":"a1","e":7}"#), Err(DocumentError::NotAnEnvelope));
    }

    #[test]
    fn an_id_is_the_text_that_node_makes_of_it() {
        let aad = |id: &str| read(&format!(r#"{{"e":"x","_id":{id}}}"#)).map(|found| found.unwrap().1);
        assert_eq!(aad(r#"{"$oid":"507f1f77bcf86cd799439011"}"#).unwrap(), "507f1f77bcf86cd799439011");
        assert_eq!(aad(r#""übung""#).unwrap(), "übung");
        assert_eq!(aad("42").unwrap(), "42");
        assert_eq!(aad(r#"{"$numberLong":"-42"}"#).unwrap(), "-42");
        for unknown in ["1.0", "1e3", "true", "null", "[1]", r#"{"$oid":"XYZ"}"#, r#"{"$oid":"a","b":"c"}"#] {
            assert_eq!(aad(unknown), Err(DocumentError::Aad), "{unknown}");
        }
    }

    #[test]
    fn everything_else_stays_to_the_byte() {
        let line = r#" {"a": 1.0, "e" :  "old" , "_id":"x","e2":"é"} "#;
        let found = Document::read(line, &"e".parse().unwrap(), &"_id".parse().unwrap()).unwrap().unwrap();
        assert_eq!(found.with("n\"w"), r#" {"a": 1.0, "e" :  "n\"w" , "_id":"x","e2":"é"} "#);
        let nested = r#"{"_id":"x","w":{"e":{"v":1},"z":0}}"#;
        let found =
            Document::read(nested, &"w.e".parse().unwrap(), &"_id".parse().unwrap()).unwrap().unwrap();
        assert_eq!(found.with(r#"{"v":2}"#), r#"{"_id":"x","w":{"e":{"v":2},"z":0}}"#);
    }

    #[test]
    fn a_member_that_is_given_twice_is_refused() {
        assert_eq!(read(r#"{"_id":"a","_id":"b","e":"x"}"#), Err(DocumentError::Repeated));
        assert_eq!(read(r#"{"_id":"a","e":"x","e":"y"}"#), Err(DocumentError::Repeated));
        assert_eq!(read(r#"["e"]"#), Err(DocumentError::NotAnObject));
    }
}
