//! A process killed in the middle of a change to the local store loses nothing, and two at once do no harm.
#![expect(clippy::print_stdout, reason = "the child reports its progress to its parent")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use envelope_core::DataKey;
use futures_util::StreamExt;
use secrets_cache::backup::Unlabelled;
use secrets_cache::local::LocalStore;
use secrets_cache::sealed_stream::{Existing, StreamKey};
use secrets_cache::source::{ListRequest, list_all};
use secrets_cache::{SecretSource, Stage, backup};

use crate::support::{Ring, name, new, text, value};

const MANY: usize = 1_500;

fn master() -> Arc<DataKey> {
    Arc::new(DataKey::from_slice(&[7; 32]).unwrap())
}

/// Not a test: the tests below run this in a process of its own.
#[tokio::test]
async fn child() {
    let Ok(job) = std::env::var("TEST_CHILD_JOB") else {
        return;
    };
    let directory = std::env::var("TEST_CHILD_DIRECTORY").unwrap();
    let store = LocalStore::open(Path::new(&directory).join("store.db"), Ring::of(2)).await.unwrap();
    println!("ack ready");
    match job.as_str() {
        "set" => {
            for n in 0.. {
                store.put(&new("hot", &format!("value-{n}"))).await.unwrap();
                println!("ack {n}");
            }
        }
        "rotate" => {
            for n in 0.. {
                store.rotate(&name("hot"), &value(&format!("value-{n}"))).await.unwrap();
                println!("ack {n}");
            }
        }
        "some" => {
            for n in 0..200 {
                store.put(&new("shared", &format!("value-{n}"))).await.unwrap();
                store.put(&new(&format!("own-{}-{n}", std::process::id()), "x")).await.unwrap();
            }
        }
        "reseal" => {
            store.reseal(|report| println!("ack {}", report.resealed)).await.unwrap();
        }
        "restore" => {
            backup::restore(
                &Path::new(&directory).join("backup"),
                master(),
                Unlabelled::Refuse,
                &store,
                &|| false,
            )
            .await
            .unwrap();
        }
        _ => panic!("no such job"),
    }
    println!("ack done");
}

struct Worker {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start(job: &str, directory: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kills_lose_nothing::child", "--nocapture", "--test-threads=1"])
            .env("TEST_CHILD_JOB", job)
            .env("TEST_CHILD_DIRECTORY", directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut worker = Self { process, output };
        while worker.acknowledged().as_deref() != Some("ready") {}
        worker
    }

    fn acknowledged(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the child ended too early");
            // The test runner puts its own words before the first line.
            if let Some((_, rest)) = line.trim().split_once("ack ") {
                return Some(rest.to_owned());
            }
        }
    }

    /// Kills it, and returns the last thing that it said to be done.
    fn kill(mut self) -> Option<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let rest: Vec<String> = self.output.lines().map_while(Result::ok).collect();
        rest.iter().rev().find_map(|line| Some(line.split_once("ack ")?.1.to_owned()))
    }
}

fn pause(round: u64) {
    std::thread::sleep(Duration::from_micros(300 + round * 1_700));
}

async fn check(directory: &Path) -> LocalStore {
    let path = directory.join("store.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let check: String =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(check, "ok");
    LocalStore::open(&path, Ring::of(2)).await.unwrap()
}

async fn prepared(keys: u8, many: bool) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open_or_create(directory.path().join("store.db"), Ring::of(keys)).await.unwrap();
    store.put(&new("hot", "value-first")).await.unwrap();
    if many {
        let secrets = (0..MANY).map(|n| Ok(new(&format!("secret-{n}"), &format!("old-{n}"))));
        store.put_all(futures_util::stream::iter(secrets).boxed()).await.unwrap();
    }
    store.close().await;
    directory
}

#[tokio::test]
async fn while_setting_and_rotating() {
    for job in ["set", "rotate"] {
        let directory = prepared(2, false).await;
        for round in 0..10 {
            let mut worker = Worker::start(job, directory.path());
            while worker.acknowledged().unwrap().parse::<u64>().unwrap() < round {}
            pause(round);
            let last: Option<u64> = worker.kill().and_then(|last| last.parse().ok());
            let store = check(directory.path()).await;
            let current = store.get(&name("hot"), &Stage::Current).await.unwrap();
            let found: u64 = text(&current).strip_prefix("value-").unwrap().parse().unwrap();
            assert!(last.is_none_or(|last| found == last || found == last + 1), "{found} after {last:?}");
            store.get(&name("hot"), &Stage::Previous).await.unwrap();
        }
    }
}

#[tokio::test]
async fn while_sealing_everything_anew() {
    let directory = prepared(1, true).await;
    let mut cut_short = 0;
    for round in 0..6 {
        let worker = Worker::start("reseal", directory.path());
        pause(round * 3);
        cut_short += u32::from(worker.kill().as_deref() != Some("done"));
        let store = check(directory.path()).await;
        let names: Vec<_> = (0..MANY).map(|n| name(&format!("secret-{n}"))).collect();
        for (n, secret) in store.get_many(&names).await.unwrap().into_iter().enumerate() {
            assert_eq!(text(&secret.unwrap()), format!("old-{n}"));
        }
    }
    assert!(cut_short > 0, "no run was cut short");
    let store = check(directory.path()).await;
    assert!(store.reseal(|_| ()).await.unwrap().failed.is_empty());
    let status = store.status().await.unwrap();
    assert!(status.keys.iter().all(|key| key.active), "{status:?}");
    assert_eq!(store.reseal(|_| ()).await.unwrap().resealed, 0, "a second run writes nothing");
}

#[tokio::test]
async fn while_restoring() {
    let (mut before, mut after) = (0, 0);
    for round in 0..6 {
        let directory = prepared(2, true).await;
        let store = check(directory.path()).await;
        backup::write(
            &store,
            StreamKey::new(master(), "test"),
            &directory.path().join("backup"),
            Existing::Replace,
            &|| false,
        )
        .await
        .unwrap();
        let secrets = (0..MANY).map(|n| Ok(new(&format!("secret-{n}"), &format!("new-{n}"))));
        store.put_all(futures_util::stream::iter(secrets).boxed()).await.unwrap();
        store.close().await;
        let worker = Worker::start("restore", directory.path());
        pause(round * 90);
        worker.kill();
        let store = check(directory.path()).await;
        let names: Vec<_> = (0..MANY).map(|n| name(&format!("secret-{n}"))).collect();
        let found = store.get_many(&names).await.unwrap();
        let restored =
            found.iter().filter(|secret| text(secret.as_ref().unwrap()).starts_with("old")).count();
        assert!(restored == 0 || restored == MANY, "{restored} of {MANY} are restored");
        if restored == 0 { before += 1 } else { after += 1 }
    }
    assert!(before > 0, "every run came to its end: {before} {after}");
}

#[tokio::test]
async fn while_two_processes_write() {
    let directory = prepared(2, false).await;
    let (mut first, mut second) =
        (Worker::start("some", directory.path()), Worker::start("some", directory.path()));
    while first.acknowledged().as_deref() != Some("done") {}
    while second.acknowledged().as_deref() != Some("done") {}
    for worker in [&mut first, &mut second] {
        assert!(worker.process.wait().unwrap().success());
    }
    let store = check(directory.path()).await;
    let all = list_all(&store, &ListRequest::default()).await.unwrap();
    assert_eq!(all.len(), 2 + 400);
    assert_eq!(text(&store.get(&name("shared"), &Stage::Current).await.unwrap()), "value-199");
}

#[tokio::test]
async fn while_several_processes_make_the_same_file() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let opened = (0..16).map(|_| LocalStore::open_or_create(path.clone(), Ring::of(1)));
        for store in futures_util::future::join_all(opened).await {
            store.unwrap().put(&new("a", "1")).await.unwrap();
        }
    }
}
