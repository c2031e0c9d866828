//! AWS KMS and Secrets Manager in this process, reached through the real SDK clients, with faults on demand.
//!
//! ```no_run
//! # async fn a_throttled_call_is_retried() {
//! use test_support::emulator::{AwsFailure, Emulator};
//! use test_support::faults::Fault;
//!
//! let aws = Emulator::start();
//! let key = aws.create_key_with_alias("alias/tokens").await;
//! aws.faults().next_for("Decrypt", 2, Fault::Fail(AwsFailure::THROTTLING));
//! // … use `aws.kms()` …
//! assert_eq!(aws.faults().calls("Decrypt"), 3);
//! # }
//! ```
//!
//! It is wrong about some things: on-demand rotation makes old blobs unreadable, multi-Region keys and dry runs do
//! not work, and neither size limits nor IAM permissions are enforced.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::config::SharedHttpClient;
use winterbaume_core::MockAws;
use winterbaume_kms::KmsService;
use winterbaume_secretsmanager::SecretsManagerService;

use crate::faults::Faults;

pub(crate) mod failure;
mod http;

pub use failure::AwsFailure;

const REGION: &str = "us-east-1";

/// The services, and the switchboard that their clients' calls pass through.
///
/// Operations on the switchboard are named as AWS names them: `GenerateDataKey`, `Decrypt`, `ReEncrypt`,
/// `DescribeKey`, `GetSecretValue`, …
#[derive(Debug)]
pub struct Emulator {
    services: Services,
    faults: Faults<AwsFailure>,
}

/// A KMS key of the emulator.
#[derive(Clone, Debug)]
pub struct Key {
    /// The bare id.
    pub id: String,
    /// The ARN, as stored with values.
    pub arn: String,
}

struct Services(MockAws);

impl Emulator {
    /// Starts the services, empty.
    pub fn start() -> Self {
        let services = MockAws::builder()
            .with_service(KmsService::new())
            .with_service(SecretsManagerService::new())
            .build();
        Self { services: Services(services), faults: Faults::new() }
    }

    /// The switchboard, to break calls and to count them.
    pub fn faults(&self) -> &Faults<AwsFailure> {
        &self.faults
    }

    /// A configuration whose clients go through the switchboard.
    pub fn sdk_config(&self) -> SdkConfig {
        self.sdk_config_in(REGION)
    }

    /// The same, for another Region.
    pub fn sdk_config_in(&self, region: &str) -> SdkConfig {
        self.config(region, http::faulty_client(self.services.0.http_client(), self.faults.clone()))
    }

    /// A KMS client whose calls go through the switchboard.
    pub fn kms(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.sdk_config())
    }

    /// A Secrets Manager client whose calls go through the switchboard.
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.sdk_config())
    }

    /// A KMS client for a test's own doings: its calls are neither counted nor broken.
    pub fn kms_admin(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.config(REGION, self.services.0.http_client()))
    }

    /// A Secrets Manager client for a test's own doings: its calls are neither counted nor broken.
    pub fn secrets_manager_admin(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config(REGION, self.services.0.http_client()))
    }

    /// Creates a symmetric KMS key.
    ///
    /// # Panics
    /// The emulator is broken.
    pub async fn create_key(&self) -> Key {
        let answer = self.kms_admin().create_key().send().await.expect("the emulator creates a key");
        let key = answer.key_metadata().expect("a new key has metadata");
        Key { id: key.key_id().to_owned(), arn: key.arn().expect("a new key has an ARN").to_owned() }
    }

    /// Creates a symmetric KMS key with an alias, `alias/…`.
    ///
    /// # Panics
    /// The alias is taken, or not one.
    pub async fn create_key_with_alias(&self, alias: &str) -> Key {
        let key = self.create_key().await;
        let request = self.kms_admin().create_alias().alias_name(alias).target_key_id(&key.id);
        request.send().await.expect("the emulator creates an alias");
        key
    }

    fn config(&self, region: &str, client: SharedHttpClient) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .credentials_provider(self.services.0.credentials_provider())
            .http_client(client)
            .build()
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Services")
    }
}
