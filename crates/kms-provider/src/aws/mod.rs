//! AWS KMS.

mod error;
pub mod identity;
mod keys;
mod provider;
mod regions;
mod single_attempt;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::Region;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use envelope_core::KeyError;
use envelope_core::provider::ErrorClass;
use std::time::Duration;

use self::keys::AllowedKeys;
use crate::answers::LastKeys;
use crate::arn::KmsArn;

/// How long making a connection may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one attempt at a call may take, connection included.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a call may take, its attempts and the pauses between them included.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a call is attempted at most: throttling, 5xx answers and broken connections are tried again.
pub const MAX_ATTEMPTS: u32 = 3;

/// AWS KMS as a key service: data keys are made and wrapped by one configured key.
///
/// # Which keys open
///
/// Every call that opens something names the key that must have wrapped it (`KeyId`), so KMS refuses everything
/// else. That key is the one that the wrapped data key claims, and it must be the configured key or one of the extra
/// allowed ones; any other claim is refused before a call to KMS. Without a claim, or where the claim is an
/// alias, the configured key is tried first, then each other allowed one.
///
/// Keys are configured as ARNs, bare ids or aliases. To compare a claimed ARN with a configured alias, the alias is
/// resolved by one `DescribeKey`, and the answer is kept for five minutes. So are the keys that answers name. After an alias was pointed at another key,
/// values under the earlier key open only if that key's ARN is allowed (`KMS_ALLOWED_KEYS`).
///
/// # What answers are checked for
///
/// The key that an answer names is compared with the one that the call named, an alias with the key that it names; a data key
/// of another length than 32 bytes, a wrapped key of an impossible length and a data key that is among the last
/// [4,096](crate::answers::WINDOW) are errors. So nothing is sealed or stored on the word of an impostor who answers in the
/// place of KMS without knowing the key.
///
/// # Permissions
///
/// `kms:GenerateDataKey` and `kms:Decrypt`; `kms:DescribeKey` for aliases and [`describe`]; for [`rewrap`]
/// `kms:ReEncryptFrom` and `kms:ReEncryptTo`.
///
/// # Secrets
///
/// Plaintext keys are wiped in every buffer that the SDK hands over. The SDK's own copies (the decrypted TLS records and
/// the JSON answer) are freed without being wiped.
///
/// [`describe`]: envelope_core::KeyProvider::describe
/// [`rewrap`]: envelope_core::KeyProvider::rewrap
pub struct Aws {
    client: Client,
    keys: AllowedKeys,
    last: LastKeys,
}

impl Aws {
    /// Uses the configuration of the environment, as the AWS SDK reads it: `AWS_REGION`, credentials, profiles, roles,
    /// `AWS_ENDPOINT_URL_KMS` and the rest.
    ///
    /// # Errors
    /// Those of [`from_config`](Self::from_config).
    pub async fn connect(
        key: impl Into<String>,
        allowed: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, KeyError> {
        Self::from_config(&aws_config::load_defaults(BehaviorVersion::latest()).await, key, allowed)
    }

    /// Uses an SDK configuration. Settings that it leaves open become [`CONNECT_TIMEOUT`], [`ATTEMPT_TIMEOUT`],
    /// [`OPERATION_TIMEOUT`] and [`MAX_ATTEMPTS`] in the SDK's standard retry mode, and to the Region of `key`.
    ///
    /// `key` makes new data keys; `allowed` are further keys whose wrapped data keys may be opened. Each is an ARN, a
    /// bare id or an alias.
    ///
    /// # Errors
    /// [`ErrorClass::Misconfigured`] if no Region is set, or another one than the key's, or nothing gives credentials.
    pub fn from_config(
        config: &SdkConfig,
        key: impl Into<String>,
        allowed: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, KeyError> {
        let key = key.into();
        let region = region(config, &key)?;
        if config.credentials_provider().is_none() {
            return Err(error::no_credentials(None));
        }
        let mut timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        if let Some(configured) = config.timeout_config() {
            let mut configured = configured.clone();
            configured.take_defaults_from(&timeouts);
            timeouts = configured;
        }
        let retries = config.retry_config().cloned();
        let retries = retries.unwrap_or_else(|| RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS));
        let config = aws_sdk_kms::config::Builder::from(config)
            .region(region)
            .timeout_config(timeouts)
            .retry_config(retries)
            .build();
        Ok(Self::from_client(Client::from_conf(config), key, allowed))
    }

    /// Uses a client as it is, its timeouts and retries included.
    #[must_use]
    pub fn from_client(
        client: Client,
        key: impl Into<String>,
        allowed: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let keys = AllowedKeys::new(key.into(), allowed.into_iter().map(Into::into));
        Self { client, keys, last: LastKeys::default() }
    }
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// The configured Region, or the key's if none is; a key of another Region is a configuration error.
fn region(config: &SdkConfig, key: &str) -> Result<Region, KeyError> {
    let of_key = KmsArn::parse(key).map(|arn| arn.region());
    match (config.region(), of_key) {
        (Some(set), Some(of_key)) if set.as_ref() != of_key => Err(KeyError::new(
            ErrorClass::Misconfigured,
            format!("the key is in Region {of_key}, but the AWS Region is set to {set}"),
        )
        .with_hint("set AWS_REGION to the key's Region, or {key} to a key of this Region")),
        (Some(set), _) => Ok(set.clone()),
        (None, Some(of_key)) => Ok(Region::new(of_key.to_owned())),
        (None, None) => Err(KeyError::new(ErrorClass::Misconfigured, "no AWS Region is set")
            .with_hint("set AWS_REGION to the key's Region, or {key} to the key's ARN")),
    }
}
