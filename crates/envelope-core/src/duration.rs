//! Spans of time as settings spell them: one grammar for every crate.

use std::time::Duration;

/// The longest span that a setting can name: 100 years of 365.25 days. Sums with a date stay within every calendar.
pub const LONGEST: Duration = Duration::from_secs(3_155_760_000);

/// Reads `250ms`, `90s`, `5m`, `1h 30m`, `7d`, or digits alone for seconds; surrounding white space is ignored.
///
/// Returns `None` for any other text, and for a span above [`LONGEST`].
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let duration = match is_number {
        true => Duration::from_secs(text.parse().ok()?),
        false => humantime::parse_duration(text).ok()?,
    };
    (duration <= LONGEST).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_digits_with_units_or_seconds_alone() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("90s", 90_000),
            ("90", 90_000),
            (" 5m ", 300_000),
            ("1h", 3_600_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("7d", 604_800_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            " ",
            "5 minutes and more",
            "-5m",
            "+5",
            "5x",
            "m",
            "99999999999999999999",
            "101y",
            "584942417355y",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
