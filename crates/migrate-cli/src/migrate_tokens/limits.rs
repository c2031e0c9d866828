//! How near keys are to the bounds of their use: how many values each sealed, and how long it has done so.

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use token_store::status::KeyUse;

/// Most values under one key with random nonces of 96 bits (NIST SP 800-38D, section 8.3).
const MOST_VALUES: u64 = 1 << 32;
/// The warning is logged at a quarter of that, which leaves time to rotate.
const MANY_VALUES: u64 = MOST_VALUES / 4;
/// How long a key of a keyring is active before it should be rotated (NIST SP 800-57 part 1, section 5.3.6,
/// has up to two years for a key that wraps).
const OLD: Duration = Duration::days(365);

/// Warnings about keys with many values under them. Each data key that a key service wraps is one use as
/// well; AWS KMS and Transit have no such bound.
pub(super) fn of_values(usage: &KeyUse) -> Vec<String> {
    let is_bounded = |key: &str| key.starts_with("keyring:") || key == "ENCRYPTION_KEY";
    let near = usage.keys.iter().filter(|key| is_bounded(&key.key_id) && key.values >= MANY_VALUES);
    near.map(|key| {
        let next = match key.key_id.as_str() {
            "ENCRYPTION_KEY" => "run `migrate-tokens migrate`",
            _ => "run `migrate-tokens keyring rotate`, then `rewrap`",
        };
        format!("{} has sealed {} values; a key may seal {MOST_VALUES}: {next}", key.key_id, key.values)
    })
    .collect()
}

/// A warning about a key of a keyring that has been active for long. Its writes elsewhere, such as rows that were sealed again
/// and again, are not counted anywhere: the age bounds them.
pub(super) fn of_age(id: &str, created_at: &str, now: OffsetDateTime) -> Option<String> {
    let age = now - OffsetDateTime::parse(created_at, &Rfc3339).ok()?;
    (age >= OLD).then(|| {
        format!(
            "key {id} has been in use for {} days: run `migrate-tokens keyring rotate` once a year",
            age.whole_days()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_at_a_quarter_of_the_values_that_a_key_may_seal() {
        let usage = |key: &str, values: u64| {
            let json = serde_json::json!({ "keys": [{ "key_id": key, "values": values }], "unreadable": 0 });
            serde_json::from_value::<KeyUse>(json).map(|usage| of_values(&usage).len()).unwrap_or(usize::MAX)
        };
        for key in ["keyring:k1", "ENCRYPTION_KEY"] {
            assert_eq!(usage(key, (1 << 30) - 1), 0, "{key}");
            assert_eq!(usage(key, 1 << 30), 1, "{key}");
        }
        assert_eq!(usage("arn:aws:kms:eu-central-1:1:key/k", 1 << 40), 0);
    }

    #[test]
    fn a_warning_comes_after_a_year() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(400);
        assert!(of_age("k", "1970-01-01T00:00:00Z", now).is_some_and(|warning| warning.contains("400 days")));
        assert_eq!(of_age("k", "1970-03-01T00:00:00Z", now), None);
        assert_eq!(of_age("k", "soon", now), None);
    }
}
