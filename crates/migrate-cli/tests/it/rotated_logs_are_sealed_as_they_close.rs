//! `seal-file --watch`: a rotated log is sealed once no program writes to it, and no line is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use test_support::Unavailable;
use test_support::parts::settle;

use crate::support::{MASTER_KEY, Program, Run, signal};

struct Logs {
    program: Program,
}

impl Logs {
    fn new() -> Self {
        let mut program = Program::bare();
        program.set("KMS_MASTER_KEY", MASTER_KEY);
        fs::create_dir(program.path().join("logs")).unwrap();
        Self { program }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.program.path().join("logs").join(name)
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut arguments = [&["seal-file", "--watch", "logs", "--settle", "0s"], more].concat();
        // As another user than root, or in a container, not every program can be seen; the writers here are.
        if !sees_every_program() {
            arguments.push("--only-visible-writers");
        }
        self.program.secrets_command(&arguments)
    }

    /// In a PID namespace of its own, where the programs of this test are not seen.
    fn once_elsewhere(&self, more: &[&str], code: i32) -> Run {
        let program = env!("CARGO_BIN_EXE_manage-secrets");
        let arguments = ["--pid", "--fork", "--mount-proc", program, "seal-file", "--watch", "logs"];
        let mut command = self.program.environ(Command::new("unshare"), &arguments);
        command.args(["--settle", "0s", "--once", "--format", "json"]).args(more);
        Run::of(&["seal-file", "--watch"], command.output().unwrap()).expect(code)
    }

    fn once(&self, code: i32) -> Run {
        let output = self.command(&["--once", "--format", "json"]).output().unwrap();
        Run::of(&["seal-file", "--watch"], output).expect(code)
    }

    fn opened(&self, name: &str) -> Vec<u8> {
        let sealed = self.path(name).display().to_string();
        self.program.secrets(&["open-file", &sealed, "opened", "--overwrite"], "").expect(0);
        fs::read(self.program.path().join("opened")).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn only_rotated_files_that_no_program_writes_to_are_sealed_and_removed() {
    let logs = Logs::new();
    for name in ["app.log", "app.log.1", "app.log-20260101", "notes.txt", "app.log.2.sealed", ".hidden.log.1"]
    {
        fs::write(logs.path(name), format!("canary {name}\n")).unwrap();
    }
    std::os::unix::fs::symlink(logs.path("notes.txt"), logs.path("link.log.1")).unwrap();
    let mut open = OpenOptions::new().append(true).create(true).open(logs.path("busy.log.1")).unwrap();
    // A program that only reads does not hold anything up.
    let _reader = File::open(logs.path("app.log.1")).unwrap();
    assert_eq!(logs.once(0).document()["sealed"], 2);
    let left = [
        ".hidden.log.1",
        "app.log",
        "app.log-20260101.sealed",
        "app.log.1.sealed",
        "app.log.2.sealed",
        "busy.log.1",
        "link.log.1",
        "notes.txt",
    ];
    assert_eq!(logs.names(), left);
    assert_eq!(logs.opened("app.log.1.sealed"), b"canary app.log.1\n");
    open.write_all(b"the last line\n").unwrap();
    drop(open);
    assert_eq!(logs.once(0).document()["sealed"], 1);
    assert_eq!(logs.opened("busy.log.1.sealed"), b"the last line\n");
}

fn sees_every_program() -> bool {
    let is_first =
        fs::read_link("/proc/self/ns/pid").is_ok_and(|namespace| namespace == Path::new("pid:[4026531836]"));
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    is_first && is_root
}

/// Whether this process may make namespaces.
fn can_unshare() -> Result<(), Unavailable> {
    let made = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    let is_made = made.is_ok_and(|output| output.status.success());
    is_made.then_some(()).ok_or_else(|| Unavailable::new("no PID namespace can be made"))
}

#[test]
fn an_original_stays_where_a_program_may_not_be_seen() {
    let logs = Logs::new();
    fs::write(logs.path("app.log.1"), "one\n").unwrap();
    let report = match sees_every_program() {
        true => logs.once_elsewhere(&[], 3),
        false => {
            let words = ["seal-file", "--watch", "logs", "--settle", "0s", "--once", "--format", "json"];
            Run::of(&words, logs.program.secrets_command(&words).output().unwrap()).expect(3)
        }
    };
    assert_eq!(report.document()["failures"][0]["class"], "unseen_writers");
    assert_eq!(logs.names(), ["app.log.1", "app.log.1.sealed"]);
}

#[test]
fn a_file_that_a_program_out_of_sight_may_have_open_is_sealed_and_stays() {
    let test = "migrate-cli/a_file_that_a_program_out_of_sight_may_have_open_is_sealed_and_stays";
    if settle("root", test, can_unshare()).is_none() {
        return;
    }
    let logs = Logs::new();
    let mut open = File::create(logs.path("app.log.1")).unwrap();
    open.write_all(b"one\n").unwrap();
    for _ in 0..2 {
        let report = logs.once_elsewhere(&[], 3).document();
        assert_eq!(
            (&report["sealed"], &report["failures"][0]["class"]),
            (&0.into(), &"unseen_writers".into())
        );
        assert!(
            report["failures"][0]["error"].as_str().unwrap().contains("--only-visible-writers"),
            "{report}"
        );
    }
    assert_eq!(logs.names(), ["app.log.1", "app.log.1.sealed"]);
    open.write_all(b"two\n").unwrap();
    drop(open);
    assert_eq!(logs.once(0).document()["sealed"], 1, "where it is seen, it is removed when it is closed");
    let sealed = logs.names();
    assert!(sealed.len() == 2 && sealed.iter().all(|name| name.ends_with(".sealed")), "{sealed:?}");
    assert!(sealed.iter().any(|name| logs.opened(name) == b"one\ntwo\n"));

    fs::write(logs.path("app.log.2"), "three\n").unwrap();
    assert_eq!(logs.once_elsewhere(&["--only-visible-writers"], 0).document()["sealed"], 1);
    assert!(!logs.path("app.log.2").exists());
}

#[test]
fn the_next_rotation_to_the_same_name_replaces_nothing() {
    let logs = Logs::new();
    for text in ["one", "two", "two"] {
        fs::write(logs.path("app.log.1"), text).unwrap();
        assert_eq!(logs.once(0).document()["sealed"], 1);
    }
    let mut texts: Vec<Vec<u8>> = logs.names().iter().map(|name| logs.opened(name)).collect();
    texts.sort();
    // The third has the former name of the second, and may share its file.
    texts.dedup();
    assert_eq!(texts, [b"one".to_vec(), b"two".to_vec()]);
    assert!(logs.names().iter().all(|name| name.ends_with(".sealed")));
}

#[test]
fn a_running_watch_seals_a_file_when_its_program_lets_go() {
    let logs = Logs::new();
    let mut child = logs.command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut open = File::create(logs.path("app.log")).unwrap();
    open.write_all(b"one\n").unwrap();
    fs::rename(logs.path("app.log"), logs.path("app.log.1")).unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(logs.names(), ["app.log.1"]);
    open.write_all(b"two\n").unwrap();
    drop(open);
    let limit = Instant::now() + Duration::from_secs(60);
    while logs.names() != ["app.log.1.sealed"] {
        assert!(Instant::now() < limit, "{:?}", logs.names());
        std::thread::sleep(Duration::from_millis(50));
    }
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(logs.opened("app.log.1.sealed"), b"one\ntwo\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_program_has_mapped_is_open_to_it_until_it_ends() {
    const WRITER: &str = "\
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
mapped = mmap.mmap(file, 0)
os.close(file)
print('mapped', flush=True)
sys.stdin.read()
mapped[:5] = b'late!'
mapped.flush()
";
    let moto = test_support::part!(moto);
    let python = moto.python().await.unwrap();
    let logs = Logs::new();
    fs::write(logs.path("app.log.1"), "early and the rest\n").unwrap();
    let mut writer = Command::new(python);
    writer.args(["-c", WRITER]).arg(logs.path("app.log.1")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut writer = writer.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(writer.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), logs.once(0).document()["sealed"].clone()), ("mapped\n", 0.into()));
    drop(writer.stdin.take());
    assert!(writer.wait().unwrap().success());
    assert_eq!(logs.once(0).document()["sealed"], 1);
    assert_eq!(logs.opened("app.log.1.sealed"), b"late! and the rest\n");
}

#[test]
fn a_kill_at_any_moment_loses_no_file() {
    let logs = Logs::new();
    let text = |n: usize| format!("canary {n}\n").repeat(20_000);
    for n in 0..30 {
        fs::write(logs.path(&format!("app.log.{n}")), text(n)).unwrap();
    }
    let mut killed = 0;
    for round in 0..12 {
        let mut child =
            logs.command(&["--once"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(15 + 23 * round));
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().code().is_none());
    }
    assert!(killed > 2, "killed {killed} times");
    logs.once(0);
    for n in 0..30 {
        let opened = logs.opened(&format!("app.log.{n}.sealed"));
        assert!(opened == text(n).as_bytes(), "app.log.{n}");
    }
    let is_left = |name: &&String| !name.ends_with(".sealed") && !name.ends_with(".part");
    assert_eq!(logs.names().iter().find(is_left), None);
}

#[test]
fn a_file_that_cannot_be_sealed_stays_and_is_reported() {
    let mut logs = Logs::new();
    fs::write(logs.path("app.log.1"), "canary").unwrap();
    logs.program.unset("KMS_MASTER_KEY");
    let report = logs.once(3).document();
    assert_eq!(report["failures"][0]["class"], "usage", "{report}");
    assert_eq!(logs.names(), ["app.log.1"]);
    let missing = logs.program.secrets(&["seal-file", "--watch", "nowhere", "--once"], "");
    assert_eq!(missing.code, Some(2));
}
