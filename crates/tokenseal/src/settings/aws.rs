//! Variables of the AWS SDK that it would pass over without a word.

use kms_provider::KeyUri;

use super::reader::Reader;

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
