//! One JSON document on standard output for machines; tables and lines for people; logs and progress on standard error.

use crate::support::{Program, Sql, fill};

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
        assert!(!human.stdout.contains('\u{1b}'), "no colours where nobody looks");
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
