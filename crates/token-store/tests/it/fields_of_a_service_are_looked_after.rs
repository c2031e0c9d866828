//! Fields that a service seals by hand, and that a profile names, are verified, rewrapped and counted, and never migrated.

use envelope_core::field::{FieldKeys, decrypt_field, encrypt_field};
use envelope_core::format::bound::Suite;
use envelope_core::{Binding, EncryptionContext};
use secrecy::ExposeSecret as _;
use token_store::migration::{RewrapOptions, StopFlag, rewrap};
use token_store::{NewToken, StoreError, TokenKey, WriteFormat};

use crate::support::{Keys, Sql, migrate, verified};

const PROFILE: &str = r#"
    name = "crm"
    [context]
    Application = "crm"
    [[tables]]
    name = "users"
    key = ["id"]
    owner = ["tenant"]
    tokens = ["email"]
    fields = ["ssn"]
    [[tables]]
    name = "cards"
    key = ["id"]
    fields = ["number"]
"#;

fn context() -> EncryptionContext {
    EncryptionContext::new([("Application", "crm")]).unwrap()
}

fn ssn(id: &str) -> Binding<'static> {
    Binding::new("users", "ssn").key("id", id.to_owned()).owner("tenant", "a")
}

async fn seal(keys: &Keys, binding: &Binding<'_>, value: &str) -> String {
    let (provider, context) = (keys.provider().as_ref(), context());
    let keys = FieldKeys::Provider { provider, context: &context, suite: Suite::default() };
    encrypt_field(keys, binding, value).await.unwrap()
}

async fn ready(db: &Sql) -> Keys {
    db.execute("CREATE TABLE users (id varchar(20) PRIMARY KEY, tenant varchar(20), email text, ssn text)")
        .await;
    db.execute("CREATE TABLE cards (id varchar(20) PRIMARY KEY, number text)").await;
    let keys = Keys::toml(PROFILE);
    for id in ["1", "2"] {
        let sealed = seal(&keys, &ssn(id), &format!("ssn {id}")).await;
        let row =
            [("id", Some(id)), ("tenant", Some("a")), ("email", Some("a@x.org")), ("ssn", Some(&*sealed))];
        db.insert("users", &row).await;
    }
    let card = seal(&keys, &Binding::new("cards", "number").key("id", "9"), "4111").await;
    db.insert("cards", &[("id", Some("9")), ("number", Some(&card))]).await;
    keys
}

on_each_database! {
    async fn they_are_opened_by_a_verification_and_not_written_by_a_migration(db) {
        let keys = ready(&db).await;
        let store = keys.store(&db).await;
        let before = db.table("users", &["id", "ssn"]).await;
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((report.migrated, report.values), (2, 2), "the e-mail addresses");
        store.put(&TokenKey::from_values(["1"]), NewToken::new().column("email", Some("b@x.org".into()))).await.unwrap();
        assert_eq!(db.table("users", &["id", "ssn"]).await, before);
        let report = verified(&store).await;
        assert_eq!((report.checked, report.ok, report.found_problems()), (5, 5, false), "{report:?}");
        // One row's field in another row, and a readable one.
        db.execute("UPDATE users SET ssn = (SELECT s FROM (SELECT ssn AS s FROM users WHERE id = '1') AS x) WHERE id = '2'").await;
        db.execute("UPDATE cards SET number = 'readable'").await;
        let report = verified(&store).await;
        assert_eq!((report.ok, report.failed, report.plaintext), (4, 1, 1), "{report:?}");
        assert_eq!((&*report.failures[0].column, &*report.failures[0].row), ("ssn", "id=2"));
        assert!(!report.findings[0].error.contains("migrate"), "{:?}", report.findings);
    }

    async fn their_data_keys_are_rewrapped_and_the_service_reads_them_then(db) {
        for from in [None, Some(vec!["memory:1".to_owned()])] {
        let keys = ready(&db).await;
        let store = keys.store(&db).await;
        migrate(&store, WriteFormat::KmsEnvelope).await;
        let before = db.table("users", &["id", "ssn"]).await;
        keys.memory().rotate();
        // Neither fields nor tables without version columns name their key: no former key leaves them out.
        let mut options = RewrapOptions::default();
        options.from = from;
        let outcome = rewrap(&store, &options, &StopFlag::default(), |_| {}).await;
        assert_eq!((outcome.report.rewrapped, outcome.report.values), (5, 5), "{outcome:?}");
        let after = db.table("users", &["id", "ssn"]).await;
        assert_ne!(after, before);
        let (provider, context) = (keys.provider().as_ref(), context());
        for row in &after {
            let (id, text) = (row[0].as_deref().unwrap(), row[1].as_deref().unwrap());
            let field = FieldKeys::Provider { provider, context: &context, suite: Suite::default() };
            let opened = decrypt_field(field, &ssn(id), text).await.unwrap();
            assert_eq!(opened.expose_secret(), format!("ssn {id}"));
        }
        let again = rewrap(&store, &RewrapOptions::default(), &StopFlag::default(), |_| {}).await;
        assert_eq!(again.report.rewrapped, 0);
        assert!(!verified(&store).await.found_problems());
        db.execute("DROP TABLE users").await;
        db.execute("DROP TABLE cards").await;
        }
    }

    async fn they_are_counted_by_the_keys_that_they_need_or_as_not_told(db) {
        let keys = ready(&db).await;
        let store = keys.store(&db).await;
        let usage = token_store::status::key_use(&store).await.unwrap();
        assert_eq!((usage.keys.len(), usage.unreadable), (0, 3), "envelopes do not name their key");
        let error = store.get(&TokenKey::from_values(["9"]).in_table("cards")).await.err();
        assert!(matches!(error, Some(StoreError::NoTable { .. })), "{error:?}");
    }
}
