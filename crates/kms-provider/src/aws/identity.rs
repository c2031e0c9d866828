//! The identity that AWS sees in the calls of this process.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::Client;

use crate::redact::shown;

/// How long the answer is waited for.
const WITHIN: Duration = Duration::from_secs(3);
/// Longest ARN of an identity, in characters (`GetCallerIdentity` in the AWS STS API reference).
const MAX_ARN_LEN: usize = 2_048;

/// Why the identity is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There are no credentials, no Region, or no network path to AWS STS, as in a private network without an
    /// endpoint for it.
    #[error("no credentials, or AWS STS cannot be reached")]
    NotReached,
    /// AWS STS does not accept the credentials.
    #[error("AWS STS refuses the credentials ({code})")]
    Refused {
        /// The code of its answer.
        code: String,
    },
}

/// Returns the ARN of the identity that the environment's credentials belong to.
///
/// It is one call of `GetCallerIdentity`, which needs no permission, and takes 3 s at most.
///
/// # Errors
/// [`IdentityError`]. The key service may work nevertheless.
pub async fn caller_identity(key: &str) -> Result<String, IdentityError> {
    caller_identity_with(&aws_config::load_defaults(BehaviorVersion::latest()).await, key).await
}

/// As [`caller_identity`], with an SDK configuration; the Region of `key` is used where it has none.
///
/// # Errors
/// Those of [`caller_identity`].
pub async fn caller_identity_with(config: &SdkConfig, key: &str) -> Result<String, IdentityError> {
    let region = super::region(config, key).map_err(|_| IdentityError::NotReached)?;
    let timeouts = TimeoutConfig::builder().operation_timeout(WITHIN).build();
    let config = aws_sdk_sts::config::Builder::from(config)
        .region(region)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled())
        .build();
    match Client::from_conf(config).get_caller_identity().send().await {
        Ok(answer) => {
            let arn = answer.arn.ok_or(IdentityError::NotReached)?;
            // The answer is printed and may come from any endpoint: control characters are escaped.
            Ok(arn.chars().take(MAX_ARN_LEN).flat_map(char::escape_debug).collect())
        }
        Err(SdkError::ServiceError(answer)) => {
            let code = shown(answer.err().code().unwrap_or("no code"));
            Err(IdentityError::Refused { code })
        }
        Err(_) => Err(IdentityError::NotReached),
    }
}
