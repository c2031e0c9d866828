//! Lines of PEM (RFC 7468), which can look like settings.

const BEGINS: &str = "-----BEGIN ";
const ENDS: &str = "-----END ";
/// Headers of an encrypted key (RFC 1421).
const HEADERS: [&str; 2] = ["Proc-Type:", "DEK-Info:"];

/// The part of a line from where it begins a text that it does not end.
pub(crate) fn beginning(line: &str) -> Option<&str> {
    line.rfind(BEGINS).map(|at| &line[at..]).filter(|text| !is_end(text))
}

/// Whether a line ends such a text.
pub(crate) fn is_end(line: &str) -> bool {
    line.contains(ENDS)
}

/// Whether a line can be inside: base64, or a header.
pub(crate) fn is_inside(line: &str) -> bool {
    let line = line.trim();
    is_base64(line) || HEADERS.iter().any(|header| line.starts_with(header))
}

/// Whether a text has the characters of base64 only.
pub(crate) fn is_base64(text: &str) -> bool {
    text.trim_end_matches('=').bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}
