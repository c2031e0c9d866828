//! Times in columns, in the notation that a row has.

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::database::leases::{Expiry, TimeColumn};

/// From here on a number is of milliseconds: as seconds it would be the year 5138.
const MILLIS_FROM: i64 = 100_000_000_000;

/// Reads a time in milliseconds since 1970; `None` if it is no time. A time without a time zone is in UTC.
pub(super) fn read(expiry: &Expiry) -> Option<i64> {
    let text = match expiry {
        Expiry::Millis(millis) => return Some(*millis),
        Expiry::Text(text) => text.trim(),
    };
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(if number.abs() >= MILLIS_FROM { number } else { number * 1000 });
    }
    if let Some(seconds) = text.parse::<f64>().ok().filter(|number| number.abs() < 1e11) {
        return Some((seconds * 1000.0) as i64);
    }
    let time = OffsetDateTime::parse(&with_zone(text)?, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// `2026-11-28 18:22:08+00` as RFC 3339 has it.
fn with_zone(text: &str) -> Option<String> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    if rest.is_empty() {
        return Some(format!("{date}T00:00:00Z"));
    }
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let zone = clock.find(['Z', 'z', '+', '-']).map_or("", |at| &clock[at..]);
    let clock = clock[..clock.len() - zone.len()].trim_end();
    let clock = if clock.len() == 5 { format!("{clock}:00") } else { clock.to_owned() };
    let zone = match zone.len() {
        0 => "Z".to_owned(),
        3 => format!("{zone}:00"),
        5 => format!("{}:{}", zone.get(..3)?, zone.get(3..)?),
        _ => zone.to_owned(),
    };
    Some(format!("{date}T{clock}{zone}"))
}

/// Writes a time of whole seconds as its column takes it, and where that is free, as the row had it before.
pub(super) fn write(millis: i64, column: TimeColumn, before: Option<&str>) -> Option<String> {
    let is_number = |text: &&str| text.trim().parse::<f64>().is_ok();
    let seconds = millis.div_euclid(1000);
    match (column, before) {
        (TimeColumn::Zoned, _) => dated(seconds, 'T', "Z"),
        (TimeColumn::Utc | TimeColumn::Session, _) => dated(seconds, ' ', ""),
        (TimeColumn::Number, None) => Some(seconds.to_string()),
        (TimeColumn::Number | TimeColumn::Text, Some(text)) if is_number(&text) => {
            let in_millis = text.trim().parse::<f64>().is_ok_and(|number| number.abs() >= MILLIS_FROM as f64);
            Some(if in_millis { millis.to_string() } else { seconds.to_string() })
        }
        (TimeColumn::Number, Some(_)) => Some(seconds.to_string()),
        (TimeColumn::Text, None) => dated(seconds, 'T', "Z"),
        (TimeColumn::Text, Some(text)) => {
            let separator = if text.trim().get(10..11) == Some(" ") { ' ' } else { 'T' };
            let clock = text.trim().get(11..).unwrap_or_default();
            let zone = clock.find(['Z', 'z', '+', '-']).map_or("", |at| &clock[at..]);
            dated(
                seconds,
                separator,
                match zone.len() {
                    0 if separator == ' ' => "",
                    3 => "+00",
                    5 => "+0000",
                    6 => "+00:00",
                    _ => "Z",
                },
            )
        }
    }
}

fn dated(seconds: i64, separator: char, zone: &str) -> Option<String> {
    let time = OffsetDateTime::UNIX_EPOCH.checked_add(Duration::seconds(seconds))?;
    let (date, clock) = (time.date(), time.time());
    Some(format!(
        "{:04}-{:02}-{:02}{separator}{:02}:{:02}:{:02}{zone}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Option<i64> {
        read(&Expiry::Text(text.into()))
    }

    #[test]
    fn a_time_is_read_in_every_notation_that_rows_have() {
        for text in [
            "1764354128",
            "1764354128000",
            "1764354128.0",
            "2025-11-28T18:22:08Z",
            "2025-11-28T18:22:08.000Z",
            "2025-11-28 18:22:08",
            "2025-11-28 18:22:08+00",
            "2025-11-28 19:22:08+0100",
            "2025-11-28 13:22:08-05:00",
            " 2025-11-28T18:22:08 ",
        ] {
            assert_eq!(of(text), Some(1_764_354_128_000), "{text}");
        }
        assert_eq!(of("2025-11-28 18:22"), Some(1_764_354_120_000));
        assert_eq!(of("1970-01-02"), Some(86_400_000));
        assert_eq!(of("infinity"), Some(i64::MAX));
        for text in [
            "",
            "soon",
            "28.11.2025 18:22",
            "2025-13-28T18:22:08Z",
            "2025-11-28X18:22:08",
            "é".repeat(6).as_str(),
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same_second(seconds in 100_000_000_i64..4_102_444_800, at in 0_usize..9) {
            let before = [
                None, Some("1"), Some("1764354128000"), Some("2025-11-28 18:22:08"), Some("2025-11-28T18:22:08Z"),
                Some("2025-11-28 18:22:08+00"), Some("2025-11-28T18:22:08+01:00"), Some("2025-11-28T18:22:08+0100"),
                Some("never"),
            ][at];
            for column in [TimeColumn::Zoned, TimeColumn::Utc, TimeColumn::Number, TimeColumn::Text] {
                let text = write(seconds * 1000, column, before).unwrap_or_default();
                prop_assert_eq!(of(&text), Some(seconds * 1000), "{}", text);
            }
        }
    }
}
