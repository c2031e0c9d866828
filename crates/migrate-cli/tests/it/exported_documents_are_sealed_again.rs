//! `reseal-json`: every value of an export is sealed again for its own document, and opens for no other.

use std::fs;

use serde_json::{Value, json};

use crate::support::{MASTER_KEY, Program};

/// The old service's data key, as its export has it.
const OLD_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

struct OldRing(std::sync::Arc<envelope_core::DataKey>);

impl envelope_core::format::node_json::DataKeyRing for OldRing {
    fn data_key(&self, id: &str) -> Option<std::sync::Arc<envelope_core::DataKey>> {
        (id == "old-1").then(|| self.0.clone())
    }

    fn active(&self) -> (String, std::sync::Arc<envelope_core::DataKey>) {
        ("old-1".into(), self.0.clone())
    }
}

/// The envelope that the Node service's `encryptData` makes of a document's text.
fn old_envelope(id: &str, text: &str) -> String {
    let ring = OldRing(std::sync::Arc::new(OLD_KEY.parse().unwrap()));
    envelope_core::format::node_json::seal_unlabelled(&ring, Some(id.as_bytes()), text.as_bytes(), 17)
}

fn id(n: usize) -> String {
    format!("{n:024x}")
}

/// A program with a keyring that has the old key, and a newer active one.
fn program() -> Program {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY).set("KMS_KEY_ID", "keyring:keys.json");
    program.run(&["keyring", "init"]).expect(0);
    let old = json!({ "keys": [{ "id": "old-1", "key": OLD_KEY, "isActive": true }] });
    fs::write(program.path().join("old.json"), old.to_string()).unwrap();
    program.run(&["keyring", "import", "old.json"]).expect(0);
    program.run(&["keyring", "rotate"]).expect(0);
    program
}

const RESEAL: [&str; 5] = ["reseal-json", "--field", "mnemonicEnvelope", "--aad", "_id"];

#[track_caller]
fn reseal(program: &Program, more: &[&str], input: &str, code: i32) -> (Vec<String>, Value) {
    // From a file: the program writes while it reads, and the test would have to do both at once.
    fs::write(program.path().join("in.json"), input).unwrap();
    let arguments = [&RESEAL, more, &["in.json", "--format", "json"]].concat();
    let run = program.secrets(&arguments, "").expect(code);
    let report = serde_json::from_str(&run.stderr).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
    (run.stdout.lines().map(ToOwned::to_owned).collect(), report)
}

#[test]
fn ten_thousand_documents_are_each_bound_to_their_own_id() {
    let program = program();
    let line = |n: usize| {
        let envelope = old_envelope(&id(n), &format!("canary {n}"));
        // Half of them as a subdocument, half as text.
        let field = if n.is_multiple_of(2) { envelope } else { Value::from(envelope).to_string() };
        format!("{{\"_id\":{{\"$oid\":\"{}\"}}, \"n\": {n}.0,\"mnemonicEnvelope\":{field} }}\n", id(n))
    };
    let export: String = (0..10_000).map(line).collect();
    fs::write(program.path().join("export.json"), &export).unwrap();
    let run = program
        .secrets(&[&RESEAL[..], &["export.json", "--output", "new.json", "--format", "json"]].concat(), "");
    let report = run.expect(0).document();
    assert_eq!((&report["documents"], &report["resealed"]), (&json!(10_000), &json!(10_000)));
    let new = fs::read_to_string(program.path().join("new.json")).unwrap();
    assert!(!new.contains("canary") && !new.contains("old-1"));
    let lines: Vec<&str> = new.lines().collect();
    for (old, new) in export.lines().zip(&lines) {
        let (start, end) = (old.find("\"mnemonicEnvelope\"").unwrap(), " }");
        assert_eq!(old[..start], new[..start], "everything else stays");
        assert!(new.ends_with(end));
    }
    // Again: nothing to do, and the same to the byte.
    let (again, report) = reseal(&program, &[], &new, 0);
    assert_eq!((&report["already"], &report["resealed"]), (&json!(10_000), &json!(0)));
    assert_eq!(again, lines);
    // Each value under the next document's id: none opens, and none is changed.
    let value = |line: &str| line[line.find("\"mnemonicEnvelope\"").unwrap()..].to_owned();
    let swapped: String = (0..10_000)
        .map(|n| {
            let next = lines[(n + 1) % 10_000];
            format!("{}{}\n", &next[..next.find("\"mnemonicEnvelope\"").unwrap()], value(lines[n]))
        })
        .collect();
    let (kept, report) = reseal(&program, &[], &swapped, 3);
    assert_eq!((&report["failed"], &report["resealed"]), (&json!(10_000), &json!(0)));
    assert_eq!(kept.join("\n") + "\n", swapped);
    // Back to the form of the old service, whose reader opens them.
    let (back, report) = reseal(&program, &["--to", "node"], &new, 0);
    assert_eq!(report["resealed"], json!(10_000));
    assert!(back[0].contains("\"v\":1"), "{}", back[0]);
}

#[test]
fn what_does_not_open_stays_as_it_is_and_is_listed() {
    let program = program();
    let good = format!("{{\"_id\":\"a\",\"mnemonicEnvelope\":{}}}", old_envelope("a", "canary 1"));
    let copied = format!("{{\"_id\":\"b\",\"mnemonicEnvelope\":{}}}", old_envelope("a", "canary 1"));
    let unknown = good.replace("old-1", "old-2");
    let without = "{\"_id\":\"c\"}";
    let no_id = format!("{{\"mnemonicEnvelope\":{}}}", old_envelope("a", "canary 1"));
    let export = [&good, &copied, &unknown, without, &no_id, "not json", ""].join("\n");
    let piped = program.secrets(&RESEAL, &export).expect(3);
    assert_eq!(piped.stdout.lines().count(), 6, "standard input will do");
    let (lines, report) = reseal(&program, &[], &export, 3);
    assert_eq!(lines[1..], [&copied, &unknown, without, &no_id, "not json"]);
    assert_ne!(lines[0], good);
    let failed: Vec<(u64, &str)> = report["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failed| (failed["line"].as_u64().unwrap(), failed["class"].as_str().unwrap()))
        .collect();
    let expected =
        [(2, "context_mismatch_or_corrupt"), (3, "unknown_data_key"), (5, "malformed"), (6, "malformed")];
    assert_eq!(failed, expected);
    assert_eq!((&report["without"], &report["resealed"]), (&json!(1), &json!(1)));
    assert!(!report.to_string().contains("canary"));
}

#[test]
fn other_files_and_missing_keys_are_refused_before_anything_is_written() {
    let mut program = program();
    let array = program.secrets(&RESEAL, "[{\"_id\":\"a\"}]").expect(2);
    array.says(&["--jsonArray"]);
    fs::write(program.path().join("in.json"), "{\"_id\":\"a\"}\n").unwrap();
    let refused = [&RESEAL[..], &["in.json", "--output", "in.json", "--overwrite"]].concat();
    program.secrets(&refused, "").expect(2);
    assert_eq!(fs::read(program.path().join("in.json")).unwrap(), b"{\"_id\":\"a\"}\n");
    program.unset("KMS_KEY_ID");
    program.secrets(&RESEAL, "{}").expect(2).says(&["KMS_KEY_ID"]);
}
