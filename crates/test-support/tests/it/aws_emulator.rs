//! The in-process AWS emulator answers, counts, and breaks on demand.

use std::time::Duration;

use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use test_support::emulator::{AwsFailure, Emulator};
use test_support::faults::Fault;

async fn wrapped_key(aws: &Emulator, key: &str) -> Blob {
    let request = aws.kms().generate_data_key().key_id(key).key_spec(DataKeySpec::Aes256);
    let answer = request.encryption_context("Application", "test").send().await;
    answer.expect("a data key").ciphertext_blob.expect("its wrapped form")
}

#[tokio::test]
async fn a_data_key_comes_back_only_under_its_context_and_calls_are_counted() {
    let aws = Emulator::start();
    aws.create_key_with_alias("alias/tokens").await;
    let wrapped = wrapped_key(&aws, "alias/tokens").await;
    let decrypt = aws.kms().decrypt().ciphertext_blob(wrapped);
    let right = decrypt.clone().encryption_context("Application", "test").send().await;
    assert_eq!(right.expect("unwrapped").plaintext.expect("plaintext").as_ref().len(), 32);
    let wrong = decrypt.encryption_context("Application", "other").send().await;
    assert_eq!(wrong.expect_err("wrong context").code(), Some("InvalidCiphertextException"));
    assert_eq!(aws.faults().calls("Decrypt"), 2);
    assert_eq!(aws.faults().total_calls(), 3, "setting up is not counted");
}

#[tokio::test]
async fn every_documented_error_reaches_the_client_with_its_type() {
    let aws = Emulator::start();
    for failure in [
        AwsFailure::ACCESS_DENIED,
        AwsFailure::DISABLED,
        AwsFailure::INVALID_STATE,
        AwsFailure::NOT_FOUND,
        AwsFailure::INCORRECT_KEY,
        AwsFailure::INVALID_CIPHERTEXT,
    ] {
        aws.faults().next(1, Fault::Fail(failure));
        let error = aws.kms().describe_key().key_id("any").send().await.expect_err("a broken call");
        let AwsFailure::Error { code, .. } = failure else {
            continue;
        };
        assert_eq!(error.code(), Some(code));
    }
}

#[tokio::test]
async fn a_throttled_call_succeeds_when_it_is_repeated() {
    let aws = Emulator::start();
    let key = aws.create_key().await;
    aws.faults().next_for("GenerateDataKey", 1, Fault::Fail(AwsFailure::THROTTLING));
    wrapped_key(&aws, &key.arn).await;
    assert_eq!(aws.faults().calls("GenerateDataKey"), 2);
}

#[tokio::test]
async fn a_refused_connection_is_distinguished_from_an_answer() {
    let aws = Emulator::start();
    aws.faults().always(Fault::Fail(AwsFailure::Refused));
    let error = aws.kms().list_keys().send().await.expect_err("a refused connection");
    assert!(matches!(error, aws_sdk_kms::error::SdkError::DispatchFailure(_)), "{error:?}");
}

#[tokio::test]
async fn an_answer_is_broken_off_or_comes_without_its_end() {
    let aws = Emulator::start();
    let list = async || aws.kms().list_keys().send().await.expect_err("a broken answer");
    aws.faults().instead(Fault::Fail(AwsFailure::Truncated));
    let body = list().await.raw_response().and_then(|answer| answer.body().bytes().map(<[u8]>::to_vec));
    assert!(body.is_some_and(|body| body.starts_with(b"{") && !body.ends_with(b"}")));
    aws.faults().instead(Fault::Fail(AwsFailure::Reset));
    assert!(list().await.raw_response().is_none());
}

#[tokio::test]
async fn a_hanging_call_never_returns_and_a_held_one_does_when_healed() {
    let aws = Emulator::start();
    aws.faults().always(Fault::Hang);
    let hanging = tokio::spawn(aws.kms().list_keys().send());
    aws.faults().wait_for_calls("ListKeys", 1).await;
    aws.faults().heal();
    aws.faults().always(Fault::Hold);
    let held = tokio::spawn(aws.kms().list_keys().send());
    aws.faults().wait_for_calls("ListKeys", 2).await;
    aws.faults().heal();
    assert!(held.await.expect("the task ends").is_ok());
    assert!(!hanging.is_finished());
    hanging.abort();
}

#[tokio::test]
async fn a_delayed_call_goes_through() {
    let aws = Emulator::start();
    aws.faults().always(Fault::Delay(Duration::from_millis(1)));
    aws.kms().list_keys().send().await.expect("an answer");
}

#[tokio::test]
async fn the_emulator_keeps_secrets_as_well_as_keys() {
    let aws = Emulator::start();
    let secrets = aws.secrets_manager();
    secrets.create_secret().name("db/password").secret_string("s3cret").send().await.expect("created");
    let read = secrets.get_secret_value().secret_id("db/password").version_stage("AWSCURRENT").send().await;
    assert_eq!(read.expect("read").secret_string(), Some("s3cret"));
    assert_eq!(aws.faults().calls("GetSecretValue"), 1);
}
