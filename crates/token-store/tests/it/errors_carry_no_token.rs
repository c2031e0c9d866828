//! Neither errors nor reports, logs or debug output carry a token, a key or a stored text.

use std::io;
use std::sync::{Arc, Mutex};

use envelope_core::ErrorClass;
use test_support::faults::Fault;
use test_support::sql::Sql;
use token_store::migration::{self, RewrapOptions, StopFlag};
use token_store::{Database, NewToken, StoreError, TokenKey, TokenStore, WriteFormat};

use crate::support::{
    DIRECT_KEY, Keys, VodRow, create_vod_tender, insert_vod, listen, migrate, to, told, verified,
};

const CANARY: &str = "canary-7f3a9c";

fn one() -> TokenKey {
    TokenKey::new("twitch", "one")
}

#[track_caller]
fn assert_clean(text: &str) {
    assert!(!text.contains(CANARY), "a token: {text}");
    for key in [DIRECT_KEY, "0001020304050607", "[0, 1, 2, 3"] {
        assert!(!text.contains(key), "a key: {text}");
    }
    assert!(!text.contains("kms:v2:"), "a stored text: {text}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A constraint that lets the table's rows be, and refuses any envelope.
async fn forbid_envelopes(db: &Sql) {
    match db.is_postgres() {
        true => db.execute("ALTER TABLE oauth_tokens ADD CHECK (access_token NOT LIKE 'kms:%')").await,
        false => {
            db.execute(
                "CREATE TRIGGER no_envelopes BEFORE UPDATE ON oauth_tokens WHEN NEW.access_token LIKE 'kms:%' \
                 BEGIN SELECT RAISE(ABORT, 'refused by the table'); END",
            )
            .await;
        }
    }
}

on_postgresql_and_sqlite! {
    async fn a_constraint_that_refuses_a_write_is_told_without_the_row(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::plain("one", CANARY, CANARY)).await;
        forbid_envelopes(&db).await;
        let before = crate::support::vod_rows(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        let error = store.put(&one(), NewToken::new().refresh_token(CANARY)).await.unwrap_err();
        assert!(matches!(error, StoreError::Database(_)), "{error:?}");
        assert_clean(&told(&error));
        let outcome = migration::run(&store, &to(WriteFormat::KmsEnvelope, 10), &StopFlag::default(), |_| {}).await;
        assert_clean(&format!("{outcome:?}"));
        assert!(outcome.ended_by.is_none(), "one row that the table refuses does not end the run: {outcome:?}");
        assert_eq!((outcome.report.failed, outcome.report.failures[0].class.as_str()), (1, "database"));
        assert_eq!((outcome.report.migrated, crate::support::vod_rows(&db).await), (0, before));
    }
}

on_each_database! {
    async fn reports_name_rows_and_never_values(db) {
        create_vod_tender(&db).await;
        for version in 0..4 {
            let channel = version.to_string();
            insert_vod(&db, &VodRow { version: Some(version), ..VodRow::plain(&channel, CANARY, CANARY) }).await;
        }
        let store = Keys::new("vod-tender").store(&db).await;
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!(report.failed, 3);
        assert_clean(&format!("{report:?} {}", serde_json::to_string(&report).unwrap()));
        let verification = verified(&store).await;
        assert_clean(&format!("{verification:?} {}", serde_json::to_string(&verification).unwrap()));
        let status = token_store::status::status(&store).await.unwrap();
        assert_clean(&format!("{status:?} {:?}", store.list(None, None, 10).await.unwrap()));
    }

    async fn a_debug_print_in_a_panic_shows_no_token(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::plain("one", CANARY, CANARY)).await;
        let new = NewToken::new().access_token(CANARY).plain("scope", "x");
        assert_clean(&format!("{new:?} {new:#?}"));
        let token = Keys::new("vod-tender").store(&db).await.get(&one()).await.unwrap();
        assert_clean(&format!("{token:?} {token:#?}"));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert!(token.plain("scope").is_some(), "a token without a scope: {token:?} {new:?}");
        }));
        assert_clean(panic.unwrap_err().downcast_ref::<String>().unwrap());
    }
}

async fn exercise(db: &Sql) {
    create_vod_tender(db).await;
    insert_vod(db, &VodRow::plain("one", CANARY, CANARY)).await;
    insert_vod(db, &VodRow::direct("two", CANARY, CANARY)).await;
    insert_vod(db, &VodRow { version: Some(2), ..VodRow::plain("broken", CANARY, CANARY) }).await;
    let keys = Keys::new("vod-tender");
    let store = keys.store_with(db, keys.cipher().with_local_fallback()).await.with_reseal_on_read();
    for channel in ["one", "two", "broken", "missing"] {
        let _ = store.get(&TokenKey::new("twitch", channel)).await;
    }
    let put = || NewToken::new().access_token(CANARY);
    store.put(&one(), put()).await.unwrap();
    keys.faults().next_for("generate", 1, Fault::Fail(ErrorClass::Unavailable));
    store.put(&TokenKey::new("twitch", "fallback"), put()).await.unwrap();
    migrate(&store, WriteFormat::KmsEnvelope).await;
    verified(&store).await;
    keys.memory().rotate();
    let _ = migration::rewrap(&store, &RewrapOptions::default(), &StopFlag::default(), |_| {}).await;
    migrate(&store, WriteFormat::DirectAes).await;
    // A broken token that cannot stay, and one that stays.
    let break_it = "UPDATE oauth_tokens SET access_token = $1 WHERE channel = 'fallback'";
    let (key, refresh) = (TokenKey::new("twitch", "fallback"), || NewToken::new().refresh_token(CANARY));
    db.run(break_it, &[Some(CANARY)]).await;
    store.put(&key, refresh()).await.unwrap_err();
    store.put(&key, put().refresh_token(CANARY)).await.unwrap();
    db.run(break_it, &[Some(CANARY)]).await;
    store.put(&key, refresh()).await.unwrap();
    store.delete(&TokenKey::new("twitch", "two")).await.unwrap();
    let mut bare = Keys::new("vod-tender");
    (bare.key_service, bare.direct) = (false, false);
    bare.store(db).await.put(&TokenKey::new("twitch", "plain"), put()).await.unwrap();
}

#[tokio::test]
async fn no_log_line_at_any_level_carries_a_token() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = listen(subscriber);
    exercise(&Sql::sqlite().await).await;
    drop(guard);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("token does not open"), "something was logged: {text}");
    for event in
        ["token_read", "token_written", "decryption_failed", "row_rewrapped", "run_finished", "token_deleted"]
    {
        assert!(text.contains(event), "no {event}: {text}");
    }
    assert_clean(&text);
}

#[tokio::test]
async fn a_password_in_an_address_is_never_repeated() {
    for url in [
        format!("postgres://user:{CANARY}@127.0.0.1:1/none"),
        format!("postgres://user:{CANARY}@:notaport/none"),
        format!("mysql://user:{CANARY}@127.0.0.1/none"),
        format!("sqlite:///nowhere/{CANARY}/x.db?mode={CANARY}"),
        CANARY.to_owned(),
    ] {
        let error = Database::connect(&url).await.err().unwrap();
        assert_clean(&told(&error));
    }
}

#[test]
fn a_store_is_shared_between_threads() {
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<TokenStore>();
    is_shared::<StoreError>();
}
