//! `scan`: exit codes, reports and the pre-commit hook.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::place::{Place, count};

const SECRET: &str = "DB_PASSWORD=canary-hunter2\n";

fn git(place: &Place, arguments: &[&str]) -> Output {
    let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"];
    let output =
        Command::new("git").args(identity).args(arguments).current_dir(place.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

#[test]
fn exit_codes_tell_findings_unread_named_files_and_clean_ones_apart() {
    let place = Place::new(None);
    fs::write(place.path().join("clean.env"), "PORT=1\n").unwrap();
    fs::write(place.path().join("leak.env"), SECRET).unwrap();
    fs::write(place.path().join("picture.png"), b"\x89PNG\0\0\0\x01\0\x02\0\0").unwrap();
    let clean = place.json(&["scan", "clean.env"], 0);
    assert_eq!((count(&clean, "findings"), count(&clean, "unread")), (0, 0));
    let unread = place.json(&["scan", "clean.env", "missing.env"], 3);
    assert_eq!(
        (&unread["unread"][0]["path"], &unread["unread"][0]["reason"]),
        (&"missing.env".into(), &"does not exist".into())
    );
    assert_eq!(count(&place.json(&["scan", "leak.env", "missing.env"], 4), "unread"), 1);
    let all = place.json(&["scan", "."], 4);
    assert_eq!((count(&all, "findings"), count(&all, "unread")), (1, 1), "{all}");
    assert_eq!(all["unread"][0]["named"], false);
    let shown = String::from_utf8(place.run(&["scan", "."], "").stdout).unwrap();
    assert!(shown.contains("not read: ./picture.png: not text") && !shown.contains("canary"), "{shown}");
}

#[test]
fn sarif_names_rule_place_and_what_was_not_read() {
    let place = Place::new(None);
    fs::write(place.path().join("a b.env"), format!("\n{SECRET}")).unwrap();
    let output = place.run(&["scan", "a b.env", "missing", "--format", "sarif"], "");
    assert_eq!(output.status.code(), Some(4));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["version"], "2.1.0");
    let run = &document["runs"][0];
    let result = &run["results"][0];
    assert_eq!(
        (&result["ruleId"], &run["tool"]["driver"]["rules"][0]["id"]),
        (&"secret-by-name".into(), &"secret-by-name".into())
    );
    let place_of = &result["locations"][0]["physicalLocation"];
    assert_eq!(
        (&place_of["artifactLocation"]["uri"], &place_of["region"]["startLine"]),
        (&"a%20b.env".into(), &2.into())
    );
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    assert!(!document.to_string().contains("canary"));
    assert_eq!(place.run(&["list", "--format", "sarif"], "").status.code(), Some(2), "only scans report so");
}

#[test]
fn a_commit_hook_sees_what_is_staged_and_not_what_is_on_the_disk() {
    let place = Place::new(None);
    git(&place, &["init", "-q"]);
    assert_eq!(place.run(&["scan", "--staged"], "").status.code(), Some(0), "nothing is staged");
    fs::create_dir(place.path().join("sub")).unwrap();
    fs::write(place.path().join("sub/leak.env"), SECRET).unwrap();
    fs::write(place.path().join("picture.png"), b"\x89PNG\0\0\0\x01\0\x02\0\0").unwrap();
    git(&place, &["add", "."]);
    fs::write(place.path().join("sub/leak.env"), "DB_PASSWORD=\n").unwrap();
    let report = place.json(&["scan", "--staged"], 4);
    assert_eq!(report["findings"][0]["path"], "sub/leak.env", "{report}");
    assert_eq!((count(&report, "unread"), &report["files"]), (0, &2.into()), "a staged file counts as named");
    git(&place, &["add", "."]);
    place.json(&["scan", "--staged"], 0);
    git(&place, &["commit", "-qm", "x"]);
    fs::write(place.path().join("not-staged.env"), SECRET).unwrap();
    assert_eq!(place.json(&["scan", "--staged"], 0)["files"], 0);
    let elsewhere = Place::new(None);
    let refused =
        elsewhere.command(&["scan", "--staged"]).env("GIT_CEILING_DIRECTORIES", "/").output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

#[test]
fn a_file_that_is_no_text_passes_no_hook_and_no_scan_with_its_secret() {
    let place = Place::new(None);
    git(&place, &["init", "-q"]);
    let zeros = [&[0; 9000][..], b"\nA=1\0\n", SECRET.as_bytes()].concat();
    for name in [".env", "env-prod", ".flaskenv"] {
        fs::write(place.path().join(name), &zeros).unwrap();
    }
    fs::write(place.path().join("data.bin"), &zeros).unwrap();
    let report = place.json(&["scan", "."], 4);
    assert_eq!((count(&report, "findings"), count(&report, "unread")), (3, 1), "{report}");
    git(&place, &["add", "."]);
    let report = place.json(&["scan", "--staged"], 4);
    assert_eq!((count(&report, "findings"), count(&report, "unread")), (3, 0), "{report}");
}

#[test]
fn what_is_staged_is_found_from_every_directory_and_under_every_name() {
    let place = Place::new(None);
    git(&place, &["init", "-q"]);
    git(&place, &["config", "diff.relative", "true"]);
    fs::create_dir_all(place.path().join("sub/below")).unwrap();
    // A name that could be read as the number of a stage, and the file that it would then name.
    for name in [".env", "0:.env", "1:x.env", "sub/.env"] {
        let text = if name == ".env" { "DB_PASSWORD=\n" } else { SECRET };
        fs::write(place.path().join(name), text).unwrap();
    }
    git(&place, &["add", "."]);
    for (from, up) in [("", ""), ("sub", "../"), ("sub/below", "../../")] {
        let mut command = place.command(&["scan", "--staged", "--format", "json"]);
        let output = command.current_dir(place.path().join(from)).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let paths: Vec<_> =
            report["findings"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
        assert_eq!(paths, ["0:.env", "1:x.env", "sub/.env"].map(|path| format!("{up}{path}")), "{from}");
        let mut command =
            place.command(&["scan", "--staged", "--baseline", &format!("{up}b.json"), "--accept"]);
        assert_eq!(command.current_dir(place.path().join(from)).status().unwrap().code(), Some(0));
        let report = place.json(&["scan", "--staged", "--baseline", "b.json"], 0);
        assert_eq!(report["accepted"], 3, "{from}");
        fs::remove_file(place.path().join("b.json")).unwrap();
    }
}

#[test]
fn a_baseline_holds_for_every_path_that_leads_to_the_file() {
    let place = Place::new(None);
    fs::create_dir(place.path().join("config")).unwrap();
    fs::write(place.path().join("config/.env"), SECRET).unwrap();
    place.json(&["scan", ".", "--baseline", "config/baseline.json", "--accept"], 0);
    let absolute = place.path().join("config/.env");
    for path in [".", "config", "config/.env", "./config/../config/.env", absolute.to_str().unwrap()] {
        let report = place.json(&["scan", path, "--baseline", "config/baseline.json"], 0);
        assert_eq!(report["accepted"], 1, "{path}");
    }
}
