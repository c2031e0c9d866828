//! One JSON document on standard output for machines; tables and lines for people; logs and progress on standard error.

use crate::support::{MASTER_KEY, Program, Run, Sql, fill, insert_vod};

const COMMANDS: [&[&str]; 12] = [
    &["schema", "--check"],
    &["schema"],
    &["status"],
    &["migrate", "--dry-run"],
    &["migrate"],
    &["verify"],
    &["doctor"],
    &["estimate"],
    &["get", "--row", "provider=twitch,channel=channel-000"],
    &["profile", "show"],
    &["keyring", "list"],
    &["rollback"],
];

#[tokio::test]
async fn json_is_exactly_one_document_and_options_stand_before_or_after_the_command() {
    let db = Sql::sqlite().await;
    fill(&db, 5).await;
    let program = Program::on(&db);
    for command in COMMANDS {
        let before = [&["--format", "json", "--log-level", "debug", "--no-progress"], command].concat();
        let after = [command, &["--no-progress", "--log-level", "debug", "--format", "json"]].concat();
        for args in [before, after] {
            let run = program.run(&args).expect(0);
            assert!(run.document().is_object(), "{command:?}");
            assert!(!run.stderr.contains(" tokens\n"), "no progress was asked for: {}", run.stderr);
        }
        let human = program.run(command).expect(0);
        assert!(
            serde_json::from_str::<serde_json::Value>(&human.stdout).is_err(),
            "{command:?}: {}",
            human.stdout
        );
        assert!(!human.stdout.trim().is_empty(), "{command:?} says nothing");
        assert!(!human.stdout.contains('\u{1b}'), "no colours where the output is no terminal");
    }
}

#[tokio::test]
async fn without_a_terminal_progress_is_lines_of_numbers() {
    let db = Sql::sqlite().await;
    fill(&db, 10).await;
    let program = Program::on(&db);
    let run = program.run(&["migrate", "--batch-size", "3"]).expect(0);
    let lines: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("migrated ")).collect();
    assert!(lines.len() >= 2, "{}", run.stderr);
    assert_eq!(lines.last(), Some(&"migrated 10/10 tokens"));
    assert!(lines.iter().all(|line| line.ends_with("/10 tokens")), "{lines:?}");
    program.run(&["verify"]).expect(0).says(&["verified 10/10 tokens"]);
    program.run(&["verify", "--sample", "1"]).expect(0).says(&["verified 1/1 tokens"]);
    program.run(&["verify", "--sample", "50"]).expect(0).says(&["verified 10/10 tokens"]);
}

/// The lines of standard error that name a value that does not open.
fn lines_with<'a>(run: &'a Run, id: &str) -> Vec<&'a str> {
    run.stderr.lines().filter(|line| line.contains(id)).collect()
}

#[tokio::test]
async fn a_token_that_does_not_open_is_one_line_and_a_second_one_for_who_asks_for_the_audit_trail() {
    let db = Sql::sqlite().await;
    fill(&db, 1).await;
    insert_vod(&db, "broken", 2, "not an envelope", "").await;
    let program = Program::on(&db);
    for (level, lines) in [("error", 1), ("warn", 1), ("info", 2), ("trace", 2)] {
        let run = program.run(&["verify", "--log-level", level, "--format", "json"]);
        let report = run.document();
        let told = lines_with(&run, report["failures"][0]["correlation_id"].as_str().unwrap());
        assert_eq!(told.len(), lines, "{level}: {}", run.stderr);
        assert!(told[0].contains("ERROR") && told[0].contains("token does not open"), "{told:?}");
        assert_eq!(run.stderr.contains(" audit: "), lines == 2, "{level}: {}", run.stderr);
    }
}

#[test]
fn a_secret_that_does_not_open_is_found_in_the_audit_trail_by_the_id_of_the_error() {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY);
    let local = ["--source", "local:store.db"];
    program.secrets(&[&local[..], &["set", "a"]].concat(), "the value").expect(0);
    // Another keyring: values sealed under the first do not open.
    program.script("rm store.db.keyring*").expect(0);
    program.set("KMS_KEY_ID", "keyring:store.db.keyring").run(&["keyring", "init"]).expect(0);
    for (level, lines) in [("warn", 1), ("info", 2)] {
        let get = [&local[..], &["get", "a", "--log-level", level]].concat();
        let run = program.secrets(&get, "").expect(3);
        let (_, id) = run.stderr.split_once("(correlation id ").unwrap();
        let told = lines_with(&run, &id[..16]);
        assert_eq!(told.len(), lines, "{level}: {}", run.stderr);
        assert_eq!(told[0].contains("event=\"decryption_failed\""), lines == 2, "{told:?}");
    }
    let reseal = program.secrets(&[&local[..], &["reseal", "--format", "json"]].concat(), "").expect(5);
    assert_eq!(reseal.document()["error"]["class"], "untrusted");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let db = Sql::sqlite().await;
    fill(&db, 1).await;
    let program = Program::on(&db);
    let mut child = program.spawn(&["status"]);
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
