//! AWS KMS: which keys open, the requests, and the meaning of aliases.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kms::primitives::Blob;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envelope_core::conformance::same_key;
use envelope_core::{EncryptionContext, ErrorClass, KeyProvider, WrappedDataKey};
use kms_provider::Aws;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use test_support::emulator::{AwsFailure, Emulator, Key};
use test_support::faults::Fault;

use crate::support::{claimed, class, context, row, wrapped};
use crate::wire;

const NONE: [&str; 0] = [];
const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

fn aws(emulator: &Emulator, key: &str, allowed: &[&str]) -> Aws {
    Aws::from_client(emulator.kms(), key, allowed.iter().copied())
}

/// A data key that another key of the same account has wrapped.
async fn wrapped_under(emulator: &Emulator, key: &Key, context: &EncryptionContext) -> WrappedDataKey {
    let other = Aws::from_client(emulator.kms_admin(), key.arn.as_str(), NONE);
    wrapped(&other, context).await
}

#[tokio::test]
async fn a_key_that_is_not_allowed_is_refused_before_any_call() {
    let emulator = Emulator::start();
    let (own, other) = (emulator.create_key().await, emulator.create_key().await);
    let foreign = wrapped_under(&emulator, &other, &row(1)).await;
    for name in [&own.arn, &own.id] {
        let aws = aws(&emulator, name, &[]);
        for claim in [other.arn.as_str(), &other.id, "alias/other", "keyring:k", "arn:aws:s3:::bucket", "é"]
        {
            let claimed = claimed(&foreign, Some(claim));
            let error = aws.unwrap(&claimed, &row(1)).await.map(drop).unwrap_err();
            assert_eq!(error.class(), ErrorClass::WrongKey, "{claim}");
            assert!(error.hint().unwrap().contains("the list of allowed keys"));
            assert_eq!(class(aws.rewrap(&claimed, &row(1)).await), ErrorClass::WrongKey);
            assert_eq!(class(aws.decrypt(foreign.bytes(), Some(claim), &row(1)).await), ErrorClass::WrongKey);
        }
    }
    assert_eq!(emulator.faults().total_calls(), 0);
}

#[tokio::test]
async fn a_claim_cannot_smuggle_in_another_key() {
    let emulator = Emulator::start();
    let (own, other) = (emulator.create_key().await, emulator.create_key().await);
    let aws = aws(&emulator, &own.arn, &[]);
    let foreign = wrapped_under(&emulator, &other, &row(1)).await;
    // The row claims the allowed key, or nothing, and its bytes are under another one of the account.
    for claim in [Some(own.arn.as_str()), Some(&own.id), None] {
        let outcome = aws.unwrap(&claimed(&foreign, claim), &row(1)).await;
        assert_eq!(class(outcome), ErrorClass::WrongKey, "{claim:?}");
        assert_eq!(class(aws.rewrap(&claimed(&foreign, claim), &row(1)).await), ErrorClass::WrongKey);
    }
}

#[tokio::test]
async fn extra_allowed_keys_open_by_claim_and_without_one() {
    let emulator = Emulator::start();
    let keys = [emulator.create_key().await, emulator.create_key().await, emulator.create_key().await];
    emulator
        .kms_admin()
        .create_alias()
        .alias_name("alias/third")
        .target_key_id(&keys[2].id)
        .send()
        .await
        .unwrap();
    let aws = aws(&emulator, &keys[0].arn, &[&keys[1].id, "alias/third"]);
    for (index, key) in keys.iter().enumerate() {
        let made = wrapped_under(&emulator, key, &row(1)).await;
        for claim in [Some(key.arn.as_str()), Some(&key.id)] {
            aws.unwrap(&claimed(&made, claim), &row(1)).await.unwrap();
        }
        emulator.faults().reset_calls();
        aws.unwrap(&claimed(&made, None), &row(1)).await.unwrap();
        assert_eq!(emulator.faults().calls("Decrypt"), index as u64 + 1, "configured key first");
    }
    let third = wrapped_under(&emulator, &keys[2], &row(1)).await;
    emulator.faults().reset_calls();
    aws.unwrap(&claimed(&third, Some("alias/third")), &row(1)).await.unwrap();
    assert_eq!(emulator.faults().calls("Decrypt"), 1, "the claimed alias first");
}

#[tokio::test]
async fn a_key_without_permission_does_not_hide_another_that_fits() {
    let emulator = Emulator::start();
    let keys = [emulator.create_key().await, emulator.create_key().await];
    let aws = aws(&emulator, &keys[0].arn, &[&keys[1].arn]);
    let made = claimed(&wrapped_under(&emulator, &keys[1], &row(1)).await, None);
    emulator.faults().next_for("Decrypt", 1, Fault::Fail(AwsFailure::ACCESS_DENIED));
    aws.unwrap(&made, &row(1)).await.unwrap();
    emulator.faults().next_for("Decrypt", 1, Fault::Fail(AwsFailure::INCORRECT_KEY));
    emulator.faults().next_for("Decrypt", 1, Fault::Fail(AwsFailure::DISABLED));
    assert_eq!(
        class(aws.unwrap(&made, &row(1)).await),
        ErrorClass::Disabled,
        "a failure that can be fixed is reported"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_resolved_once_for_all_callers() {
    let emulator = Emulator::start();
    let key = emulator.create_key_with_alias("alias/tokens").await;
    let made = wrapped_under(&emulator, &key, &row(1)).await;
    let aws = Arc::new(aws(&emulator, "alias/tokens", &[]));
    emulator.faults().next_for("DescribeKey", 1, Fault::Delay(Duration::from_millis(50)));
    let reads: Vec<_> = (0..50)
        .map(|_| {
            let (aws, made) = (aws.clone(), made.clone());
            tokio::spawn(async move { aws.unwrap(&made, &row(1)).await.map(drop) })
        })
        .collect();
    for read in reads {
        read.await.unwrap().unwrap();
    }
    assert_eq!(emulator.faults().calls("DescribeKey"), 1);
    assert_eq!(emulator.faults().calls("Decrypt"), 50);
}

#[tokio::test]
async fn the_key_of_an_alias_is_asked_for_once_for_making_and_opening() {
    let emulator = Emulator::start();
    let key = emulator.create_key_with_alias("alias/tokens").await;
    let aws = aws(&emulator, "alias/tokens", &[]);
    let made = aws.generate(&row(1)).await.unwrap();
    assert_eq!(made.wrapped.key_id(), Some(key.arn.as_str()), "the key, not the alias that was asked for");
    aws.unwrap(&made.wrapped, &row(1)).await.unwrap();
    assert_eq!(emulator.faults().calls("DescribeKey"), 1);
}

#[tokio::test]
async fn after_an_alias_was_repointed_the_earlier_key_opens_only_if_allowed() {
    let emulator = Emulator::start();
    let old = emulator.create_key_with_alias("alias/tokens").await;
    let made = wrapped_under(&emulator, &old, &row(1)).await;
    let new = emulator.create_key().await;
    let request = emulator.kms_admin().update_alias().alias_name("alias/tokens").target_key_id(&new.id);
    request.send().await.unwrap();

    let strict = aws(&emulator, "alias/tokens", &[]);
    let error = strict.unwrap(&made, &row(1)).await.map(drop).unwrap_err();
    assert_eq!(error.class(), ErrorClass::WrongKey);
    assert!(error.hint().unwrap().contains("the list of allowed keys"));
    assert_eq!(emulator.faults().calls("Decrypt"), 0);

    let aws = aws(&emulator, "alias/tokens", &[&old.arn]);
    let key = aws.unwrap(&made, &row(1)).await.unwrap();
    let rewrapped = aws.rewrap(&made, &row(1)).await.unwrap();
    assert_eq!(rewrapped.key_id(), Some(new.arn.as_str()));
    assert_ne!(rewrapped.bytes(), made.bytes());
    assert!(same_key(&strict.unwrap(&rewrapped, &row(1)).await.unwrap(), &key));
}

/// Points an alias at another key.
async fn repoint(emulator: &Emulator, alias: &str, key: &Key) {
    let request = emulator.kms_admin().update_alias().alias_name(alias).target_key_id(&key.id);
    request.send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn foreign_rows_do_not_cost_a_call_each_and_a_repointed_alias_is_noticed() {
    let emulator = Emulator::start();
    let old = emulator.create_key_with_alias("alias/tokens").await;
    let (new, foreign) = (emulator.create_key().await, emulator.create_key().await);
    let aws = aws(&emulator, "alias/tokens", &[]);
    let before = wrapped_under(&emulator, &old, &row(1)).await;
    let after = wrapped_under(&emulator, &new, &row(1)).await;
    let foreign = wrapped_under(&emulator, &foreign, &row(1)).await;
    aws.unwrap(&before, &row(1)).await.unwrap();
    for _ in 0..20 {
        assert_eq!(class(aws.unwrap(&foreign, &row(1)).await), ErrorClass::WrongKey);
    }
    assert_eq!(emulator.faults().calls("DescribeKey"), 1);

    repoint(&emulator, "alias/tokens", &new).await;
    tokio::time::advance(Duration::from_secs(11)).await;
    aws.unwrap(&after, &row(1)).await.unwrap();
    assert_eq!(class(aws.unwrap(&before, &row(1)).await), ErrorClass::WrongKey);
    for _ in 0..20 {
        assert_eq!(class(aws.unwrap(&foreign, &row(1)).await), ErrorClass::WrongKey);
    }
    assert_eq!(emulator.faults().calls("DescribeKey"), 2);
}

#[tokio::test(start_paused = true)]
async fn an_alias_is_asked_about_again_and_its_last_answer_serves_in_an_outage_only() {
    let emulator = Emulator::start();
    let key = emulator.create_key_with_alias("alias/tokens").await;
    let aws = aws(&emulator, "alias/tokens", &[]);
    let made = wrapped_under(&emulator, &key, &row(1)).await;
    aws.unwrap(&made, &row(1)).await.unwrap();
    tokio::time::advance(Duration::from_secs(301)).await;
    emulator.faults().always_for("DescribeKey", Fault::Fail(AwsFailure::INTERNAL));
    aws.unwrap(&made, &row(1)).await.unwrap();
    emulator.faults().heal();
    emulator.faults().always_for("DescribeKey", Fault::Fail(AwsFailure::ACCESS_DENIED));
    let error = aws.unwrap(&made, &row(1)).await.map(drop).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Denied);
    assert!(error.hint().unwrap().contains("kms:DescribeKey"));
    emulator.faults().heal();
    let moved = emulator.create_key().await;
    repoint(&emulator, "alias/tokens", &moved).await;
    assert_eq!(class(aws.unwrap(&made, &row(1)).await), ErrorClass::WrongKey);
}

#[tokio::test]
async fn rewrap_believes_the_answer_and_not_the_claim() {
    let emulator = Emulator::start();
    let (current, old) = (emulator.create_key().await, emulator.create_key().await);
    let aws = aws(&emulator, &current.arn, &[&old.arn]);
    let made = wrapped_under(&emulator, &old, &row(1)).await;
    // A row that says that it is done, and is not.
    let lying = claimed(&made, Some(&current.arn));
    assert_eq!(class(aws.rewrap(&lying, &row(1)).await), ErrorClass::WrongKey);
    let silent = aws.rewrap(&claimed(&made, None), &row(1)).await.unwrap();
    assert_ne!(silent.bytes(), made.bytes());
    assert_eq!(silent.key_id(), Some(current.arn.as_str()));
    let again = aws.rewrap(&claimed(&silent, None), &row(1)).await.unwrap();
    assert_eq!(again, silent);
}

#[tokio::test]
async fn a_ciphertext_of_kms_itself_opens_under_its_context_and_key() {
    let emulator = Emulator::start();
    let (key, other) = (emulator.create_key().await, emulator.create_key().await);
    let request = emulator.kms_admin().encrypt().key_id(&key.id).plaintext(Blob::new("token"));
    let sealed = request.encryption_context("user_id", "1").send().await.unwrap().ciphertext_blob.unwrap();
    let user = context(&[("user_id", "1")]);
    let provider = aws(&emulator, &key.arn, &[]);
    for claim in [Some(key.arn.as_str()), Some(&key.id), None] {
        let opened = provider.decrypt(sealed.as_ref(), claim, &user).await.unwrap();
        assert_eq!(opened.expose_secret(), b"token");
    }
    let stranger = context(&[("user_id", "2")]);
    let outcome = provider.decrypt(sealed.as_ref(), None, &stranger).await;
    assert_eq!(class(outcome), ErrorClass::ContextMismatchOrCorrupt);
    let strict = aws(&emulator, &other.arn, &[]);
    assert_eq!(class(strict.decrypt(sealed.as_ref(), None, &user).await), ErrorClass::WrongKey);
    // A token is no data key.
    let posing = WrappedDataKey::new(sealed.as_ref(), None).unwrap();
    assert_eq!(class(provider.unwrap(&posing, &user).await), ErrorClass::ContextMismatchOrCorrupt);
}

#[tokio::test]
async fn every_call_names_its_key_and_leaves_out_an_empty_context() {
    for context in [EncryptionContext::empty(), row(1)] {
        let expected =
            if context.is_empty() { Value::Null } else { json!({ "Application": "test", "row": "1" }) };
        let client = wire::client(move |operation, sent| {
            let key = STANDARD.encode([7; 32]);
            let (contexts, keys): (&[&str], &[&str]) = match operation {
                "ReEncrypt" => (
                    &["SourceEncryptionContext", "DestinationEncryptionContext"],
                    &["SourceKeyId", "DestinationKeyId"],
                ),
                _ => (&["EncryptionContext"], &["KeyId"]),
            };
            assert!(contexts.iter().all(|name| sent[name] == expected), "{operation}: {sent}");
            assert!(keys.iter().all(|name| sent[name] == ARN), "{operation}: {sent}");
            if operation == "GenerateDataKey" {
                assert_eq!((&sent["KeySpec"], &sent["NumberOfBytes"]), (&json!("AES_256"), &Value::Null));
            }
            let answer =
                json!({ "Plaintext": key, "CiphertextBlob": "AAAA", "KeyId": ARN, "SourceKeyId": ARN });
            (200, answer.to_string())
        });
        let aws = Aws::from_client(client, ARN, NONE);
        let made = aws.generate(&context).await.unwrap();
        assert_eq!(made.key.0.expose_secret(), &[7; 32]);
        aws.unwrap(&made.wrapped, &context).await.unwrap();
        aws.decrypt(made.wrapped.bytes(), None, &context).await.unwrap();
        assert_eq!(aws.rewrap(&made.wrapped, &context).await.unwrap(), made.wrapped);
    }
}

#[tokio::test]
async fn a_data_key_of_a_replica_in_another_region_opens_and_no_other_of_that_region() {
    let arn = |region: &str, id: &str| format!("arn:aws:kms:{region}:123456789012:key/{id}");
    let own = arn("eu-west-1", "mrk-0123456789abcdef0123456789abcdef");
    let client = wire::client({
        let own = own.clone();
        move |_, sent| {
            assert_eq!(sent["KeyId"], own.as_str(), "the replica in this Region is asked");
            let answer = json!({ "Plaintext": STANDARD.encode([7; 32]), "KeyId": own });
            (200, answer.to_string())
        }
    });
    let aws = Aws::from_client(client, own, NONE);
    let open = async |claim: String| {
        let wrapped = WrappedDataKey::new([1; 184], Some(&claim)).unwrap();
        aws.unwrap(&wrapped, &row(1)).await.map(drop)
    };
    open(arn("eu-central-1", "mrk-0123456789abcdef0123456789abcdef")).await.unwrap();
    let strangers = [
        arn("eu-central-1", "mrk-1123456789abcdef0123456789abcdef"),
        arn("eu-central-1", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"),
        "arn:aws:kms:eu-central-1:210987654321:key/mrk-0123456789abcdef0123456789abcdef".to_owned(),
        "arn:aws-cn:kms:eu-central-1:123456789012:key/mrk-0123456789abcdef0123456789abcdef".to_owned(),
    ];
    for stranger in strangers {
        assert_eq!(class(open(stranger).await), ErrorClass::WrongKey);
    }
}

#[tokio::test]
async fn a_key_of_one_region_is_never_taken_for_one_of_another_with_the_same_id() {
    let arn =
        |region: &str| format!("arn:aws:kms:{region}:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0");
    let client = wire::client(|_, _| unreachable!("refused before any call"));
    let aws = Aws::from_client(client, arn("eu-west-1"), NONE);
    let wrapped = WrappedDataKey::new([1; 184], Some(&arn("eu-central-1"))).unwrap();
    assert_eq!(class(aws.unwrap(&wrapped, &row(1)).await), ErrorClass::WrongKey);
}

#[tokio::test]
async fn describe_reports_a_key_that_cannot_be_used() {
    let emulator = Emulator::start();
    let key = emulator.create_key().await;
    let aws = aws(&emulator, &key.arn, &[]);
    assert_eq!(aws.describe().await.unwrap().key_id, key.arn);
    emulator.kms_admin().disable_key().key_id(&key.id).send().await.unwrap();
    assert_eq!(class(aws.describe().await), ErrorClass::Disabled);
    assert_eq!(class(aws.generate(&row(1)).await), ErrorClass::Disabled);
    emulator.kms_admin().schedule_key_deletion().key_id(&key.id).send().await.unwrap();
    assert_eq!(class(aws.describe().await), ErrorClass::PendingDeletion);
    assert_eq!(class(aws.generate(&row(1)).await), ErrorClass::PendingDeletion);
}
