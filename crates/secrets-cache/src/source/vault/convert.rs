//! From KV's answers to secrets.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::ID;
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage, VersionMetadata};
use crate::value::SecretValue;

/// The field of a value that is text.
const TEXT: &str = "value";
/// The field of a value that is not.
const BINARY: &str = "value_base64";

/// The answer of `sys/internal/ui/mounts`.
#[derive(Deserialize)]
pub(super) struct MountAnswer {
    pub(super) path: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

impl MountAnswer {
    pub(super) fn is_kv2(&self) -> bool {
        let version = self.options.as_ref().and_then(|options| options.get("version"));
        self.kind == "kv" && version.is_some_and(|version| version == "2")
    }
}

/// A version with its data, borrowed from the buffer that is wiped.
#[derive(Deserialize)]
pub(super) struct Read<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    metadata: Version,
}

/// A version without data.
#[derive(Deserialize)]
pub(super) struct Gone {
    metadata: Version,
}

#[derive(Clone, Deserialize)]
struct Version {
    created_time: String,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
    #[serde(default)]
    version: u64,
}

/// The answer to a write.
#[derive(Deserialize)]
pub(super) struct Written {
    pub(super) version: u64,
}

/// The answer to a listing.
#[derive(Deserialize)]
pub(super) struct Listed {
    pub(super) keys: Vec<String>,
}

/// The metadata of a secret.
#[derive(Deserialize)]
pub(super) struct Metadata {
    current_version: u64,
    created_time: String,
    updated_time: String,
    #[serde(default)]
    delete_version_after: String,
    #[serde(default)]
    custom_metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    versions: BTreeMap<String, Version>,
}

impl Version {
    fn deleted(&self) -> Option<OffsetDateTime> {
        time(&self.deletion_time)
    }

    fn is_readable(&self, now: OffsetDateTime) -> bool {
        !self.destroyed && self.deleted().is_none_or(|at| at > now)
    }
}

impl Gone {
    pub(super) fn is_destroyed(&self) -> bool {
        self.metadata.destroyed
    }

    pub(super) fn version(&self) -> u64 {
        self.metadata.version
    }

    /// Whether the version's time of deletion is that of its expiry, to the second.
    pub(super) fn is_deleted_at(&self, expiry: OffsetDateTime) -> bool {
        self.metadata.deleted().is_some_and(|at| (at - expiry).abs() < time::Duration::SECOND)
    }
}

impl Metadata {
    /// The number of the newest version, readable or not; 0 where there is none.
    pub(super) fn current(&self) -> u64 {
        self.current_version
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.versions.keys().filter_map(|number| number.parse().ok()).collect()
    }

    /// The newest readable version before the current one.
    pub(super) fn previous(&self) -> Option<u64> {
        let now = OffsetDateTime::now_utc();
        let readable = self.versions.iter().filter(|(_, version)| version.is_readable(now));
        readable
            .filter_map(|(number, _)| number.parse().ok())
            .filter(|number| *number < self.current_version)
            .max()
    }

    /// Whether the current version can be read.
    pub(super) fn is_served(&self) -> bool {
        let current = self.versions.get(&self.current_version.to_string());
        current.is_some_and(|version| version.is_readable(OffsetDateTime::now_utc()))
    }

    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        self.custom_metadata.clone().unwrap_or_default()
    }

    /// When a version's time is over, where the secret's versions have one.
    pub(super) fn expiry_of(&self, number: u64) -> Option<OffsetDateTime> {
        let lasts = go_duration(&self.delete_version_after).filter(|lasts| lasts.is_positive())?;
        let version = self.versions.get(&number.to_string())?;
        time(&version.created_time)?.checked_add(lasts)
    }

    pub(super) fn describe(&self, name: &SecretName) -> SecretMetadata {
        let mut secret = SecretMetadata::new(name.clone());
        let previous = self.previous();
        let mut numbers = self.numbers();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        secret.versions = numbers
            .into_iter()
            .map(|number| {
                let stages = match number {
                    _ if number == self.current_version => vec![Stage::Current],
                    _ if Some(number) == previous => vec![Stage::Previous],
                    _ => Vec::new(),
                };
                let created = self.versions.get(&number.to_string()).and_then(|v| time(&v.created_time));
                VersionMetadata::new(number.to_string(), stages, created)
            })
            .collect();
        secret.created = time(&self.created_time);
        secret.changed = time(&self.updated_time);
        secret.expires = self.expiry_of(self.current_version);
        secret.lifetime =
            secret.expires.and_then(|_| go_duration(&self.delete_version_after)?.try_into().ok());
        secret.tags = self.tags();
        secret
    }
}

/// The value of a version: the field of this source where it is the only one, otherwise the whole object.
pub(super) fn secret(name: &SecretName, read: &Read<'_>, stages: Vec<Stage>) -> Option<Secret> {
    let (value, shape) = value(read.data)?;
    let metadata = &read.metadata;
    let secret = Secret::new(name.clone(), value, ID).with_version(metadata.version.to_string(), stages);
    let secret = secret.with_times(time(&metadata.created_time), metadata.deleted());
    Some(if shape == Shape::Fields { secret.of_members() } else { secret })
}

fn value(data: &RawValue) -> Option<(SecretValue, Shape)> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(data.get()).ok()?;
    let own = own_value(&fields).map(|value| (value, Shape::Value));
    own.or_else(|| Some((SecretValue::text(data.get().to_owned()), Shape::Fields)))
}

/// The value, where its fields are those of this source.
fn own_value(fields: &BTreeMap<String, &RawValue>) -> Option<SecretValue> {
    let only = |field: &str| (fields.len() == 1).then(|| fields.get(field)).flatten();
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok().map(Zeroizing::new);
    if let Some(mut text) = only(TEXT).and_then(|raw| text(raw)) {
        return Some(SecretValue::text(std::mem::take(&mut *text)));
    }
    only(BINARY).and_then(|raw| STANDARD.decode(text(raw)?.as_bytes()).ok()).map(SecretValue::binary)
}

/// How a value is laid out in the fields of its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One field of this source.
    Value,
    /// The members of a JSON object are the fields, as other programs read and write them.
    Fields,
}

impl Shape {
    /// The layout of a new value: that of the value before it, where the new one can have it.
    pub(super) fn of(value: &SecretValue, before: &Secret) -> Self {
        let is_of_others = |data: &str| {
            let fields = serde_json::from_str::<BTreeMap<String, &RawValue>>(data);
            fields.is_ok_and(|fields| own_value(&fields).is_none())
        };
        let is_kept = before.is_of_members() && value.expose_text().is_some_and(is_of_others);
        if is_kept { Self::Fields } else { Self::Value }
    }
}

/// The body of a write, in a buffer that is wiped.
pub(super) fn write_body(value: &SecretValue, current: u64, shape: Shape) -> Zeroizing<Vec<u8>> {
    let (field, text) = match value.expose_text() {
        Some(text) => (TEXT, Zeroizing::new(text.to_owned())),
        None => (BINARY, Zeroizing::new(STANDARD.encode(value.expose_bytes()))),
    };
    // Room for every character escaped, so that the buffer is not moved while it grows.
    let mut body = Zeroizing::new(Vec::with_capacity(text.len() * 6 + 64));
    body.extend_from_slice(format!("{{\"options\":{{\"cas\":{current}}},\"data\":").as_bytes());
    match shape {
        Shape::Fields => body.extend_from_slice(text.as_bytes()),
        Shape::Value => {
            body.extend_from_slice(format!("{{\"{field}\":").as_bytes());
            // Writing a string into memory does not fail.
            let _ = serde_json::to_writer(&mut *body, text.as_str());
            body.extend_from_slice(b"}");
        }
    }
    body.extend_from_slice(b"}");
    body
}

fn time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// A duration as Go prints it: `1h30m0s`, `0s`.
fn go_duration(text: &str) -> Option<time::Duration> {
    let mut total = time::Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let number: i64 = number.parse().ok()?;
        let unit = after.chars().next()?;
        let part = match unit {
            'h' => time::Duration::hours(number),
            'm' => time::Duration::minutes(number),
            's' => time::Duration::seconds(number),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = &after[1..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(json: &str) -> Option<(bool, Vec<u8>)> {
        let raw: &RawValue = serde_json::from_str(json).ok()?;
        value(raw).map(|(value, _)| (value.is_binary(), value.expose_bytes().to_vec()))
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for text in ["plain", "", "\"quoted\" \\ \u{1} é", "{\"a\":1}"] {
            let body = write_body(&SecretValue::text(text), 3, Shape::Value);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            assert_eq!(body["options"]["cas"], 3);
            assert_eq!(
                value_of(&body["data"].to_string()),
                Some((false, text.as_bytes().to_vec())),
                "{text}"
            );
        }
        let body = write_body(&SecretValue::binary(vec![0, 255, 7]), 0, Shape::Value);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        assert_eq!(value_of(&body["data"].to_string()), Some((true, vec![0, 255, 7])));
    }

    #[test]
    fn fields_of_other_programs_are_served_as_they_are() {
        for json in [r#"{"user":"a","password":"b"}"#, r#"{"value":1}"#, r#"{"value":"a","x":"b"}"#, r#"{}"#]
        {
            assert_eq!(value_of(json), Some((false, json.as_bytes().to_vec())), "{json}");
        }
        assert_eq!(value_of("[]"), None);
    }

    #[test]
    fn fields_of_other_programs_keep_their_layout_where_the_new_value_has_fields() {
        let before =
            |data: &str| format!("{{\"data\":{data},\"metadata\":{{\"created_time\":\"\",\"version\":1}}}}");
        for (there, new, expected) in [
            (r#"{"user":"a","n":5}"#, r#"{"user":"b","n":5}"#, Shape::Fields),
            (r#"{"user":"a"}"#, "plain", Shape::Value),
            (r#"{"user":"a"}"#, r#"{"value":"b"}"#, Shape::Value),
            (r#"{"value":"{\"user\":\"a\"}"}"#, r#"{"user":"b"}"#, Shape::Value),
            (r#"{"user":"a"}"#, "[1]", Shape::Value),
        ] {
            let text = before(there);
            let read: Option<Read<'_>> = serde_json::from_str(&text).ok();
            let name = SecretName::new("a").ok();
            let before = name.zip(read).and_then(|(name, read)| secret(&name, &read, Vec::new()));
            let value = SecretValue::text(new);
            assert_eq!(before.map(|before| Shape::of(&value, &before)), Some(expected), "{there} {new}");
            let body = write_body(&value, 1, expected);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let read = value_of(&body["data"].to_string()).map(|(_, bytes)| bytes).unwrap_or_default();
            let json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
            match expected {
                Shape::Fields => assert_eq!(json(&read), json(new.as_bytes()), "{there}"),
                Shape::Value => assert_eq!(read, new.as_bytes(), "{there}"),
            }
        }
    }

    #[test]
    fn a_duration_is_read_as_go_prints_it() {
        assert_eq!(go_duration("1h30m5s"), Some(time::Duration::seconds(5_405)));
        assert_eq!(go_duration("0s"), Some(time::Duration::ZERO));
        assert_eq!(go_duration("1.5h"), None);
        assert_eq!(go_duration("h"), None);
    }
}
