//! AWS KMS in several Regions, from the ARN of a key in each.

use std::sync::Arc;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kms::config::Region as AwsRegion;
use envelope_core::provider::ErrorClass;
use envelope_core::{KeyError, KeyProvider};

use super::Aws;
use crate::arn::KmsArn;
use crate::redact::redact_arn;
use crate::regions::{Region, Regions};

impl Regions {
    /// AWS KMS in the Region of each key, nearest first, with the configuration of the environment.
    ///
    /// `keys` are what [`KeyUri::AwsRegions`](crate::KeyUri::AwsRegions) holds. `allowed` are further keys whose wrapped
    /// data keys may be opened: an ARN counts in its own Region, a bare id or an alias in each.
    ///
    /// `around` adds the decorators that each Region needs. Every call is attempted once, so use a
    /// [`Resilience`](crate::Resilience):
    ///
    /// ```no_run
    /// # async fn connect(keys: &[String]) -> Result<(), envelope_core::KeyError> {
    /// use std::sync::Arc;
    /// use kms_provider::{Regions, Resilience};
    ///
    /// let regions = Regions::connect(keys, &[], |aws| Arc::new(Resilience::new(Arc::new(aws)))).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorClass::Misconfigured`] if a key is no ARN, an allowed one is of none of the Regions, or nothing gives
    /// credentials.
    pub async fn connect(
        keys: &[String],
        allowed: &[String],
        around: impl FnMut(Aws) -> Arc<dyn KeyProvider>,
    ) -> Result<Self, KeyError> {
        Self::from_config(&aws_config::load_defaults(BehaviorVersion::latest()).await, keys, allowed, around)
    }

    /// The same with an SDK configuration, whose Region does not matter.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect).
    pub fn from_config(
        config: &SdkConfig,
        keys: &[String],
        allowed: &[String],
        mut around: impl FnMut(Aws) -> Arc<dyn KeyProvider>,
    ) -> Result<Self, KeyError> {
        if let Some(stray) = allowed.iter().find(|key| is_elsewhere(key, keys)) {
            return Err(KeyError::new(
                ErrorClass::Misconfigured,
                format!("{} is allowed, but no key of its Region is configured", redact_arn(stray)),
            )
            .with_hint("take it out of {allowed keys}, or add a key of its Region to {key}"));
        }
        let mut regions = keys.iter().map(|key| {
            let name = region_of(key).ok_or_else(no_region)?;
            let config = config.to_builder().region(AwsRegion::new(name.to_owned())).build();
            let here = allowed.iter().filter(|key| region_of(key).is_none_or(|region| region == name));
            Ok(Region::new(name, around(Aws::from_config_without_retries(&config, key, here)?)))
        });
        let nearest = regions.next().unwrap_or_else(|| Err(no_region()))?;
        Ok(Self::new(nearest, regions.collect::<Result<Vec<_>, KeyError>>()?))
    }
}

fn is_elsewhere(key: &str, keys: &[String]) -> bool {
    region_of(key).is_some_and(|region| keys.iter().all(|key| region_of(key) != Some(region)))
}

fn region_of(key: &str) -> Option<&str> {
    KmsArn::parse(key).map(|arn| arn.region())
}

fn no_region() -> KeyError {
    KeyError::new(ErrorClass::Misconfigured, "a key is no ARN, so its Region is not known")
        .with_hint("name the key of each Region in {key} by its ARN")
}
