//! AWS KMS: every failure has its class and says what to do.

use std::error::Error;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::{ProvideCredentials, SharedCredentialsProvider};
use envelope_core::{ErrorClass, KeyProvider};
use kms_provider::Aws;
use test_support::emulator::{AwsFailure, Emulator};
use test_support::faults::Fault;

use crate::support::{class, row, told, wrapped};
use crate::wire;

const NONE: [&str; 0] = [];
const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

fn coded(code: &'static str, status: u16) -> AwsFailure {
    AwsFailure::Error { code, status }
}

#[tokio::test(start_paused = true)]
async fn every_error_of_kms_has_its_class_and_a_hint() {
    use ErrorClass::*;
    let cases = [
        (AwsFailure::ACCESS_DENIED, Denied, "kms:GenerateDataKey"),
        (AwsFailure::NOT_FOUND, NotFound, "AWS_REGION"),
        (AwsFailure::DISABLED, Disabled, "kms:EnableKey"),
        (AwsFailure::INVALID_STATE, PendingDeletion, "kms:CancelKeyDeletion"),
        (AwsFailure::THROTTLING, Throttled, "quota"),
        (coded("LimitExceededException", 400), Throttled, "quota"),
        (coded("TooManyRequestsException", 429), Throttled, "quota"),
        (AwsFailure::Status(429), Throttled, "quota"),
        (AwsFailure::INTERNAL, Unavailable, "again"),
        (AwsFailure::KEY_UNAVAILABLE, Unavailable, "again"),
        (AwsFailure::DEPENDENCY_TIMEOUT, Timeout, "again"),
        (AwsFailure::Status(503), Unavailable, "again"),
        (AwsFailure::Status(504), Timeout, "again"),
        (AwsFailure::Status(403), Denied, "IAM"),
        (AwsFailure::INVALID_CIPHERTEXT, ContextMismatchOrCorrupt, "context"),
        (AwsFailure::INCORRECT_KEY, WrongKey, "the list of allowed keys"),
        (coded("InvalidKeyUsageException", 400), InvalidRequest, "symmetric"),
        (coded("InvalidGrantTokenException", 400), InvalidRequest, "the key URI"),
        (coded("InvalidArnException", 400), InvalidRequest, "the key URI"),
        (coded("ValidationException", 400), InvalidRequest, "the key URI"),
        (coded("SomethingNewException", 400), InvalidRequest, "the key URI"),
        (AwsFailure::EXPIRED_TOKEN, Denied, "credentials"),
        (AwsFailure::UNRECOGNIZED_CLIENT, Denied, "credentials"),
        (coded("InvalidSignatureException", 400), Denied, "clock"),
        (AwsFailure::Refused, Unavailable, "AWS_ENDPOINT_URL"),
        (AwsFailure::Garbage, Unavailable, "AWS_ENDPOINT_URL"),
    ];
    let emulator = Emulator::start();
    let key = emulator.create_key().await;
    // The SDK shares its allowance of retries among all clients of a Region: this test would use it up.
    let config = aws_sdk_kms::config::Builder::from(&emulator.sdk_config());
    let client = aws_sdk_kms::Client::from_conf(config.retry_config(RetryConfig::disabled()).build());
    let aws = Aws::from_client(client, key.arn.as_str(), NONE);
    let made = wrapped(&aws, &row(1)).await;
    for (failure, expected, hint) in cases {
        emulator.faults().always(Fault::Fail(failure));
        let error = aws.generate(&row(1)).await.unwrap_err();
        assert_eq!(error.class(), expected, "{failure:?}: {}", told(&error));
        assert!(error.hint().unwrap().contains(hint), "{failure:?}: {}", told(&error));
        // The same class for every operation.
        assert_eq!(class(aws.unwrap(&made, &row(1)).await), expected);
        assert_eq!(class(aws.rewrap(&made, &row(1)).await), expected);
        assert_eq!(class(aws.describe().await), expected);
        assert_eq!(class(aws.decrypt(made.bytes(), None, &row(1)).await), expected);
        emulator.faults().heal();
        assert!(aws.unwrap(&made, &row(1)).await.is_ok(), "recovers without a restart");
    }
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_retried_and_lasting_ones_are_not() {
    let emulator = Emulator::start();
    // A Region of its own, because the SDK shares its allowance of retries among all clients of one.
    let config = emulator.sdk_config_in("eu-north-1");
    let made = aws_sdk_kms::Client::new(&config).create_key().send().await.unwrap();
    let aws = Aws::from_config(&config, made.key_metadata.unwrap().arn.unwrap(), NONE).unwrap();
    for passing in
        [AwsFailure::THROTTLING, AwsFailure::INTERNAL, AwsFailure::Refused, AwsFailure::Status(503)]
    {
        emulator.faults().reset_calls();
        emulator.faults().next_for("GenerateDataKey", 2, Fault::Fail(passing));
        aws.generate(&row(1)).await.unwrap();
        assert_eq!(emulator.faults().calls("GenerateDataKey"), 3, "{passing:?}");
    }
    for lasting in [AwsFailure::ACCESS_DENIED, AwsFailure::DISABLED, AwsFailure::NOT_FOUND] {
        emulator.faults().reset_calls();
        emulator.faults().next_for("GenerateDataKey", 1, Fault::Fail(lasting));
        aws.generate(&row(1)).await.unwrap_err();
        assert_eq!(emulator.faults().calls("GenerateDataKey"), 1, "{lasting:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_service_that_does_not_answer_is_given_up_in_time() {
    let emulator = Emulator::start();
    let key = emulator.create_key().await;
    let aws = Aws::from_config(&emulator.sdk_config(), key.arn, NONE).unwrap();
    emulator.faults().always(Fault::Hang);
    let start = tokio::time::Instant::now();
    let error = aws.generate(&row(1)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Timeout, "{}", told(&error));
    assert!(start.elapsed() <= kms_provider::aws::OPERATION_TIMEOUT + Duration::from_millis(100));
}

#[tokio::test]
async fn a_closed_port_is_reported_as_such() {
    // Bound and dropped again: a port at which nothing listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = config("us-east-1", &format!("http://127.0.0.1:{port}"));
    let error = Aws::from_config(&config, ARN, NONE).unwrap().generate(&row(1)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable, "{}", told(&error));
    assert!(error.hint().unwrap().contains("AWS_ENDPOINT_URL"));
}

#[tokio::test]
async fn no_text_of_a_failed_dispatch_is_passed_on() {
    // Without a scheme, the SDK fails to send, and its own error holds the whole request.
    let aws = Aws::from_config(&config("us-east-1", "localhost:4566"), ARN, NONE).unwrap();
    let context = crate::support::context(&[("Application", "canary-9f3b1c")]);
    let error = aws.generate(&context).await.unwrap_err();
    let told = told(&error);
    for part in ["canary", "Authorization", "EncryptionContext", "SdkBody", "TrentService"] {
        assert!(!told.contains(part), "{part} in {told}");
    }
}

#[tokio::test]
async fn missing_credentials_are_reported_as_such() {
    #[derive(Debug)]
    struct Nobody;
    impl ProvideCredentials for Nobody {
        fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let error = aws_credential_types::provider::error::CredentialsError::not_loaded("there are none");
            aws_credential_types::provider::future::ProvideCredentials::ready(Err(error))
        }
    }
    let without =
        || SdkConfig::builder().behavior_version(BehaviorVersion::latest()).region(Region::new("us-east-1"));
    let failing = without().credentials_provider(SharedCredentialsProvider::new(Nobody));
    let error = match Aws::from_config(&failing.build(), ARN, NONE) {
        Ok(aws) => aws.generate(&row(1)).await.unwrap_err(),
        Err(error) => error,
    };
    for error in [error, Aws::from_config(&without().build(), ARN, NONE).unwrap_err()] {
        assert_eq!(error.class(), ErrorClass::Misconfigured, "{}", told(&error));
        assert!(error.hint().unwrap().contains("AWS_ACCESS_KEY_ID"), "{}", told(&error));
    }
}

#[tokio::test]
async fn a_missing_or_mistaken_region_is_reported_as_such() {
    let credentials = config("us-east-1", "http://127.0.0.1:1").credentials_provider().unwrap();
    let nowhere = || {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(credentials.clone())
            .build()
    };
    let error = Aws::from_config(&nowhere(), "alias/tokens", NONE).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Misconfigured);
    assert!(error.hint().unwrap().contains("AWS_REGION"));
    let elsewhere = config("eu-central-1", "http://127.0.0.1:1");
    let error = Aws::from_config(&elsewhere, ARN, NONE).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Misconfigured);
    assert!(error.hint().unwrap().contains("AWS_REGION"));
    assert!(Aws::from_config(&nowhere(), ARN, NONE).is_ok(), "the key's ARN says the Region");
}

#[tokio::test]
async fn account_ids_are_shortened_and_the_words_of_kms_are_kept() {
    let client = wire::client(|_, _| {
        let words = "User: arn:aws:sts::123456789012:assumed-role/app/i is not authorized to perform: \
                     kms:GenerateDataKey on resource: arn:aws:kms:us-east-1:123456789012:key/k";
        (400, serde_json::json!({ "__type": "AccessDeniedException", "message": words }).to_string())
    });
    let aws = Aws::from_client(client, ARN, NONE);
    let error = aws.generate(&row(1)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Denied);
    let told = told(&error);
    assert!(!told.contains("123456789012"), "{told}");
    assert!(told.contains("…9012:assumed-role/app/i is not authorized"), "{told}");
    assert!(error.source().is_some());
    assert!(!format!("{aws:?}").contains("123456789012"));
}

fn config(region: &str, endpoint: &str) -> SdkConfig {
    let credentials = aws_sdk_kms::config::Credentials::new("AKIATEST", "secret", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}
