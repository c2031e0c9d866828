//! `verify --report FILE`: a line of JSON for each failure and finding, in a file that only its owner reads.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::support::{Program, Sql, create_vod_tender, fill};

const VERIFY: [&str; 3] = ["verify", "--report", "report.jsonl"];

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

on_each_database! {
    async fn each_line_is_a_value_of_the_report(db) {
        fill(&db, 4).await;
        let program = Program::on(&db);
        let file = program.path().join("report.jsonl");
        db.execute("UPDATE oauth_tokens SET access_token = 'kms:v2:broken' WHERE channel = 'channel-001'").await;
        let report = program.json(4, &VERIFY);
        let listed = |list: &str| report[list].as_array().unwrap().clone();
        let mut expected = [listed("failures"), listed("findings")].concat();
        let mut written = lines(&file);
        assert_eq!(written.len(), 5, "{written:?}");
        for lines in [&mut expected, &mut written] {
            lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("correlation_id")));
            lines.sort_by_key(ToString::to_string);
        }
        assert_eq!(written, expected, "the same values with the same words");
        for line in &written {
            for member in ["table", "row", "column", "class", "error"] {
                assert!(line[member].is_string(), "{member}: {line}");
            }
        }
        assert!(!fs::read_to_string(&file).unwrap().contains("access 0"), "no value is in it");
        assert_eq!(mode(&file), 0o600);
        // An earlier report is replaced, and its wider permissions are not kept.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        db.execute("DELETE FROM oauth_tokens").await;
        program.run(&VERIFY).expect(0);
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("", 0o600));
        program.run(&VERIFY).expect(0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_has_also_the_values_that_the_summary_has_no_room_for() {
    const ROWS: usize = 5_050;
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    db.execute("ALTER TABLE oauth_tokens ADD COLUMN encryption_method TEXT").await;
    db.execute(&format!(
        "INSERT INTO oauth_tokens (provider, channel, access_token, refresh_token) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
         SELECT 'twitch', 'c' || i, 'a' || i, 'r' || i FROM n"
    ))
    .await;
    let program = Program::on(&db);
    let report = program.json(4, &VERIFY);
    let written = lines(&program.path().join("report.jsonl"));
    assert_eq!(report["findings"].as_array().unwrap().len(), token_store::migration::MAX_LISTED);
    assert_eq!((report["plaintext"].as_u64(), written.len()), (Some(10_100), 2 * ROWS));
    assert!(written.iter().all(|line| line["class"] == "plaintext"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_cannot_be_written_is_refused_before_the_walk() {
    let db = Sql::sqlite().await;
    fill(&db, 2).await;
    let program = Program::on(&db);
    fs::write(program.path().join("notes.txt"), "mine\n").unwrap();
    let database = db.file().display().to_string();
    let before = fs::read(db.file()).unwrap();
    for (file, word) in [
        ("no/such/directory/report.jsonl", "no/such/directory/report.jsonl"),
        (".", "directory"),
        ("/dev/null", "/dev/null"),
        ("notes.txt", "is not a report"),
        ("keyring.json", "is not a report"),
        (&database, "is not a report"),
    ] {
        let run = program.run(&["verify", "--report", file]).expect(2);
        run.says(&[word, "--report"]);
        assert!(!run.stdout.contains("values"), "nothing was looked at: {}", run.stdout);
    }
    assert_eq!(fs::read_to_string(program.path().join("notes.txt")).unwrap(), "mine\n");
    assert!(fs::read(db.file()).unwrap() == before);
    let left = fs::read_dir(program.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains(".part")), "nothing is left over");
}
