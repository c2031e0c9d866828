//! Tags as they are written in arguments, and times as they are shown.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A tag out of `name=value`.
pub(super) fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("is not name=value".into()),
    }
}

/// RFC 3339, to the second.
pub(super) fn show_time(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}
