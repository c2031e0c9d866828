//! An application that refreshes tokens, and other migrators, work on the same table at the same time: no
//! one's work is undone.

use std::sync::Arc;

use test_support::faults::Fault;
use token_store::migration::{self, StopFlag};
use token_store::{NewToken, TokenKey, TokenStore, WriteFormat};
use tokio::sync::{mpsc, oneshot};

use crate::migration_moves_every_row::{assert_all_read, mixture};
use crate::support::{
    Keys, Meddling, VodRow, both, carry_out, counts, create_vod_tender, distribution, insert_vod, migrate,
    to, vod_rows,
};

fn one() -> TokenKey {
    TokenKey::new("twitch", "one")
}

/// Keys whose `generate` waits for the test, and the queue of its turns.
fn meddled() -> (Keys, mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let mut queue = None;
    let keys = Keys::new("vod-tender").decorated(|inner| {
        let (meddling, turns) = Meddling::new(inner);
        queue = Some(turns);
        Arc::new(meddling)
    });
    (keys, queue.unwrap())
}

on_each_database! {
    async fn a_token_refreshed_in_plaintext_between_read_and_write_survives(db) {
        create_vod_tender(&db).await;
        for (channel, token) in [("one", "old"), ("two", "other")] {
            insert_vod(&db, &VodRow::plain(channel, token, "refresh")).await;
        }
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        keys.faults().next_for("generate", 2, Fault::Hold);
        let run = tokio::spawn({
            let store = store.clone();
            async move { migrate(&store, WriteFormat::KmsEnvelope).await }
        });
        keys.faults().wait_for_calls("generate", 2).await;
        db.execute("UPDATE oauth_tokens SET access_token = 'refreshed' WHERE channel = 'one'").await;
        keys.faults().heal();
        assert_eq!(counts(&run.await.unwrap()), [2, 2, 0, 0, 0, 4]);
        assert_eq!(both(&store.get(&one()).await.unwrap()), (Some("refreshed"), Some("refresh")));
        assert_eq!(both(&store.get(&TokenKey::new("twitch", "two")).await.unwrap()), (Some("other"), Some("refresh")));
        assert!(distribution(&store).await.iter().all(|group| group.0 == Some(2)));
    }

    async fn a_token_that_changed_in_case_or_trailing_spaces_only_survives(db) {
        create_vod_tender(&db).await;
        for (channel, token) in [("one", "Token"), ("two", "Token")] {
            insert_vod(&db, &VodRow::plain(channel, token, "refresh")).await;
        }
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        keys.faults().next_for("generate", 2, Fault::Hold);
        let run = tokio::spawn({
            let store = store.clone();
            async move { migrate(&store, WriteFormat::KmsEnvelope).await }
        });
        keys.faults().wait_for_calls("generate", 2).await;
        db.execute("UPDATE oauth_tokens SET access_token = 'tOKEN' WHERE channel = 'one'").await;
        db.execute("UPDATE oauth_tokens SET access_token = 'Token ' WHERE channel = 'two'").await;
        keys.faults().heal();
        run.await.unwrap();
        assert_eq!(both(&store.get(&one()).await.unwrap()), (Some("tOKEN"), Some("refresh")));
        assert_eq!(both(&store.get(&TokenKey::new("twitch", "two")).await.unwrap()), (Some("Token "), Some("refresh")));
    }

    async fn a_token_refreshed_into_an_envelope_between_read_and_write_survives(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::direct("one", "old", "old refresh")).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        keys.faults().next_for("generate", 1, Fault::Hold);
        let run = tokio::spawn({
            let store = store.clone();
            async move { migrate(&store, WriteFormat::KmsEnvelope).await }
        });
        keys.faults().wait_for_calls("generate", 1).await;
        store.put(&one(), NewToken::new().access_token("refreshed").refresh_token("new refresh")).await.unwrap();
        let theirs = vod_rows(&db).await;
        keys.faults().heal();
        assert_eq!(counts(&run.await.unwrap())[..4], [1, 0, 1, 0]);
        assert_eq!(vod_rows(&db).await, theirs, "the application's own envelope stays");
        assert_eq!(both(&store.get(&one()).await.unwrap()), (Some("refreshed"), Some("new refresh")));
    }

    async fn a_row_deleted_or_emptied_between_read_and_write_stays_so(db) {
        create_vod_tender(&db).await;
        for channel in ["one", "two", "three"] {
            insert_vod(&db, &VodRow::plain(channel, channel, "")).await;
        }
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        keys.faults().next_for("generate", 3, Fault::Hold);
        let run = tokio::spawn({
            let store = store.clone();
            async move { migrate(&store, WriteFormat::KmsEnvelope).await }
        });
        keys.faults().wait_for_calls("generate", 3).await;
        db.execute("DELETE FROM oauth_tokens WHERE channel = 'one'").await;
        db.execute("UPDATE oauth_tokens SET access_token = NULL WHERE channel = 'two'").await;
        keys.faults().heal();
        let report = run.await.unwrap();
        assert_eq!((report.scanned, report.failed, report.conflicts), (3, 0, 0));
        assert_eq!(vod_rows(&db).await.len(), 2);
        assert_eq!(both(&store.get(&TokenKey::new("twitch", "two")).await.unwrap()).0, None);
        assert_eq!(both(&store.get(&TokenKey::new("twitch", "three")).await.unwrap()).0, Some("three"));
    }

    async fn a_row_that_others_keep_changing_is_left_whole_to_the_next_run(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow { refresh: None, ..VodRow::plain("one", "old", "") }).await;
        let (keys, mut queue) = meddled();
        let store = keys.store(&db).await;
        let run = tokio::spawn(async move { migrate(&store, WriteFormat::KmsEnvelope).await });
        let mut turn = 0;
        while let Some(done) = queue.recv().await {
            turn += 1;
            db.run("UPDATE oauth_tokens SET access_token = $1", &[Some(&format!("theirs {turn}"))]).await;
            done.send(()).unwrap();
            if turn == 4 {
                break;
            }
        }
        drop(queue);
        assert_eq!(counts(&run.await.unwrap()), [1, 0, 0, 1, 0, 0]);
        assert_eq!(vod_rows(&db).await[0][2].as_deref(), Some("theirs 4"));
        let store = keys.store(&db).await;
        assert_eq!(counts(&migrate(&store, WriteFormat::KmsEnvelope).await), [1, 1, 0, 0, 0, 1]);
        assert_eq!(both(&store.get(&one()).await.unwrap()).0, Some("theirs 4"));
    }

    async fn two_and_four_migrators_at_once_share_the_work_and_undo_nothing(db) {
        let truth = mixture(&db, 60).await;
        let keys = Keys::new("vod-tender");
        for migrators in [2, 4] {
            let mut runs = Vec::new();
            for _ in 0..migrators {
                let store = keys.store(&db).await;
                runs.push(tokio::spawn(async move { carry_out(&store, &to(WriteFormat::KmsEnvelope, 7)).await }));
            }
            let mut migrated = 0;
            for run in runs {
                let report = run.await.unwrap();
                assert_eq!((report.scanned, report.failed, report.conflicts), (60, 0, 0));
                assert_eq!(report.migrated + report.already, 60);
                migrated += report.migrated;
            }
            assert_eq!(migrated, 60, "each row is moved by exactly one of them");
            let store = keys.store(&db).await;
            assert_all_read(&store, &truth).await;
            assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.migrated, 0);
            assert_eq!(migrate(&store, WriteFormat::DirectAes).await.migrated, 60);
        }
    }

    async fn an_application_refreshes_all_the_while_and_its_last_word_stands(db) {
        mixture(&db, 30).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        let channels: Vec<String> = vod_rows(&db).await.into_iter().map(|row| row[1].clone().unwrap()).collect();
        let refresh = |round: usize| {
            let (store, channels) = (store.clone(), channels.clone());
            tokio::spawn(async move { refresh_all(&store, &channels, round).await })
        };
        let (one, two) = (refresh(1), refresh(2));
        let migrator = keys.store(&db).await;
        let report = migration::run(&migrator, &to(WriteFormat::KmsEnvelope, 5), &StopFlag::default(), |_| {}).await.report;
        assert_eq!((report.scanned, report.failed), (30, 0));
        one.await.unwrap();
        two.await.unwrap();
        for channel in &channels {
            let read = store.get(&TokenKey::new("twitch", channel)).await.unwrap();
            assert_eq!(both(&read), (Some(format!("access 1 {channel}").as_str()), Some(format!("refresh 2 {channel}").as_str())));
        }
    }
}

/// Round 1 sets every access token, round 2 every refresh token.
async fn refresh_all(store: &TokenStore, channels: &[String], round: usize) {
    for channel in channels {
        let new = match round {
            1 => NewToken::new().access_token(format!("access 1 {channel}")),
            _ => NewToken::new().refresh_token(format!("refresh 2 {channel}")),
        };
        store.put(&TokenKey::new("twitch", channel), new).await.unwrap();
    }
}
