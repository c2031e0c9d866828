//! The audit trail says who did what, a revealed value always leaves a line, and a changed trail is found out.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use test_support::sql::Sql;

use crate::support::{Program, fill};

struct Place {
    program: Program,
    file: PathBuf,
    /// The database lives as long as this.
    _db: Sql,
}

impl Place {
    async fn new() -> Self {
        let db = Sql::sqlite().await;
        fill(&db, 4).await;
        let mut program = Program::on(&db);
        let file = program.path().join("audit.log");
        program.set("AUDIT_LOG", file.to_str().unwrap());
        Self { program, file, _db: db }
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn verify(&self, more: &[&str], exit: i32) -> Value {
        let arguments = ["audit", "verify", self.file.to_str().unwrap(), "--format", "json"];
        let arguments: Vec<&str> = arguments.into_iter().chain(more.iter().copied()).collect();
        // The check leaves no lines of its own in the trail.
        self.program.run(&arguments).expect(exit).document()
    }
}

const ROW: [&str; 2] = ["--row", "provider=twitch,channel=channel-000"];

#[tokio::test]
async fn the_operator_is_named_by_option_variable_or_user_and_host() {
    let mut place = Place::new().await;
    place.program.run(&["migrate"]).expect(0);
    place.program.set("AUDIT_ACTOR", "the night shift");
    place.program.run(&["rollback"]).expect(0);
    place.program.run(&["--actor", "alice", "migrate"]).expect(0);
    let actors = |event: &str| -> Vec<String> {
        let lines = place.lines();
        let of_event = lines.iter().filter(|line| line["event"] == event);
        of_event.map(|line| line["actor"].as_str().unwrap().to_owned()).collect()
    };
    let started = actors("run_started");
    assert!(started[0].contains('@'), "{started:?}");
    assert_eq!(started[1..], ["the night shift", "alice"]);
    assert_eq!(actors("row_migrated").len(), 8);
    let report = place.verify(&[], 0);
    assert_eq!((&report["ok"], &report["chains"]), (&true.into(), &3.into()), "{report}");
    assert_eq!(report["lines"], place.lines().len());

    for wrong in ["", " ", "two\nlines"] {
        place.program.run(&["--actor", wrong, "status"]).expect(2);
    }
}

#[tokio::test]
async fn a_revealed_value_leaves_a_line_and_is_not_shown_without() {
    let mut place = Place::new().await;
    let get = [&["get"][..], &ROW, &["--reveal"]].concat();
    place.program.run(&get).expect(0);
    let lines = place.lines();
    let revealed: Vec<&Value> = lines.iter().filter(|line| line["event"] == "token_revealed").collect();
    assert_eq!(revealed.len(), 1, "{lines:?}");
    assert_eq!(revealed[0]["row"], ROW[1]);
    assert!(revealed[0]["actor"].as_str().unwrap().contains('@'));
    place.program.run(&[&["get"][..], &ROW].concat()).expect(0);
    assert_eq!(place.lines().iter().filter(|line| line["event"] == "token_revealed").count(), 1);

    // A device that is always full.
    place.program.set("AUDIT_LOG", "/dev/full");
    let refused = place.program.run(&get).expect(2);
    assert_eq!(refused.stdout, "", "no value without its line");

    place.program.unset("AUDIT_LOG");
    let told = place.program.run(&[&["--log-level", "off"][..], &get].concat()).expect(0);
    told.says(&["token_revealed", ROW[1]]);
}

#[tokio::test]
async fn a_trail_that_was_changed_anywhere_is_found_out() {
    let place = Place::new().await;
    place.program.run(&["migrate"]).expect(0);
    let whole = fs::read_to_string(&place.file).unwrap();
    let report = place.verify(&[], 0);
    let head = report["head"].as_str().unwrap().to_owned();
    assert_eq!(place.verify(&["--head", &head], 0)["ok"], true);
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    assert!(lines.len() > 6, "{whole}");

    let broken = |text: String, at: usize| {
        fs::write(&place.file, text).unwrap();
        let report = place.verify(&[], 4);
        assert_eq!((&report["ok"], &report["broken_at"]), (&false.into(), &at.into()), "{report}");
    };
    for number in 0..lines.len() {
        let changed = lines[number].replacen("migrate", "nothing", 1).replacen("INFO", "info", 1);
        let with = |line: &str| {
            let all = lines.iter().enumerate();
            all.map(|(n, original)| if n == number { line } else { original }).collect::<String>()
        };
        broken(with(&changed), number + 1);
        broken(with("{}\n"), number + 1);
        if number + 1 < lines.len() {
            broken(with(""), number + 1);
        }
        broken(with(&lines[number].repeat(2)), number + 2);
    }
    broken(lines[..3].concat() + lines[3].trim_end(), 4);

    // Cut off at the end: only the head shows it.
    fs::write(&place.file, lines[..4].concat()).unwrap();
    assert_eq!(place.verify(&[], 0)["ok"], true);
    assert_eq!(place.verify(&["--head", &head], 4)["ok"], false);
}

#[tokio::test]
async fn a_chain_that_another_key_began_is_found_out() {
    let place = Place::new().await;
    place.program.run(&["status"]).expect(0);
    place.program.run(&["migrate"]).expect(0);
    let other = Place::new().await;
    other.program.run(&["migrate"]).expect(0);
    let forged = fs::read_to_string(&other.file).unwrap();
    let own = fs::read_to_string(&place.file).unwrap();
    fs::write(&place.file, own.clone() + &forged).unwrap();
    assert_eq!(place.verify(&[], 4)["broken_at"], own.lines().count() + 1);
}

#[tokio::test]
async fn a_full_disk_is_an_error_of_the_configuration_before_anything_is_done() {
    let mut place = Place::new().await;
    place.program.set("AUDIT_LOG", "/absent/audit.log");
    place.program.run(&["migrate"]).expect(2).says(&["AUDIT_LOG"]);
}
