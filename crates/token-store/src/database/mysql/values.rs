//! Texts that this database would take for other values than they say, in columns whose values have several texts.

/// Whether a text is a value of a column of this type. Where it is none, the server would compare the column with 0, with the
/// first part of the text, or with a day that there is not.
pub(super) fn can_hold(base: &str, declared: &str, value: &str) -> bool {
    let given = value.trim_ascii();
    match base {
        "float" | "double" => is_number(given) && given.parse::<f64>().is_ok_and(f64::is_finite),
        "decimal" => is_number(given) && !given.contains(['e', 'E']),
        "year" => given.len() == 4 && is_digits(given),
        "bit" => given.parse::<u64>().is_ok(),
        "date" => is_date(value),
        "datetime" | "timestamp" => is_datetime(value),
        "time" => is_time(value.strip_prefix('-').unwrap_or(value)),
        "enum" => members(declared).contains(&value.to_lowercase()),
        "set" => {
            let members = members(declared);
            // The server stores the members in their order, once each, and compares with that text.
            let place = |part: &str| members.iter().position(|member| *member == part.to_lowercase());
            let places: Option<Vec<usize>> = value.split(',').map(place).collect();
            value.is_empty() || places.is_some_and(|places| places.is_sorted_by(|one, next| one < next))
        }
        _ => true,
    }
}

/// The server stores no more than 838 hours, and would take another time for a longer one.
fn is_time(text: &str) -> bool {
    let hours = text.split(':').next().and_then(|hours| hours.parse::<u16>().ok());
    is_clock(text, 3) && hours.is_some_and(|hours| hours <= 838)
}

/// The type that a text is cast to, to find out whether there is such a day or time.
pub(super) fn moment(base: &str) -> Option<&'static str> {
    match base {
        "date" => Some("DATE"),
        "datetime" | "timestamp" => Some("DATETIME(6)"),
        "time" => Some("TIME(6)"),
        _ => None,
    }
}

/// Only characters of numbers: "inf" and "nan" are none here.
fn is_number(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    text.bytes().all(is_part) && text.parse::<f64>().is_ok()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_short(text: &str, most: usize) -> bool {
    is_digits(text) && text.len() <= most
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts.as_slice(), [year, month, day]
        if year.len() == 4 && is_digits(year) && is_short(month, 2) && is_short(day, 2))
}

fn is_datetime(text: &str) -> bool {
    match text.split_once([' ', 'T']) {
        Some((date, clock)) => is_date(date) && is_clock(clock, 2),
        None => is_date(text),
    }
}

/// Hours and minutes, or also seconds with up to six decimals.
fn is_clock(text: &str, hours: usize) -> bool {
    let (clock, fraction) = text.split_once('.').map_or((text, None), |(clock, rest)| (clock, Some(rest)));
    let parts: Vec<&str> = clock.split(':').collect();
    let is_exact = fraction.is_none_or(|digits| parts.len() == 3 && is_short(digits, 6));
    is_exact
        && matches!(parts.as_slice(), [first, rest @ ..]
            if is_short(first, hours) && (1..=2).contains(&rest.len()) && rest.iter().all(|part| is_short(part, 2)))
}

/// The members of an enumeration in lower case, as the server compares them: `enum('a','it''s')`.
fn members(declared: &str) -> Vec<String> {
    let inside =
        declared.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("", |(list, _)| list);
    let (mut members, mut rest) = (Vec::new(), inside.chars().peekable());
    while rest.by_ref().any(|next| next == '\'') {
        let mut member = String::new();
        while let Some(next) = rest.next() {
            if next == '\'' && rest.next_if_eq(&'\'').is_none() {
                break;
            }
            member.extend(next.to_lowercase());
        }
        members.push(member);
    }
    members
}

#[cfg(test)]
mod tests {
    use super::can_hold;

    #[test]
    fn a_text_that_would_be_taken_for_another_value_is_not_held() {
        for (declared, good, bad) in [
            ("float", ["1.5", "-1e3"], ["inf", "1.5x"]),
            ("decimal(6,2) unsigned zerofill", ["002.5", "2"], ["abc", ""]),
            ("year(4)", ["2024", "1999"], ["24", "2024x"]),
            ("bit(8)", ["5", "0"], ["b'1'", "x"]),
            ("date", ["2024-01-02", "2024-1-2"], ["2024-01-02x", "2024-01-02 10:00:00"]),
            ("datetime(6)", ["2024-01-02T10:00:00.5", "2024-01-02"], ["garbage", "2024-01-02 10:00:00x"]),
            ("time", ["-838:59:59", "10:00:00.25"], ["10", "839:00:00"]),
            ("enum('A','it''s','b')", ["a", "it's"], ["c", "A'"]),
            ("set('a','b')", ["a,b", ""], ["b,a", "a,a"]),
        ] {
            let base = declared.split(['(', ' ']).next().unwrap_or_default();
            for value in good {
                assert!(can_hold(base, declared, value), "{declared} {value:?}");
            }
            for value in bad {
                assert!(!can_hold(base, declared, value), "{declared} {value:?}");
            }
        }
    }
}
