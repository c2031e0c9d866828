//! A table or a column that was renamed still opens under the name that its values are bound to.

use token_store::migration::{Former, relocate};
use token_store::{NewToken, Profile, TokenKey, WriteFormat};

use crate::support::{Keys, migrate, profile_of, shown, verified};

on_each_database! {
    async fn values_open_under_the_names_that_they_are_bound_to(db) {
        db.execute("CREATE TABLE users (id text PRIMARY KEY, tenant text, mail text)").await;
        db.execute("INSERT INTO users VALUES ('1', 'acme', 'a@x.org'), ('2', 'acme', 'b@x.org')").await;
        let before = Keys::toml(&profile_of("users", &["id"], &["mail"], "owner = [\"tenant\"]"));
        assert_eq!(migrate(&before.store(&db).await, WriteFormat::KmsEnvelope).await.migrated, 2);
        db.execute("ALTER TABLE users RENAME TO accounts").await;
        for (old, new) in [("mail", "email"), ("id", "number"), ("tenant", "org")] {
            db.execute(&format!("ALTER TABLE accounts RENAME COLUMN {old} TO {new}")).await;
        }
        let after = |more: &str| {
            let more = format!("owner = [\"org\"]\n{more}");
            Profile::from_toml(&profile_of("accounts", &["number"], &["email"], &more)).unwrap()
        };
        let mut keys = before;
        keys.profile = after("");
        assert_eq!(verified(&keys.store(&db).await).await.failed, 2);
        keys.profile =
            after("bound_as = \"users\"\nbound_columns = { email = \"mail\", number = \"id\", org = \"tenant\" }");
        let store = keys.store(&db).await;
        assert_eq!(verified(&store).await.ok, 2);
        let key = TokenKey::from_values(["3"]).owned_by("org", "acme");
        store.put(&key, NewToken::new().column("email", Some("c@x.org".into()))).await.unwrap();
        assert_eq!(shown(store.get(&key).await.unwrap().column("email")), Some("c@x.org"));
        assert_eq!(verified(&store).await.ok, 3);
    }
}

#[test]
fn names_that_would_let_values_be_moved_are_refused() {
    for more in [
        "bound_columns = { b = \"a\" }",
        "bound_columns = { nothing = \"a\" }",
        "bound_columns = { id = \"table\" }",
        "bound_columns = { id = \"Application\" }",
    ] {
        let refused = Profile::from_toml(&profile_of("users", &["id"], &["a", "b"], more));
        assert!(refused.is_err(), "{more}");
    }
    let two = format!(
        "{}\n[[tables]]\nname = \"other\"\nbound_as = \"users\"\nkey = [\"id\"]\ntokens = [\"a\"]\n",
        profile_of("users", &["id"], &["a"], "")
    );
    assert!(Profile::from_toml(&two).is_err());
}

on_each_database! {
    async fn rows_that_got_another_key_are_relocated(db) {
        db.execute("CREATE TABLE users (id text PRIMARY KEY, tenant text, mail text, phone text)").await;
        db.execute("INSERT INTO users VALUES ('1', 'a', 'one@x.org', '111'), ('2', 'a', 'two@x.org', NULL), ('3', 'a', 'three@x.org', '')").await;
        for v3 in [false, true] {
            let keys = Keys::toml(&profile_of("users", &["id"], &["mail", "phone"], "owner = [\"tenant\"]"));
            let keys = if v3 { keys.v3() } else { keys };
            let store = keys.store(&db).await;
            migrate(&store, WriteFormat::KmsEnvelope).await;
            db.execute("UPDATE users SET id = id || 'x', tenant = 'b' WHERE id = '1'").await;
            db.execute("UPDATE users SET mail = phone, phone = mail WHERE id = '2'").await;
            assert_eq!(verified(&store).await.failed, 3);
            let former = |column: Option<&str>, columns: &[(&str, &str)]| {
                let mut former = Former::default();
                former.column = column.map(Into::into);
                former.columns = columns.iter().map(|(c, v)| ((*c).into(), Some((*v).into()))).collect();
                former
            };
            let moved = |id: &str, former: Former| (TokenKey::from_values([id]), former);
            let rows = [
                moved("1x", former(None, &[("id", "1"), ("tenant", "a")])),
                moved("2", former(Some("mail"), &[])),
                moved("3", former(None, &[("id", "4")])),
                moved("none", former(None, &[("id", "1")])),
            ];
            let before = db.fingerprint("users").await;
            let dry = relocate(&store, &rows, true, |_| {}).await.report;
            assert_eq!((dry.scanned, dry.relocated, dry.already, dry.failed), (4, 2, 1, 1));
            assert_eq!(db.fingerprint("users").await, before);
            let report = relocate(&store, &rows, false, |_| {}).await.report;
            assert_eq!((report.scanned, report.relocated, report.already, report.failed), (4, 2, 1, 1));
            assert_eq!(report.failures[0].row, "id=none");
            let now = verified(&store).await;
            assert_eq!((now.failed, now.unbound), (0, 0), "{now:?}");
            let read = store.get(&TokenKey::from_values(["1x"])).await.unwrap();
            assert_eq!((shown(read.column("mail")), shown(read.column("phone"))), (Some("one@x.org"), Some("111")));
            // A former address that is wrong opens nothing, and changes nothing.
            db.execute("UPDATE users SET id = '1y' WHERE id = '1x'").await;
            let before = db.fingerprint("users").await;
            let wrong = relocate(&store, &[moved("1y", former(None, &[("id", "9")]))], false, |_| {}).await.report;
            assert_eq!((wrong.failed, wrong.relocated), (1, 0));
            assert_eq!(db.fingerprint("users").await, before);
            let mended = relocate(&store, &[moved("1y", former(None, &[("id", "1x")]))], false, |_| {}).await.report;
            assert_eq!(mended.relocated, 1);
            db.execute("UPDATE users SET mail = 'one@x.org', phone = '111', id = '1', tenant = 'a' WHERE id = '1y'").await;
            db.execute("UPDATE users SET mail = 'two@x.org', phone = NULL WHERE id = '2'").await;
            db.execute("UPDATE users SET mail = 'three@x.org', phone = '' WHERE id = '3'").await;
        }
    }
}
