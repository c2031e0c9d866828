//! AWS KMS: an answer that names another key, or gives out a key that cannot be right, is an error before anything is used.

use std::sync::atomic::{AtomicU8, Ordering};

use aws_sdk_kms::Client;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envelope_core::{ErrorClass, KeyProvider, WrappedDataKey};
use kms_provider::Aws;
use serde_json::{Value, json};

use crate::support::{class, row, told};
use crate::wire;

const NONE: [&str; 0] = [];
const ID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const ALIAS: &str = "alias/tokens";
const ALIAS_ARN: &str = "arn:aws:kms:us-east-1:123456789012:alias/tokens";

/// Keys that answers must not name; the last ones are no keys at all.
const FOREIGN: [&str; 7] = [
    "arn:aws:kms:us-east-1:123456789012:key/11111111-4b5a-6978-8796-a5b4c3d2e1f0",
    "arn:aws:kms:eu-west-1:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    "arn:aws:kms:us-east-1:210987654321:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    "arn:aws-cn:kms:us-east-1:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    "arn:aws:kms:us-east-1:123456789012:alias/tokens",
    "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    "",
];

/// A key service that answers everything, with a new data key each time, and describes the right key.
fn answering(change: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> Client {
    let made = AtomicU8::new(0);
    wire::client(move |operation, _| {
        let key = STANDARD.encode([made.fetch_add(1, Ordering::Relaxed); 32]);
        let mut answer =
            json!({ "Plaintext": key, "CiphertextBlob": "AAAA", "KeyId": ARN, "SourceKeyId": ARN });
        if operation == "DescribeKey" {
            answer = json!({ "KeyMetadata": { "KeyId": ID, "Arn": ARN, "KeyState": "Enabled" } });
        }
        change(operation, &mut answer);
        (200, answer.to_string())
    })
}

fn stored() -> WrappedDataKey {
    WrappedDataKey::new([1; 184], None).unwrap()
}

#[tokio::test]
async fn an_answer_for_the_key_that_was_asked_for_is_taken_whatever_it_is_called() {
    for name in [ARN, ID, ALIAS, ALIAS_ARN] {
        let aws = Aws::from_client(answering(|_, _| {}), name, NONE);
        assert_eq!(aws.generate(&row(1)).await.unwrap().wrapped.key_id(), Some(ARN), "{name}");
        aws.unwrap(&stored(), &row(1)).await.unwrap();
        aws.rewrap(&stored(), &row(1)).await.unwrap();
        aws.decrypt(&[1], None, &row(1)).await.unwrap();
        assert_eq!(aws.describe().await.unwrap().key_id, ARN);
    }
}

#[tokio::test]
async fn an_answer_for_another_key_is_an_error_in_every_operation() {
    for name in [ARN, ID, ALIAS, ALIAS_ARN] {
        for foreign in FOREIGN {
            // An id says nothing about Region and account: any key of this id is the one that was asked for.
            if name == ID && foreign.ends_with(ID) && foreign.starts_with("arn:") {
                continue;
            }
            for field in ["KeyId", "SourceKeyId"] {
                let client = answering(move |operation, answer| {
                    if operation != "DescribeKey" {
                        answer[field] = foreign.into();
                    }
                });
                let aws = Aws::from_client(client, name, NONE);
                let rewrapped = aws.rewrap(&stored(), &row(1)).await;
                assert_eq!(class(rewrapped), ErrorClass::WrongKey, "{name}: {field} {foreign}");
                if field == "KeyId" {
                    let error = aws.generate(&row(1)).await.unwrap_err();
                    assert_eq!(error.class(), ErrorClass::WrongKey, "{name}: {foreign}: {}", told(&error));
                    assert!(error.hint().unwrap().contains("AWS_ENDPOINT_URL"));
                    assert_eq!(class(aws.unwrap(&stored(), &row(1)).await), ErrorClass::WrongKey);
                    assert_eq!(class(aws.decrypt(&[1], None, &row(1)).await), ErrorClass::WrongKey);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_description_of_another_key_is_an_error() {
    for (name, foreign) in [(ARN, FOREIGN[0]), (ID, FOREIGN[0]), (ALIAS_ARN, FOREIGN[2]), (ALIAS, FOREIGN[4])]
    {
        let client = answering(move |operation, answer| {
            if operation == "DescribeKey" {
                answer["KeyMetadata"]["Arn"] = foreign.into();
            }
        });
        let aws = Aws::from_client(client, name, NONE);
        assert_eq!(class(aws.describe().await), ErrorClass::WrongKey, "{name}: {foreign}");
    }
}

#[tokio::test]
async fn an_answer_that_names_no_key_is_none() {
    for field in ["KeyId", "SourceKeyId"] {
        let client = answering(move |_, answer| drop(answer.as_object_mut().unwrap().remove(field)));
        let aws = Aws::from_client(client, ARN, NONE);
        assert!(aws.rewrap(&stored(), &row(1)).await.is_err());
        if field == "KeyId" {
            assert!(aws.generate(&row(1)).await.is_err() && aws.unwrap(&stored(), &row(1)).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_data_key_of_another_length_and_an_empty_wrapped_key_are_errors() {
    for length in [0, 16, 31, 33, 64] {
        let client =
            answering(move |_, answer| answer["Plaintext"] = STANDARD.encode(vec![9; length]).into());
        let aws = Aws::from_client(client, ARN, NONE);
        assert!(aws.generate(&row(1)).await.is_err() && aws.unwrap(&stored(), &row(1)).await.is_err());
    }
    for wrapped in [Vec::new(), vec![1; 6_145]] {
        let text = STANDARD.encode(&wrapped);
        let client = answering(move |_, answer| answer["CiphertextBlob"] = text.clone().into());
        let aws = Aws::from_client(client, ARN, [FOREIGN[0]]);
        assert!(aws.generate(&row(1)).await.is_err(), "{} bytes", wrapped.len());
    }
}

#[tokio::test]
async fn a_data_key_that_is_given_out_twice_is_an_error() {
    let client = answering(|_, answer| answer["Plaintext"] = STANDARD.encode([9; 32]).into());
    let aws = Aws::from_client(client, ARN, NONE);
    aws.generate(&row(1)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(class(aws.generate(&row(1)).await), ErrorClass::Unavailable);
    }
    // Opening the same data key again is what a cache saves, and no fault.
    aws.unwrap(&stored(), &row(1)).await.unwrap();
    aws.unwrap(&stored(), &row(1)).await.unwrap();
}
