//! Whatever a table holds, it survives being migrated, rolled back and migrated again.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use token_store::{TokenKey, TokenStore, WriteFormat};
use tokio::runtime::Handle;

use crate::support::{Keys, Sql, VodRow, both, create_vod_tender, insert_vod, migrate, verified};

#[derive(Clone, Debug)]
struct Row {
    key: (String, String),
    tokens: (Option<String>, Option<String>),
    version: Option<i32>,
}

/// Tables of up to twelve rows; every text but NUL, which PostgreSQL does not store.
fn tables() -> impl Strategy<Value = Vec<Row>> {
    let text = || "[^\0]{0,24}";
    let token =
        || prop_oneof![1 => Just(None), 1 => Just(Some(String::new())), 4 => "[^\0]{1,40}".prop_map(Some)];
    let version = prop_oneof![Just(None), Just(Some(0)), Just(Some(1))];
    let row = ((text(), text()), (token(), token()), version);
    let row = row.prop_map(|(key, tokens, version)| Row { key, tokens, version });
    proptest::collection::vec(row, 0..12).prop_map(|mut rows| {
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows.dedup_by(|a, b| a.key == b.key);
        rows
    })
}

async fn assert_reads(store: &TokenStore, rows: &[Row]) -> Result<(), TestCaseError> {
    for row in rows {
        let read = store.get(&TokenKey::new(&row.key.0, &row.key.1)).await.unwrap();
        prop_assert_eq!(both(&read), (row.tokens.0.as_deref(), row.tokens.1.as_deref()));
    }
    Ok(())
}

async fn survives(db: &Sql, store: &TokenStore, rows: &[Row]) -> Result<(), TestCaseError> {
    db.execute("DELETE FROM oauth_tokens").await;
    for Row { key, tokens, version } in rows {
        let text = |token: &Option<String>| token.clone().unwrap_or_default();
        let (access, refresh) = (text(&tokens.0), text(&tokens.1));
        let row = match version {
            Some(1) => VodRow::direct(&key.1, &access, &refresh),
            _ => VodRow { version: *version, ..VodRow::plain(&key.1, &access, &refresh) },
        };
        let kept = |token: &Option<String>, text: Option<String>| token.as_ref().and(text);
        let (access, refresh) = (kept(&tokens.0, row.access.clone()), kept(&tokens.1, row.refresh.clone()));
        insert_vod(db, &VodRow { provider: key.0.clone(), access, refresh, ..row }).await;
    }
    assert_reads(store, rows).await?;
    for format in [WriteFormat::KmsEnvelope, WriteFormat::DirectAes, WriteFormat::KmsEnvelope] {
        let report = migrate(store, format).await;
        prop_assert_eq!((report.scanned, report.failed, report.conflicts), (rows.len() as u64, 0, 0));
        assert_reads(store, rows).await?;
        prop_assert_eq!(verified(store).await.failed, 0);
    }
    prop_assert_eq!(migrate(store, WriteFormat::KmsEnvelope).await.migrated, 0);
    Ok(())
}

on_each_database! {
    async fn migrate_rollback_migrate(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let outcome = tokio::task::block_in_place(|| {
            runner.run(&tables(), |rows| Handle::current().block_on(survives(&db, &store, &rows)))
        });
        outcome.unwrap();
    }
}
