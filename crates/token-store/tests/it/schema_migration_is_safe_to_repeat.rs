//! The schema migration adds missing objects, any number of times and from anywhere; tables that cannot hold
//! envelopes are refused before anything is written.

use token_store::findings::{Kind, Severity, findings};
use token_store::{Database, Profile, StoreError, TokenCipher, TokenStore, WriteFormat, schema};

use crate::support::{
    Keys, VodRow, assert_access, create_vod_tender, create_vod_tender_named, insert_vod, migrate, vod_rows,
};

fn vod_tender() -> Profile {
    Profile::load("vod-tender").unwrap()
}

on_each_database! {
    async fn what_is_lacking_is_added_once(db) {
        create_vod_tender_named(&db, "oauth_tokens").await;
        let database = Database::connect(db.url()).await.unwrap();
        let opened = TokenStore::open(database.clone(), vod_tender(), TokenCipher::new()).await.err().unwrap();
        assert!(
            matches!(&opened, StoreError::NoColumns { columns, addable: true, .. } if columns == &["encryption_method"]),
            "{opened:?}"
        );
        let pending = schema::check(&database, &vod_tender()).await.unwrap().pending;
        assert_eq!(pending.len(), 1);
        assert!(pending[0].contains("encryption_method"));
        assert_eq!(schema::migrate(&database, &vod_tender()).await.unwrap().applied, pending);
        for _ in 0..2 {
            let again = schema::migrate(&database, &vod_tender()).await.unwrap();
            assert!(again.applied.is_empty() && again.pending.is_empty(), "{again:?}");
        }
        TokenStore::open(database, vod_tender(), TokenCipher::new()).await.map(drop).unwrap();
    }

    async fn a_table_of_before_any_encryption_gets_all_three_columns_and_keeps_its_rows(db) {
        db.execute(
            "CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL DEFAULT '', access_token TEXT, \
             refresh_token TEXT, expires_at TEXT, scope TEXT, PRIMARY KEY (provider, channel))",
        )
        .await;
        db.execute("INSERT INTO oauth_tokens (provider, channel, access_token) VALUES ('twitch', 'one', 'token')").await;
        let database = Database::connect(db.url()).await.unwrap();
        assert_eq!(schema::migrate(&database, &vod_tender()).await.unwrap().applied.len(), 3);
        let store = Keys::new("vod-tender").store(&db).await;
        assert_access(&store, token_store::TokenKey::new("twitch", "one"), "token").await;
        assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.migrated, 1);
        assert_access(&store, token_store::TokenKey::new("twitch", "one"), "token").await;
    }

    async fn a_table_that_the_profile_does_not_describe_is_left_alone(db) {
        db.execute("CREATE TABLE oauth_tokens (provider TEXT NOT NULL PRIMARY KEY, access_token TEXT)").await;
        let database = Database::connect(db.url()).await.unwrap();
        let opened = TokenStore::open(database.clone(), vod_tender(), TokenCipher::new()).await.err().unwrap();
        let migrated = schema::migrate(&database, &vod_tender()).await.unwrap_err();
        for error in [opened, migrated] {
            assert!(
                matches!(&error, StoreError::NoColumns { columns, addable: false, .. } if columns[0] == "channel"),
                "{error:?}"
            );
        }
        db.execute("ALTER TABLE oauth_tokens ADD COLUMN encryption_version TEXT").await;
    }

    async fn it_may_run_from_many_places_at_once(db) {
        create_vod_tender_named(&db, "oauth_tokens").await;
        let runs = (0..8).map(|_| {
            let url = db.url().to_owned();
            tokio::spawn(async move {
                let database = Database::connect(&url).await.unwrap();
                schema::migrate(&database, &vod_tender()).await.map(drop)
            })
        });
        for run in runs.collect::<Vec<_>>() {
            run.await.unwrap().unwrap();
        }
        assert!(schema::check(&Database::connect(db.url()).await.unwrap(), &vod_tender()).await.unwrap().pending.is_empty());
    }

    async fn the_old_plans_default_method_does_no_harm(db) {
        create_vod_tender(&db).await;
        let database = Database::connect(db.url()).await.unwrap();
        assert!(schema::migrate(&database, &vod_tender()).await.unwrap().applied.is_empty());
        // Inserted by a program that does not know the column: the default says `direct` next to a
        // readable token.
        db.execute("INSERT INTO oauth_tokens (provider, access_token) VALUES ('twitch', 'token')").await;
        insert_vod(&db, &VodRow::direct("two", "a", "b")).await;
        let store = Keys::new("vod-tender").store(&db).await;
        let groups = crate::support::distribution(&store).await;
        assert_eq!(groups, [
            (Some(0), "plaintext".into(), None, 1),
            (Some(1), "direct-aes".into(), Some("default".into()), 1)
        ]);
        assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.migrated, 2);
        assert!(vod_rows(&db).await.iter().all(|row| row[5].as_deref() == Some("kms-envelope")));
    }

    async fn a_missing_table_is_named(db) {
        let database = Database::connect(db.url()).await.unwrap();
        let error = schema::migrate(&database, &vod_tender()).await.unwrap_err();
        assert!(matches!(&error, StoreError::NoTable { table } if table == "oauth_tokens"), "{error:?}");
        let autonomous = Profile::load("autonomous").unwrap();
        let error = schema::check(&database, &autonomous).await.unwrap_err();
        assert!(matches!(&error, StoreError::NoTable { table } if table.contains("slack_connection")), "{error:?}");
        db.execute("CREATE TABLE slack_connection (id text PRIMARY KEY, access_token text, refresh_token text)").await;
        assert_eq!(schema::check(&database, &autonomous).await.unwrap().absent.len(), 3);
    }
}

on_postgresql_and_sqlite! {
    async fn a_key_that_does_not_name_one_row_is_refused(db) {
        for table in [
            "CREATE TABLE oauth_tokens (provider text, channel text, access_token text, refresh_token text, expires_at text, scope text)",
            "CREATE TABLE oauth_tokens (id int PRIMARY KEY, provider text, channel text, access_token text, refresh_token text, expires_at text, scope text)",
            "CREATE TABLE oauth_tokens (provider text, channel text, org text, access_token text, refresh_token text, expires_at text, scope text, PRIMARY KEY (provider, channel, org))",
            "CREATE TABLE oauth_tokens (provider text, channel text, access_token text, refresh_token text, expires_at text, scope text); CREATE UNIQUE INDEX part ON oauth_tokens (provider, channel) WHERE scope = 'x'",
        ] {
            db.execute("DROP TABLE IF EXISTS oauth_tokens").await;
            db.execute(table).await;
            let database = Database::connect(db.url()).await.unwrap();
            schema::migrate(&database, &vod_tender()).await.unwrap();
            let store = TokenStore::open(database, vod_tender(), TokenCipher::new()).await.unwrap();
            let found = findings(&store, WriteFormat::KmsEnvelope).await.unwrap();
            let refused = found.iter().any(|f| f.kind == Kind::KeyNotUnique && f.severity == Severity::Refuse);
            assert!(refused, "{table}: {found:?}");
        }
        db.execute("DROP TABLE oauth_tokens").await;
        db.execute("CREATE TABLE oauth_tokens (id int PRIMARY KEY, provider text NOT NULL, channel text NOT NULL, access_token text, refresh_token text, expires_at text, scope text, UNIQUE (channel, provider))").await;
        let database = Database::connect(db.url()).await.unwrap();
        schema::migrate(&database, &vod_tender()).await.unwrap();
        let store = TokenStore::open(database, vod_tender(), TokenCipher::new()).await.unwrap();
        let found = findings(&store, WriteFormat::KmsEnvelope).await.unwrap();
        assert!(found.iter().all(|finding| finding.kind != Kind::KeyNotUnique), "{found:?}");
    }
}

on_each_database! {
    async fn names_that_need_quotes_are_quoted(db) {
        db.execute(r#"CREATE TABLE "Order ""x""" ("the id" text PRIMARY KEY, "select" text)"#).await;
        let toml = r#"
            name = "quoted"
            [context]
            Application = "quoted"
            [[tables]]
            name = 'Order "x"'
            key = ["the id"]
            tokens = ["select"]
            [tables.version]
            version = "from"
            method = "where"
            key_id = "Key Id"
        "#;
        let keys = Keys::toml(toml);
        schema::migrate(&Database::connect(db.url()).await.unwrap(), &keys.profile).await.unwrap();
        db.execute(r#"INSERT INTO "Order ""x""" ("the id", "select") VALUES ('1', 'token')"#).await;
        let store = keys.store(&db).await;
        assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.migrated, 1);
        let read = store.get(&token_store::TokenKey::from_values(["1"])).await.unwrap();
        assert_eq!(crate::support::shown(read.column("select")), Some("token"));
    }
}

#[tokio::test]
async fn a_column_with_a_length_limit_is_refused() {
    let db = crate::support::Sql::postgres(test_support::part!(postgres)).await;
    create_vod_tender(&db).await;
    db.execute(
        "INSERT INTO oauth_tokens (provider, channel, access_token) VALUES ('twitch', 'one', 'token')",
    )
    .await;
    for (sql_type, fits) in [
        ("varchar(255)", false),
        ("char(64)", false),
        ("varchar", true),
        ("bytea USING NULL", false),
        ("text USING NULL", true),
    ] {
        db.execute(&format!("ALTER TABLE oauth_tokens ALTER COLUMN refresh_token TYPE {sql_type}")).await;
        let database = Database::connect(db.url()).await.unwrap();
        let store = TokenStore::open(database, vod_tender(), TokenCipher::new()).await.unwrap();
        let found = findings(&store, WriteFormat::KmsEnvelope).await.unwrap();
        let refused = found.iter().any(|finding| finding.severity == Severity::Refuse);
        assert_eq!(refused, !fits, "{sql_type}: {found:?}");
    }
}
