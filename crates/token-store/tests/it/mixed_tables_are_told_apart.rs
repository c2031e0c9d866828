//! Tables without version columns: the text shows its form; values that can be moved are moved, the others
//! are named.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::EncryptionContext;
use envelope_core::format::pulseplan_local::{MasterKey, derive_user_key, seal};
use token_store::migration::MigrationReport;
use token_store::{TokenKey, TokenStore, WriteFormat};

use crate::support::{
    Keys, MASTER_KEY, Sql, alike, assert_access, carry_out, counts, distribution, migrate, pulseplan_row, to,
    user_id, verified,
};

/// A value under PulsePlan's local key of a user, in four parts or, for version 1, in three.
pub(crate) fn local(user: u32, version: u32, token: &str) -> String {
    let master = MasterKey::from_variable(MASTER_KEY).unwrap();
    let version = NonZeroU32::new(version).unwrap();
    seal(&derive_user_key(master.writing(), &user_id(user), version), version, token)
}

/// A value that the key service encrypted itself for a user.
fn kms_direct(keys: &Keys, user: u32, token: &str) -> String {
    let user = user_id(user);
    let pairs = [("user_id", user.as_str()), ("service", "pulseplan"), ("data_type", "auth_token")];
    let blob = keys.memory().encrypt_direct(token.as_bytes(), &EncryptionContext::new(pairs).unwrap());
    format!(
        r#"{{"ciphertext": "{}", "key_id": "memory:1", "encryption_context": {{"user_id": "{user}", "service": "pulseplan", "data_type": "auth_token"}}, "algorithm": "KMS", "encrypted_at": "2025-10-30T12:00:00Z"}}"#,
        STANDARD.encode(blob)
    )
}

struct Mixture {
    good: Vec<(String, String)>,
    broken: BTreeSet<String>,
}

/// A row of every kind that occurs, and of every kind of damage.
async fn pulseplan_mixture(db: &Sql, keys: &Keys) -> Mixture {
    let good = [
        "plain-token".to_owned(),
        local(2, 1, "three parts").replacen("v1:", "", 1),
        local(3, 1, "four parts"),
        local(4, 2, "second key"),
        local(5, 7, "seventh key"),
        kms_direct(keys, 6, "direct"),
        format!("kms:{}", kms_direct(keys, 7, "direct with prefix")),
    ];
    let tokens = [
        "plain-token",
        "three parts",
        "four parts",
        "second key",
        "seventh key",
        "direct",
        "direct with prefix",
    ];
    let broken = [
        local(1, 2, "of another user"),
        format!("{}00", local(12, 2, "longer")),
        "v2:0011:2233:4455".into(),
        "kms:{\"ciphertext\": \"AAAA\"".into(),
        kms_direct(keys, 1, "of another user"),
        "kms:v9:AAAA:AAAA".into(),
    ];
    let mut mixture = Mixture { good: Vec::new(), broken: BTreeSet::new() };
    for (user, (text, token)) in (1..).zip(good.iter().zip(tokens)) {
        let (id, _) = pulseplan_row(db, user, user, text, text).await;
        mixture.good.push((id, token.to_owned()));
    }
    for (user, text) in (11..).zip(&broken) {
        let (id, _) = pulseplan_row(db, user, user, "fine", text).await;
        mixture.broken.insert(format!("id={id}"));
    }
    mixture
}

fn pulseplan() -> Keys {
    let mut keys = Keys::new("pulseplan");
    keys.user_key_version = Some(7);
    keys
}

async fn assert_good_read(store: &TokenStore, mixture: &Mixture) {
    for (id, token) in &mixture.good {
        assert_access(store, TokenKey::from_values([id]), token).await;
    }
}

async fn texts(db: &Sql) -> Vec<Vec<Option<String>>> {
    db.table("oauth_tokens", &["id", "access_token", "refresh_token"]).await
}

on_each_database! {
    async fn a_mixed_pulseplan_table_is_counted_by_kind_and_moved_as_far_as_it_can_be(db) {
        let keys = pulseplan();
        let mixture = pulseplan_mixture(&db, &keys).await;
        let store = keys.store(&db).await;
        assert_good_read(&store, &mixture).await;

        let groups = distribution(&store).await;
        let count = |version: Option<i64>, method: &str, key: Option<&str>| {
            let found = groups.iter().find(|group| group.0 == version && group.1 == method && group.2.as_deref() == key);
            found.map_or(0, |group| group.3)
        };
        assert_eq!(count(Some(0), "plaintext", None), 1);
        assert_eq!(count(None, "pulseplan-local", Some("v1")), 2, "three parts are version 1: {groups:?}");
        assert_eq!(count(None, "pulseplan-local", Some("v2")), 1);
        assert_eq!(count(None, "pulseplan-local", Some("v7")), 1);
        assert_eq!(count(None, "pulseplan-kms", Some("memory:1")), 2, "{groups:?}");
        assert_eq!(groups.iter().map(|group| group.3).sum::<u64>(), 13);

        let mut predicted = to(WriteFormat::KmsEnvelope, 4);
        predicted.run.dry_run = true;
        let (before, predicted) = (texts(&db).await, carry_out(&store, &predicted).await);
        assert_eq!(texts(&db).await, before);
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        // Next to three that are malformed, the other token of the row is sealed all the same.
        assert_eq!(counts(&report), [13, 7, 0, 0, 6, 17]);
        assert_eq!((counts(&predicted), predicted.failures.len()), (counts(&report), 6));
        let named: BTreeSet<String> = report.failures.iter().map(|failure| failure.row.clone()).collect();
        assert_eq!(named, mixture.broken);
        assert!(report.failures.iter().all(|failure| failure.column == "refresh_token"));
        assert_good_read(&store, &mixture).await;

        let (after, calls) = (db.fingerprint("oauth_tokens").await, keys.faults().calls("generate"));
        let again = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!(counts(&again), [13, 0, 7, 0, 6, 0]);
        assert_eq!((db.fingerprint("oauth_tokens").await, keys.faults().calls("generate")), (after, calls));
        // A row of which a part is written is reported once it is.
        let by_row = |report: &MigrationReport| {
            let mut failures = alike(&report.failures);
            failures.sort_by(|one, other| one.row.cmp(&other.row));
            failures
        };
        assert_eq!(by_row(&again), by_row(&report));

        let verification = verified(&store).await;
        assert_eq!((verification.checked, verification.failed, verification.plaintext), (26, 6, 3));
    }

    async fn a_mixed_row_counts_under_all_its_kinds_and_is_moved_as_a_whole(db) {
        let keys = pulseplan();
        let (id, _) = pulseplan_row(&db, 1, 1, "plain", &local(1, 2, "local")).await;
        let store = keys.store(&db).await;
        assert_eq!(store.list(None, None, 5).await.unwrap().len(), 1);
        assert_eq!(distribution(&store).await.len(), 1);
        assert!(distribution(&store).await[0].1.contains('+'));
        assert_eq!(counts(&migrate(&store, WriteFormat::KmsEnvelope).await), [1, 1, 0, 0, 0, 2]);
        let read = store.get(&TokenKey::from_values([id])).await.unwrap();
        assert_eq!(crate::support::both(&read), (Some("plain"), Some("local")));
    }

    async fn the_autonomous_platforms_tables_are_one_run_and_absent_ones_are_reported(db) {
        let keys = Keys::new("autonomous");
        for table in ["gh_connection", "slack_connection"] {
            db.execute(&format!(
                "CREATE TABLE {table} (id text PRIMARY KEY, org_id text, user_id text, token_type text, \
                 access_token text, refresh_token text, scopes text)"
            ))
            .await;
            for number in 0..5 {
                let (id, token) = (format!("{number}"), format!("{table} {number}"));
                db.insert(table, &[("id", Some(&id)), ("access_token", Some(&token))]).await;
            }
        }
        let store = keys.store(&db).await;
        assert_eq!(store.absent_tables(), ["jira_connection", "confluence_connection"]);
        assert_eq!(counts(&migrate(&store, WriteFormat::KmsEnvelope).await), [10, 10, 0, 0, 0, 10]);
        for table in ["gh_connection", "slack_connection"] {
            let key = TokenKey::from_values(["3"]).in_table(table);
            assert_access(&store, key, &format!("{table} 3")).await;
        }
        let status = token_store::status::status(&store).await.unwrap();
        let tables: BTreeSet<&str> = status.groups.iter().map(|group| group.table.as_str()).collect();
        assert_eq!((status.total, status.pending), (10, 0));
        assert_eq!(tables, BTreeSet::from(["gh_connection", "slack_connection"]));
        assert!(!verified(&store).await.found_problems());
        // A row without a token has nothing to be moved.
        db.insert("gh_connection", &[("id", Some("null")), ("access_token", None)]).await;
        db.insert("gh_connection", &[("id", Some("empty")), ("access_token", Some(""))]).await;
        let status = token_store::status::status(&store).await.unwrap();
        assert_eq!((status.total, status.pending), (12, 0));
        // A value copied from one table to the other does not open there.
        db.execute("UPDATE gh_connection SET access_token = (SELECT access_token FROM slack_connection WHERE id = '3') WHERE id = '3'").await;
        assert_eq!(verified(&store).await.failed, 1);
    }

    async fn unmarked_texts_are_direct_aes_only_where_the_profile_says_so(db) {
        let toml = |how: &str| {
            format!(
                "name = \"bare\"\n{how}\n[context]\nApplication = \"bare\"\n\
                 [[tables]]\nname = \"bare\"\nkey = [\"id\"]\ntokens = [\"token\"]\n"
            )
        };
        db.execute("CREATE TABLE bare (id text PRIMARY KEY, token text)").await;
        let sealed = envelope_core::format::direct_aes::seal(&crate::support::direct_key(), "token");
        db.insert("bare", &[("id", Some("sealed")), ("token", Some(&sealed))]).await;
        db.insert("bare", &[("id", Some("plain")), ("token", Some("a plain token"))]).await;
        let marked = Keys::toml(&toml("legacy = \"direct-aes\"\nunmarked = \"direct-aes\""));
        let store = marked.store(&db).await;
        assert_access_of(&store, "sealed", "token").await;
        store.get(&TokenKey::from_values(["plain"])).await.unwrap_err();
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((report.migrated, report.failed), (1, 1));
        assert_eq!(migrate(&store, WriteFormat::DirectAes).await.migrated, 1);
        assert_access_of(&Keys::toml(&toml("unmarked = \"plaintext\"")).store(&db).await, "plain", "a plain token").await;
    }
}

async fn assert_access_of(store: &TokenStore, id: &str, token: &str) {
    let read = store.get(&TokenKey::from_values([id])).await.unwrap();
    assert_eq!(crate::support::shown(read.column("token")), Some(token));
}
