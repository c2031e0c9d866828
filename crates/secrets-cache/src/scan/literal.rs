//! The text of a value: a literal between quotes, or bare text.

/// Longest bare value, in bytes. It bounds the work on texts in which values begin inside of values.
pub(super) const MAX_BARE: usize = 1024;

/// A literal between quotes.
pub(super) struct Quoted<'a> {
    /// The text between the quotes, with its escapes.
    pub(super) inner: &'a str,
    /// The quote, unless the literal has a prefix or more than one quote on each side.
    pub(super) quote: Option<char>,
}

/// The literal that begins at a place of a line: `"…"`, `'…'`, `` `…` ``, `"""…"""`, `r#"…"#`, `f"…"`, or `\"…\"` as it is in
/// another literal.
pub(super) fn quoted(line: &str, at: usize) -> Option<Quoted<'_>> {
    let rest = line.get(at..)?;
    let prefix = rest.bytes().take(3).take_while(|b| b.is_ascii_alphabetic() || b"@$#".contains(b)).count();
    let rest = &rest[prefix..];
    for around in ["\\\"", "\\'", "\"\"\"", "'''"] {
        if let Some(inner) = rest.strip_prefix(around).and_then(|inner| inner.split_once(around)) {
            return Some(Quoted { inner: inner.0, quote: None });
        }
    }
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    // Some formats have no escapes between apostrophes.
    let without_escapes = || rest[1..].find(quote).filter(|_| quote == '\'').map(|end| end + 1);
    let end = closing(rest, 1, quote).or_else(without_escapes)?;
    Some(Quoted { inner: &rest[1..end], quote: Some(quote).filter(|_| prefix == 0) })
}

/// Where the next quote is that has no backslash before it.
pub(super) fn closing(text: &str, from: usize, quote: char) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote as u8 => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// The text from a place of a line to the first character that ends it. None if it is empty or too long.
pub(super) fn bare(line: &str, at: usize, is_end: impl Fn(char) -> bool) -> Option<&str> {
    let rest = line.get(at..)?;
    let mut end = rest.len();
    for (at, c) in rest.char_indices() {
        if at > MAX_BARE {
            return None;
        }
        if is_end(c) {
            end = at;
            break;
        }
    }
    let value = rest[..end].trim_end();
    (!value.is_empty() && end <= MAX_BARE).then_some(value)
}

/// Whether another command or setting fills a part of the value.
pub(super) fn has_reference(value: &str) -> bool {
    ["${", "$(", "{{", "#{", "%("].iter().any(|begin| value.contains(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_ends_where_its_language_ends_it() {
        for (text, expected) in [
            (r#""a b" c"#, Some("a b")),
            (r#""a\"b" c"#, Some(r#"a\"b"#)),
            (r"'a\' c", Some(r"a\")),
            (r"'a\'b' c", Some(r"a\'b")),
            (r#""""a"b""" c"#, Some("a\"b")),
            (r##"r#"a"# c"##, Some("a")),
            (r#"f"a""#, Some("a")),
            (r#"\"a\", \"b\""#, Some("a")),
            ("`a`", Some("a")),
            ("\"a", None),
            ("a\"b\"", Some("b")),
            ("abcd\"b\"", None),
            ("", None),
        ] {
            assert_eq!(quoted(text, 0).map(|quoted| quoted.inner), expected, "{text}");
        }
    }

    #[test]
    fn bare_text_has_an_end_and_a_limit() {
        assert_eq!(bare("x=ab c", 2, char::is_whitespace), Some("ab"));
        assert_eq!(bare("x=", 2, char::is_whitespace), None);
        assert_eq!(bare(&"ä".repeat(2000), 0, char::is_whitespace), None);
    }
}
