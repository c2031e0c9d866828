//! No finding hides another: not in the same line, not when it was accepted, and not in a file that is no text.

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use secrets_cache::scan::{Baseline, ScanReport, Scanner};

/// Put together here, so that no scanner takes this file for a leak.
fn github(from: usize) -> String {
    format!("ghp_{}", &"T4kQz9Lm2Xw8Rv5Bn7Yc3Hd6Jf1Gs0PaEuWiT4kQz9Lm2Xw8"[from..from + 36])
}

fn names(report: &ScanReport) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.name.as_deref().unwrap_or(finding.rule)).collect()
}

fn accepted(directory: &Path, name: &str, text: &str) -> Baseline {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    let file = directory.join("baseline.json");
    let mut baseline = Baseline::at(&file);
    let report = Scanner::new(baseline.clone()).scan([&path]);
    baseline.accept(&report.findings);
    baseline.save(&file).unwrap();
    Baseline::load(&file).unwrap()
}

#[test]
fn each_secret_of_a_line_is_found_and_has_a_fingerprint_of_its_own() {
    let token = github(0);
    for (name, text, expected) in [
        ("a.json", format!(r#"{{"a_password": "hunter2-Xy9", "b": "{token}", "c_token": "abc-1234x"}}"#), 3),
        ("a.yaml", format!("env: {{A: {token}, B_PASSWORD: hunter2-Xy9, C_TOKEN: abc-1234x}}"), 3),
        ("a.sh", format!("A={token} B_PASSWORD=hunter2-Xy9 C_TOKEN='abc-1234x' ./run"), 3),
        (".bash_history", format!("export B_PASSWORD=hunter2-Xy9 A={token} C_TOKEN=abc-1234x"), 3),
        ("a.py", format!("f(a=\"{token}\", b_password=\"hunter2-Xy9\", c_token=\"abc-1234x\")"), 3),
        (
            "a.json",
            format!(r#"[{{"name":"A","value":"{token}"}},{{"name":"B_PASSWORD","value":"hunter2-Xy9"}}]"#),
            2,
        ),
        ("a.yaml", r#"{a_password: "hunter2-Xy9", list: [{name: B_TOKEN, value: abc-1234x}]}"#.to_owned(), 2),
        ("a.yaml", format!("a_password: hunter2-Xy9 # {token}"), 2),
        ("a.env", format!("A_PASSWORD=hunter2 # {token}"), 2),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        let report = Scanner::default().scan([&path]);
        let mut fingerprints: Vec<&str> = report.findings.iter().map(|f| f.fingerprint.as_str()).collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        assert_eq!((report.findings.len(), fingerprints.len()), (expected, expected), "{text}: {report:?}");
        assert!(report.findings.iter().all(|finding| finding.line == 1));
    }
}

#[test]
fn a_secret_that_is_added_to_an_accepted_line_is_found() {
    let token = github(0);
    for (name, before, after, expected) in [
        (
            "a.json",
            r#"{"a_password": "hunter2-Xy9"}"#.to_owned(),
            r#"{"a_password": "hunter2-Xy9", "b_token": "abc-1234x"}"#.to_owned(),
            "b_token",
        ),
        (
            "a.json",
            format!("{{\"a\": \"{token}\"}}"),
            format!("{{\"a\": \"{token}\", \"b_token\": \"abc-1234x\"}}"),
            "b_token",
        ),
        (
            "a.json",
            r#"[{"a_password": "hunter2-Xy9"}]"#.to_owned(),
            r#"[{"a_password": "hunter2-Xy9"}, {"name": "B_TOKEN", "value": "abc-1234x"}]"#.to_owned(),
            "B_TOKEN",
        ),
        (
            "a.yaml",
            "environment: {A_PASSWORD: hunter2-Xy9}".to_owned(),
            "environment: {B_TOKEN: abc-1234x, A_PASSWORD: hunter2-Xy9}".to_owned(),
            "B_TOKEN",
        ),
        (
            "a.sh",
            "A_PASSWORD=hunter2-Xy9 run".to_owned(),
            "A_PASSWORD=hunter2-Xy9 B_TOKEN=abc-1234x run".to_owned(),
            "B_TOKEN",
        ),
        (
            "a.env",
            "A_PASSWORD=hunter2-Xy9".to_owned(),
            "A_PASSWORD=hunter2-Xy9 # B_TOKEN=abc-1234x".to_owned(),
            "B_TOKEN",
        ),
        ("a.env", format!("A={token}"), format!("A={token} # B_TOKEN=abc-1234x"), "B_TOKEN"),
        (
            "a.env",
            "A_PASSWORD=\"hunter2\nx\"".to_owned(),
            "A_PASSWORD=\"hunter2\ny\"".to_owned(),
            "A_PASSWORD",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let scanner = Scanner::new(accepted(directory.path(), name, &before));
        let path = directory.path().join(name);
        let report = scanner.scan([&path]);
        assert_eq!((report.findings.len(), report.accepted), (0, 1), "{before}");
        std::fs::write(&path, &after).unwrap();
        assert_eq!(names(&scanner.scan([&path])), [expected], "{after}");
    }
}

#[test]
fn a_baseline_of_an_earlier_version_still_accepts_what_it_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("baseline.json");
    let earlier = r#"{"version": 1, "salt": "000102030405060708090a0b0c0d0e0f", "accepted": [
        {"path": "a.env", "rule": "secret-by-name", "name": "DB_PASSWORD", "fingerprint": "FINGERPRINT"}]}"#;
    let hash = "63d84b4c4cd8f8f9c2f704ae674d36e8";
    std::fs::write(&file, earlier.replace("FINGERPRINT", hash)).unwrap();
    let path = directory.path().join("a.env");
    std::fs::write(&path, "DB_PASSWORD=hunter2-Xy9\nDB_TOKEN=abc-1234x\n").unwrap();
    let report = Scanner::new(Baseline::load(&file).unwrap()).scan([&path]);
    assert_eq!((names(&report), report.accepted), (vec!["DB_TOKEN"], 1));
}

#[test]
fn an_environment_that_is_no_text_is_read_all_the_same() {
    let setting = b"DB_PASSWORD=hunter2\n";
    let texts: [Vec<u8>; 5] = [
        [b"A=1\0\n", &setting[..]].concat(),
        [b"A=1\0", &setting[..]].concat(),
        [&[0; 9000][..], b"\n", setting].concat(),
        [b"\xff\xfb\x90\x80\0\0\0\0\0\0\0\0\0\0\0\0\n", &setting[..]].concat(),
        [setting, &[0; 9000][..]].concat(),
    ];
    for text in texts {
        for name in [".env", "prod.env", "env-prod", ".flaskenv", "default.environment"] {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join(name), &text).unwrap();
            let report = Scanner::default().scan([directory.path()]);
            assert_eq!((names(&report), report.unread.len()), (vec!["DB_PASSWORD"], 0), "{name}: {report:?}");
            let mut staged = ScanReport::default();
            Scanner::default().scan_content(name.as_ref(), &text, &mut staged);
            assert_eq!((names(&staged), staged.unread.len()), (vec!["DB_PASSWORD"], 0), "{name}: {staged:?}");
        }
    }
}

#[test]
fn long_lines_of_brackets_quotes_and_names_are_read_to_their_end() {
    let pieces = [
        "{",
        "}",
        "(",
        "<a ",
        "[",
        "\"",
        "'",
        "\\\"",
        "a=",
        "password=",
        "password={",
        "a=$(",
        "\"a\":\"",
        "{\"a\":",
        "value=",
        "value={",
        "name=a,",
        "{name:a,value:b}",
        "password='",
        "<password>",
        "<key>a</key>",
        "${a:-",
        "password:",
        " ",
        "\n",
        "password:\n",
        "password: |\n",
        "PASSWORD=\"\n",
        "password(\"",
        "a||",
        ",",
        "-",
        "- ",
        "x",
        "password=b,",
    ];
    let directory = tempfile::tempdir().unwrap();
    for name in [".env", "a.json"] {
        for piece in pieces {
            let path = directory.path().join(name);
            let mut text = piece.repeat((16 << 10) / piece.len());
            text.push_str("\n\n'\"`\nx)}>\n\"LAST_TOKEN\" = \"abc-1234x\"\nLAST_TOKEN=abc-1234x\n");
            std::fs::write(&path, text).unwrap();
            let report = Scanner::default().scan([&path]);
            assert!(names(&report).contains(&"LAST_TOKEN"), "{name}: {piece}");
        }
    }
}

/// Pieces that parsers of lines could trip over.
const PIECES: [&str; 44] = [
    "password",
    "DB_PASSWORD",
    "api-key",
    "name",
    "value",
    "ParameterKey",
    "ParameterValue",
    "\"",
    "'",
    "\"\"\"",
    "`",
    "\\",
    "\\\"",
    "\\u00",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "<",
    "</",
    "/>",
    "<password>",
    ": ",
    "=",
    ":=",
    " = ",
    ",",
    "- ",
    "#",
    "|",
    ">-",
    "\n",
    "\r\n",
    "\n  ",
    "é",
    "🔑",
    "\u{2028}",
    "\0",
    "hunter2-Xy9zQ",
    "${X:-",
    "--set ",
    "export ",
];

#[test]
fn no_text_ends_a_scan_before_its_last_line() {
    let mut runner = TestRunner::new(Config { cases: 3_000, ..Config::default() });
    let names = [
        ".env",
        "a.json",
        "a.yaml",
        "a.toml",
        "a.tf",
        "a.xml",
        "a.py",
        "a.sh",
        "a.service",
        "Dockerfile",
        "Makefile",
        "a.txt",
        ".netrc",
    ];
    let text = proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..40);
    let inputs = (text, proptest::sample::select(names.to_vec()));
    let outcome = runner.run(&inputs, |(pieces, file)| {
        // In every kind of file, nothing but a token is found in a line of its own, whatever was before it.
        let token = github(0);
        let text = format!("{}\n\n{token}\n", pieces.concat());
        let mut report = ScanReport::default();
        Scanner::default().scan_content(Path::new(file), text.as_bytes(), &mut report);
        prop_assert!(report.findings.iter().any(|finding| finding.rule == "github-token"), "{text:?}");
        prop_assert!(!format!("{report:?}").contains("hunter2"), "{text:?}");
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn every_setting_of_a_text_between_quotes_is_found_however_many_and_however_long_they_are() {
    let others: String = (0..20).map(|number| format!("-e A{number}=1 ")).collect();
    let padding = "x".repeat(2_000);
    for (name, text) in [
        (".env", format!("DOCKER_ARGS=\"{others}-e DB_PASSWORD=hunter2-Xy9\"")),
        ("a.yaml", format!("args: \"{others}-e DB_PASSWORD=hunter2-Xy9\"")),
        ("a.json", format!(r#"{{"user_data": "DB_PASSWORD=hunter2-Xy9\nA={padding}\n"}}"#)),
        ("a.sh", format!("sh -c \"DB_PASSWORD=hunter2-Xy9 ./run {padding}\"")),
        ("a.sh", format!("sh -c \"DB_PASSWORD=hunter2-Xy9 ./run {}\"", "é".repeat(2_000))),
    ] {
        let mut report = ScanReport::default();
        Scanner::default().scan_content(Path::new(name), text.as_bytes(), &mut report);
        assert!(names(&report).contains(&"DB_PASSWORD"), "{text}: {report:?}");
    }
}
