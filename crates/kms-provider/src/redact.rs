//! Key names in messages: long enough to find the key, short of what a log should not keep.

use std::borrow::Cow;

/// Longest key name that is repeated in a message, in characters. Key ARNs have about 80.
#[cfg(any(feature = "aws", feature = "keyring", feature = "memory", feature = "vault"))]
const MAX_SHOWN: usize = 160;

/// Shortens the account id in an ARN to its last four digits: `arn:aws:kms:eu-central-1:…9012:key/…`.
///
/// Anything that is not an ARN comes back as it is. Messages and logs use it; stored values keep the whole
/// ARN.
///
/// ```
/// use kms_provider::redact_arn;
///
/// assert_eq!(redact_arn("arn:aws:kms:eu-central-1:123456789012:key/k"), "arn:aws:kms:eu-central-1:…9012:key/k");
/// assert_eq!(redact_arn("alias/tokens"), "alias/tokens");
/// ```
#[must_use]
pub fn redact_arn(text: &str) -> Cow<'_, str> {
    let mut parts = text.splitn(6, ':');
    let is_arn = parts.next() == Some("arn");
    let account = parts.nth(3).filter(|account| account.len() > 4 && account.is_ascii());
    match account {
        Some(account) if is_arn => {
            let short = format!("…{}", &account[account.len() - 4..]);
            Cow::Owned(text.replacen(account, &short, 1))
        }
        _ => Cow::Borrowed(text),
    }
}

/// A key name that was stored with a value, fit for a message: bounded, on one line, account id shortened.
#[cfg(any(feature = "aws", feature = "keyring", feature = "memory", feature = "vault"))]
pub(crate) fn shown(claim: &str) -> String {
    redact_arn(claim).chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_is_shortened_wherever_it_is_repeated_from() {
        assert_eq!(
            redact_arn("arn:aws:kms:us-east-1:123456789012:alias/x"),
            "arn:aws:kms:us-east-1:…9012:alias/x"
        );
        assert_eq!(redact_arn("arn:aws:kms:us-east-1::key/x"), "arn:aws:kms:us-east-1::key/x");
        assert_eq!(redact_arn("arn:aws:kms"), "arn:aws:kms");
        assert_eq!(redact_arn(""), "");
    }

    #[test]
    fn a_claim_is_bounded_and_stays_on_one_line() {
        assert_eq!(shown("a\nb"), "a\\nb");
        assert_eq!(shown(&"x".repeat(1_000)).len(), MAX_SHOWN);
    }
}
