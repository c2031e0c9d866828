//! Detection: the one place that finds out a stored text's format by its marks.

use std::fmt;

use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use crate::format::{Format, FormatError, autonomous, bound, kms_envelope};
use crate::stored::Stored;

/// Every mark that begins with this, whatever follows, claims to be an envelope.
const KMS: &str = "kms:";
/// How base64 of `v1|` and of `dev|` begins.
const AUTONOMOUS_MARK: &str = "djF8";
const DEV_MARK: &str = "ZGV2f";

/// Finds out a stored text's format by its unambiguous mark. Every text gets an answer or a typed error.
///
/// | a text that | is |
/// | --- | --- |
/// | begins with `kms:v2:`, or with `a21zOnYyO` | [`Format::KmsEnvelope`] |
/// | begins with `kms:v3:` | [`Format::BoundEnvelope`] |
/// | begins with `kms:{` | [`Format::PulseplanKms`] |
/// | begins otherwise with `kms:`, in any case | an error |
/// | begins with `djF8` | [`Format::Autonomous`] |
/// | begins with `ZGV2f` | [`Format::AutonomousDev`] |
/// | begins with `v`, digits or signs, and `:` | [`Format::PulseplanLocal`] |
/// | has three parts of hexadecimal between colons, or begins with 32 hexadecimal digits and a colon | [`Format::PulseplanLocal`] |
/// | begins with `{` and has the fields of an envelope | [`Format::PulseplanKms`] or [`Format::NodeJson`] |
/// | begins with `{` and is not a JSON object | an error |
/// | is one of these but for white space around it, or but for a damaged mark | an error |
/// | is anything else, the empty string among it | [`Format::Plaintext`] |
///
/// Direct AES has no mark: only a row's version or a profile identifies it.
///
/// # Errors
/// [`FormatError`] where the text carries a mark but is not well-formed: it is never taken for plaintext.
pub fn detect(text: &str) -> Result<Format, FormatError> {
    Stored::detect(text, None).map(|stored| stored.format())
}

/// The format that a text has if it is well-formed; plaintext where it has the mark of no other.
pub(crate) fn claimed(text: &str) -> Result<Format, FormatError> {
    let trimmed = text.trim_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}');
    // Plaintext may be surrounded by white space, an envelope never is.
    if trimmed.len() < text.len() && !matches!(claim(trimmed), Ok(None)) {
        return Err(FormatError::WhiteSpace);
    }
    Ok(claim(text)?.unwrap_or(Format::Plaintext))
}

/// Whether a text carries a mark that no token has by accident: it is an envelope even in a row that says it is
/// plaintext.
#[must_use]
pub fn has_strong_mark(text: &str) -> bool {
    kms_envelope::is_marked(text) || text.starts_with(bound::MARK)
}

/// The format that a text claims, well-formed or not; none where it claims nothing.
fn claim(text: &str) -> Result<Option<Format>, FormatError> {
    if text.get(..KMS.len()).is_some_and(|start| start.eq_ignore_ascii_case(KMS)) {
        return kms_claim(text).map(Some);
    }
    if kms_envelope::is_encoded_twice(text) {
        return Ok(Some(Format::KmsEnvelope));
    }
    if text.starts_with(AUTONOMOUS_MARK) {
        return Ok(Some(Format::Autonomous));
    }
    if text.starts_with(DEV_MARK) {
        return Ok(Some(Format::AutonomousDev));
    }
    if is_versioned(text) || is_hex_parts(text) {
        return Ok(Some(Format::PulseplanLocal));
    }
    if text.starts_with('{') {
        return Fields::of(text).map(Fields::claim);
    }
    if has_damaged_mark(text) { Err(FormatError::DamagedMark) } else { Ok(None) }
}

fn kms_claim(text: &str) -> Result<Format, FormatError> {
    if text.starts_with(bound::MARK) {
        Ok(Format::BoundEnvelope)
    } else if kms_envelope::is_marked(text) {
        Ok(Format::KmsEnvelope)
    } else if text.starts_with("kms:{") {
        Ok(Format::PulseplanKms)
    } else {
        Err(FormatError::UnknownVersion)
    }
}

/// `v`, digits or signs, and a colon: `v1:`, and what a careless writer makes of it.
fn is_versioned(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('v') else {
        return false;
    };
    let version = rest.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'));
    version.len() < rest.len() && version.starts_with(':')
}

/// Three parts of hexadecimal, or an IV of 32 digits before a colon.
fn is_hex_parts(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    match *parts.as_slice() {
        [_] => false,
        [iv, ..] if iv.len() == 32 && is_hex(iv) => true,
        [iv, tag, ciphertext] => is_hex(iv) && is_hex(tag) && is_hex(ciphertext),
        _ => false,
    }
}

fn is_hex(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a text that carries no mark would be an envelope if a character or two of its mark were mended.
///
/// No token looks like this by accident, and to call such a text plaintext would hand out a damaged ciphertext.
fn has_damaged_mark(text: &str) -> bool {
    let text_marks = ["kms:v2:", bound::MARK, "kms:{\"", "a21zOnYyO"];
    if text_marks.iter().any(|mark| differs_in_one_byte(text, mark)) || is_damaged_local(text) {
        return true;
    }
    let mended = |mark: &str| text.get(mark.len()..).map(|rest| [mark, rest].concat());
    mended(AUTONOMOUS_MARK).is_some_and(|text| autonomous::Envelope::parse(&text).is_ok())
        || mended(DEV_MARK).is_some_and(|text| autonomous::DevEnvelope::parse(&text).is_ok())
        || mended("{").is_some_and(|text| Fields::of(&text).is_ok_and(|fields| fields.claim().is_some()))
}

/// The same for `iv:tag:ciphertext` with or without a version: at most one of the characters around the tag is wrong.
fn is_damaged_local(text: &str) -> bool {
    let Some((head, ciphertext)) = text.rsplit_once(':') else {
        return false;
    };
    let Some((front, tag)) = head.as_bytes().split_last_chunk::<32>() else {
        return false;
    };
    let Some((separator, front)) = front.split_last() else {
        return false;
    };
    let Some(iv) = front.last_chunk::<32>() else {
        return false;
    };
    let wrong = iv.iter().filter(|byte| !byte.is_ascii_hexdigit()).count() + usize::from(*separator != b':');
    wrong <= 1 && tag.iter().all(u8::is_ascii_hexdigit) && is_hex(ciphertext)
}

fn differs_in_one_byte(text: &str, mark: &str) -> bool {
    let Some(start) = text.as_bytes().get(..mark.len()) else {
        return false;
    };
    start.iter().zip(mark.bytes()).filter(|&(&byte, wanted)| byte != wanted).count() == 1
}

/// Which fields of the JSON formats an object has at its top level.
#[derive(Clone, Copy, Default)]
struct Fields(u16);

impl Fields {
    const NAMES: [&str; 11] = [
        "ciphertext",
        "algorithm",
        "encryption_context",
        "key_id",
        "encrypted_at",
        "alg",
        "keyId",
        "iv",
        "tag",
        "aad",
        "timestamp",
    ];
    const PULSEPLAN: Self = Self::named(0..5);
    const NODE: Self = Self(Self::named(5..11).0 | 1);

    const fn named(range: std::ops::Range<u16>) -> Self {
        Self((1 << range.end) - (1 << range.start))
    }

    /// Reads an object's field names.
    fn of(text: &str) -> Result<Self, FormatError> {
        let mut parser = serde_json::Deserializer::from_str(text);
        let fields = parser.deserialize_map(FieldsVisitor).map_err(|_| FormatError::Json)?;
        parser.end().map_err(|_| FormatError::Json)?;
        Ok(fields)
    }

    /// Two distinctive fields claim a format, and so do three of any kind: one of them may be damaged.
    fn claim(self) -> Option<Format> {
        let [ciphertext, algorithm, context, _, _, alg, key_id, iv, tag, ..] =
            std::array::from_fn::<bool, 11, _>(|at| self.0 >> at & 1 == 1);
        let shared = |format: Self| (self.0 & format.0).count_ones();
        if ciphertext && (algorithm || context) || shared(Self::PULSEPLAN) >= 3 {
            Some(Format::PulseplanKms)
        } else if alg && key_id || iv && tag && ciphertext || shared(Self::NODE) >= 4 {
            Some(Format::NodeJson)
        } else {
            None
        }
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
            if let Some(at) = Fields::NAMES.iter().position(|known| *known == name) {
                fields.0 |= 1 << at;
            }
        }
        Ok(fields)
    }
}
