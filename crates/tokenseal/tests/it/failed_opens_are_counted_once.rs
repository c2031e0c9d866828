//! Values that do not open are counted by class, whether a store, the sealer or a field function was to open them.

use std::collections::BTreeMap;

use tokenseal::envelope_core::Binding;
use tokenseal::envelope_core::field::{FieldKeys, decrypt_field};
use tokenseal::kms_provider::Keyring;
use tokenseal::token_store::{NewToken, TokenKey};
use tokenseal::{Settings, Tokenseal};

const MASTER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

/// The count of failed opens of a class, in the metrics.
fn counted(tokenseal: &Tokenseal, class: &str) -> u64 {
    let text = tokenseal.telemetry().encode().unwrap();
    let mut lines = text.lines().filter(|line| {
        line.contains("kms_decrypt_errors_total{") && line.contains(&format!("class=\"{class}\""))
    });
    lines.next().and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn each_value_that_does_not_open_is_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let (file, keyring) = (directory.path().join("tokens.db"), directory.path().join("keyring.json"));
    Keyring::init(&keyring, &MASTER_KEY.parse().unwrap()).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query(
        "CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL, access_token TEXT, \
         refresh_token TEXT, expires_at TEXT, scope TEXT, updated_at TEXT, encryption_version INTEGER, \
         encryption_method TEXT, encryption_key_id TEXT, PRIMARY KEY (provider, channel))",
    )
    .execute(&pool)
    .await
    .unwrap();
    let variables = BTreeMap::from([
        ("DATABASE_URL", format!("sqlite://{}", file.display())),
        ("KMS_MASTER_KEY", MASTER_KEY.to_owned()),
        ("KMS_KEY_ID", format!("keyring:{}", keyring.display())),
        ("ENVELOPE_FORMAT", "v3".to_owned()),
    ]);
    let settings = Settings::from_variables(&|name| variables.get(name).map(Into::into)).unwrap();
    let tokenseal = Tokenseal::connect(settings).await.unwrap();
    let key = TokenKey::new("twitch", "one");
    tokenseal.store().put(&key, NewToken::new().access_token("access")).await.unwrap();
    sqlx::query("UPDATE oauth_tokens SET channel = 'two'").execute(&pool).await.unwrap();

    let mismatch = "context_mismatch_or_corrupt";
    assert_eq!((counted(&tokenseal, mismatch), counted(&tokenseal, "malformed")), (0, 0));
    tokenseal.store().get(&TokenKey::new("twitch", "two")).await.unwrap_err();
    assert_eq!(counted(&tokenseal, mismatch), 1, "by the store, whose cipher opens with the same sealer");

    let sealer = tokenseal.sealer().unwrap();
    let binding = Binding::new("customers", "email").key("id", "7");
    sealer.open("kms:v3:nonsense", None, &binding).await.unwrap_err();
    assert_eq!(counted(&tokenseal, "malformed"), 1, "by the sealer alone");
    decrypt_field(FieldKeys::Sealer(sealer), &binding, "kms:v3:nonsense").await.unwrap_err();
    assert_eq!(counted(&tokenseal, "malformed"), 2, "by a field function");
}
