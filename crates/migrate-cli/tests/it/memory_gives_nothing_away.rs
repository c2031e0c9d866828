//! Secrets of a process are neither in a core dump nor in its memory after their use.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, Sealer, WrappedDataKey};
use kms_provider::{Caching, Keyring};
use secrecy::ExposeSecret as _;
use test_support::part;
use test_support::sql::Sql;
use token_store::{Database, NewToken, Profile, TokenCipher, TokenKey, TokenStore};

use crate::support::{Program, fill, signal, wait_for_progress};

/// Raises the limit that keeps shells from having core dumps, as far as the system lets it.
const UNLIMITED: &str = "prlimit --core=unlimited";

fn core_files(directory: &Path) -> usize {
    fs::read_dir(directory)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("core"))
        .count()
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_run_leaves_no_core_dump() {
    part!(core_dumps);
    let db = Sql::sqlite().await;
    fill(&db, 60).await;
    let program = Program::on(&db);
    for crash in ["ABRT", "SEGV"] {
        let mut child =
            program.under(UNLIMITED, &["migrate", "--batch-size", "2", "--rate", "20"]).spawn().unwrap();
        let _rest = wait_for_progress(&mut child);
        let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
        // The first SIGSEGV only takes Rust's handler away, which looks for stack overflows; of two that wait, one is lost.
        let status = loop {
            signal(&child, crash);
            std::thread::sleep(Duration::from_millis(20));
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
        };
        assert!(status.code().is_none() && !status.core_dumped(), "{status}");
    }
    assert_eq!(core_files(program.path()), 0);
}

/// The owner of a process's files in `/proc`: root, once no other user may read its memory (proc_pid(5)).
fn owner(child: &Child) -> Option<u32> {
    let proc = Path::new("/proc").join(child.id().to_string());
    let is_begun = fs::read_to_string(proc.join("comm")).unwrap().trim() == "migrate-tokens";
    is_begun.then(|| fs::metadata(proc.join("environ")).unwrap().uid())
}

#[tokio::test]
async fn other_processes_of_the_same_user_cannot_read_the_memory() {
    let db = Sql::sqlite().await;
    let program = Program::on(&db);
    let put = ["put", "--row", "provider=twitch,channel=one"];
    let is_root = fs::metadata("/proc/self/environ").unwrap().uid() == 0;
    let mut command = match is_root {
        true => program.under("setpriv --reuid=65534 --regid=65534 --clear-groups", &put),
        false => program.command(&put),
    };
    // It waits for the token on standard input.
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while owner(&child) != Some(0) {
        assert!(begin.elapsed() < Duration::from_secs(20), "its memory can be read");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

const HELPER: &str = "memory_gives_nothing_away::helper";

/// Opens one token, and holds everything until the test ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that the next test looks into"]
async fn helper() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let store =
        store(&variable("DATABASE_URL"), keyring(&variable("KEYRING"), &variable("KMS_MASTER_KEY"))).await;
    let token = store.get(&TokenKey::new("twitch", "channel-000")).await.unwrap();
    assert!(!token.access_token().unwrap().expose_secret().is_empty());
    wait("holding");
    drop(token);
    store.database().close().await;
    drop(store);
    wait("dropped");
}

/// Says so, and waits for a line.
fn wait(what: &str) {
    let mut out = io::stdout();
    writeln!(out, "{what}").unwrap();
    io::stdin().read_line(&mut String::new()).unwrap();
}

fn keyring(path: &str, master: &str) -> Arc<dyn KeyProvider> {
    Arc::new(Caching::new(Arc::new(Keyring::open(path, &master.parse().unwrap()).unwrap())))
}

async fn store(url: &str, keys: Arc<dyn KeyProvider>) -> TokenStore {
    let profile = Profile::load("vod-tender").unwrap();
    let sealer = Sealer::new(keys, profile.base_context()).unwrap();
    TokenStore::open(Database::connect(url).await.unwrap(), profile, TokenCipher::new().with_sealer(sealer))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_process_that_has_done_with_a_token_holds_neither_it_nor_its_data_key() {
    let db = Sql::sqlite().await;
    fill(&db, 1).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyring.json").display().to_string();
    let master = DataKey::generate();
    Keyring::init(&path, &master).unwrap();
    let master_text = base64(master.expose_secret());
    let recording = Arc::new(Recording { inner: keyring(&path, &master_text), made: Mutex::default() });
    let token: String = base64(DataKey::generate().expose_secret());
    let store = store(db.url(), recording.clone()).await;
    let new = NewToken::new().access_token(token.as_str()).refresh_token("another");
    store.put(&TokenKey::new("twitch", "channel-000"), new).await.unwrap();
    let data_keys = recording.made.lock().unwrap().clone();
    assert_eq!(data_keys.len(), 2);

    let environment = [("DATABASE_URL", db.url()), ("KEYRING", &path), ("KMS_MASTER_KEY", &master_text)];
    let mut helper = Helper::start(&environment);
    helper.reach("holding");
    let anywhere = |_: &Range<u64>| true;
    assert!(helper.holds(token.as_bytes(), anywhere), "the search finds a value that is there");
    assert!(helper.holds(&data_keys[0], helper.off_stack()), "the search finds a value that is there");
    helper.go_on();
    helper.reach("dropped");
    assert!(!helper.holds(token.as_bytes(), anywhere), "the token is still there");
    for key in &data_keys {
        assert!(!helper.holds(base64(key).as_bytes(), anywhere), "a data key is there as text");
        assert!(!helper.holds(key, helper.off_stack()), "a data key is still there");
    }
    assert!(!helper.holds(master.expose_secret(), helper.off_stack()), "the master key is still there");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Remembers the data keys that it gave out.
struct Recording {
    inner: Arc<dyn KeyProvider>,
    made: Mutex<Vec<[u8; 32]>>,
}

#[async_trait]
impl KeyProvider for Recording {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        let generated = self.inner.generate(context).await?;
        self.made.lock().unwrap().push(*generated.key.0.expose_secret());
        Ok(generated)
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        self.inner.unwrap(wrapped, context).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        self.inner.rewrap(wrapped, context).await
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.inner.describe().await
    }
}

struct Helper {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Helper {
    fn start(environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", HELPER, "--ignored", "--nocapture"]).envs(environment.iter().copied());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Self { process, said }
    }

    fn reach(&mut self, what: &str) {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "the helper ended before {what:?}");
        }
    }

    fn go_on(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Whether these bytes are in the memory that it can write, and in a part of the kind that is asked for.
    fn holds(&self, bytes: &[u8], part: impl Fn(&Range<u64>) -> bool) -> bool {
        let memory = File::open(self.proc("mem")).unwrap();
        let maps = fs::read_to_string(self.proc("maps")).unwrap();
        maps.lines().filter_map(writable).filter(|range| part(range)).any(|range| {
            let mut content = vec![0; usize::try_from(range.end - range.start).unwrap()];
            // A range that was unmapped meanwhile holds nothing.
            let is_there = memory.read_exact_at(&mut content, range.start).is_ok();
            is_there && memchr::memmem::find(&content, bytes).is_some()
        })
    }

    /// All but the stacks: setting up AES leaves the bytes of a key in dead frames, until other calls write over them.
    fn off_stack(&self) -> impl Fn(&Range<u64>) -> bool {
        let threads = fs::read_dir(self.proc("task")).unwrap();
        let pointer = |thread: io::Result<fs::DirEntry>| {
            let blocked_in = fs::read_to_string(thread.ok()?.path().join("syscall")).ok()?;
            let pointer = blocked_in.split_whitespace().rev().nth(1)?.strip_prefix("0x")?.to_owned();
            u64::from_str_radix(&pointer, 16).ok()
        };
        let pointers: Vec<u64> = threads.filter_map(pointer).collect();
        move |range| !pointers.iter().any(|pointer| range.contains(pointer))
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.process.id())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The range of a line of `/proc/<pid>/maps`, if it can be read and written.
fn writable(line: &str) -> Option<Range<u64>> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-').filter(|_| rest.starts_with("rw"))?;
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
}
