//! A scan finds secrets that were left in files, by shape, name or randomness, and shows none of them.

use std::path::{Path, PathBuf};

use secrets_cache::scan::{Baseline, Reason, ScanError, ScanReport, Scanner};

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

fn write(directory: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn found_in(directory: &Path, report: &ScanReport) -> Vec<String> {
    let mut found: Vec<String> = report
        .findings
        .iter()
        .map(|f| f.path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

#[test]
fn every_shape_is_found_by_its_rule_and_masked() {
    for (rule, token) in tokens() {
        let directory = tempfile::tempdir().unwrap();
        let setting = if rule == "aws-secret-key" { "AWS_SECRET_ACCESS_KEY" } else { "SETTING" };
        let path = write(directory.path(), ".env", format!("# x\n{setting}={token}\n"));
        let report = Scanner::default().scan([&path]);
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
    let found: Vec<_> = Scanner::default().scan([path]).findings.iter().map(|f| f.rule).collect();
    assert_eq!(found, ["secret-by-name", "secret-by-name", "private-key"]);
}

#[test]
fn settings_in_any_of_the_usual_forms_are_found() {
    for line in [
        "DB_PASS=hunter2",
        "SMTP_PASS=hunter2",
        "REDIS_AUTH=foobared",
        "DB_PASSWORD=$ecret1",
        "DB_PASSWORD=pa$$word",
        "JWT_SECRET_V2=abcdef",
        "SECRET_KEY_BASE=abcdef",
        "URL=postgres://app:ab/cd@db/x",
        "URL=amqp://app:ab%2Fcd@mq:5672/%2f",
        "URL=redis://:hunter22@cache:6379/0",
        "URL=jdbc:postgresql://db/x?user=app&password=hunter22",
        "STORAGE=DefaultEndpointsProtocol=https;AccountName=a;AccountKey=q8Zr2LxV9mTn4KsWb7Ycq8Zr2LxV9mTn4KsWb7Yc==;EndpointSuffix=x",
        "SQL=Server=db;Database=x;User Id=app;Password=hunter22;",
        "SQL=Password=hunter22;Server=db",
        "DSN=host=db user=app password=hunter22 dbname=x",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = write(directory.path(), ".env", format!("{line}\n"));
        let report = Scanner::default().scan([path]);
        assert_eq!(report.findings.len(), 1, "{line}: {:?}", report.findings);
    }
}

#[test]
fn a_setting_is_found_wherever_a_shell_an_image_or_a_manifest_takes_one() {
    let shell = [
        "declare -x DB_PASSWORD=\"hunter2-Xy9\"",
        "typeset -gx DB_PASSWORD=hunter2-Xy9",
        "cd x && DB_PASSWORD=hunter2-Xy9 ./run",
        "sudo -E DB_PASSWORD=hunter2-Xy9 ./run",
        "true; DB_PASSWORD='hunter2-Xy9' ./run",
        "(DB_PASSWORD=hunter2-Xy9 ./run)",
        ": 1732800000:0;export DB_PASSWORD=hunter2-Xy9",
        "A=1 DB_PASSWORD=hunter2-Xy9 ./run",
        "docker run -e DB_PASSWORD=hunter2-Xy9 image",
    ];
    let docker = [
        "ENV DB_PASSWORD hunter2-Xy9",
        "ENV A=1 DB_PASSWORD=hunter2-Xy9",
        "ARG DB_PASSWORD=hunter2-Xy9",
        "RUN DB_PASSWORD=hunter2-Xy9 make",
    ];
    let manifest = [
        "- name: DB_PASSWORD\n  value: hunter2-Xy9",
        "- value: \"hunter2-Xy9\"\n  name: DB_PASSWORD",
        "- {name: DB_PASSWORD, value: hunter2-Xy9}",
    ];
    let json = [
        "[{\"name\": \"DB_PASSWORD\", \"value\": \"hunter2-Xy9\"}]",
        "{\n\"name\": \"DB_PASSWORD\",\n\"value\": \"hunter2-Xy9\"\n}",
    ];
    let files: [(&[&str], &[&str]); 5] = [
        (&[".zsh_history", ".env", "run.sh", ".bashrc"], &shell),
        (&["Dockerfile", "Dockerfile.prod", "prod.Dockerfile"], &docker),
        (&["pod.yaml"], &manifest),
        (&["task.json"], &json),
        (&["web.config"], &["<add key=\"DbPassword\" value=\"hunter2-Xy9\"/>"]),
    ];
    for (name, text) in
        files.iter().flat_map(|(names, texts)| names.iter().flat_map(|n| texts.iter().map(move |t| (n, t))))
    {
        let directory = tempfile::tempdir().unwrap();
        let path = write(directory.path(), name, format!("{text}\n"));
        let report = Scanner::default().scan([path]);
        assert_eq!(report.findings.len(), 1, "{name}: {text}: {:?}", report.findings);
        assert!(!format!("{report:?}").contains("hunter2"), "{report:?}");
    }
}

#[test]
fn a_setting_of_a_shell_that_another_command_or_variable_fills_is_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let text = "export DB_PASSWORD=$(cat /run/secrets/db)\nA=1 DB_PASSWORD=${DB_PASSWORD:-} ./run\n\
                DB_PASSWORD=\"$(pass show db)\" ./run\nTOKEN=${{ secrets.TOKEN }}\n";
    for name in ["run.sh", ".env", "Dockerfile", ".bash_history"] {
        let path = write(directory.path(), name, text);
        let report = Scanner::default().scan([path]);
        assert!(report.findings.is_empty(), "{name}: {report:?}");
    }
}

#[test]
fn files_that_hold_credentials_by_their_nature_are_read_in_a_directory() {
    let password = "hunter2-Xy9";
    let random = "q8Zr2LxV9mTn4KsWb7Yc3Hd6Jf1Gs0PaEuWiT4kQ";
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----\n";
    let files = [
        ("id_rsa", key.to_owned()),
        ("server.key", key.replace("OPENSSH", "RSA")),
        (".npmrc", format!("//registry.example.org/:_authToken={random}\n")),
        (".pypirc", format!("[pypi]\nusername = a\npassword = {password}\n")),
        (".netrc", format!("machine example.org login a password {password}\n")),
        (".git-credentials", format!("https://user:{password}@example.org\n")),
        (".pgpass", format!("db:5432:*:app:{password}\n")),
        (".aws/credentials", format!("[default]\naws_secret_access_key = {random}\n")),
        ("kubeconfig", format!("users:\n- user:\n    token: {random}\n")),
        (
            "terraform.tfstate",
            format!("{{\"attributes\": {{\"name\": \"x\", \"password\": \"{password}\"}}}}\n"),
        ),
        ("main.tf", format!("  password = \"{password}\"\n")),
        ("Dockerfile", format!("FROM x\nENV DB_PASSWORD={password}\n")),
        ("settings.py", format!("SECRET_KEY = '{random}'\n")),
        ("env.production", format!("DB_PASSWORD={password}\n")),
        (".bash_history", format!("ls\nexport DB_PASSWORD={password}\n")),
        ("compose.yml", format!("    environment:\n      - DB_PASSWORD={password}\n")),
        (".git/config", format!("[remote]\n url = https://x:{password}@example.org/a\n")),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in &files {
        write(directory.path(), name, text);
    }
    let mut names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    names.sort();
    let report = Scanner::default().scan([directory.path()]);
    assert_eq!(found_in(directory.path(), &report), names, "{:?}", report.unread);
    let told = format!("{report:?}");
    assert!(!told.contains(password) && !told.contains(random), "{told}");
}

#[test]
fn files_of_any_encoding_and_size_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let setting = "DB_PASSWORD=hunter2\n";
    let line = format!("# pässword\n{setting}");
    let utf16 = |unit: fn(u16) -> [u8; 2]| line.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("utf16le", [&[0xff, 0xfe], &utf16(u16::to_le_bytes)[..]].concat()),
        ("utf16be", [&[0xfe, 0xff], &utf16(u16::to_be_bytes)[..]].concat()),
        ("unmarked", utf16(u16::to_le_bytes)),
        ("latin1", line.chars().map(|c| c as u8).collect()),
        ("mark", format!("\u{feff}{setting}").into_bytes()),
        ("utf32le", "\u{feff}".chars().chain(line.chars()).flat_map(|c| (c as u32).to_le_bytes()).collect()),
        ("utf32be", "\u{feff}".chars().chain(line.chars()).flat_map(|c| (c as u32).to_be_bytes()).collect()),
        ("large", format!("{}\n{line}", "# padding\n".repeat(600_000)).into_bytes()),
        ("nul", [b"\0\0\x01\n", line.as_bytes()].concat()),
        ("windows", line.replace('\n', "\r\n").into_bytes()),
        ("mac", line.replace('\n', "\r").into_bytes()),
        ("overwritten", format!("A=1\r{setting}").into_bytes()),
    ];
    for (name, bytes) in files {
        let path = write(directory.path(), &format!("{name}.env"), bytes);
        let report = Scanner::default().scan([&path]);
        assert_eq!((report.findings.len(), report.unread.len()), (1, 0), "{name}");
    }
}

#[test]
fn every_file_that_is_not_read_is_listed_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let secret = "DB_PASSWORD=hunter2\n";
    write(directory.path(), "a.env", secret);
    write(directory.path(), "picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\0\0\x02");
    let long = write(directory.path(), "long", "");
    std::fs::File::options().write(true).open(&long).unwrap().set_len((64 << 20) + 1).unwrap();
    std::os::unix::fs::symlink("/etc/hosts", directory.path().join("link")).unwrap();
    let fifo = directory.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let report = Scanner::default().scan([directory.path()]);
    assert_eq!(report.findings.len(), 1);
    let mut unread: Vec<(&str, Reason, bool)> = report
        .unread
        .iter()
        .map(|unread| (unread.path.file_name().unwrap().to_str().unwrap(), unread.reason, unread.named))
        .collect();
    unread.sort_by_key(|(name, ..)| *name);
    let expected = [
        ("fifo", Reason::NotRegular, false),
        ("link", Reason::Link, false),
        ("long", Reason::TooLong, false),
        ("picture.png", Reason::Binary, false),
    ];
    assert_eq!(unread, expected);
    for (path, reason) in [
        (&fifo, Reason::NotRegular),
        (&long, Reason::TooLong),
        (&directory.path().join("no"), Reason::Missing),
    ] {
        let report = Scanner::default().scan([path]);
        assert_eq!((report.unread[0].reason, report.unread[0].named), (reason, true));
    }
}

#[test]
fn ignored_files_are_counted_and_a_dotenv_is_read_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let secret = "DB_PASSWORD=hunter2\n";
    write(directory.path(), ".gitignore", "build/\n*.log\n.env\n!keep.log\n");
    for name in ["build/x.env", "a.log", "keep.log", ".env", "sub/.env", "sub/b.log", "c.conf"] {
        write(directory.path(), name, secret);
    }
    let report = Scanner::default().scan([directory.path()]);
    assert_eq!(found_in(directory.path(), &report), [".env", "c.conf", "sub/.env"]);
    assert_eq!(report.ignored, 3);
    let all = Scanner::default().with_ignored_files().scan([directory.path()]);
    assert_eq!((all.ignored, all.files), (0, 8));
    let named = Scanner::default().scan([directory.path().join("build/x.env")]);
    assert_eq!(named.findings.len(), 1);
}

#[test]
fn directories_of_tools_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let token = &tokens()[2].1;
    for file in
        [".env", "a/.env.production", "a/b/app.yaml", "node_modules/x/.env", ".git/config.json", "main.rs"]
    {
        write(directory.path(), file, format!("X={token}\n"));
    }
    write(directory.path(), "a/values.yaml", "random: q8Zr2LxV9mTn4KsWb7Yc\n");
    let report = Scanner::default().scan([directory.path()]);
    assert_eq!(found_in(directory.path(), &report), [".env", "a/.env.production", "a/b/app.yaml", "main.rs"]);
}

#[test]
fn a_baseline_accepts_a_value_and_no_other_by_whatever_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), "sub/.env", "TOKEN=abcdef\n");
    let file = directory.path().join("baseline.json");
    let mut baseline = Baseline::at(&file);
    let found = Scanner::new(baseline.clone()).scan([directory.path()]);
    baseline.accept(&found.findings);
    baseline.save(&file).unwrap();
    let saved = std::fs::read_to_string(&file).unwrap();
    assert!(!saved.contains("abcdef") && saved.contains("\"sub/.env\""), "{saved}");
    let scanner = Scanner::new(Baseline::load(&file).unwrap());
    let around = directory.path().join("sub/../sub/./.env");
    for way in [directory.path(), &path, &directory.path().join("sub"), &around] {
        let report = scanner.scan([way]);
        assert_eq!((report.findings.len(), report.accepted), (0, 1), "{way:?}");
    }
    std::fs::write(&path, "TOKEN=abcdeg\n").unwrap();
    assert_eq!(scanner.scan([&path]).findings.len(), 1);
    std::fs::write(&file, "{}").unwrap();
    assert!(matches!(Baseline::load(&file), Err(ScanError::Baseline { .. })));
}
