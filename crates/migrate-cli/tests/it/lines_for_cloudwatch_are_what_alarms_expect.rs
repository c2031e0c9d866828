//! With `EMF_METRICS`, both programs print lines for CloudWatch to standard error, of metrics that the alarms know.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use test_support::emf::{Line, expected};

use crate::support::{MASTER_KEY, Program, Run, Sql, fill};

/// The lines on standard error, each of whose metrics has to be one that is listed, with its unit.
fn lines(run: &Run) -> Vec<Line> {
    let known = expected();
    let lines: Vec<Line> = run.stderr.lines().filter(|line| line.starts_with('{')).map(Line::parse).collect();
    for line in &lines {
        assert_eq!(line.namespace, known.namespace);
        for (name, (unit, _)) in &line.metrics {
            assert_eq!(known.metrics.get(name), Some(unit), "{name}");
        }
    }
    lines
}

fn total(lines: &[Line], name: &str) -> u64 {
    lines.iter().map(|line| line.metrics[name].1.as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_migrate_tokens() {
    let db = Sql::sqlite().await;
    fill(&db, 4).await;
    let mut program = Program::on(&db);
    program.set("EMF_METRICS", "1m").set("ENVIRONMENT", "prod");
    let migrated = program.run(&["migrate", "--format", "json"]).expect(0);
    let verified = program.run(&["verify"]).expect(0);

    assert_eq!(migrated.document()["migrated"], 4, "standard output is the document and nothing else");
    let mut printed = BTreeMap::new();
    for run in [&migrated, &verified] {
        let [line] = &lines(run)[..] else { panic!("one line, at the end: {run:?}") };
        let dimensions = [("Application", "vod-tender"), ("Environment", "production")];
        assert_eq!(line.dimensions, dimensions.map(|(name, value)| (name.into(), value.into())).into());
        printed.extend(line.metrics.iter().map(|(name, (unit, _))| (name.clone(), unit.clone())));
    }
    assert_eq!(printed, expected().metrics, "written and read values have every metric");
    assert_eq!(total(&lines(&verified), "KMSCacheMisses"), 8);

    program.set("EMF_DIMENSIONS", "Application=pulseplan,Service=tokens");
    let verified = program.run(&["verify"]).expect(0);
    let dimensions = [("Application", "pulseplan"), ("Service", "tokens")];
    for line in lines(&verified) {
        assert_eq!(line.dimensions, dimensions.map(|(name, value)| (name.into(), value.into())).into());
    }
    let wrong = program.set("EMF_DIMENSIONS", "Application").run(&["verify"]).expect(2);
    wrong.says(&["EMF_DIMENSIONS", "is not name=value"]);
    program.set("EMF_DIMENSIONS", "");

    let wrong = program.set("EMF_METRICS", "often").run(&["migrate"]).expect(2);
    wrong.says(&["EMF_METRICS", "must be off, or a duration such as 1m"]);
    let silent = program.set("EMF_METRICS", "off").run(&["verify"]).expect(0);
    assert_eq!(lines(&silent), []);
}

#[test]
fn of_manage_secrets() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "ONE=1\nTWO=2\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manage-secrets"));
        command.current_dir(directory.path()).env_clear().env("KMS_MASTER_KEY", MASTER_KEY);
        command.env("EMF_METRICS", "1m").args(["--source", "dotenv:.env"]).args(arguments);
        Run::of(arguments, command.output().unwrap()).expect(0)
    };
    for (arguments, reads) in
        [(&["get", "ONE", "--format", "json"][..], 1), (&["list"], 0), (&["exec", "--", "/bin/true"], 2)]
    {
        let ran = run(arguments);
        assert_eq!(total(&lines(&ran), "SecretReads"), reads, "{arguments:?}: {ran:?}");
    }
    let document: Value = run(&["get", "ONE", "--format", "json"]).document();
    assert_eq!(document["name"], "ONE");
}
