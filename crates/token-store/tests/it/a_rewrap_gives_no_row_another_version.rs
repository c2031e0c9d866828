//! A rewrap leaves every row the version that it has: one whose texts contradict it is named, and one that is under the key
//! already comes to name it.

use test_support::emulator::Emulator;
use token_store::migration::RewrapOptions;
use token_store::{NewToken, TokenKey, TokenStore};

use crate::aws_kms_holds_the_keys::{keys_of, rewrap};
use crate::support::{Keys, Sql, assert_access, create_vod_tender, distribution, vod_rows};

const CHANGES: [(&str, &str); 4] = [
    ("was plaintext", "refresh_token = 'readable', encryption_version = 0"),
    ("was direct", "encryption_version = 1"),
    ("later", "encryption_version = 7"),
    ("unmarked", "encryption_version = NULL"),
];

async fn put(store: &TokenStore, channel: &str) {
    let token = NewToken::new().access_token("access").refresh_token("refresh");
    store.put(&TokenKey::new("twitch", channel), token).await.unwrap();
}

fn options(dry_run: bool) -> RewrapOptions {
    let mut options = RewrapOptions::default();
    options.run.dry_run = dry_run;
    options
}

/// The stored rows, without the one that a rewrap moves.
async fn contradictory(db: &Sql) -> Vec<Vec<Option<String>>> {
    vod_rows(db).await.into_iter().filter(|row| row[1].as_deref() != Some("sealed")).collect()
}

on_each_database! {
    async fn a_row_whose_version_contradicts_its_texts_is_named_and_stays_as_it_is(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        put(&store, "sealed").await;
        for (channel, change) in CHANGES {
            put(&store, channel).await;
            db.execute(&format!("UPDATE oauth_tokens SET {change} WHERE channel = '{channel}'")).await;
        }
        let before = contradictory(&db).await;
        assert_eq!(before.len(), CHANGES.len());
        // Whether the rows name the key that they are to come under, or another.
        for current in [true, false] {
            if !current {
                keys.memory().rotate();
            }
            for dry_run in [true, false] {
                let report = rewrap(&store, &options(dry_run)).await;
                let moved = u64::from(!current);
                assert_eq!((report.rewrapped, report.already, report.failed), (moved, 1 - moved, 4), "{report:?}");
                for (channel, _) in CHANGES {
                    let named = |failure: &&token_store::migration::Failure| failure.row.contains(channel);
                    let failure = report.failures.iter().find(named).unwrap();
                    assert_eq!(failure.class, "malformed", "{failure:?}");
                }
                assert_eq!(contradictory(&db).await, before);
            }
        }
        assert_access(&store, TokenKey::new("twitch", "sealed"), "access").await;
    }

    async fn a_row_of_another_version_without_an_envelope_is_no_failure(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        for (channel, change) in CHANGES {
            put(&store, channel).await;
            let change = change.replace("refresh_token = 'readable', ", "");
            db.execute(&format!(
                "UPDATE oauth_tokens SET access_token = NULL, refresh_token = '', {change} WHERE channel = '{channel}'"
            ))
            .await;
        }
        keys.memory().rotate();
        let before = db.fingerprint("oauth_tokens").await;
        let report = rewrap(&store, &options(false)).await;
        assert_eq!((report.rewrapped, report.already, report.failed), (0, 4, 0), "{report:?}");
        assert_eq!(db.fingerprint("oauth_tokens").await, before);
    }

    async fn a_row_that_is_under_the_key_and_names_none_or_an_alias_comes_to_name_it(db) {
        create_vod_tender(&db).await;
        let aws = Emulator::start();
        let key = aws.create_key_with_alias("alias/tokens").await;
        let store = keys_of("vod-tender", &aws, &key.arn, &["alias/tokens"]).store(&db).await;
        for channel in ["right", "none", "empty", "alias"] {
            put(&store, channel).await;
        }
        let right = distribution(&store).await;
        let texts = async || db.table("oauth_tokens", &["channel", "access_token", "refresh_token"]).await;
        let sealed = texts().await;
        for (channel, key_id) in [("none", None), ("empty", Some("")), ("alias", Some("alias/tokens"))] {
            let sql = format!("UPDATE oauth_tokens SET encryption_key_id = $1 WHERE channel = '{channel}'");
            db.run(&sql, &[key_id]).await;
        }
        for dry_run in [true, false] {
            let report = rewrap(&store, &options(dry_run)).await;
            assert_eq!((report.rewrapped, report.already, report.failed), (3, 1, 0), "{report:?}");
            assert_eq!(report.left, Some(if dry_run { 3 } else { 0 }));
        }
        assert_eq!((texts().await, distribution(&store).await), (sealed, right));
        assert_eq!(rewrap(&store, &options(false)).await.rewrapped, 0);

        db.execute("UPDATE oauth_tokens SET encryption_key_id = 'alias/tokens'").await;
        let mut only = options(false);
        only.from = Some(vec!["alias/tokens".into()]);
        let report = rewrap(&store, &only).await;
        assert_eq!((report.rewrapped, report.failed, report.left), (4, 0, Some(0)), "{report:?}");
    }
}
