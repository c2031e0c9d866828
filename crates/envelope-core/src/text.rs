//! Strict text encodings: one spelling for every value, anything else refused.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::Simd;
use base64::engine::general_purpose::{NO_PAD, PAD, URL_SAFE};

use crate::format::FormatError;

/// Standard base64 with padding (RFC 4648, section 4), by vector instructions where the processor has them.
static STANDARD: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));

/// The same of base64url without padding (RFC 4648, section 5).
static URL: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(NO_PAD));

/// Decodes standard base64 with padding; white space, missing padding and stray trailing bits are refused.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, FormatError> {
    decode(&STANDARD, text)
}

fn decode(engine: &Simd, text: &str) -> Result<Vec<u8>, FormatError> {
    // With room made first: zeroed memory fresh from the allocator takes longer to get than memory that is zeroed here.
    let mut bytes = Vec::with_capacity(text.len().div_ceil(4) * 3);
    engine.decode_vec(text, &mut bytes).map_err(|_| FormatError::Base64)?;
    Ok(bytes)
}

pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    #[expect(clippy::expect_used, reason = "the buffer was just made as long as the encoding is")]
    STANDARD.encode_slice(bytes, &mut out[start..]).expect("the encoding fits");
}

/// Text that was put together from ASCII alone.
pub(crate) fn ascii(bytes: Vec<u8>) -> String {
    #[expect(clippy::expect_used, reason = "marks and base64 are ASCII")]
    String::from_utf8(bytes).expect("ASCII is UTF-8")
}

/// Decodes base64url without padding, as strictly (RFC 4648, section 5).
pub(crate) fn decode_base64url(text: &str) -> Result<Vec<u8>, FormatError> {
    decode(&URL, text)
}

pub(crate) fn push_base64url(bytes: &[u8], out: &mut String) {
    URL.encode_string(bytes, out);
}

/// Decodes base64url with padding, as Fernet keys and tokens are spelled.
pub(crate) fn decode_base64url_padded(text: &str) -> Result<Vec<u8>, FormatError> {
    URL_SAFE.decode(text).map_err(|_| FormatError::Base64)
}

/// Decodes lower-case hexadecimal.
pub(crate) fn decode_hex(text: &str) -> Result<Vec<u8>, FormatError> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(FormatError::Hex);
    }
    hex::decode(text).map_err(|_| FormatError::Hex)
}

/// Checks that a text is spelled like one JSON object on one line, before a parser reads it.
///
/// JSON allows white space around tokens and either case in `\u` escapes, so one object has many spellings.
/// The programs that wrote these objects use none but spaces and lower case; demanding that leaves no byte
/// that could be changed without being noticed.
pub(crate) fn check_json_spelling(text: &str) -> Result<(), FormatError> {
    let bytes = text.as_bytes();
    if !text.starts_with('{') || !text.ends_with('}') || bytes.iter().any(|&byte| byte < b' ') {
        return Err(FormatError::Json);
    }
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        // Both bytes of an escape are skipped, so that `\\u` is not taken for the start of one.
        let (escape, tail) = rest[at..].split_at(2.min(rest.len() - at));
        if escape == b"\\u" && tail.iter().take(4).any(u8::is_ascii_uppercase) {
            return Err(FormatError::Json);
        }
        rest = tail;
    }
    Ok(())
}
