//! Objects of a request whose members are columns: in any order, each once, and not too many.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// The most members of one object: more than any table of a profile has columns that matter here.
const MAX_MEMBERS: usize = 256;

/// Members by name, in the order in which they came.
pub(crate) struct Named<T>(pub(crate) Vec<(String, T)>);

/// The identity of a row, as text: text as it is, a whole number in digits; `None` for the NULL of an owner.
pub(crate) struct KeyText(pub(crate) Option<String>);

/// A value of a plain column, as text; `None` for NULL.
pub(crate) struct PlainText(pub(crate) Option<String>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Named<T> {
    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData))
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, T>()? {
            if members.len() == MAX_MEMBERS || members.iter().any(|(member, _)| *member == name) {
                return Err(A::Error::custom("a member is given twice, or there are too many"));
            }
            members.push((name, value));
        }
        Ok(Named(members))
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = Option::<Key>::deserialize(deserializer)?;
        Ok(Self(key.map(|key| key.0)))
    }
}

/// A key that is not NULL.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor).map(Self)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a whole number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        let number = i64::try_from(number).map_err(|_| E::custom("a number that no bigint holds"))?;
        self.visit_i64(number)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<String, E> {
        whole(number).map(|number| number.to_string()).ok_or_else(|| E::custom("not a whole number"))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

impl<'de> Deserialize<'de> for PlainText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(Self)
    }
}

/// A number with a fraction is refused: what reaches the column would depend on how it is written out.
struct PlainVisitor;

impl Visitor<'_> for PlainVisitor {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a whole number, a boolean or null")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        // PostgreSQL stores it in no text.
        if text.contains('\0') {
            Err(E::custom("a character that cannot be stored"))
        } else {
            Ok(Some(text.to_owned()))
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        KeyVisitor.visit_f64(number).map(Some)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        KeyVisitor.visit_u64(number).map(Some)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        KeyVisitor.visit_i64(number).map(Some)
    }
}

/// Accepts a number with a zero fraction, such as `7.0`; refuses one that could have lost digits.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

/// A number from 0 to 2,147,483,647.
pub(crate) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let count = optional_count(deserializer)?.and_then(|count| u32::try_from(count).ok());
    count.ok_or_else(|| D::Error::custom("not a valid count"))
}

/// A number that may be left out, from 0 to 2,147,483,647.
pub(crate) fn optional_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let count = number.as_i64().or_else(|| number.as_f64().and_then(whole));
    let count = count.filter(|count| (0..=i64::from(i32::MAX)).contains(count));
    count.map(Some).ok_or_else(|| D::Error::custom("not a valid count"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Option<Vec<(String, Option<String>)>> {
        let parsed: Named<KeyText> = serde_json::from_str(text).ok()?;
        Some(parsed.0.into_iter().map(|(name, value)| (name, value.0)).collect())
    }

    #[test]
    fn a_key_is_text_or_a_whole_number() {
        let expected = |value: &str| Some(vec![("id".to_owned(), Some(value.to_owned()))]);
        for (text, value) in [
            ("\"a\"", "a"),
            ("7", "7"),
            ("-7", "-7"),
            ("7.0", "7"),
            ("9223372036854775807", "9223372036854775807"),
        ] {
            assert_eq!(key(&format!("{{\"id\":{text}}}")), expected(value), "{text}");
        }
        for text in ["7.5", "1e-3", "1e17", "9223372036854775808", "true", "[7]", "{}"] {
            assert_eq!(key(&format!("{{\"id\":{text}}}")), None, "{text}");
        }
        assert_eq!(key("{\"id\":null}"), Some(vec![("id".to_owned(), None)]));
        assert_eq!(key("{\"id\":1,\"id\":1}"), None);
        assert_eq!(key("[]"), None);
    }
}
