//! Of the callers that need the index keys of a table at the same time, one asks the key service.

use envelope_core::ErrorClass;
use futures_util::future::join_all;
use secrecy::SecretString;
use test_support::faults::Fault;
use token_store::{Database, ErrorKind, NewToken, TokenKey, TokenStore, schema};

use crate::support::{Keys, profile_of};

const INDEX: &str = r#"index = [{ column = "email", into = "email_index", normalize = "email" }]"#;

async fn put(store: &TokenStore, id: u32) {
    let token = NewToken::new().column("email", Some(SecretString::from(format!("user{id}@example.org"))));
    store.put(&TokenKey::from_values([id.to_string()]), token).await.unwrap();
}

async fn absent(store: &TokenStore, id: u32) -> Result<usize, ErrorKind> {
    let value = SecretString::from(format!("absent{id}@example.org"));
    store.find(None, "email", &value).await.map(|rows| rows.len()).map_err(|error| error.kind())
}

on_each_database! {
    async fn sixteen_first_uses_make_one_key_and_unwrap_it_once_for_each_store(db) {
        db.execute("CREATE TABLE users (id bigint PRIMARY KEY, email text)").await;
        let keys = Keys::toml(&profile_of("users", &["id"], &["email"], INDEX)).decorated(|without_cache| without_cache);
        schema::migrate(&Database::connect(db.url()).await.unwrap(), &keys.profile).await.unwrap();
        let store = keys.store(&db).await;
        keys.faults().reset_calls();
        join_all((0..16).map(|id| put(&store, id))).await;
        assert_eq!(keys.faults().calls("generate"), 16 + 1, "one for each value, and the key of the index");
        assert_eq!(db.table("tokenseal_index_keys", &["key_number"]).await.len(), 1);

        let other = keys.store(&db).await;
        keys.faults().reset_calls();
        assert_eq!(join_all((0..16).map(|id| absent(&other, id))).await, vec![Ok(0); 16]);
        assert_eq!(keys.faults().calls("unwrap"), 1);

        let during_an_outage = keys.store(&db).await;
        keys.faults().always_for("unwrap", Fault::Fail(ErrorClass::Unavailable));
        let failed = join_all((0..16).map(|id| absent(&during_an_outage, id))).await;
        assert_eq!(failed, vec![Err(ErrorKind::Unavailable); 16]);
        keys.faults().heal();
        assert_eq!(absent(&during_an_outage, 1).await, Ok(0));
    }
}
