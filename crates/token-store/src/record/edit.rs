//! Changing members of a JSON object, every other byte of which stays as it is.

use std::ops::Range;

use serde::de::IgnoredAny;

/// Why a record cannot be kept true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It is not the text of a JSON object.
    #[error("record of the row is no JSON object")]
    NotAnObject,
    /// A member is in it twice, so that programs may read different values.
    #[error("record of the row repeats a member")]
    Repeated,
}

/// A JSON object as text, with the places of its members.
pub(super) struct Object {
    text: String,
    members: Vec<Member>,
    /// Where its brace closes.
    end: usize,
}

struct Member {
    name: String,
    /// From the quote that opens its name to the last byte of its value.
    whole: Range<usize>,
    value: Range<usize>,
}

impl Object {
    /// Finds the members of an object.
    pub(super) fn parse(text: &str) -> Result<Self, RecordError> {
        // The scanner below relies on the form that this has checked.
        serde_json::from_str::<IgnoredAny>(text).map_err(|_| RecordError::NotAnObject)?;
        let (members, end) = Scanner { bytes: text.as_bytes(), at: 0 }.object(text)?;
        let mut names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(RecordError::Repeated);
        }
        Ok(Self { text: text.to_owned(), members, end })
    }

    /// The text of a member that is a string.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let member = self.members.iter().find(|member| member.name == name)?;
        serde_json::from_str(&self.text[member.value.clone()]).ok()
    }

    /// Makes a member this string.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), RecordError> {
        if self.get(name).as_deref() == Some(value) {
            return Ok(());
        }
        let (name_text, value) = (quoted(name), quoted(value));
        let found = self.members.iter().find(|member| member.name == name);
        let (place, new) = match (found, self.members.last()) {
            (Some(member), _) => (member.value.clone(), value),
            (None, Some(last)) => (last.whole.end..last.whole.end, format!(",{name_text}:{value}")),
            (None, None) => (self.end..self.end, format!("{name_text}:{value}")),
        };
        self.replace(place, &new)
    }

    /// Takes a member out, with the comma that belongs to it.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), RecordError> {
        let Some(index) = self.members.iter().position(|member| member.name == name) else { return Ok(()) };
        let whole = self.members[index].whole.clone();
        let place = match (index.checked_sub(1), self.members.get(index + 1)) {
            (Some(before), _) => self.members[before].whole.end..whole.end,
            (None, Some(after)) => whole.start..after.whole.start,
            (None, None) => whole,
        };
        self.replace(place, "")
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn replace(&mut self, place: Range<usize>, new: &str) -> Result<(), RecordError> {
        let mut text = std::mem::take(&mut self.text);
        text.replace_range(place, new);
        *self = Self::parse(&text)?;
        Ok(())
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Walks over a text that is known to be JSON. Every byte that it stops at is ASCII.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn object(mut self, text: &str) -> Result<(Vec<Member>, usize), RecordError> {
        let mut members = Vec::new();
        if self.skip_space() != Some(b'{') {
            return Err(RecordError::NotAnObject);
        }
        self.at += 1;
        loop {
            match self.skip_space() {
                Some(b'}') => return Ok((members, self.at)),
                Some(b',') => self.at += 1,
                Some(b'"') => members.push(self.member(text)?),
                _ => return Err(RecordError::NotAnObject),
            }
        }
    }

    fn member(&mut self, text: &str) -> Result<Member, RecordError> {
        let start = self.at;
        self.skip_string();
        let name = serde_json::from_str(&text[start..self.at]).map_err(|_| RecordError::NotAnObject)?;
        self.skip_space();
        // The colon.
        self.at += 1;
        self.skip_space();
        let value = self.at;
        self.skip_value();
        Ok(Member { name, whole: start..self.at, value: value..self.at })
    }

    /// Passes over white space, and returns the byte that it stops at.
    fn skip_space(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// Passes over a string, from its first quote on.
    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.bytes.get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                return;
            }
        }
    }

    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.skip_string();
                    if depth == 0 {
                        return;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                // The end of the object that this value is in.
                b'}' | b']' if depth == 0 => return,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return;
                    }
                }
                b',' if depth == 0 => return,
                byte if depth == 0 && byte.is_ascii_whitespace() => return,
                _ => {}
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests;
