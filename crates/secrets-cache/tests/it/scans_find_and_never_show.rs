//! A scan finds what was left in files, by shape, name or randomness, and shows none of it.

use std::path::Path;

use secrets_cache::scan::{Baseline, ScanError, Scanner};

/// Put together here, so that no scanner takes this file for a leak.
fn tokens() -> Vec<(&'static str, String)> {
    let random = "T4kQz9Lm2Xw8Rv5Bn7Yc3Hd6Jf1Gs0PaEuWi";
    vec![
        ("aws-access-key", format!("AKIA{}", "Q3EXAMPLEKEYVALU")),
        ("aws-secret-key", format!("wJalrXUtnFEMI/K7MDENG/{}", "bPxRfiCYzzzzKEYabc")),
        ("github-token", format!("ghp_{random}")),
        ("github-token", format!("github_pat_{random}_{random}")),
        ("slack-token", format!("xoxb-12345-{random}")),
        ("google-token", format!("ya29.{random}")),
        ("stripe-key", format!("sk_live_{random}")),
        ("json-web-token", format!("eyJ{random}.eyJ{random}.{random}")),
        ("password-in-url", "postgres://app:canary-pw@db/x".into()),
        ("high-entropy", "q8Zr2LxV9mTn4KsWb7Yc".into()),
    ]
}

fn write(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn every_shape_by_its_rule_and_masked() {
    for (rule, token) in tokens() {
        let directory = tempfile::tempdir().unwrap();
        let setting = if rule == "aws-secret-key" { "AWS_SECRET_ACCESS_KEY" } else { "SETTING" };
        let path = write(directory.path(), ".env", &format!("# x\n{setting}={token}\n"));
        let report = Scanner::default().scan([&path]).unwrap();
        assert_eq!(report.findings.len(), 1, "{rule}: {:?}", report.findings);
        let finding = &report.findings[0];
        assert_eq!((finding.rule, finding.line, finding.name.as_deref()), (rule, 2, Some(setting)));
        let told = format!("{finding} {finding:?}");
        assert!(!told.contains(&token) && !told.contains("canary"), "{told}");
        assert!(!told.contains("Qz9Lm2"), "{told}");
    }
}

#[test]
fn names_and_private_keys_tell() {
    let directory = tempfile::tempdir().unwrap();
    let text =
        "DB_PASSWORD=hunter2\nexport API_KEY=\"abc\"\nKEY=\"-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n\"\n";
    let path = write(directory.path(), "service.env", text);
    let found: Vec<_> = Scanner::default().scan([path]).unwrap().findings.iter().map(|f| f.rule).collect();
    assert_eq!(found, ["secret-by-name", "secret-by-name", "private-key"]);
}

#[test]
fn what_is_no_secret_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let text = "PORT=8080\nDEBUG=true\nLOG_LEVEL=info\nDATABASE_HOST=db.internal.example.com\nPASSWORD=\nTOKEN=${TOKEN}\n\
                SECRET=<your secret>\nAPI_KEY=changeme\nURL=https://example.com/a/b\nTOKEN_TTL=3600\n\
                AWS_SECRET=arn:aws:secretsmanager:eu-west-1:1:secret:x\nKEY_FILE=/etc/keys/service.pem\n\
                GREETING=hello world\n# PASSWORD=old\n";
    let path = write(directory.path(), ".env", text);
    let report = Scanner::default().scan([path]).unwrap();
    let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn directories_are_searched_for_what_may_hold_settings() {
    let directory = tempfile::tempdir().unwrap();
    let token = &tokens()[2].1;
    for file in
        [".env", "a/.env.production", "a/b/app.yaml", "node_modules/x/.env", ".git/config.json", "main.rs"]
    {
        write(directory.path(), file, &format!("X={token}\n"));
    }
    write(directory.path(), "a/values.yaml", "random: q8Zr2LxV9mTn4KsWb7Yc\n");
    let report = Scanner::default().scan([directory.path()]).unwrap();
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|f| f.path.strip_prefix(directory.path()).unwrap().to_str().unwrap())
        .collect();
    assert_eq!(found, [".env", "a/.env.production", "a/b/app.yaml"]);
    assert!(matches!(Scanner::default().scan(["/no/such/path"]), Err(ScanError::Io { .. })));
}

#[test]
fn a_baseline_accepts_a_value_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), ".env", "TOKEN=abcdef\n");
    let file = directory.path().join("baseline.json");
    let mut baseline = Baseline::default();
    let found = Scanner::new(baseline.clone()).scan([&path]).unwrap();
    baseline.accept(&found.findings);
    baseline.save(&file).unwrap();
    assert!(!std::fs::read_to_string(&file).unwrap().contains("abcdef"));
    let scanner = Scanner::new(Baseline::load(&file).unwrap());
    let report = scanner.scan([&path]).unwrap();
    assert_eq!((report.findings.len(), report.accepted), (0, 1));
    std::fs::write(&path, "TOKEN=abcdeg\n").unwrap();
    assert_eq!(scanner.scan([&path]).unwrap().findings.len(), 1);
    std::fs::write(&file, "{}").unwrap();
    assert!(matches!(Baseline::load(&file), Err(ScanError::Baseline { .. })));
}
