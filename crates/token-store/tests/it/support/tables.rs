//! The systems' tables, and rows in them as those systems wrote them.

use envelope_core::format::direct_aes;
use test_support::sql::{Sql, TextRow};

use super::direct_key;

/// A row of vod-tender's table.
#[derive(Clone, Debug, Default)]
pub(crate) struct VodRow {
    pub(crate) provider: String,
    pub(crate) channel: String,
    pub(crate) access: Option<String>,
    pub(crate) refresh: Option<String>,
    pub(crate) version: Option<i32>,
    pub(crate) method: Option<String>,
    pub(crate) key_id: Option<String>,
}

impl VodRow {
    /// A row of `twitch` with readable tokens.
    pub(crate) fn plain(channel: &str, access: &str, refresh: &str) -> Self {
        Self {
            provider: "twitch".into(),
            channel: channel.into(),
            access: Some(access.into()),
            refresh: Some(refresh.into()),
            version: Some(0),
            ..Self::default()
        }
    }

    /// A row of `twitch` in direct AES, marked as the old plan marked it.
    pub(crate) fn direct(channel: &str, access: &str, refresh: &str) -> Self {
        let sealed = |token: &str| direct_aes::seal(&direct_key(), token);
        Self {
            version: Some(1),
            method: Some("direct".into()),
            key_id: Some("default".into()),
            ..Self::plain(channel, &sealed(access), &sealed(refresh))
        }
    }
}

/// The table as it is in production, the method column included.
pub(crate) async fn create_vod_tender(db: &Sql) {
    create_vod_tender_named(db, "oauth_tokens").await;
    db.execute("ALTER TABLE oauth_tokens ADD COLUMN encryption_method TEXT DEFAULT 'direct'").await;
}

pub(crate) async fn create_vod_tender_named(db: &Sql, table: &str) {
    let time = db.either("TIMESTAMPTZ", "TEXT");
    db.execute(&format!(
        "CREATE TABLE {table} (provider TEXT NOT NULL, channel TEXT NOT NULL DEFAULT '', access_token TEXT, \
         refresh_token TEXT, expires_at {time}, scope TEXT, updated_at {time} DEFAULT CURRENT_TIMESTAMP, \
         encryption_version INTEGER DEFAULT 0, encryption_key_id TEXT, PRIMARY KEY (provider, channel))"
    ))
    .await;
}

pub(crate) async fn insert_vod(db: &Sql, row: &VodRow) {
    let version = row.version.map(|version| version.to_string());
    db.insert(
        "oauth_tokens",
        &[
            ("provider", Some(&row.provider)),
            ("channel", Some(&row.channel)),
            ("access_token", row.access.as_deref()),
            ("refresh_token", row.refresh.as_deref()),
            ("encryption_version::integer", version.as_deref()),
            ("encryption_method", row.method.as_deref()),
            ("encryption_key_id", row.key_id.as_deref()),
        ],
    )
    .await;
}

/// Every row: provider, channel, access token, refresh token, version, method, key id.
pub(crate) async fn vod_rows(db: &Sql) -> Vec<TextRow> {
    let columns = [
        "provider",
        "channel",
        "access_token",
        "refresh_token",
        "encryption_version",
        "encryption_method",
        "encryption_key_id",
    ];
    db.table("oauth_tokens", &columns).await
}

/// Inserts a row into PulsePlan's table, which is made where it is not there yet. The ids are small numbers.
pub(crate) async fn pulseplan_row(
    db: &Sql,
    id: u32,
    user: u32,
    access: &str,
    refresh: &str,
) -> (String, String) {
    let (uuid, time) = if db.is_postgres() { ("uuid", "timestamptz") } else { ("TEXT", "TEXT") };
    db.execute(&format!(
        "CREATE TABLE IF NOT EXISTS oauth_tokens (id {uuid} PRIMARY KEY, user_id {uuid} NOT NULL, \
         provider text NOT NULL, access_token text NOT NULL, refresh_token text NOT NULL, \
         expires_at {time} NOT NULL, scopes text, email text, is_active boolean, service_type text NOT NULL, \
         provider_url text, UNIQUE (user_id, provider, service_type))"
    ))
    .await;
    let (id, user_id) = (format!("{id:08x}-0000-4000-8000-000000000000"), user_id(user));
    db.insert(
        "oauth_tokens",
        &[
            ("id::uuid", Some(&id)),
            ("user_id::uuid", Some(&user_id)),
            ("provider", Some("google")),
            ("access_token", Some(access)),
            ("refresh_token", Some(refresh)),
            ("expires_at::timestamptz", Some("2030-01-01 00:00:00+00")),
            ("service_type", Some(&id)),
        ],
    )
    .await;
    (id, user_id)
}

/// A PulsePlan user's id.
pub(crate) fn user_id(user: u32) -> String {
    format!("00000000-0000-4000-9000-{user:012x}")
}

/// A profile in TOML of one table without version columns, bound to its rows; `more` are further lines of the table.
pub(crate) fn profile_of(table: &str, key: &[&str], tokens: &[&str], more: &str) -> String {
    format!(
        "name = \"test\"\n[context]\nApplication = \"test\"\n[[tables]]\nname = \"{table}\"\nkey = {key:?}\n\
         tokens = {tokens:?}\n{more}\n"
    )
}
