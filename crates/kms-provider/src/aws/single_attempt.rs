//! AWS KMS without the SDK's own retries, for where a decorator does them.

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kms::config::retry::RetryConfig;
use envelope_core::KeyError;

use super::Aws;

impl Aws {
    /// The same as [`connect`](Self::connect), but makes one attempt at every call: the one to put under
    /// [`Resilience`](crate::Resilience), which tries again by itself.
    ///
    /// # Errors
    /// Those of [`from_config`](Self::from_config).
    pub async fn connect_without_retries(
        key: impl Into<String>,
        allowed: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, KeyError> {
        let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
        Self::from_config_without_retries(&config, key, allowed)
    }

    /// The same as [`from_config`](Self::from_config), but makes one attempt per call and ignores the
    /// configuration and `AWS_MAX_ATTEMPTS`: use it under [`Resilience`](crate::Resilience), which retries by
    /// itself. Three attempts of three would be nine, all of them to a service that throttles.
    ///
    /// # Errors
    /// Those of [`from_config`](Self::from_config).
    pub fn from_config_without_retries(
        config: &SdkConfig,
        key: impl Into<String>,
        allowed: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, KeyError> {
        let config = config.to_builder().retry_config(RetryConfig::disabled()).build();
        Self::from_config(&config, key, allowed)
    }
}
