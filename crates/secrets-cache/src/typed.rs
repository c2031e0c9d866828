//! Typed reads: from a secret's text to numbers, URLs, durations and structs.

use std::collections::HashMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use url::Url;
use zeroize::Zeroizing;

use crate::cache::SecretsCache;
use crate::error::SourceError;
use crate::name::{NameError, SecretRef};
use crate::secret::Secret;
use crate::value::SecretValue;

/// A type that a secret can be read as.
pub trait FromSecret: Sized {
    /// The expected type, for messages: "an integer", "a URL".
    const EXPECTED: &'static str;

    /// Reads the value; `None` if it has another type.
    fn from_secret(value: &SecretValue) -> Option<Self>;
}

/// A secret that is JSON, read into a struct.
///
/// Fields that are secret themselves are best of the type `SecretString`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl SecretsCache {
    /// Reads a secret, or a field of a JSON secret (`name#field`), as a type.
    ///
    /// # Errors
    /// [`ReadError`]. It has the name and the expected type, never the value.
    pub async fn read<T: FromSecret>(&self, reference: &str) -> Result<T, ReadError> {
        let reference: SecretRef = reference.parse()?;
        interpret(&*self.get(reference.name().as_str()).await?, &reference)
    }
}

/// Reads a secret that was already fetched as a type.
///
/// # Errors
/// [`ReadError`], other than [`ReadError::Source`].
pub fn interpret<T: FromSecret>(secret: &Secret, reference: &SecretRef) -> Result<T, ReadError> {
    let selected = match reference.field() {
        Some(field) => Some(select(&secret.value, reference, field)?),
        None => None,
    };
    let value = selected.as_ref().unwrap_or(&secret.value);
    T::from_secret(value)
        .ok_or_else(|| ReadError::WrongType { reference: show(reference), expected: T::EXPECTED })
}

/// Why a secret was not read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It was not fetched.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The reference is malformed.
    #[error("not a reference to a secret")]
    Name(#[from] NameError),
    /// It has another type than the requested one.
    #[error("secret {reference:?} is not {expected}")]
    WrongType {
        /// The reference that was asked for.
        reference: String,
        /// The expected type.
        expected: &'static str,
    },
    /// A field was requested, and the secret is not JSON, or has no such field.
    #[error("secret {reference:?} is not a JSON object with this field")]
    NoField {
        /// The reference that was asked for.
        reference: String,
    },
}

/// Takes one field out of a JSON secret, without making copies of the others.
pub(crate) fn select(
    value: &SecretValue,
    reference: &SecretRef,
    field: &str,
) -> Result<SecretValue, ReadError> {
    let found = value.expose_text().and_then(|json| find(json, field));
    let raw = found.ok_or_else(|| ReadError::NoField { reference: show(reference) })?;
    // A string is read as its text; numbers, objects and the rest by their JSON.
    Ok(SecretValue::text(match serde_json::from_str::<String>(raw) {
        Ok(text) => SecretString::from(text),
        Err(_) => SecretString::from(raw),
    }))
}

/// A JSON secret with another text in one of its fields, and the same to the byte apart from that.
///
/// # Errors
/// [`ReadError::NoField`] if the secret is not JSON or has no such field, [`ReadError::WrongType`] if the field is not text.
pub fn with_field(
    value: &SecretValue,
    reference: &SecretRef,
    new: &SecretString,
) -> Result<SecretValue, ReadError> {
    let missing = || ReadError::NoField { reference: show(reference) };
    let json = value.expose_text().ok_or_else(missing)?;
    let raw = reference.field().and_then(|field| find(json, field)).ok_or_else(missing)?;
    if !raw.starts_with('"') {
        return Err(ReadError::WrongType { reference: show(reference), expected: "a text field" });
    }
    let new = serde_json::to_string(new.expose_secret()).map(Zeroizing::new).map_err(|_| missing())?;
    // Both are parts of one text, so their distance is the field's place in it.
    let start = raw.as_ptr() as usize - json.as_ptr() as usize;
    let mut text = String::with_capacity(json.len() + new.len());
    text.push_str(&json[..start]);
    text.push_str(&new);
    text.push_str(&json[start + raw.len()..]);
    Ok(SecretValue::text(text))
}

/// Whether a secret is a JSON object, which a plain value would flatten.
#[must_use]
pub fn is_json_object(value: &SecretValue) -> bool {
    let object = value.expose_text().map(serde_json::from_str::<HashMap<String, &RawValue>>);
    object.is_some_and(|parsed| parsed.is_ok())
}

/// Whether two secrets are JSON objects of the same members, in any order and with any blanks and escapes: a store that reads
/// JSON and writes it again changes those. Numbers are compared as they are written.
#[must_use]
pub fn has_same_members(one: &SecretValue, other: &SecretValue) -> bool {
    let texts = one.expose_text().zip(other.expose_text());
    is_json_object(one) && texts.is_some_and(|(one, other)| is_same_json(one, other, MAX_DEPTH))
}

/// Levels of objects and arrays that are compared. serde_json itself reads 128.
const MAX_DEPTH: u8 = 128;

fn is_same_json(one: &str, other: &str, depth: u8) -> bool {
    fn both<'a, T: Deserialize<'a>>(one: &'a str, other: &'a str) -> Option<(T, T)> {
        serde_json::from_str(one).ok().zip(serde_json::from_str(other).ok())
    }
    let is_same = |one: &RawValue, other: &RawValue| {
        depth.checked_sub(1).is_some_and(|depth| is_same_json(one.get(), other.get(), depth))
    };
    if let Some((one, other)) = both::<HashMap<String, &RawValue>>(one, other) {
        let has =
            |(name, value): (&String, &&RawValue)| other.get(name).is_some_and(|there| is_same(value, there));
        return one.len() == other.len() && one.iter().all(has);
    }
    if let Some((one, other)) = both::<Vec<&RawValue>>(one, other) {
        return one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| is_same(one, other));
    }
    if let Some((one, other)) = both::<String>(one, other) {
        return Zeroizing::new(one) == Zeroizing::new(other);
    }
    one == other
}

fn find<'a>(json: &'a str, field: &str) -> Option<&'a str> {
    match field.strip_prefix('/') {
        Some(path) => path.split('/').try_fold(json, |json, step| step_into(json, &unescape(step))),
        None => step_into(json, field),
    }
}

fn step_into<'a>(json: &'a str, step: &str) -> Option<&'a str> {
    if let Ok(mut object) = serde_json::from_str::<HashMap<String, &'a RawValue>>(json) {
        return object.remove(step).map(RawValue::get);
    }
    let array: Vec<&'a RawValue> = serde_json::from_str(json).ok()?;
    array.get(step.parse::<usize>().ok()?).map(|raw| raw.get())
}

/// RFC 6901, section 4.
fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

fn show(reference: &SecretRef) -> String {
    match reference.field() {
        Some(field) => format!("{}#{field}", reference.name()),
        None => reference.name().to_string(),
    }
}

impl FromSecret for SecretString {
    const EXPECTED: &'static str = "text";

    fn from_secret(value: &SecretValue) -> Option<Self> {
        value.expose_text().map(Self::from)
    }
}

impl FromSecret for SecretSlice<u8> {
    const EXPECTED: &'static str = "bytes";

    fn from_secret(value: &SecretValue) -> Option<Self> {
        Some(Self::from(value.expose_bytes().to_vec()))
    }
}

impl FromSecret for bool {
    const EXPECTED: &'static str = "a boolean (true, false, yes, no, on, off, 1 or 0)";

    fn from_secret(value: &SecretValue) -> Option<Self> {
        match value.expose_text()?.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }
}

impl FromSecret for Url {
    const EXPECTED: &'static str = "a URL";

    fn from_secret(value: &SecretValue) -> Option<Self> {
        Self::parse(value.expose_text()?.trim()).ok()
    }
}

impl FromSecret for Duration {
    const EXPECTED: &'static str = "a duration such as `30s` or `1h 30m`";

    fn from_secret(value: &SecretValue) -> Option<Self> {
        envelope_core::duration::parse(value.expose_text()?)
    }
}

impl<T: DeserializeOwned> FromSecret for Json<T> {
    const EXPECTED: &'static str = "JSON of the expected shape";

    fn from_secret(value: &SecretValue) -> Option<Self> {
        // The parser's message quotes the value: it is not passed on.
        serde_json::from_slice(value.expose_bytes()).ok().map(Self)
    }
}

macro_rules! numbers {
    ($expected:literal: $($type:ty),*) => {
        $(impl FromSecret for $type {
            const EXPECTED: &'static str = concat!($expected, " (", stringify!($type), ")");

            fn from_secret(value: &SecretValue) -> Option<Self> {
                value.expose_text()?.trim().parse().ok()
            }
        })*
    };
}

numbers!("an integer": u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);
numbers!("a number": f32, f64);

/// A secret text as a field of a struct that is read with [`Json`].
///
/// # Errors
/// As the deserializer.
pub fn secret_string<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

/// Reads text that was already fetched.
pub(crate) fn parse<T: FromSecret>(text: &SecretString) -> Option<T> {
    T::from_secret(&SecretValue::text(SecretString::from(text.expose_secret())))
}
