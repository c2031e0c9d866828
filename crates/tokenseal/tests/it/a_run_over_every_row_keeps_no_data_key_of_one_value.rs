//! A run over every row keeps no data key that serves one value; every other process keeps those that it unwrapped.

use std::collections::BTreeMap;
use std::path::Path;

use tokenseal::key_service::Load;
use tokenseal::kms_provider::Keyring;
use tokenseal::token_store::{NewToken, TokenKey};
use tokenseal::{Settings, Tokenseal};

const MASTER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

/// A table and a keyring.
async fn create(directory: &Path) {
    Keyring::init(directory.join("keyring.json"), &MASTER_KEY.parse().unwrap()).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.join("tokens.db"));
    let pool = sqlx::SqlitePool::connect_with(options.create_if_missing(true)).await.unwrap();
    sqlx::query(
        "CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL, access_token TEXT, \
         refresh_token TEXT, expires_at TEXT, scope TEXT, updated_at TEXT, encryption_version INTEGER, \
         encryption_method TEXT, encryption_key_id TEXT, PRIMARY KEY (provider, channel))",
    )
    .execute(&pool)
    .await
    .unwrap();
}

/// The data keys that were unwrapped for reading one value twice.
async fn unwrapped(load: Load, format: &str) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    create(directory.path()).await;
    let variables = BTreeMap::from([
        ("DATABASE_URL", format!("sqlite://{}", directory.path().join("tokens.db").display())),
        ("KMS_MASTER_KEY", MASTER_KEY.to_owned()),
        ("KMS_KEY_ID", format!("keyring:{}", directory.path().join("keyring.json").display())),
        ("ENVELOPE_FORMAT", format.to_owned()),
    ]);
    let settings = Settings::from_variables(&|name| variables.get(name).map(Into::into)).unwrap();
    let tokenseal = Tokenseal::builder(settings).load(load).connect().await.unwrap();
    let key = TokenKey::new("twitch", "one");
    tokenseal.store().put(&key, NewToken::new().access_token("access")).await.unwrap();
    for _ in 0..2 {
        tokenseal.store().get(&key).await.unwrap();
    }
    tokenseal.key_service().unwrap().calls.counts().unwrap
}

#[tokio::test]
async fn a_value_of_version_2_is_unwrapped_at_every_read_of_such_a_run_and_once_elsewhere() {
    assert_eq!(unwrapped(Load::EveryRow { rate: None }, "v2").await, 2);
    assert_eq!(unwrapped(Load::Few, "v2").await, 1);
}

#[tokio::test]
async fn the_data_key_of_version_3_is_kept_in_such_a_run_too() {
    for load in [Load::EveryRow { rate: None }, Load::Few] {
        assert_eq!(unwrapped(load, "v3").await, 1, "{load:?}");
    }
}
