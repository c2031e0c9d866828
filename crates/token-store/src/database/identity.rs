//! The values of a key or owner column, and when two texts of it name the same value.

/// The properties of a column's values and of their texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text, compared byte by byte.
    Text,
    /// Text whose trailing spaces do not count (PostgreSQL's `character`).
    Padded,
    /// Whole numbers.
    Integer,
    /// Whole numbers, and texts that are no number (SQLite's affinities with numbers).
    IntegerOrText,
    /// Numbers with a fixed number of decimals.
    Decimal,
    /// UUIDs, shown in lower case with hyphens.
    Uuid,
    /// `true` and `false`.
    Boolean,
    /// Anything else: equal values may have several texts, or their text depends on settings.
    Other,
}

impl Kind {
    /// Whether each value has exactly one text.
    pub(crate) fn is_canonical(self) -> bool {
        self != Self::Other
    }

    /// Whether a caller's text names the value that is stored as the other text.
    ///
    /// The answer is this program's own, so that a database that answers with another row is found out.
    pub(crate) fn same(self, given: &str, stored: &str) -> bool {
        let is_integer = || matches!((integer(given), integer(stored)), (Some(a), Some(b)) if a == b);
        given == stored
            || match self {
                Self::Text | Self::Other => false,
                Self::Padded => given.trim_end_matches(' ') == stored.trim_end_matches(' '),
                Self::Integer | Self::IntegerOrText => is_integer(),
                Self::Decimal => matches!((decimal(given), decimal(stored)), (Some(a), Some(b)) if a == b),
                Self::Uuid => matches!((uuid(given), uuid(stored)), (Some(a), Some(b)) if a == b),
                Self::Boolean => matches!((boolean(given), boolean(stored)), (Some(a), Some(b)) if a == b),
            }
    }
}

/// A whole number as the databases read it: blanks around it, a sign and leading zeros do not count.
pub(crate) fn integer(text: &str) -> Option<i64> {
    text.trim_ascii().parse().ok()
}

/// A number without sign, leading zeros, point and trailing zeros of its decimals, apart from those parts.
fn decimal(text: &str) -> Option<(bool, &str, &str)> {
    let text = text.trim_ascii();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = whole.len() + fraction.len() > 0
        && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let is_zero = whole.is_empty() && fraction.is_empty();
    is_number.then_some((negative && !is_zero, whole, fraction))
}

fn uuid(text: &str) -> Option<String> {
    let text = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let digits: String = text.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    (digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim_ascii().to_ascii_lowercase().as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => Some(true),
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn a_text_names_only_the_value_that_it_is_another_text_of() {
        let same = [
            (Kind::Text, "a", "a"),
            (Kind::Padded, "a  ", "a"),
            (Kind::Integer, "007", "7"),
            (Kind::Integer, " +7", "7"),
            (Kind::IntegerOrText, "a1", "a1"),
            (Kind::Decimal, "2.5", "2.50"),
            (Kind::Decimal, "-0", "0.00"),
            (Kind::Uuid, "{6F9619FF-8B86-D011-B42D-00CF4FC964FF}", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
            (Kind::Boolean, "t", "true"),
        ];
        for (kind, given, stored) in same {
            assert!(kind.same(given, stored), "{kind:?} {given:?} {stored:?}");
        }
        let different = [
            (Kind::Text, "a ", "a"),
            (Kind::Text, "A", "a"),
            (Kind::Padded, " a", "a"),
            (Kind::Integer, "1x", "1"),
            (Kind::Integer, "1.9", "1"),
            (Kind::Integer, "", "0"),
            (Kind::IntegerOrText, "abc", "0"),
            (Kind::Decimal, "2.51", "2.5"),
            (Kind::Decimal, ".", "0"),
            (Kind::Decimal, "25", "2.5"),
            (Kind::Uuid, "mallory", "victim"),
            (Kind::Boolean, "t", "false"),
            (Kind::Other, "2.5", "2.50"),
        ];
        for (kind, given, stored) in different {
            assert!(!kind.same(given, stored), "{kind:?} {given:?} {stored:?}");
        }
    }
}
