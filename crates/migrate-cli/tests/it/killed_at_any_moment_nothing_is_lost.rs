//! However a migration ends, every token reads, and the next run continues where it stopped.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use envelope_core::Sealer;
use kms_provider::Keyring;
use secrecy::ExposeSecret as _;
use token_store::{Database, Profile, TokenCipher, TokenKey, TokenStore};

use crate::support::{
    DIRECT_KEY, MASTER_KEY, Program, Run, Sql, channel, count_version, direct_key, fill, signal,
    wait_for_progress,
};

const ROWS: usize = 60;

/// A reader that runs alongside the program, with the same keys.
async fn reader(db: &Sql, program: &Program) -> TokenStore {
    let keyring = Keyring::open(program.path().join("keyring.json"), &MASTER_KEY.parse().unwrap()).unwrap();
    let profile = Profile::load("vod-tender").unwrap();
    let sealer = Sealer::new(std::sync::Arc::new(keyring), profile.base_context()).unwrap();
    let cipher = TokenCipher::new().with_sealer(sealer).with_direct_key(direct_key());
    TokenStore::open(Database::connect(db.url()).await.unwrap(), profile, cipher).await.unwrap()
}

async fn assert_all_read(store: &TokenStore) {
    for number in 0..ROWS {
        let token = store.get(&TokenKey::new("twitch", channel(number))).await.unwrap();
        assert_eq!(token.access_token().unwrap().expose_secret(), format!("access {number}"));
        assert_eq!(token.refresh_token().unwrap().expose_secret(), format!("refresh {number}"));
    }
    assert_eq!(store.count_rows().await.unwrap(), ROWS as u64);
}

on_each_database! {
    async fn by_sigkill_at_many_moments(db) {
        fill(&db, ROWS).await;
        let program = Program::on(&db);
        let store = reader(&db, &program).await;
        let (mut killed, mut moved) = (0, 0);
        for round in 1.. {
            // A slow key service, so that there are many moments to choose from.
            let mut child = program.spawn(&["migrate", "--batch-size", "2", "--concurrency", "3", "--rate", "300"]);
            let target = (round * 3).max(moved + 1);
            while count_version(&db, 2).await < target.min(ROWS) && child.try_wait().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(round as u64 % 5)).await;
            }
            child.kill().unwrap();
            let status = child.wait().unwrap();
            killed += usize::from(status.code().is_none());
            assert_all_read(&store).await;
            moved = count_version(&db, 2).await;
            assert_eq!(moved + count_version(&db, 1).await + count_version(&db, 0).await, ROWS);
            if moved == ROWS {
                break;
            }
        }
        assert!(killed >= 5, "killed {killed} times");
        program.run(&["migrate"]).expect(0);
        assert_all_read(&store).await;
        assert_eq!(program.json(0, &["migrate"])["migrated"], 0);
        assert_eq!(program.json(0, &["verify"])["ok"], 2 * ROWS);
    }

    async fn by_an_interrupt_or_a_termination(db) {
        fill(&db, ROWS).await;
        let program = Program::on(&db);
        let store = reader(&db, &program).await;
        let mut moved = 0;
        for name in ["INT", "TERM"] {
            let mut child = program.spawn(&["migrate", "--format", "json", "--batch-size", "2", "--rate", "40"]);
            let rest = wait_for_progress(&mut child);
            signal(&child, name);
            let run = Run::of(&["migrate", name], child.wait_with_output().unwrap()).expect(130);
            drop(rest);
            let report = run.document();
            assert_eq!((report["interrupted"].as_bool(), report["failed"].as_u64()), (Some(true), Some(0)));
            assert_all_read(&store).await;
            moved += report["migrated"].as_u64().unwrap();
            assert_eq!(count_version(&db, 2).await as u64, moved, "the report counts the written rows");
            assert!(moved > 0 && moved < ROWS as u64);
        }
        assert_eq!(program.json(0, &["migrate"])["migrated"], ROWS as u64 - moved);
        assert_all_read(&store).await;
    }
}

#[test]
fn a_keyring_is_under_the_old_master_key_or_the_new_one() {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY).set("KMS_KEY_ID", "keyring:keyring.json");
    let started = Instant::now();
    let made = program.json(0, &["keyring", "init"]);
    // The kills are spread over the time that a command takes here, and a little longer.
    let step = started.elapsed() / 12;
    let (mut masters, mut killed, mut moved) = ([MASTER_KEY, DIRECT_KEY], 0, 0);
    for round in 0..40u32 {
        program.set("KMS_MASTER_KEY", masters[0]);
        let mut child = program.command(&["keyring", "rekey"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(masters[1].as_bytes()).unwrap();
        std::thread::sleep(step * (round % 20));
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().code().is_none());
        let opens = masters.map(|master| {
            let run = program.set("KMS_MASTER_KEY", master).run(&["keyring", "list", "--format", "json"]);
            run.code == Some(0) && run.document() == made
        });
        assert!(opens[0] != opens[1], "round {round}: {opens:?}");
        if opens[1] {
            masters.reverse();
            moved += 1;
        }
    }
    assert!(killed >= 2 && moved >= 2, "killed {killed} times, moved {moved} times");
}
