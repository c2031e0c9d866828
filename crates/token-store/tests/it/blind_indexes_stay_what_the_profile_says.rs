//! A blind index declared unique is unique, and one whose key is missing is not silently started again.

use token_store::findings::{Kind, Severity, findings};
use token_store::migration::{self, StopFlag};
use token_store::{Database, NewToken, StoreError, TokenKey, TokenStore, WriteFormat, schema};

use crate::support::{Keys, Sql, carry_out, profile_of, to};

const INDEX: &str =
    "[[tables.index]]\ncolumn = \"email\"\ninto = \"email_index\"\nnormalize = \"email\"\nunique = true";
const ROWS: &str = "INSERT INTO users (id, email) VALUES ('1', 'a@x.org'), ('2', 'b@x.org')";

async fn opened(db: &Sql, keys: &Keys) -> TokenStore {
    let database = Database::connect(db.url()).await.unwrap();
    TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap()
}

async fn adds_schema(db: &Sql, keys: &Keys) -> Result<schema::SchemaReport, StoreError> {
    schema::migrate(&Database::connect(db.url()).await.unwrap(), &keys.profile).await
}

fn email(value: &str) -> NewToken {
    NewToken::new().column("email", Some(value.to_owned().into()))
}

async fn severities(store: &TokenStore, kind: Kind) -> Vec<Severity> {
    let found = findings(store, WriteFormat::KmsEnvelope).await.unwrap();
    found.into_iter().filter(|finding| finding.kind == kind).map(|finding| finding.severity).collect()
}

on_each_database! {
    async fn a_name_that_is_taken_does_not_keep_the_index_from_being_unique(db) {
        db.execute("CREATE TABLE users (id text PRIMARY KEY, email text)").await;
        let over = if db.is_mariadb() { "email(100)" } else { "email" };
        db.execute(&format!("CREATE INDEX users_email_index ON users ({over})")).await;
        db.execute(ROWS).await;
        let keys = Keys::toml(&profile_of("users", &["id"], &["email"], INDEX));
        adds_schema(&db, &keys).await.unwrap();
        let checked = schema::check(&Database::connect(db.url()).await.unwrap(), &keys.profile).await.unwrap();
        assert_eq!(checked.pending, Vec::<String>::new());
        let store = opened(&db, &keys).await;
        assert_eq!(severities(&store, Kind::IndexNotUnique).await, []);
        assert_eq!(carry_out(&store, &to(WriteFormat::KmsEnvelope, 500)).await.migrated, 2);
        let put = store.put(&TokenKey::from_values(["3"]), email("A@x.org")).await;
        assert!(matches!(put, Err(StoreError::NotUnique { .. })), "{put:?}");
    }

    async fn an_index_that_is_not_unique_is_refused_where_the_profile_says_so(db) {
        db.execute("CREATE TABLE users (id text PRIMARY KEY, email text, email_index varchar(200))").await;
        db.execute(ROWS).await;
        let keys = Keys::toml(&profile_of("users", &["id"], &["email"], &INDEX.replace("unique = true", "")));
        adds_schema(&db, &keys).await.unwrap();
        let keys = Keys::toml(&profile_of("users", &["id"], &["email"], INDEX));
        let store = opened(&db, &keys).await;
        assert_eq!(severities(&store, Kind::IndexNotUnique).await, [Severity::Refuse]);
        adds_schema(&db, &keys).await.unwrap();
        assert_eq!(severities(&store, Kind::IndexNotUnique).await, []);
    }

    async fn an_index_and_a_field_cannot_be_set_as_plain_columns(db) {
        db.execute("CREATE TABLE users (id text PRIMARY KEY, email text, ssn text)").await;
        let keys = Keys::toml(&profile_of("users", &["id"], &["email"], &format!("fields = [\"ssn\"]\n{INDEX}")));
        adds_schema(&db, &keys).await.unwrap();
        let store = opened(&db, &keys).await;
        store.put(&TokenKey::from_values(["1"]), email("a@x.org")).await.unwrap();
        let before = db.rows("SELECT id, email, email_index, ssn FROM users").await;
        for column in ["email_index", "ssn"] {
            for id in ["1", "2"] {
                let put = store.put(&TokenKey::from_values([id]), email("b@x.org").plain(column, "zzz")).await;
                assert!(matches!(put, Err(StoreError::NotPlain { .. })), "{column}: {put:?}");
            }
        }
        assert_eq!(db.rows("SELECT id, email, email_index, ssn FROM users").await, before);
    }

    async fn indexes_whose_key_is_not_there_are_not_begun_again(db) {
        db.execute("CREATE TABLE users (id text PRIMARY KEY, email text)").await;
        db.execute(ROWS).await;
        let profile = profile_of("users", &["id"], &["email"], INDEX);
        let keys = Keys::toml(&profile);
        adds_schema(&db, &keys).await.unwrap();
        assert_eq!(carry_out(&opened(&db, &keys).await, &to(WriteFormat::KmsEnvelope, 500)).await.migrated, 2);
        db.execute("INSERT INTO users (id, email) VALUES ('3', 'c@x.org')").await;
        // Another name of the profile, and then none of the keys.
        let mut renamed = Keys::toml(&profile.replace("name = \"test\"", "name = \"renamed\""));
        for _ in 0..2 {
            let store = opened(&db, &renamed).await;
            assert_eq!(severities(&store, Kind::IndexKeyLost).await, [Severity::Refuse]);
            let found = store.find(None, "email", &"a@x.org".into()).await;
            assert!(matches!(found, Err(StoreError::IndexKeyLost { .. })), "{found:?}");
            let put = store.put(&TokenKey::from_values(["4"]), email("a@x.org")).await;
            assert!(matches!(put, Err(StoreError::IndexKeyLost { .. })), "{put:?}");
            let outcome = migration::run(&store, &to(WriteFormat::KmsEnvelope, 500), &StopFlag::default(), |_| {}).await;
            assert_eq!((outcome.report.migrated, outcome.report.failed, outcome.report.left.unwrap()), (0, 3, 1), "{outcome:?}");
            let verified = token_store::verify::verify(&store, None, &StopFlag::default(), |_| {}).await;
            assert!(verified.is_err(), "{verified:?}");
            db.execute("DELETE FROM tokenseal_index_keys").await;
            renamed = Keys::toml(&profile);
        }
        // Where they are gone for good, every row is indexed again.
        db.execute("UPDATE users SET email_index = NULL").await;
        let store = opened(&db, &renamed).await;
        assert_eq!(severities(&store, Kind::IndexKeyLost).await, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_of_the_schema_that_does_nothing_is_an_error() {
    let db = Sql::sqlite().await;
    db.execute("CREATE TABLE users (id text PRIMARY KEY, email text)").await;
    db.execute("CREATE INDEX tokenseal_users_email_index_unique ON users (email)").await;
    let keys = Keys::toml(&profile_of("users", &["id"], &["email"], INDEX));
    let added = adds_schema(&db, &keys).await;
    assert!(matches!(added, Err(StoreError::StillPending { .. })), "{added:?}");
}
