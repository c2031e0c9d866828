//! The suite against any emulator of AWS KMS; run by `cargo xtask conformance`, which says where one listens.

use std::sync::Arc;

use aws_config::BehaviorVersion;
use envelope_core::conformance::check;
use envelope_core::{ErrorClass, KeyProvider};
use kms_provider::{Aws, Caching};

use crate::support::{class, row, wrapped};

const NONE: [&str; 0] = [];

/// A client that makes keys, and never in a real account.
async fn admin() -> aws_sdk_kms::Client {
    assert!(
        std::env::var_os("AWS_ENDPOINT_URL_KMS").is_some(),
        "set AWS_ENDPOINT_URL_KMS, as `cargo xtask conformance` does"
    );
    aws_sdk_kms::Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await)
}

async fn new_key(admin: &aws_sdk_kms::Client) -> String {
    admin.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap()
}

#[tokio::test]
#[ignore = "needs an emulator of AWS KMS: cargo xtask conformance --endpoint URL"]
async fn another_emulator_conforms_by_arn_and_by_alias_bare_and_behind_a_cache() {
    let admin = admin().await;
    let arn = new_key(&admin).await;
    let alias = format!("alias/conformance-{}", arn.rsplit('/').next().unwrap());
    admin.create_alias().alias_name(&alias).target_key_id(&arn).send().await.unwrap();
    for name in [arn.as_str(), alias.as_str()] {
        let aws = Aws::connect(name, NONE).await.unwrap();
        println!("key: {name}");
        check(&aws).await;
        check(&Caching::new(Arc::new(aws))).await;
    }
}

#[tokio::test]
#[ignore = "needs an emulator of AWS KMS: cargo xtask conformance --endpoint URL"]
async fn another_emulator_refuses_a_disabled_key_and_one_that_is_being_deleted() {
    let admin = admin().await;
    let arn = new_key(&admin).await;
    let aws = Aws::connect(arn.as_str(), NONE).await.unwrap();
    let token = wrapped(&aws, &row(1)).await;
    admin.disable_key().key_id(&arn).send().await.unwrap();
    for outcome in [aws.generate(&row(1)).await.map(drop), aws.unwrap(&token, &row(1)).await.map(drop)] {
        assert_eq!(class(outcome), ErrorClass::Disabled);
    }
    assert_eq!(class(aws.rewrap(&token, &row(1)).await), ErrorClass::Disabled);
    admin.enable_key().key_id(&arn).send().await.unwrap();
    aws.unwrap(&token, &row(1)).await.unwrap();
    admin.schedule_key_deletion().key_id(&arn).pending_window_in_days(7).send().await.unwrap();
    assert_eq!(class(aws.unwrap(&token, &row(1)).await), ErrorClass::PendingDeletion);
    assert_eq!(class(aws.generate(&row(1)).await), ErrorClass::PendingDeletion);
}

#[tokio::test]
#[ignore = "needs an emulator of AWS KMS: cargo xtask conformance --endpoint URL"]
async fn another_emulator_moves_a_data_key_between_two_keys_and_knows_no_third() {
    let admin = admin().await;
    let (old, new) = (new_key(&admin).await, new_key(&admin).await);
    let token = wrapped(&Aws::connect(old.as_str(), NONE).await.unwrap(), &row(1)).await;
    let moving = Aws::connect(new.as_str(), [old.as_str()]).await.unwrap();
    let moved = moving.rewrap(&token, &row(1)).await.unwrap();
    assert_eq!(moved.key_id(), Some(new.as_str()));
    let alone = Aws::connect(new.as_str(), NONE).await.unwrap();
    alone.unwrap(&moved, &row(1)).await.unwrap();
    assert_eq!(class(alone.unwrap(&moved, &row(2)).await), ErrorClass::ContextMismatchOrCorrupt);
    assert_eq!(class(alone.unwrap(&token, &row(1)).await), ErrorClass::WrongKey);
    let missing = format!("{}00000000", &new[..new.len() - 8]);
    let missing = Aws::connect(missing.as_str(), NONE).await.unwrap();
    assert_eq!(class(missing.generate(&row(1)).await), ErrorClass::NotFound);
}
