//! `Sealed`: a field of the service's own struct, read and written by its own statements.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::Row as _;
use token_store::{ErrorKind, Floor, Sealed, TokenKey, TokenStore};

use crate::support::{Keys, Sql, profile_of};

#[derive(serde::Serialize, serde::Deserialize)]
struct Member {
    id: i64,
    email: Sealed,
}

fn keys() -> Keys {
    Keys::toml(&profile_of("members", &["id"], &["email"], ""))
}

fn key(id: i64) -> TokenKey {
    TokenKey::from_values([id.to_string()])
}

async fn seal(store: &TokenStore, id: i64, value: &str) -> Sealed {
    store.seal_field(&key(id), "email", &SecretString::from(value)).await.unwrap().0
}

/// Writes and reads members through a pool of any kind.
macro_rules! reads_back {
    ($pool:expr, $store:expr, $insert:literal) => {{
        let (pool, store) = ($pool, $store);
        sqlx::query("INSERT INTO members VALUES (1, 'old@example.org')").execute(&pool).await.unwrap();
        let sealed = seal(&store, 2, "new@example.org").await;
        sqlx::query($insert).bind(2i64).bind(sealed).execute(&pool).await.unwrap();
        sqlx::query($insert).bind(3i64).bind(None::<Sealed>).execute(&pool).await.unwrap();
        let rows = sqlx::query("SELECT id, email FROM members ORDER BY id").fetch_all(&pool).await.unwrap();
        let mut members: Vec<(i64, Option<Sealed>)> =
            rows.iter().map(|row| (row.get("id"), row.get("email"))).collect();
        assert!(members.pop().unwrap().1.is_none());
        let (_, sealed) = members.pop().unwrap();
        let sealed = sealed.unwrap();
        let opened: SecretString = sealed.open(&store, &key(2), "email").await.unwrap();
        assert_eq!(opened.expose_secret(), "new@example.org");
        let moved = sealed.open(&store, &key(1), "email").await.unwrap_err();
        assert_eq!(moved.kind(), ErrorKind::Unopenable);
        let (_, readable) = members.pop().unwrap();
        let readable = readable.unwrap();
        let opened: SecretString = readable.open(&store, &key(1), "email").await.unwrap();
        assert_eq!(opened.expose_secret(), "old@example.org");
        let refused = sqlx::query($insert).bind(4i64).bind(readable).execute(&pool).await;
        assert!(matches!(refused, Err(sqlx::Error::Encode(_))), "a readable value is not written");
    }};
}

#[tokio::test]
async fn a_field_is_read_and_written_by_statements_of_the_service_on_sqlite() {
    let db = Sql::sqlite().await;
    db.execute("CREATE TABLE members (id INTEGER PRIMARY KEY, email TEXT)").await;
    let pool = sqlx::SqlitePool::connect(db.url()).await.unwrap();
    reads_back!(pool, keys().store(&db).await, "INSERT INTO members VALUES (?, ?)");
}

#[tokio::test]
async fn a_field_is_read_and_written_by_statements_of_the_service_on_postgresql() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    db.execute("CREATE TABLE members (id bigint PRIMARY KEY, email text)").await;
    let pool = sqlx::PgPool::connect(db.url()).await.unwrap();
    reads_back!(pool, keys().store(&db).await, "INSERT INTO members VALUES ($1, $2)");
}

#[tokio::test]
async fn a_field_is_read_and_written_by_statements_of_the_service_on_mariadb() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    db.execute("CREATE TABLE members (id BIGINT PRIMARY KEY, email TEXT)").await;
    let pool = sqlx::MySqlPool::connect(db.url()).await.unwrap();
    reads_back!(pool, keys().store(&db).await, "INSERT INTO members VALUES (?, ?)");
}

#[tokio::test]
async fn a_readable_field_leaves_the_service_in_no_form() {
    let db = Sql::sqlite().await;
    db.execute("CREATE TABLE members (id INTEGER PRIMARY KEY, email TEXT)").await;
    let store = keys().store(&db).await;
    let member: Member = serde_json::from_str(r#"{"id": 1, "email": "somebody@example.org"}"#).unwrap();
    assert!(!format!("{:?}", member.email).contains("somebody"));
    assert!(member.email.stored().is_err());
    let error = serde_json::to_string(&member).unwrap_err().to_string();
    assert!(!error.contains("somebody"), "{error}");

    let member = Member { id: 1, email: seal(&store, 1, "somebody@example.org").await };
    let text = serde_json::to_string(&member).unwrap();
    assert!(text.contains("kms:v2:") && !text.contains("somebody"), "{text}");
    let again: Member = serde_json::from_str(&text).unwrap();
    let opened: SecretString = again.email.open(&store, &key(again.id), "email").await.unwrap();
    assert_eq!(opened.expose_secret(), "somebody@example.org");
}

#[tokio::test]
async fn a_field_below_the_floor_does_not_open() {
    let db = Sql::sqlite().await;
    db.execute("CREATE TABLE members (id INTEGER PRIMARY KEY, email TEXT)").await;
    let keys = keys();
    let store = keys.store_with(&db, keys.cipher().with_read_floor(Floor::Envelope)).await;
    let readable: Sealed = serde_json::from_str("\"somebody@example.org\"").unwrap();
    let error = readable.open(&store, &key(1), "email").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unopenable);
}
