//! A migration moves the remaining rows, costs one call per value, can be predicted, and can be run again.

use std::sync::Arc;
use std::time::Duration;

use envelope_core::ErrorClass;
use kms_provider::{Keyring, Memory};
use test_support::faults::Fault;
use token_store::migration::{self, Ended, StopFlag};
use token_store::status::workload;
use token_store::{TokenKey, WriteFormat};

use crate::support::{
    Keys, Sql, VodRow, alike, both, carry_out, counts, create_vod_tender, distribution, insert_vod, migrate,
    to, verified, vod_rows,
};

/// Rows of versions 0 and 1 in turn, with NULLs and empty tokens among them, and their plaintexts.
pub(crate) async fn mixture(db: &Sql, rows: usize) -> Vec<(String, Option<String>, Option<String>)> {
    create_vod_tender(db).await;
    let mut truth = Vec::new();
    for number in 0..rows {
        let channel = format!("channel-{number:04} ü'\",\\");
        let access = match number % 5 {
            4 => Some("x".repeat(1 + number * 97)),
            _ => Some(format!("tök€n {number} 🔑")),
        };
        let refresh = match number % 3 {
            0 => None,
            1 => Some(String::new()),
            _ => Some(format!("refresh {number}")),
        };
        let row = match number % 2 {
            0 => VodRow::plain(&channel, access.as_deref().unwrap_or(""), refresh.as_deref().unwrap_or("")),
            _ => VodRow::direct(&channel, access.as_deref().unwrap_or(""), refresh.as_deref().unwrap_or("")),
        };
        insert_vod(db, &VodRow { refresh: refresh.as_ref().and(row.refresh.clone()), ..row }).await;
        truth.push((channel, access, refresh));
    }
    truth
}

pub(crate) async fn assert_all_read(
    store: &token_store::TokenStore,
    truth: &[(String, Option<String>, Option<String>)],
) {
    for (channel, access, refresh) in truth {
        let read = store.get(&TokenKey::new("twitch", channel)).await.unwrap();
        assert!(both(&read) == (access.as_deref(), refresh.as_deref()), "{channel}");
    }
}

/// Number of values among these rows that are sealed at all.
fn values(truth: &[(String, Option<String>, Option<String>)]) -> u64 {
    let cells = truth.iter().flat_map(|(_, access, refresh)| [access, refresh]);
    cells.flatten().filter(|token| !token.is_empty()).count() as u64
}

on_each_database! {
    async fn a_mixture_becomes_one_group_of_version_2_with_every_token_kept(db) {
        let truth = mixture(&db, 20).await;
        for keys in [Keys::new("vod-tender"), Keys::new("vod-tender").v3()] {
            let store = keys.store(&db).await;
            let report = migrate(&store, WriteFormat::KmsEnvelope).await;
            assert_eq!(counts(&report), [20, 20, 0, 0, 0, values(&truth)]);
            assert_eq!(distribution(&store).await, [(Some(2), "kms-envelope".into(), Some("memory:1".into()), 20)]);
            assert_all_read(&store, &truth).await;
            let verification = verified(&store).await;
            assert_eq!((verification.checked, verification.found_problems()), (values(&truth), false));
            assert_eq!(migrate(&store, WriteFormat::DirectAes).await.migrated, 20);
        }
    }

    async fn the_local_keyring_serves_as_the_key_service(db) {
        let truth = mixture(&db, 8).await;
        let directory = tempfile::tempdir().unwrap();
        let keyring = Keyring::init(directory.path().join("keys.json"), &envelope_core::DataKey::generate()).unwrap();
        let id = format!("keyring:{}", keyring.list().unwrap()[0].id);
        let keys = Keys::new("vod-tender").decorated(|_| Arc::new(keyring));
        let store = keys.store(&db).await;
        assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.migrated, 8);
        assert_eq!(distribution(&store).await, [(Some(2), "kms-envelope".into(), Some(id), 8)]);
        assert_all_read(&store, &truth).await;
    }

    async fn it_costs_one_data_key_a_value_and_opens_nothing_through_the_key_service(db) {
        let truth = mixture(&db, 20).await;
        let keys = Keys::new("vod-tender");
        let report = migrate(&keys.store(&db).await, WriteFormat::KmsEnvelope).await;
        assert_eq!(keys.faults().calls("generate"), values(&truth));
        assert_eq!(keys.faults().calls("generate"), report.values);
        assert_eq!((keys.faults().calls("unwrap"), keys.faults().calls("rewrap")), (0, 0));
        assert_eq!(keys.faults().calls("decrypt"), 0);
    }

    async fn a_second_run_writes_nothing_and_makes_no_call(db) {
        let truth = mixture(&db, 12).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        migrate(&store, WriteFormat::KmsEnvelope).await;
        keys.faults().reset_calls();
        let before = db.fingerprint("oauth_tokens").await;
        for batch_size in [1, 5, 500] {
            let again = carry_out(&store, &to(WriteFormat::KmsEnvelope, batch_size)).await;
            assert_eq!(counts(&again), [12, 0, 12, 0, 0, 0]);
        }
        assert_eq!((db.fingerprint("oauth_tokens").await, keys.faults().total_calls()), (before, 0));
        assert_all_read(&store, &truth).await;
    }

    async fn a_dry_run_changes_no_byte_and_says_what_a_real_run_does(db) {
        mixture(&db, 20).await;
        insert_vod(&db, &VodRow { version: Some(2), ..VodRow::plain("broken", "not an envelope", "") }).await;
        insert_vod(&db, &VodRow { access: Some("AAAA".into()), ..VodRow::direct("damaged", "a", "b") }).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        store.put(&TokenKey::new("twitch", "there"), token_store::NewToken::new().access_token("t")).await.unwrap();
        for target in [WriteFormat::KmsEnvelope, WriteFormat::DirectAes] {
            keys.faults().reset_calls();
            let before = db.fingerprint("oauth_tokens").await;
            let mut options = to(target, 4);
            options.run.dry_run = true;
            let predicted = carry_out(&store, &options).await;
            assert!(predicted.dry_run);
            assert_eq!(db.fingerprint("oauth_tokens").await, before);
            assert_eq!(keys.faults().calls("generate"), 0, "a dry run makes no data key");
            let done = migrate(&store, target).await;
            assert_eq!(counts(&predicted), counts(&done));
            assert_eq!(alike(&predicted.failures), alike(&done.failures));
            // A damaged row of version 1 already has the rollback's target form; only opening could show the
            // damage.
            assert_eq!(done.failed, if target == WriteFormat::KmsEnvelope { 2 } else { 1 });
        }
    }

    async fn a_dry_run_of_a_store_that_cannot_write_works(db) {
        mixture(&db, 4).await;
        let keys = Keys::new("vod-tender");
        let database = token_store::Database::connect_read_only(db.url()).await.unwrap();
        let store = token_store::TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap();
        let mut options = to(WriteFormat::KmsEnvelope, 4);
        options.run.dry_run = true;
        assert_eq!(carry_out(&store, &options).await.migrated, 4);
        let refused = migration::run(&store, &to(WriteFormat::KmsEnvelope, 4), &StopFlag::default(), |_| {}).await;
        assert!(matches!(refused.ended_by, Some(Ended::Store(_))), "{refused:?}");
        assert_eq!(refused.report.migrated, 0);
    }
}

on_postgresql_and_sqlite! {
    async fn one_row_that_cannot_be_moved_is_named_and_the_others_are_moved(db) {
        let truth = mixture(&db, 9).await;
        let broken = VodRow { access: Some("QUFB".repeat(20)), ..VodRow::direct("channel-0004a", "a", "b") };
        insert_vod(&db, &broken).await;
        let long = "k".repeat(9_000);
        insert_vod(&db, &VodRow::plain(&long, "token", "")).await;
        let store = Keys::new("vod-tender").store(&db).await;
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((report.scanned, report.migrated, report.failed), (11, 9, 2));
        let failure = report.failures.iter().find(|failure| failure.class == "context_mismatch_or_corrupt").unwrap();
        assert_eq!((failure.table.as_str(), failure.column.as_str()), ("oauth_tokens", "access_token"));
        assert_eq!(failure.row, "provider=twitch,channel=channel-0004a");
        let long = report.failures.iter().find(|failure| failure.class == "malformed").unwrap();
        assert!(long.error.contains("context"), "a key too long for a context is said to be: {}", long.error);
        assert_all_read(&store, &truth).await;
        let row = vod_rows(&db).await.into_iter().find(|row| row[1].as_deref() == Some("channel-0004a")).unwrap();
        assert_eq!((&row[2], &row[3], row[4].as_deref()), (&broken.access, &broken.refresh, Some("1")), "both tokens stay");
    }
}

on_each_database! {
    async fn a_row_without_any_token_counts_as_moved_once(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow { access: None, refresh: None, ..VodRow::plain("null", "", "") }).await;
        insert_vod(&db, &VodRow { version: None, ..VodRow::plain("empty", "", "") }).await;
        let store = Keys::new("vod-tender").store(&db).await;
        assert_eq!(counts(&migrate(&store, WriteFormat::KmsEnvelope).await), [2, 2, 0, 0, 0, 0]);
        assert_eq!(counts(&migrate(&store, WriteFormat::KmsEnvelope).await), [2, 0, 2, 0, 0, 0]);
        assert_eq!(distribution(&store).await, [(Some(2), "kms-envelope".into(), Some("memory:1".into()), 2)]);
        assert_eq!(both(&store.get(&TokenKey::new("twitch", "null")).await.unwrap()), (None, None));
    }

    async fn a_limit_is_kept_and_the_next_run_goes_on(db) {
        let truth = mixture(&db, 10).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        let mut moved = 0;
        for (limit, batch_size) in [(1, 3), (4, 3), (0, 3), (3, 500)] {
            keys.faults().reset_calls();
            let mut options = to(WriteFormat::KmsEnvelope, batch_size);
            options.run.limit = Some(limit);
            let report = carry_out(&store, &options).await;
            assert_eq!(report.migrated, limit);
            assert_eq!(keys.faults().calls("generate"), report.values, "no call is made for a row beyond the limit");
            moved += limit;
            let there: u64 = distribution(&store).await.iter().filter(|group| group.0 == Some(2)).map(|group| group.3).sum();
            assert_eq!(there, moved);
        }
        assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.migrated, 10 - moved);
        assert_all_read(&store, &truth).await;
    }

    async fn a_stopped_run_writes_what_is_sealed_and_the_next_run_completes_it(db) {
        let truth = mixture(&db, 60).await;
        let store = Keys::new("vod-tender").store(&db).await;
        let stop = StopFlag::default();
        let outcome = migration::run(&store, &to(WriteFormat::KmsEnvelope, 2), &stop, |_| stop.stop()).await;
        assert!(outcome.ended_by.is_none() && outcome.report.interrupted);
        assert!((1..10).contains(&outcome.report.migrated), "{}", outcome.report.migrated);
        assert_all_read(&store, &truth).await;
        let rest = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!(rest.migrated + outcome.report.migrated, 60);
        assert_all_read(&store, &truth).await;
    }

    async fn an_outage_in_the_middle_ends_the_run_with_a_report_and_a_rerun_completes_it(db) {
        let truth = mixture(&db, 60).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        let mut moved = 0;
        for class in [ErrorClass::Unavailable, ErrorClass::Denied, ErrorClass::Disabled] {
            let faults = keys.faults().clone();
            let outcome = migration::run(&store, &to(WriteFormat::KmsEnvelope, 2), &StopFlag::default(), move |report| {
                if report.migrated > 0 {
                    faults.always_for("generate", Fault::Fail(class));
                }
            })
            .await;
            match &outcome.ended_by {
                Some(Ended::KeyService(error)) => assert_eq!(error.class(), class),
                other => panic!("{other:?}"),
            }
            // The first batch, and those that were sealed by then.
            assert!((2..=10).contains(&outcome.report.migrated), "{}", outcome.report.migrated);
            assert_eq!(outcome.report.failed, 0, "an outage fails no row");
            moved += outcome.report.migrated;
            keys.faults().heal();
            assert_all_read(&store, &truth).await;
            assert!(!verified(&store).await.failures.iter().any(|_| true));
        }
        assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.migrated, 60 - moved);
        assert_all_read(&store, &truth).await;
    }

    async fn one_slow_call_holds_up_no_other_row(db) {
        let truth = mixture(&db, 40).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        keys.faults().next_for("generate", 1, Fault::Hold);
        let run = tokio::spawn({
            let store = store.clone();
            let mut options = to(WriteFormat::KmsEnvelope, 4);
            options.run.concurrency = 2;
            async move { carry_out(&store, &options).await }
        });
        let others_are_moved = async {
            while db.rows("SELECT channel FROM oauth_tokens WHERE encryption_version = 2").await.len() < 39 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), others_are_moved).await.expect("all others are moved meanwhile");
        assert!(!run.is_finished());
        keys.faults().heal();
        assert_eq!(counts(&run.await.unwrap())[..2], [40, 40]);
        assert_all_read(&store, &truth).await;
    }

    async fn only_the_rows_of_the_profiles_filter_are_touched(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::plain("one", "token", "")).await;
        insert_vod(&db, &VodRow { provider: "kick".into(), ..VodRow::plain("two", "other", "") }).await;
        let toml = token_store::Profile::BUILT_IN[0].1.replace("[tables.version]", "filter = \"provider = 'twitch' OR 1 = 0\"\n[tables.version]");
        let store = Keys::toml(&toml).store(&db).await;
        assert_eq!((migrate(&store, WriteFormat::KmsEnvelope).await.scanned, store.count_rows().await.unwrap()), (1, 1));
        let other = vod_rows(&db).await.into_iter().find(|row| row[0].as_deref() == Some("kick")).unwrap();
        assert_eq!(other[2].as_deref(), Some("other"));
        assert_eq!((distribution(&store).await.len(), verified(&store).await.checked), (1, 1));
        let sampled = token_store::verify::verify(&store, Some(5), &StopFlag::default(), |_| {}).await.unwrap();
        assert_eq!(sampled.checked, 1);
    }

    async fn rows_keyed_by_numbers_are_all_walked(db) {
        let toml = r#"
            name = "numbers"
            [context]
            Application = "numbers"
            [[tables]]
            name = "numbers"
            key = ["part", "id"]
            tokens = ["token"]
        "#;
        db.execute("CREATE TABLE numbers (id bigint, part integer, token text, PRIMARY KEY (part, id))").await;
        for (id, part) in (0..40).flat_map(|id| [(id * 7 - 20, 9), (id, 10)]) {
            db.execute(&format!("INSERT INTO numbers VALUES ({id}, {part}, 'token {id}')")).await;
        }
        let store = Keys::toml(toml).store(&db).await;
        assert_eq!(counts(&migrate(&store, WriteFormat::KmsEnvelope).await), [80, 80, 0, 0, 0, 80]);
        assert_eq!(counts(&migrate(&store, WriteFormat::KmsEnvelope).await), [80, 0, 80, 0, 0, 0]);
        assert_eq!(verified(&store).await.ok, 80);
    }

    async fn rows_move_from_version_2_to_3_and_back(db) {
        let truth = mixture(&db, 6).await;
        let mut keys = Keys::new("vod-tender");
        migrate(&keys.store(&db).await, WriteFormat::KmsEnvelope).await;
        for (format, mark) in
            [(envelope_core::EnvelopeFormat::V3, "kms:v3:"), (envelope_core::EnvelopeFormat::V2, "kms:v2:")]
        {
            keys.format = format;
            let store = keys.store(&db).await;
            // Side by side: half of them first.
            let mut half = to(WriteFormat::KmsEnvelope, 2);
            half.run.limit = Some(3);
            carry_out(&store, &half).await;
            assert_all_read(&store, &truth).await;
            assert_eq!(counts(&migrate(&store, WriteFormat::KmsEnvelope).await)[..3], [6, 3, 3]);
            assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.migrated, 0);
            assert!(vod_rows(&db).await.iter().all(|row| row[2].as_ref().unwrap().starts_with(mark)));
            assert_all_read(&store, &truth).await;
        }
    }

    async fn a_rewrap_leaves_every_token_under_the_current_key(db) {
        let truth = mixture(&db, 6).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        migrate(&store, WriteFormat::KmsEnvelope).await;
        let payloads = |rows: Vec<Vec<Option<String>>>| -> Vec<Option<String>> {
            rows.iter().map(|row| row[2].as_ref().map(|text| text.rsplit(':').next().unwrap().to_owned())).collect()
        };
        let before = payloads(vod_rows(&db).await);
        let new = keys.memory().rotate();
        let options = migration::RewrapOptions::default();
        let outcome = migration::rewrap(&store, &options, &StopFlag::default(), |_| {}).await;
        assert!(outcome.ended_by.is_none(), "{outcome:?}");
        assert_eq!((outcome.report.rewrapped, outcome.report.failed), (6, 0));
        assert_eq!(payloads(vod_rows(&db).await), before, "the sealed tokens are untouched");
        assert_eq!(distribution(&store).await, [(Some(2), "kms-envelope".into(), Some(new), 6)]);
        assert_all_read(&store, &truth).await;
        let again = migration::rewrap(&store, &options, &StopFlag::default(), |_| {}).await;
        assert_eq!((again.report.rewrapped, again.report.already), (0, 6));
    }

    async fn the_work_that_is_left_is_counted_without_what_is_done(db) {
        mixture(&db, 6).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        let there = token_store::NewToken::new().access_token("there");
        store.put(&TokenKey::new("twitch", "there"), there).await.unwrap();
        let before = workload(&store).await.unwrap();
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((before.rows, before.pending, before.seal_calls), (7, report.migrated, report.values));
        let after = workload(&store).await.unwrap();
        assert_eq!((after.rows, after.pending, after.seal_calls, after.open_calls), (7, 0, 0, 0));
    }

    async fn a_rewrap_leaves_rows_of_other_versions_and_what_is_no_envelope_as_they_are(db) {
        mixture(&db, 6).await;
        for (channel, version) in [("null 0", Some(0)), ("null 1", Some(1)), ("null", None)] {
            let row = VodRow { access: None, refresh: None, version, ..VodRow::plain(channel, "", "") };
            insert_vod(&db, &row).await;
        }
        let broken = VodRow::plain("broken", "no envelope", "");
        insert_vod(&db, &VodRow { version: Some(2), key_id: Some("memory:1".into()), ..broken }).await;
        let keys = Keys::new("vod-tender");
        keys.memory().rotate();
        let store = keys.store(&db).await;
        let before = db.fingerprint("oauth_tokens").await;
        let options = migration::RewrapOptions::default();
        let report = migration::rewrap(&store, &options, &StopFlag::default(), |_| {}).await.report;
        assert_eq!((report.scanned, report.rewrapped, report.already, report.failed), (10, 0, 9, 1));
        assert_eq!(report.failures[0].class, "malformed", "{:?}", report.failures);
        assert_eq!(db.fingerprint("oauth_tokens").await, before);
    }

    async fn a_rewrap_names_a_value_that_its_row_says_is_sealed_and_leaves_the_row(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        for channel in ["first", "second"] {
            let new = token_store::NewToken::new().access_token("token").refresh_token("refresh");
            store.put(&TokenKey::new("twitch", channel), new).await.unwrap();
        }
        db.execute("UPDATE oauth_tokens SET refresh_token = 'no envelope' WHERE channel = 'first'").await;
        let to = keys.memory().rotate();
        for (dry_run, counts) in [(true, (1, 0, 1, 1)), (false, (1, 0, 1, 1)), (false, (0, 1, 1, 1))] {
            let mut options = migration::RewrapOptions::default();
            options.run.dry_run = dry_run;
            let report = migration::rewrap(&store, &options, &StopFlag::default(), |_| {}).await.report;
            let left = if dry_run { report.left.unwrap() - 1 } else { report.left.unwrap() };
            assert_eq!((report.rewrapped, report.already, report.failed, left), counts, "{report:?}");
            assert_eq!((&*report.failures[0].class, report.opened), ("malformed", false));
        }
        let under: Vec<_> = distribution(&store).await.into_iter().map(|(_, _, key, _)| key).collect();
        assert_eq!(under, [Some("memory:1".to_owned()), Some(to)]);
    }

    async fn a_rewrap_from_one_key_touches_the_rows_of_no_other(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        let put = async |channel| {
            let key = TokenKey::new("twitch", channel);
            store.put(&key, token_store::NewToken::new().access_token("token")).await.unwrap();
        };
        put("first").await;
        let from = keys.memory().rotate();
        put("second").await;
        let to = keys.memory().rotate();
        let mut options = migration::RewrapOptions::default();
        options.from = Some(vec![from]);
        let report = migration::rewrap(&store, &options, &StopFlag::default(), |_| {}).await.report;
        assert_eq!((report.rewrapped, report.already), (1, 1));
        let under: Vec<_> = distribution(&store).await.into_iter().map(|(_, _, key, _)| key).collect();
        assert_eq!(under, [Some("memory:1".to_owned()), Some(to)]);
    }
}

#[tokio::test]
async fn a_key_that_is_lost_leaves_its_rows_failed_and_untouched() {
    let db = Sql::sqlite().await;
    mixture(&db, 4).await;
    migrate(&Keys::new("vod-tender").store(&db).await, WriteFormat::KmsEnvelope).await;
    let before = db.fingerprint("oauth_tokens").await;
    let elsewhere = Keys::new("vod-tender").decorated(|_| Arc::new(Memory::new()));
    let report = migrate(&elsewhere.store(&db).await, WriteFormat::DirectAes).await;
    assert_eq!((report.migrated, report.failed), (0, 4));
    assert_eq!(db.fingerprint("oauth_tokens").await, before);
}
