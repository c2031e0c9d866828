//! The store on AWS KMS: data stored next to values, requests to KMS, and refusals before any request.

use std::sync::Arc;

use envelope_core::ErrorClass;
use kms_provider::{Aws, Caching};
use test_support::emulator::{AwsFailure, Emulator};
use test_support::faults::Fault;
use token_store::migration::{self, Ended, RewrapOptions, RewrapReport, StopFlag};
use token_store::{NewToken, TokenKey, TokenStore, WriteFormat};

use crate::migration_moves_every_row::{assert_all_read, mixture};
use crate::support::{
    Keys, Sql, both, carry_out, create_vod_tender, distribution, migrate, pulseplan_row, to, verified,
    vod_rows,
};

fn keys(aws: &Emulator, key: &str) -> Keys {
    keys_of("vod-tender", aws, key, &[])
}

/// Keys that seal under one AWS key, and also open under the others.
pub(crate) fn keys_of(profile: &str, aws: &Emulator, key: &str, others: &[&str]) -> Keys {
    let provider = Aws::from_config(&aws.sdk_config(), key, others.iter().copied()).unwrap();
    Keys::new(profile).decorated(|_| Arc::new(Caching::new(Arc::new(provider))))
}

/// Every token as it is stored, in two: the wrapped data key, and the sealed rest.
async fn parts(db: &Sql) -> Vec<(String, String)> {
    let rows = db.table("oauth_tokens", &["channel", "access_token", "refresh_token"]).await;
    let split = |text: Option<String>| {
        let text = text.unwrap();
        let (wrapped, sealed) = text.rsplit_once(':').unwrap();
        (wrapped.to_owned(), sealed.to_owned())
    };
    rows.into_iter().flat_map(|row| row.into_iter().skip(1)).map(split).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_values_come_under_another_key_by_one_reencrypt_each_and_no_decrypt() {
    const ROWS: u32 = 5_000;
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    db.execute(&format!(
        "INSERT INTO oauth_tokens (provider, channel, access_token, refresh_token, encryption_version) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
         SELECT 'twitch', i, 'access ' || i, 'refresh ' || i, 0 FROM n"
    ))
    .await;
    let aws = Emulator::start();
    let (old, new) = (aws.create_key().await, aws.create_key().await);
    let report = carry_out(&keys(&aws, &old.arn).store(&db).await, &to(WriteFormat::KmsEnvelope, 500)).await;
    assert_eq!(report.values, u64::from(2 * ROWS));
    let before = parts(&db).await;

    aws.faults().reset_calls();
    let store = keys_of("vod-tender", &aws, &new.arn, &[&old.arn]).store(&db).await;
    let outcome = migration::rewrap(&store, &RewrapOptions::default(), &StopFlag::default(), |_| {}).await;
    assert!(outcome.ended_by.is_none(), "{:?}", outcome.ended_by);
    assert_eq!((outcome.report.rewrapped, outcome.report.failed), (ROWS.into(), 0));
    let calls = ["ReEncrypt", "Decrypt", "GenerateDataKey"].map(|operation| aws.faults().calls(operation));
    assert_eq!(calls, [u64::from(2 * ROWS), 0, 0]);
    let after = parts(&db).await;
    assert_eq!((before.len(), after.len()), (2 * ROWS as usize, 2 * ROWS as usize));
    for ((old_key, old_payload), (new_key, payload)) in before.iter().zip(&after) {
        assert!(old_key != new_key && old_payload == payload);
    }

    aws.kms_admin().disable_key().key_id(&old.id).send().await.unwrap();
    let reader = keys(&aws, &new.arn).store(&db).await;
    let verification = verified(&reader).await;
    assert_eq!((verification.ok, verification.found_problems()), (u64::from(2 * ROWS), false));
    for number in 1..=ROWS {
        let token = reader.get(&TokenKey::new("twitch", number.to_string())).await.unwrap();
        let expected = (format!("access {number}"), format!("refresh {number}"));
        assert_eq!(both(&token), (Some(expected.0.as_str()), Some(expected.1.as_str())));
    }
}

pub(crate) async fn rewrap(store: &TokenStore, options: &RewrapOptions) -> RewrapReport {
    let outcome = migration::rewrap(store, options, &StopFlag::default(), |_| {}).await;
    assert!(outcome.ended_by.is_none(), "{outcome:?}");
    outcome.report
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

    async fn rows_without_a_token_come_under_the_key_of_their_neighbours_and_cost_one_question_a_run(db) {
        create_vod_tender(&db).await;
        db.execute(
            "INSERT INTO oauth_tokens (provider, channel, access_token, refresh_token, encryption_version) \
             VALUES ('twitch', 'one', 'access', 'refresh', 0), ('twitch', 'null', NULL, NULL, 0), \
             ('twitch', 'empty', '', '', NULL)",
        )
        .await;
        let aws = Emulator::start();
        let (old, new) = (aws.create_key().await, aws.create_key().await);
        let first = keys(&aws, &old.arn).store(&db).await;
        assert_eq!(migrate(&first, WriteFormat::KmsEnvelope).await.migrated, 3);
        assert_eq!(distribution(&first).await, [(Some(2), "kms-envelope".into(), Some(old.arn.clone()), 3)]);
        assert_eq!((aws.faults().calls("GenerateDataKey"), aws.faults().calls("DescribeKey")), (2, 1));

        let store = keys_of("vod-tender", &aws, &new.arn, &[&old.arn]).store(&db).await;
        let mut dry = RewrapOptions::default();
        dry.run.dry_run = true;
        for options in [dry, RewrapOptions::default()] {
            let report = rewrap(&store, &options).await;
            assert_eq!((report.scanned, report.rewrapped, report.values), (3, 3, 2));
        }
        assert_eq!(aws.faults().calls("ReEncrypt"), 2);
        assert_eq!(distribution(&store).await, [(Some(2), "kms-envelope".into(), Some(new.arn), 3)]);
    }

    async fn a_dry_run_of_a_rewrap_says_what_a_real_one_does_where_no_row_names_its_key(db) {
        let aws = Emulator::start();
        let (old, new) = (aws.create_key().await, aws.create_key().await);
        for id in 1..=5 {
            pulseplan_row(&db, id, id, "token", "token").await;
        }
        let first = keys_of("pulseplan", &aws, &old.arn, &[]).store(&db).await;
        migrate(&first, WriteFormat::KmsEnvelope).await;
        let store = keys_of("pulseplan", &aws, &new.arn, &[&old.arn]).store(&db).await;
        let mut half = RewrapOptions::default();
        half.run.limit = Some(2);
        half.run.batch_size = 2;
        assert_eq!(rewrap(&store, &half).await.rewrapped, 2);

        let before = db.fingerprint("oauth_tokens").await;
        let mut dry = RewrapOptions::default();
        dry.run.dry_run = true;
        let predicted = rewrap(&store, &dry).await;
        assert_eq!(db.fingerprint("oauth_tokens").await, before);
        let done = rewrap(&store, &RewrapOptions::default()).await;
        for report in [&predicted, &done] {
            assert_eq!((report.scanned, report.rewrapped, report.already, report.values), (5, 3, 2, 6));
        }
        assert_eq!(rewrap(&store, &dry).await.rewrapped, 0);
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
