//! Readings of a `.env` line that the programs which read such files do not agree on.

use std::fmt;
use std::ops::Range;

/// Why the value of a setting may be another one than the text that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// An unquoted `#`: a comment for some readers, a part of the value for others.
    Hash,
    /// A quote that begins the value and does not end.
    UnclosedQuote,
    /// Text after the quote that ends the value.
    AfterQuote,
    /// The setting is in lines that an unclosed quote may have meant to include.
    InsideQuote {
        /// The line of the quote.
        line: u32,
    },
    /// An unquoted value that continues in the next lines, such as a private key in PEM.
    Continues,
    /// A line of such a value.
    InsideKey {
        /// The line that the value begins on.
        line: u32,
    },
    /// A line that may be the end of base64 text, whose padding is `=`.
    Padding,
    /// An unquoted value with an odd number of quotes of one kind.
    OddQuotes,
    /// An unquoted value with a bracket that has no partner.
    Bracket,
    /// A reference such as `${NAME}` or `$(command)`, which some readers expand.
    Reference,
    /// A backslash that some readers take for an escape.
    Escape,
    /// A value of several lines, one of which looks like a setting.
    InnerSetting,
    /// A value of several lines with a carriage return, which some readers keep.
    CarriageReturn,
    /// Space other than blanks and tabs around the value, which some readers keep.
    Space,
    /// A control character in the value.
    Control,
    /// A line without `=`.
    NoEquals,
    /// A name with other characters than letters, digits, `_`, `.` and `-`, or none.
    Name,
}

impl Doubt {
    /// Whether the text in the place of the name may be a part of a value, so that it must not be shown.
    #[must_use]
    pub fn hides_name(self) -> bool {
        matches!(self, Self::InsideQuote { .. } | Self::InsideKey { .. } | Self::Padding | Self::NoEquals)
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hash => "an unquoted `#` may be part of the value; quote the value",
            Self::UnclosedQuote => "a quote is not closed",
            Self::AfterQuote => "text follows the closing quote; quote the whole value",
            Self::InsideQuote { line } => {
                return write!(f, "the line may belong to the unclosed quote of line {line}");
            }
            Self::Continues => "the value continues in the next lines; quote all of it",
            Self::InsideKey { line } => {
                return write!(f, "the line may belong to the value that begins on line {line}");
            }
            Self::Padding => "the line may be the end of base64 text; quote the value",
            Self::OddQuotes => "the unquoted value has an unbalanced quote; quote the value",
            Self::Bracket => "the unquoted value has an unbalanced bracket; quote the value",
            Self::Reference => "some readers expand `${…}` and `$(…)`; put the value in single quotes",
            Self::Escape => {
                "readers disagree about this backslash; put the value in single quotes, or avoid it"
            }
            Self::InnerSetting => "a line of the value looks like a setting; a quote may be missing",
            Self::CarriageReturn => {
                "a line of the value ends in a carriage return, which some readers keep; end the lines with a line feed alone"
            }
            Self::Space => "the value begins or ends with an unusual space; quote the value",
            Self::Control => "the value has a control character",
            Self::NoEquals => "not NAME=value",
            Self::Name => "a name may have letters, digits, `_`, `.` and `-`",
        })
    }
}

/// The doubt about an unquoted value: the text after `=`, to the end of the line.
pub(super) fn of_unquoted(after_equals: &str) -> Option<Doubt> {
    let text = after_equals.trim_matches([' ', '\t']);
    if text.trim() != text {
        return Some(Doubt::Space);
    }
    if let Some(comment) = text.strip_prefix('#') {
        // `NAME= # comment` is empty for every reader that knows comments.
        let is_comment =
            after_equals.starts_with([' ', '\t']) && !comment.starts_with(|c: char| c.is_alphanumeric());
        return (!is_comment).then_some(Doubt::Hash);
    }
    let is_odd = |quote| text.matches(quote).count() % 2 == 1;
    match () {
        () if text.contains('#') => Some(Doubt::Hash),
        () if ['"', '\'', '`'].into_iter().any(is_odd) => Some(Doubt::OddQuotes),
        () if !is_balanced(text) => Some(Doubt::Bracket),
        () if text.contains("${") || text.contains("$(") => Some(Doubt::Reference),
        () if text.contains('\\') => Some(Doubt::Escape),
        () => of_any(text),
    }
}

/// The doubt about a quoted value: the text between the quotes, and the text after them to the end of the line.
pub(super) fn of_quoted(quote: char, inner: &str, tail: &str) -> Option<Doubt> {
    if !tail.trim().is_empty() && !tail.starts_with([' ', '\t']) {
        return Some(Doubt::Hash);
    }
    let is_expanded = quote == '"';
    if is_expanded && (inner.contains("${") || inner.contains("$(")) {
        return Some(Doubt::Reference);
    }
    if has_doubtful_escape(is_expanded, inner) {
        return Some(Doubt::Escape);
    }
    if inner.contains('\r') {
        return Some(Doubt::CarriageReturn);
    }
    if inner.lines().skip(1).any(looks_like_a_setting) {
        return Some(Doubt::InnerSetting);
    }
    of_any(inner)
}

fn of_any(text: &str) -> Option<Doubt> {
    let is_control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    text.contains(is_control).then_some(Doubt::Control)
}

/// In double quotes, escapes other than the usual ones; in others, those that some readers undo.
fn has_doubtful_escape(is_expanded: bool, inner: &str) -> bool {
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            continue;
        }
        let is_usual = match characters.next() {
            Some('n' | 'r' | 't' | '"' | '\\') if is_expanded => true,
            Some('\\' | '\'' | '"' | '`') | None => false,
            Some(_) => !is_expanded,
        };
        if !is_usual {
            return true;
        }
    }
    false
}

fn is_balanced(text: &str) -> bool {
    let mut open = Vec::new();
    for c in text.chars() {
        match c {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(c) => return false,
            _ => {}
        }
    }
    open.is_empty()
}

/// `NAME=value`. The padding of base64 text is not one.
fn looks_like_a_setting(line: &str) -> bool {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let Some((name, value)) = line.split_once('=') else {
        return false;
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name && !matches!(value, "" | "=")
}

/// Where the value between quotes is: after the opening quote, up to the first that is not escaped. None if there is no end.
pub(super) fn between_quotes(text: &str, opening: usize, quote: char) -> Option<Range<usize>> {
    let start = opening + quote.len_utf8();
    let bytes = text.as_bytes();
    let mut escaped = false;
    for (at, &byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote as u8 => return Some(start..at),
            _ => {}
        }
    }
    None
}
