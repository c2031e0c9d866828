//! The audit trail records each actor, operation and row, by names that do not change; never the value.

use std::collections::BTreeSet;
use std::sync::Arc;

use envelope_core::ErrorClass;
use kms_provider::Aws;
use test_support::emulator::Emulator;
use test_support::faults::Fault;
use test_support::sql::Sql;
use token_store::migration::{self, RewrapOptions, StopFlag};
use token_store::{
    Database, NewToken, PlaintextPolicy, StoreError, TokenKey, TokenStore, WriteFormat, audit, schema,
};
use tracing::Level;

use crate::support::{
    Ear, Heard, Keys, VodRow, create_vod_tender, eventually, insert_vod, migrate, to, verified,
};

fn key(channel: &str) -> TokenKey {
    TokenKey::new("twitch", channel)
}

fn access(token: &str) -> NewToken {
    NewToken::new().access_token(token)
}

async fn store(keys: &Keys, db: &Sql) -> TokenStore {
    keys.store(db).await.with_actor("billing")
}

/// The one event of this name; its other fields are exactly the listed ones.
#[track_caller]
fn assert_one(heard: &[Heard], level: Level, event: &str, fields: &[(&str, &str)]) {
    let found: Vec<&Heard> = heard.iter().filter(|heard| heard.field("event") == event).collect();
    let [found] = found.as_slice() else { panic!("{event} was recorded {} times: {heard:#?}", found.len()) };
    let own = [("event", event), ("actor", "billing")];
    let wanted = own.into_iter().chain(fields.iter().copied());
    let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!((found.level, &found.fields), (level, &wanted));
}

const ROW: [(&str, &str); 2] = [("table", "oauth_tokens"), ("row", "provider=twitch,channel=one")];

fn of_row<'a>(operation: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    ROW.into_iter().chain([("operation", operation)]).chain(more.iter().copied()).collect()
}

/// The fields of an event for a row that moved from one form to another.
fn moved<'a>(from: &'a str, to: &'a str, method: &'a str, key: &'a str) -> [(&'a str, &'a str); 5] {
    [("from_version", from), ("to_version", to), ("method", method), ("key", key), ("outcome", "ok")]
}

#[tokio::test]
async fn a_write_a_read_and_a_deletion_say_who_and_from_which_version_to_which() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    let store = store(&Keys::new("vod-tender"), &db).await;
    let ear = Ear::open();
    store.put(&key("one"), access("first")).await.unwrap();
    let envelope = [("to_version", "2"), ("method", "kms-envelope"), ("key", "memory:1"), ("outcome", "ok")];
    assert_one(&ear.audit(), Level::INFO, audit::TOKEN_WRITTEN, &of_row("write", &envelope));
    store.put(&key("one"), access("second")).await.unwrap();
    let again: Vec<_> = [("from_version", "2")].into_iter().chain(envelope).collect();
    assert_one(&ear.audit(), Level::INFO, audit::TOKEN_WRITTEN, &of_row("write", &again));
    store.get(&key("one")).await.unwrap();
    let read = of_row("read", &[("from_version", "2"), ("outcome", "ok")]);
    assert_one(&ear.audit(), Level::DEBUG, audit::TOKEN_READ, &read);
    assert!(store.delete(&key("one")).await.unwrap());
    assert_one(&ear.audit(), Level::INFO, audit::TOKEN_DELETED, &of_row("delete", &[("outcome", "ok")]));
    assert!(!store.delete(&key("one")).await.unwrap());
    assert!(ear.audit().is_empty(), "nothing was deleted");
    store.get(&key("one")).await.unwrap_err();
    assert_one(&ear.audit(), Level::DEBUG, audit::TOKEN_READ, &of_row("read", &[("outcome", "not_found")]));
}

#[tokio::test]
async fn a_weaker_write_is_a_warning_and_so_is_a_refused_one() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    let keys = Keys::new("vod-tender");
    let store = keys.store_with(&db, keys.cipher().with_local_fallback()).await.with_actor("billing");
    let ear = Ear::open();
    keys.faults().next_for("generate", 1, Fault::Fail(ErrorClass::Unavailable));
    store.put(&key("one"), access("token")).await.unwrap();
    let fallback =
        [("to_version", "1"), ("method", "direct-aes-fallback"), ("key", "default"), ("outcome", "ok")];
    let heard = ear.audit();
    assert_one(&heard, Level::WARN, audit::FALLBACK_WRITE, &of_row("write", &fallback));
    assert_one(&heard, Level::INFO, audit::TOKEN_WRITTEN, &of_row("write", &fallback));

    keys.faults().next_for("generate", 1, Fault::Fail(ErrorClass::Denied));
    store.put(&key("one"), access("token")).await.unwrap_err();
    let denied = of_row("write", &[("outcome", "denied")]);
    assert_one(&ear.audit(), Level::WARN, audit::TOKEN_WRITE_FAILED, &denied);

    let mut bare = Keys::new("vod-tender");
    (bare.key_service, bare.direct) = (false, false);
    db.run("DELETE FROM oauth_tokens", &[]).await;
    self::store(&bare, &db).await.put(&key("one"), access("token")).await.unwrap();
    let plaintext = [("to_version", "0"), ("method", "plaintext"), ("outcome", "ok")];
    assert_one(&ear.audit(), Level::WARN, audit::PLAINTEXT_WRITTEN, &of_row("write", &plaintext));
    bare.plaintext = PlaintextPolicy::AllowRead;
    self::store(&bare, &db).await.put(&key("one"), access("token")).await.unwrap_err();
    let refused = of_row("write", &[("outcome", "plaintext_forbidden")]);
    assert_one(&ear.audit(), Level::WARN, audit::TOKEN_WRITE_FAILED, &refused);
}

#[tokio::test]
async fn a_migration_tells_of_every_row_and_of_its_beginning_and_end() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    insert_vod(&db, &VodRow::plain("one", "a", "b")).await;
    insert_vod(&db, &VodRow { version: Some(2), ..VodRow::plain("broken", "a", "b") }).await;
    let store = store(&Keys::new("vod-tender"), &db).await;
    let ear = Ear::open();
    migrate(&store, WriteFormat::KmsEnvelope).await;
    let heard = ear.audit();
    let begin = [("operation", "migrate"), ("method", "kms-envelope"), ("dry_run", "false")];
    assert_one(&heard, Level::INFO, audit::RUN_STARTED, &begin);
    let row = moved("0", "2", "kms-envelope", "memory:1");
    assert_one(&heard, Level::INFO, audit::ROW_MIGRATED, &of_row("migrate", &row));
    let counts = [("changed", "1"), ("already", "0"), ("conflicts", "0"), ("failed", "1"), ("values", "2")];
    let end: Vec<_> = [("operation", "migrate"), ("outcome", "partial"), ("dry_run", "false")]
        .into_iter()
        .chain([("scanned", "2")])
        .chain(counts)
        .collect();
    assert_one(&heard, Level::WARN, audit::RUN_FINISHED, &end);
    assert_eq!(heard.last().unwrap().field("event"), audit::RUN_FINISHED);

    migrate(&store, WriteFormat::DirectAes).await;
    let back = moved("2", "1", "direct-aes", "default");
    assert_one(&ear.audit(), Level::INFO, audit::ROW_ROLLED_BACK, &of_row("migrate", &back));

    let mut dry = to(WriteFormat::KmsEnvelope, 3);
    dry.run.dry_run = true;
    let _ = migration::run(&store, &dry, &StopFlag::default(), |_| {}).await;
    let events: Vec<String> = ear.audit().iter().map(|heard| heard.field("event").to_owned()).collect();
    assert_eq!(
        events,
        [audit::RUN_STARTED, audit::DECRYPTION_FAILED, audit::RUN_FINISHED],
        "nothing was written"
    );
}

#[tokio::test]
async fn a_rewrap_a_verification_and_a_resealing_are_told() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    insert_vod(&db, &VodRow::plain("one", "a", "b")).await;
    let keys = Keys::new("vod-tender");
    let store = store(&keys, &db).await;
    let ear = Ear::open();
    store.clone().with_reseal_on_read().get(&key("one")).await.unwrap();
    eventually("the row is sealed again", async || store.resealed_rows() == 1).await;
    let row = moved("0", "2", "kms-envelope", "memory:1");
    assert_one(&ear.audit(), Level::INFO, audit::ROW_RESEALED, &of_row("reseal", &row));

    keys.memory().rotate();
    let _ = migration::rewrap(&store, &RewrapOptions::default(), &StopFlag::default(), |_| {}).await;
    let heard = ear.audit();
    let begin = [("operation", "rewrap"), ("key", "memory:2"), ("dry_run", "false")];
    assert_one(&heard, Level::INFO, audit::RUN_STARTED, &begin);
    let row = moved("2", "2", "kms-envelope", "memory:2");
    assert_one(&heard, Level::INFO, audit::ROW_REWRAPPED, &of_row("rewrap", &row));

    verified(&store).await;
    let counts = [("rows", "1"), ("checked", "2"), ("failed", "0"), ("plaintext", "0"), ("unbound", "0")];
    let end: Vec<_> = [("operation", "verify"), ("outcome", "ok")].into_iter().chain(counts).collect();
    assert_one(&ear.audit(), Level::INFO, audit::VERIFICATION_FINISHED, &end);
}

#[tokio::test]
async fn a_resealing_that_fails_is_told_but_for_an_outage_which_every_read_would_tell() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    insert_vod(&db, &VodRow::plain("one", "a", "b")).await;
    let keys = Keys::new("vod-tender");
    let store = store(&keys, &db).await.with_reseal_on_read();
    let ear = Ear::to(|metadata| metadata.target() == audit::TARGET && *metadata.level() == Level::WARN);
    for class in [ErrorClass::Unavailable, ErrorClass::Denied, ErrorClass::InvalidRequest] {
        let calls = keys.faults().calls("generate");
        keys.faults().next_for("generate", 1, Fault::Fail(class));
        store.get(&key("one")).await.unwrap();
        keys.faults().wait_for_calls("generate", calls + 1).await;
    }
    eventually("the failure is reported", async || !ear.all().is_empty()).await;
    let failed = of_row("reseal", &[("outcome", "invalid_request")]);
    assert_one(&ear.audit(), Level::WARN, audit::TOKEN_WRITE_FAILED, &failed);
}

#[tokio::test]
async fn a_change_of_the_schema_is_told_with_its_statement() {
    let db = Sql::sqlite().await;
    db.execute(
        "CREATE TABLE oauth_tokens (provider TEXT, channel TEXT, access_token TEXT, refresh_token TEXT, \
         expires_at TEXT, scope TEXT, PRIMARY KEY (provider, channel))",
    )
    .await;
    let database = Database::connect(db.url()).await.unwrap();
    let ear = Ear::open();
    let report = schema::migrate(&database, &Keys::new("vod-tender").profile).await.unwrap();
    let statements: Vec<String> = ear
        .audit()
        .iter()
        .map(|heard| {
            assert_eq!((heard.level, heard.field("event")), (Level::INFO, audit::SCHEMA_CHANGED));
            heard.field("statement").to_owned()
        })
        .collect();
    assert_eq!((statements.len(), statements), (3, report.applied));
}

/// The one failure that is in the log and in the audit trail: its correlation id in each.
#[track_caller]
fn told_ids(ear: &Ear, operation: &str, class: &str) -> BTreeSet<String> {
    let all = ear.all();
    let (audit, log): (Vec<Heard>, Vec<Heard>) = all
        .into_iter()
        .filter(|heard| !heard.field("correlation_id").is_empty())
        .partition(|heard| heard.target == audit::TARGET);
    let ids = |events: &[Heard]| -> BTreeSet<String> {
        events.iter().map(|heard| heard.field("correlation_id").to_owned()).collect()
    };
    assert!(!log.is_empty());
    for heard in &log {
        assert_eq!((heard.level, heard.field("message")), (Level::ERROR, "token does not open"));
        assert_eq!((heard.field("table"), heard.field("class")), ("oauth_tokens", class));
        assert_eq!((heard.field("row"), heard.field("column")), (ROW[1].1, "access_token"));
    }
    let failed: Vec<Heard> =
        audit.iter().filter(|heard| heard.field("event") == audit::DECRYPTION_FAILED).cloned().collect();
    for heard in &failed {
        assert_eq!((heard.level, heard.field("operation")), (Level::WARN, operation));
        assert_eq!((heard.field("row"), heard.field("column")), (ROW[1].1, "access_token"));
        assert_eq!((heard.field("outcome"), heard.field("actor")), (class, "billing"));
    }
    assert_eq!((ids(&log), log.len()), (ids(&failed), failed.len()));
    ear.audit();
    ids(&log)
}

#[tokio::test]
async fn a_token_that_does_not_open_has_one_id_in_the_error_the_log_the_trail_and_the_report() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    insert_vod(&db, &VodRow { version: Some(2), ..VodRow::plain("one", "a", "") }).await;
    let store = store(&Keys::new("vod-tender"), &db).await;
    let ear = Ear::open();
    let one = |id: &dyn ToString| BTreeSet::from([id.to_string()]);

    let error = store.get(&key("one")).await.unwrap_err();
    let id = error.correlation_id().unwrap();
    assert_eq!(told_ids(&ear, "read", "malformed"), one(&id));
    assert!(error.to_string().ends_with(&format!("(correlation id {id})")), "{error}");
    assert!(id.to_string().len() == 16 && id.to_string().bytes().all(|byte| byte.is_ascii_hexdigit()));

    store.get(&key("one")).await.unwrap_err();
    assert_ne!(told_ids(&ear, "read", "malformed"), one(&id), "each failure has its own");

    let report = migrate(&store, WriteFormat::DirectAes).await;
    let id = report.failures[0].correlation_id.unwrap();
    assert_eq!(told_ids(&ear, "migrate", "malformed"), one(&id));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["failures"][0]["correlation_id"], id.to_string());

    let report = verified(&store).await;
    assert_eq!(told_ids(&ear, "verify", "malformed"), one(&report.failures[0].correlation_id.unwrap()));

    let mut foreign = RewrapOptions::default();
    foreign.from = Some(vec!["memory:0".into()]);
    db.run("UPDATE oauth_tokens SET access_token = 'kms:v2:AAAA:AAAA', encryption_key_id = 'memory:0'", &[])
        .await;
    let outcome = migration::rewrap(&store, &foreign, &StopFlag::default(), |_| {}).await;
    let failure = &outcome.report.failures[0];
    assert_eq!(told_ids(&ear, "rewrap", &failure.class), one(&failure.correlation_id.unwrap()));
}

#[tokio::test]
async fn a_write_that_a_broken_token_stops_has_the_id_of_that_failure() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    insert_vod(&db, &VodRow { access: Some("AAAA".into()), ..VodRow::direct("one", "a", "b") }).await;
    let store = store(&Keys::new("vod-tender"), &db).await;
    let ear = Ear::open();
    let error = store.put(&key("one"), NewToken::new().refresh_token("new")).await.unwrap_err();
    assert!(matches!(error, StoreError::KeptToken { .. }), "{error:?}");
    let id = error.correlation_id().unwrap().to_string();
    let all = ear.all();
    let named = |event: &&Heard| event.field("correlation_id") == id;
    let events: Vec<&str> = all.iter().filter(named).map(|heard| heard.field("event")).collect();
    assert_eq!(events, ["", audit::DECRYPTION_FAILED, audit::TOKEN_WRITE_FAILED]);
}

#[tokio::test]
async fn a_failure_is_told_within_the_callers_spans_in_the_background_too() {
    use tracing::Instrument as _;

    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    insert_vod(&db, &VodRow::plain("one", "a", "b")).await;
    insert_vod(&db, &VodRow { version: Some(2), ..VodRow::plain("broken", "a", "b") }).await;
    let keys = Keys::new("vod-tender");
    let store = store(&keys, &db).await.with_reseal_on_read();
    let ear = Ear::open();
    let request = async {
        store.get(&key("broken")).await.unwrap_err();
        store.get(&key("one")).await.unwrap();
    };
    request.instrument(tracing::info_span!("request")).await;
    eventually("the row is sealed again", async || store.resealed_rows() == 1).await;
    for event in [audit::DECRYPTION_FAILED, audit::TOKEN_READ, audit::ROW_RESEALED] {
        let heard = ear.all().into_iter().find(|heard| heard.field("event") == event).unwrap();
        assert_eq!(heard.spans, ["request"], "{event}");
    }
}

#[tokio::test]
async fn an_outage_is_told_with_the_row_that_met_it() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    let cold = Keys::new("vod-tender").decorated(|inner| inner);
    let store = store(&cold, &db).await;
    store.put(&key("one"), access("token")).await.unwrap();
    let ear = Ear::open();
    cold.faults().always_for("unwrap", Fault::Fail(ErrorClass::Denied));
    let outcome = migration::run(&store, &to(WriteFormat::DirectAes, 3), &StopFlag::default(), |_| {}).await;
    assert_eq!(outcome.ended_by.unwrap().class(), "denied");
    assert_eq!(told_ids(&ear, "migrate", "denied").len(), 1);
    token_store::verify::verify(&store, None, &StopFlag::default(), |_| {}).await.unwrap_err();
    assert_eq!(told_ids(&ear, "verify", "denied").len(), 1);
}

#[tokio::test]
async fn without_a_name_the_actor_is_unnamed_and_reads_are_not_told_above_debug() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    insert_vod(&db, &VodRow::plain("one", "a", "b")).await;
    let store = Keys::new("vod-tender").store(&db).await;
    let ear = Ear::to(|metadata| *metadata.level() <= Level::INFO);
    store.get(&key("one")).await.unwrap();
    assert!(ear.audit().is_empty());
    store.put(&key("one"), access("token")).await.unwrap();
    assert_eq!(ear.audit()[0].field("actor"), "unnamed");
}

#[tokio::test]
async fn a_key_is_named_without_its_account() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    let aws = Emulator::start();
    let arn = aws.create_key().await.arn;
    let provider = Aws::from_config(&aws.sdk_config(), &arn, [] as [&str; 0]).unwrap();
    let store = store(&Keys::new("vod-tender").decorated(|_| Arc::new(provider)), &db).await;
    let ear = Ear::to(|metadata| metadata.target() == audit::TARGET);
    store.put(&key("one"), access("token")).await.unwrap();
    let heard = ear.audit();
    assert!(heard[0].field("key").starts_with("key/") && arn.ends_with(heard[0].field("key")), "{heard:?}");
}
