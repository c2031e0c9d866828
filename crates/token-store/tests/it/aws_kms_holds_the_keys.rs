//! The store on AWS KMS: what is stored beside values, what is asked of KMS, and what is refused before it is asked.

use std::sync::Arc;

use envelope_core::ErrorClass;
use kms_provider::{Aws, Caching};
use test_support::emulator::{AwsFailure, Emulator};
use test_support::faults::Fault;
use token_store::migration::{self, Ended, StopFlag};
use token_store::{NewToken, TokenKey, WriteFormat};

use crate::migration_moves_every_row::{assert_all_read, mixture};
use crate::support::{Keys, create_vod_tender, distribution, migrate, to, verified, vod_rows};

fn keys(aws: &Emulator, key: &str) -> Keys {
    let config = aws.sdk_config();
    let provider = Aws::from_config(&config, key, [] as [&str; 0]).unwrap();
    Keys::new("vod-tender").decorated(|_| Arc::new(Caching::new(Arc::new(provider))))
}

on_each_database! {
    async fn the_arn_that_kms_returned_is_stored_and_one_call_a_value_is_made(db) {
        let truth = mixture(&db, 10).await;
        let aws = Emulator::start();
        let key = aws.create_key_with_alias("alias/tokens").await;
        let store = keys(&aws, "alias/tokens").store(&db).await;
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((report.migrated, report.failed), (10, 0));
        assert_eq!(aws.faults().calls("GenerateDataKey"), report.values);
        assert_eq!((aws.faults().calls("Decrypt"), aws.faults().calls("ReEncrypt")), (0, 0));
        assert_eq!(distribution(&store).await, [(Some(2), "kms-envelope".into(), Some(key.arn), 10)]);
        // A cold reader, whose cache has seen nothing.
        let reader = keys(&aws, "alias/tokens").store(&db).await;
        assert_all_read(&reader, &truth).await;
        let calls = aws.faults().calls("Decrypt");
        assert_eq!(calls, report.values, "one Decrypt a value");
        assert_all_read(&reader, &truth).await;
        assert_eq!(aws.faults().calls("Decrypt"), calls, "and none within the cache's time");
        assert!(!verified(&reader).await.found_problems());
    }

    async fn a_wrapped_key_of_a_key_that_is_not_allowed_is_refused_before_any_decrypt(db) {
        create_vod_tender(&db).await;
        let aws = Emulator::start();
        let key = aws.create_key().await;
        let one = TokenKey::new("twitch", "one");
        keys(&aws, &key.arn).store(&db).await.put(&one, NewToken::new().access_token("token")).await.unwrap();
        let foreign = "arn:aws:kms:us-east-1:999999999999:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
        db.run("UPDATE oauth_tokens SET encryption_key_id = $1", &[Some(foreign)]).await;
        aws.faults().reset_calls();
        let error = keys(&aws, &key.arn).store(&db).await.get(&one).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::WrongKey.label());
        assert_eq!(aws.faults().calls("Decrypt"), 0);
    }

    async fn every_refusal_of_kms_ends_a_migration_and_leaves_the_table_as_it_was(db) {
        mixture(&db, 4).await;
        let aws = Emulator::start();
        let key = aws.create_key().await;
        let store = keys(&aws, &key.arn).store(&db).await;
        let before = vod_rows(&db).await;
        let failures = [
            (AwsFailure::ACCESS_DENIED, ErrorClass::Denied),
            (AwsFailure::DISABLED, ErrorClass::Disabled),
            (AwsFailure::INVALID_STATE, ErrorClass::PendingDeletion),
            (AwsFailure::NOT_FOUND, ErrorClass::NotFound),
        ];
        for (failure, class) in failures {
            aws.faults().always_for("GenerateDataKey", Fault::Fail(failure));
            let outcome = migration::run(&store, &to(WriteFormat::KmsEnvelope, 2), &StopFlag::default(), |_| {}).await;
            match outcome.ended_by {
                Some(Ended::KeyService(error)) => assert_eq!(error.class(), class),
                other => panic!("{other:?}"),
            }
            assert_eq!((outcome.report.migrated, vod_rows(&db).await), (0, before.clone()));
            aws.faults().heal();
        }
        assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.migrated, 4);
    }
}
