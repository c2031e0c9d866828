//! A token is not shown as the name of a setting, nor in a path: not on the terminal, in a report or in a baseline.

use std::path::Path;

use secrets_cache::scan::{Baseline, ScanReport, Scanner};

const RANDOM: &str = "aB3dE5gH7jK9mN1pQ3sT5vX7zA2cE4gI6kM8";

/// Put together here, so that no scanner takes this file for a leak.
fn github() -> String {
    format!("ghp_{RANDOM}")
}

fn scan(directory: &Path, name: &str, text: &str) -> (ScanReport, String) {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    let file = directory.join("baseline.json");
    let mut baseline = Baseline::at(&file);
    let report = Scanner::new(baseline.clone()).scan([&path]);
    baseline.accept(&report.findings);
    baseline.save(&file).unwrap();
    let shown: String = report.findings.iter().map(|finding| format!("{finding}\n")).collect();
    let saved = std::fs::read_to_string(&file).unwrap();
    let again = Scanner::new(Baseline::load(&file).unwrap()).scan([&path]);
    assert_eq!((again.findings.len(), again.accepted), (0, report.findings.len() as u64), "{name}: {text}");
    let told = format!("{shown}{report:?}{saved}");
    (report, told)
}

#[test]
fn a_token_in_the_place_of_a_name_is_found_and_never_shown() {
    let (token, key) = (github(), format!("AKIA{}", "Q3Z7TLM2KPVALUJ4"));
    for (name, line) in [
        ("tokens.txt", format!("{token}:alice")),
        ("a.env", format!("{token}=1")),
        ("a.env", format!("export {token}=1")),
        ("a.yaml", format!("{token}: x")),
        ("a.yaml", format!("- {token}: x")),
        ("a.ini", format!("{key} = {token}")),
        ("a.ini", format!("{key}=wJalrXUtnFEMI/K7MDENG/{}", "bPxRfiCYzzzzKEYabc")),
        ("a.json", format!("{{\"{token}\": \"alice\", \"b\": \"{key}\"}}")),
        ("a.env", format!("A_{token}_password=hunter2-Xy9")),
        ("a.env", format!("{token}.old = {key}")),
        ("a.toml", format!("\"{token}\" = \"{key}\"")),
        ("a.py", format!("{token} = 'x'  # {key}")),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (report, told) = scan(directory.path(), name, &format!("{line}\n"));
        assert!(!report.findings.is_empty(), "{name}: {line}");
        assert!(!told.contains(&RANDOM[3..]) && !told.contains(&key[4..]), "{line}: {told}");
        assert!(!told.contains("K7MDENG"), "{line}: {told}");
    }
}

#[test]
fn a_random_text_in_the_place_of_a_name_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    for line in [format!("{RANDOM}_password=hunter2-Xy9"), format!("{RANDOM}=q8Zr2LxV9mTn4KsWb7Yc")] {
        let (report, told) = scan(directory.path(), "a.env", &line);
        assert_eq!(report.findings.len(), 1, "{line}");
        assert!(!told.contains(&RANDOM[3..]), "{told}");
    }
    let (report, _) = scan(directory.path(), "a.env", "AZURE_STORAGE_ACCOUNT_KEY_2=q8Zr2LxV9mTn4KsWb7Yc\n");
    assert_eq!(report.findings[0].name.as_deref(), Some("AZURE_STORAGE_ACCOUNT_KEY_2"));
}

#[test]
fn lines_of_a_private_key_are_no_settings_and_those_after_it_are() {
    let directory = tempfile::tempdir().unwrap();
    let lines = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\nTAILOFKEYabcPASSWORD==\n";
    let begin = concat!("-----BEGIN ", "PRIVATE KEY-----\n");
    for text in [
        format!("KEY={begin}{lines}-----END PRIVATE KEY-----\nDB_PASSWORD=hunter2\n"),
        format!("KEY={begin}Proc-Type: 4,ENCRYPTED\n\n{lines}DB_PASSWORD=hunter2\n"),
    ] {
        let (report, told) = scan(directory.path(), "a.env", &text);
        let found: Vec<_> = report.findings.iter().map(|f| (f.rule, f.name.as_deref())).collect();
        assert_eq!(found, [("private-key", Some("KEY")), ("secret-by-name", Some("DB_PASSWORD"))]);
        assert!(!told.contains("TAILOF"), "{told}");
    }
}

#[test]
fn a_token_in_a_path_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join(format!("of-{}", github()));
    std::fs::create_dir(&inner).unwrap();
    let (report, told) = scan(&inner, "a.env", "DB_PASSWORD=hunter2\n");
    assert_eq!(report.findings.len(), 1);
    assert!(report.findings[0].path.ends_with("of-gh***/a.env"), "{:?}", report.findings[0].path);
    assert!(!told.contains(&RANDOM[3..]), "{told}");
    let missing = Scanner::default().scan([inner.join(format!("{}.pem", github()))]);
    assert!(!format!("{missing:?}").contains(&RANDOM[3..]), "{missing:?}");
}
