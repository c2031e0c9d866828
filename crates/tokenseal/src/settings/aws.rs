//! Variables of the AWS SDK that it would pass over without a word, or take for something else.

use kms_provider::KeyUri;

use super::reader::Reader;
#[cfg(any(feature = "aws", feature = "secrets-manager"))]
use super::{SettingsError, endpoints};

/// The switches that the SDK takes as `true` or `false` only; it ignores everything else.
const SWITCHES: [&str; 2] = ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"];
/// Certificate authorities, as other AWS tools name them. The SDK for Rust reads [`TRUST`].
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
const TRUST: &str = "SSL_CERT_FILE";

/// Refuses by name what would not be honoured.
pub(super) fn check(reader: &mut Reader<'_>, key: Option<&KeyUri>) {
    for name in SWITCHES {
        let text = reader.text(name);
        if text.is_some_and(|text| !["true", "false"].contains(&text.to_ascii_lowercase().as_str())) {
            reader.problem(name, "must be true or false: the AWS SDK ignores everything else");
        }
    }
    let uses_aws = key.is_none_or(|key| !key.aws_keys().is_empty());
    if uses_aws && reader.text(CA_BUNDLE).is_some() && reader.text(TRUST).is_none() {
        reader.problem(CA_BUNDLE, format_args!("is not read: set {TRUST} to the same file"));
    }
}

/// Refuses, before the SDK is asked for anything, the variables that it cannot read: it panics at some, and an empty one is not
/// the same to it as one that is not set.
///
/// # Errors
/// [`SettingsError`], for the first of them.
#[cfg(any(feature = "aws", feature = "secrets-manager"))]
pub(crate) fn check_readable() -> Result<(), SettingsError> {
    const MAY_NOT_BE_EMPTY: [&str; 4] =
        ["AWS_DEFAULT_REGION", "AWS_MAX_ATTEMPTS", "AWS_REGION", "AWS_RETRY_MODE"];
    let mut given: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect();
    given.sort();
    for (name, value) in given {
        let is_read = endpoints::is_one(&name) || MAY_NOT_BE_EMPTY.contains(&name.as_str());
        let problem = match name.as_str() {
            _ if is_read && value.trim().is_empty() => {
                "is empty, which the AWS SDK does not take for not set"
            }
            "AWS_MAX_ATTEMPTS" if !value.parse::<u32>().is_ok_and(|attempts| attempts > 0) => {
                "must be a whole number above 0"
            }
            "AWS_RETRY_MODE" if !["standard", "adaptive"].contains(&value.to_ascii_lowercase().as_str()) => {
                "must be standard or adaptive"
            }
            _ => continue,
        };
        return Err(SettingsError::of(name, problem, "unset it, or give it a value that the AWS SDK reads"));
    }
    Ok(())
}
