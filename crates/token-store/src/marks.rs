//! The contents of a row's version columns: the form that its values have, its name, and the key that they are under.

use envelope_core::Format;

use crate::database::row::StoredRow;
use crate::error::Needed;
use crate::write_format::WriteFormat;

/// The name of the form of a row that is not sealed.
const PLAINTEXT: &str = "plaintext";

/// The suffix of the method of a row that was written in an older form because the key service was unavailable.
const FALLBACK: &str = "-fallback";

/// The contents of a row's version columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) version: Version,
    pub(crate) method: Option<String>,
    pub(crate) key_id: Option<String>,
}

impl Marks {
    /// Those of values that are written in a form.
    pub(crate) fn of(format: WriteFormat, key_id: Option<String>) -> Self {
        let method = format.method().unwrap_or(PLAINTEXT);
        Self { version: format.into(), method: Some(method.into()), key_id }
    }

    /// Those that a row has; none where its version is unknown.
    pub(crate) fn read(row: &StoredRow) -> Option<Self> {
        let version = Version::read(row.version.as_deref())?;
        Some(Self { version, method: row.method.clone(), key_id: row.key_id.clone() })
    }

    /// The same, written in this older form because the key service was unavailable.
    pub(crate) fn into_fallback(self) -> Self {
        let method = self.method.as_deref().unwrap_or(PLAINTEXT);
        Self { method: Some(format!("{method}{FALLBACK}")), ..self }
    }

    /// Whether the row was written in an older form because the key service was unavailable.
    pub(crate) fn is_fallback(&self) -> bool {
        self.method.as_deref().is_some_and(is_fallback)
    }
}

/// The form of a row's values, as its version column says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 0, or nothing: programs of before the column existed left it empty.
    Plaintext,
    /// 1.
    DirectAes,
    /// 2.
    Envelope,
}

impl Version {
    /// Reads the column; none for anything but the three numbers.
    pub(crate) fn read(column: Option<&str>) -> Option<Self> {
        let Some(text) = column else {
            return Some(Self::Plaintext);
        };
        [Self::Plaintext, Self::DirectAes, Self::Envelope].into_iter().find(|version| version.text() == text)
    }

    /// The text that is stored.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Plaintext => "0",
            Self::DirectAes => "1",
            Self::Envelope => "2",
        }
    }

    /// The number that is stored.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Plaintext => 0,
            Self::DirectAes => 1,
            Self::Envelope => 2,
        }
    }
}

impl From<WriteFormat> for Version {
    fn from(format: WriteFormat) -> Self {
        match format {
            WriteFormat::Plaintext => Self::Plaintext,
            WriteFormat::DirectAes | WriteFormat::PulseplanLocal => Self::DirectAes,
            WriteFormat::KmsEnvelope => Self::Envelope,
        }
    }
}

/// Whether a method column names this form, or the form that a row fell back to.
pub(crate) fn is_named(method: Option<&str>, format: WriteFormat) -> bool {
    method.is_some_and(|named| Some(named) == format.method() || is_fallback(named))
}

/// The method of a row by its version, which governs how it is read; older programs left `direct`, nothing or something stale
/// in the method's column.
pub(crate) fn method_by_version(version: Option<Version>, method: Option<String>) -> Option<String> {
    let format = match version {
        None => return method,
        Some(Version::DirectAes)
            if method.as_deref().is_some_and(|method| method.starts_with("direct-aes-")) =>
        {
            return method;
        }
        Some(Version::Plaintext) => WriteFormat::Plaintext,
        Some(Version::DirectAes) => WriteFormat::DirectAes,
        Some(Version::Envelope) => WriteFormat::KmsEnvelope,
    };
    Marks::of(format, None).method
}

/// What values of a method are opened with; none where that is nothing, or not known.
pub(crate) fn needed_by_method(method: &str) -> Option<Needed> {
    match Format::from_name(method.strip_suffix(FALLBACK).unwrap_or(method))? {
        Format::DirectAes => Some(Needed::DirectKey),
        Format::PulseplanLocal => Some(Needed::UserKeys),
        Format::NodeJson => Some(Needed::Keyring),
        Format::KmsEnvelope | Format::BoundEnvelope | Format::PulseplanKms | Format::Autonomous => {
            Some(Needed::KeyService)
        }
        _ => None,
    }
}

fn is_fallback(method: &str) -> bool {
    method.ends_with(FALLBACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_written_as_it_is_read_and_no_other_text_is_one() {
        for version in [Version::Plaintext, Version::DirectAes, Version::Envelope] {
            assert_eq!(Version::read(Some(version.text())), Some(version));
            assert_eq!(version.text(), version.number().to_string());
        }
        assert_eq!(Version::read(None), Some(Version::Plaintext));
        for text in ["", "3", "-1", "00", "2 ", "two"] {
            assert_eq!(Version::read(Some(text)), None, "{text:?}");
        }
    }

    #[test]
    fn a_row_that_fell_back_keeps_its_form_and_says_so() {
        let marks = Marks::of(WriteFormat::DirectAes, None);
        let fell_back = marks.clone().into_fallback();
        assert_eq!(fell_back.method.as_deref(), Some("direct-aes-fallback"));
        assert!(fell_back.is_fallback() && !marks.is_fallback());
        assert_eq!(fell_back.version, marks.version);
        let stored = method_by_version(Some(Version::DirectAes), fell_back.method);
        assert_eq!(stored.as_deref(), Some("direct-aes-fallback"));
        assert_eq!(stored.as_deref().and_then(needed_by_method), Some(Needed::DirectKey));
    }
}
