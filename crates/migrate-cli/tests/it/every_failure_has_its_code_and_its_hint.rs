//! Each failure has its exit code and a message that names the variable or command to fix; nothing is
//! written.

use std::ffi::OsStr;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

use serde_json::Value;
use test_support::postgres;

use crate::support::{MASTER_KEY, Program, Run, Sql, create_vod_tender, fill, signal, stored};

/// A port on which no process listens.
fn closed_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Runs a command for people and for machines: the same code, the same words, and one document.
#[track_caller]
fn assert_fails(program: &Program, args: &[&str], code: i32, words: &[&str]) {
    let human = program.run(args).expect(code);
    human.says(words);
    assert_eq!(human.stdout, "", "nothing but errors, and those on standard error");
    let json = program.run(&[args, &["--format", "json"]].concat()).expect(code).document();
    let error = &json["error"];
    assert!(error["class"].is_string() && error["message"].is_string(), "{json}");
    let told = format!("{} {}", error["message"], error["hint"]).replace("\\\"", "\"");
    for word in words {
        assert!(told.contains(word), "{word:?} is not in {told}");
    }
}

#[test]
fn command_lines_that_are_none() {
    let program = Program::bare();
    let cases: &[(&[&str], &[&str])] = &[
        (&["statsu"], &["statsu", "status"]),
        (&["migrate", "--batch-size", "many"], &["many", "--batch-size"]),
        (&["migrate", "--no-such-option"], &["--no-such-option", "--help"]),
        (&["get"], &["--row"]),
        (&["keyring"], &["--help"]),
        (&[], &["--help"]),
    ];
    for (args, words) in cases {
        assert_fails(&program, args, 2, words);
        let before = program.run(&[&["--format=json"], *args].concat()).expect(2).document();
        assert_eq!(before["error"]["class"], "usage", "{before}");
    }
    let secrets = |args: &[&str]| program.secrets(args, "").expect(2);
    let missing = secrets(&["set", "--format", "json"]).document();
    assert!(missing["error"]["message"].as_str().unwrap().contains("<NAME>"), "{missing}");
    // Arguments after `--` belong to another program.
    assert_eq!(secrets(&["exec", "--nonsense", "--", "x", "--format", "json"]).stdout, "");
    let help = program.run(&["--format", "json", "--help"]).expect(0);
    assert!(help.stdout.contains("Usage:"), "{}", help.stdout);
}

const COMMANDS: [&[&str]; 5] =
    [&["status"], &["migrate"], &["rollback"], &["verify"], &["get", "--row", "provider=a,channel=b"]];

on_each_database! {
    async fn settings_that_cannot_be(db) {
        fill(&db, 3).await;
        let before = stored(&db).await;
        let cases: &[(&str, &str, &[&str])] = &[
            ("ENCRYPTION_KEY", "AAAA", &["ENCRYPTION_KEY", "32 bytes", "openssl rand -base64 32"]),
            ("ENCRYPTION_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIQ==", &["ENCRYPTION_KEY", "32 bytes"]),
            ("ENCRYPTION_KEY", "not base64 at all!", &["ENCRYPTION_KEY", "base64"]),
            ("ENCRYPTION_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", &["ENCRYPTION_KEY", "base64"]),
            ("KMS_MASTER_KEY", "AAAA", &["KMS_MASTER_KEY", "32 bytes"]),
            ("KMS_MASTER_KEY", "", &["KMS_MASTER_KEY"]),
            ("KMS_KEY_ID", "pkcs11:token=x", &["KMS_KEY_ID", "pkcs11"]),
            ("KMS_KEY_ID", "vault:transit/tokens", &["VAULT_ADDR"]),
            ("KMS_KEY_ID", "arn:aws:s3:::bucket", &["KMS_KEY_ID"]),
            ("TOKEN_PROFILE", "vod-tenderr", &["TOKEN_PROFILE", "vod-tenderr", "pulseplan"]),
            ("TOKEN_PROFILE", "missing.toml", &["TOKEN_PROFILE", "missing.toml"]),
            ("ENVELOPE_FORMAT", "v4", &["ENVELOPE_FORMAT", "v3"]),
            ("BINDING", "maybe", &["BINDING", "require"]),
            ("PLAINTEXT_POLICY", "never", &["PLAINTEXT_POLICY", "forbid"]),
            ("ENVIRONMENT", "moon", &["ENVIRONMENT", "production"]),
            ("DEK_CACHE_TTL", "soon", &["DEK_CACHE_TTL"]),
            ("DEK_CACHE_MAX", "many", &["DEK_CACHE_MAX"]),
            ("ENCRYPTION_CONTEXT", "Application", &["ENCRYPTION_CONTEXT"]),
            ("ENCRYPTION_CONTEXT", "table=x", &["ENCRYPTION_CONTEXT", "table"]),
            ("DATABASE_URL", "", &["DATABASE_URL", "sqlite://"]),
            ("DATABASE_URL", "oracle://localhost/x", &["DATABASE_URL", "oracle"]),
            ("DATABASE_URL", "tokens.db", &["DATABASE_URL"]),
        ];
        for (variable, value, words) in cases {
            let mut program = Program::on(&db);
            program.set(variable, value);
            assert_fails(&program, &["migrate"], 2, words);
        }
        assert_eq!(stored(&db).await, before);
    }

    async fn every_problem_is_told_at_once(db) {
        create_vod_tender(&db).await;
        let mut program = Program::on(&db);
        program.set("ENCRYPTION_KEY", "AAAA").set("BINDING", "x").set("TOKEN_PROFILE", "nope");
        assert_fails(&program, &["migrate"], 2, &["ENCRYPTION_KEY", "BINDING", "TOKEN_PROFILE"]);
    }

    async fn keys_that_are_missing(db) {
        fill(&db, 3).await;
        let mut program = Program::on(&db);
        program.unset("KMS_KEY_ID");
        assert_fails(&program, &["migrate"], 2, &["KMS_KEY_ID", "keyring:"]);
        program.unset("ENCRYPTION_KEY");
        assert_fails(&program, &["rollback"], 2, &["ENCRYPTION_KEY"]);
        assert_fails(&program, &["migrate", "--to", "pulseplan-local"], 2, &["TOKEN_ENCRYPTION_KEY"]);
        program.set("KMS_KEY_ID", "keyring:keyring.json");
        let before = stored(&db).await;
        assert_fails(&program, &["migrate"], 2, &["ENCRYPTION_KEY", "direct-aes"]);
        assert_eq!(stored(&db).await, before, "rows that nothing opens are reported before any write");
        program.run(&["status"]).expect(0);
        program.run(&["get", "--row", "provider=twitch,channel=channel-001"]).expect(2).says(&["ENCRYPTION_KEY"]);
        program.set("KMS_FALLBACK", "local");
        assert_fails(&program, &["migrate"], 2, &["ENCRYPTION_KEY", "KMS_FALLBACK"]);
    }

    async fn a_wrong_key_writes_nothing(db) {
        fill(&db, 4).await;
        let before = stored(&db).await;
        let mut program = Program::on(&db);
        program.set("KMS_MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        assert_fails(&program, &["migrate"], 2, &["KMS_MASTER_KEY"]);
        assert_eq!(stored(&db).await, before);
        let mut program = Program::on(&db);
        program.run(&["rollback"]).expect(0);
        let before = stored(&db).await;
        program.set("ENCRYPTION_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let report = program.json(3, &["migrate"]);
        assert_eq!((report["failed"].as_u64(), report["migrated"].as_u64()), (Some(4), Some(0)));
        assert_eq!(stored(&db).await, before);
        program.run(&["get", "--row", "provider=twitch,channel=channel-001"]).expect(3).says(&["key"]);
    }

    async fn tables_and_columns_that_are_missing(db) {
        let program = Program::on(&db);
        for command in COMMANDS.into_iter().chain([["schema"].as_slice(), &["profile", "check"]]) {
            assert_fails(&program, command, 6, &["oauth_tokens", "does not exist", "TOKEN_PROFILE"]);
        }
        create_vod_tender(&db).await;
        // Counting needs only the table that the old programs left.
        program.run(&["status"]).expect(0);
        for command in &COMMANDS[1..] {
            assert_fails(&program, command, 6, &["encryption_method", "migrate-tokens schema"]);
        }
        db.execute("DROP TABLE oauth_tokens").await;
        db.execute("CREATE TABLE oauth_tokens (provider text, channel text, access_token text, refresh_token text, expires_at text, scope text, encryption_version int, encryption_method text, encryption_key_id text)").await;
        assert_fails(&program, &["migrate"], 6, &["oauth_tokens", "neither its primary key nor unique"]);
    }

    async fn rows_that_are_not_there_or_not_named_rightly(db) {
        fill(&db, 1).await;
        let program = Program::on(&db);
        assert_fails(&program, &["get", "--row", "provider=twitch,channel=nobody"], 3, &["channel=nobody", "primary key"]);
        for (row, word) in [("provider=twitch", "channel"), ("x=1", "x"), ("provider=a,provider=b,channel=c", "twice"), ("nonsense", "column=value")] {
            assert_fails(&program, &["get", "--row", row], 2, &["--row", word]);
        }
        assert_fails(&program, &["get", "--row", "provider=a,channel=b", "--column", "scope"], 2, &["--column", "access_token"]);
        assert_fails(&program, &["get", "--row", "provider=a,channel=b", "--table", "x"], 2, &["--table", "oauth_tokens"]);
    }

    async fn a_key_service_that_cannot_be_reached(db) {
        fill(&db, 4).await;
        let before = stored(&db).await;
        let program = Program::on_aws(&db, &format!("http://127.0.0.1:{}", closed_port()), "alias/tokens");
        let run = program.run(&["migrate", "--format", "json"]).expect(5);
        let report = run.document();
        for field in ["migrated", "failed"] {
            assert!(report.get(field).is_none_or(|count| count == 0), "{report}");
        }
        assert_eq!(report["error"]["class"], "unavailable");
        assert!(report["error"]["hint"].is_string(), "{report}");
        program.feed(&["put", "--row", "provider=a,channel=b"], "token").expect(5);
        program.run(&["doctor"]).expect(5).says(&["key service"]);
        assert_eq!(stored(&db).await, before);
    }

    async fn settings_of_aws_that_are_missing(db) {
        fill(&db, 2).await;
        let before = stored(&db).await;
        let mut program = Program::on_aws(&db, &format!("http://127.0.0.1:{}", closed_port()), "alias/tokens");
        program.unset("AWS_REGION");
        assert_fails(&program, &["migrate"], 2, &["AWS_REGION"]);
        assert_eq!(stored(&db).await, before);
    }

    async fn a_variable_that_is_no_text_is_not_taken_for_one_that_is_not_set(db) {
        fill(&db, 1).await;
        let program = Program::on(&db);
        for variable in ["PLAINTEXT_POLICY", "BINDING", "KMS_KEY_ID", "KMS_MASTER_KEY", "DATABASE_URL"] {
            for command in ["status", "doctor"] {
                let mut command = program.command(&[command]);
                command.env(variable, OsStr::from_bytes(b"forbid\xff"));
                let run = Run::of(&["status"], command.output().unwrap()).expect(2);
                run.says(&[variable, "UTF-8"]);
            }
        }
    }

    async fn a_token_that_is_no_text(db) {
        fill(&db, 1).await;
        let before = stored(&db).await;
        let program = Program::on(&db);
        let file = program.path().join("binary");
        std::fs::write(&file, b"\xff\xfe").unwrap();
        let mut put = program.command(&["put", "--row", "provider=twitch,channel=channel-000"]);
        let output = put.stdin(File::open(file).unwrap()).output().unwrap();
        Run::of(&["put"], output).expect(2).says(&["UTF-8", "base64"]);
        assert_eq!(stored(&db).await, before);
    }

    async fn an_output_that_cannot_be_written(db) {
        fill(&db, 2).await;
        let program = Program::on(&db);
        for args in [["status"].as_slice(), &["status", "--format", "json"], &["migrate"], &["profile", "show"], &["completions", "bash"], &["doctor"]] {
            let output = program.command(args).stdout(File::options().write(true).open("/dev/full").unwrap()).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
            assert!(stderr.contains("standard output") && !stderr.contains("panicked"), "{args:?}: {stderr}");
        }
        program.run(&["verify"]).expect(0);
    }
}

#[test]
fn a_database_that_cannot_be_reached() {
    let mut program = Program::bare();
    program.set("ENCRYPTION_KEY", crate::support::DIRECT_KEY).set("KMS_MASTER_KEY", MASTER_KEY);
    program.set("KMS_KEY_ID", "keyring:keyring.json").run(&["keyring", "init"]).expect(0);
    for url in [
        format!("postgres://user:s3cret@127.0.0.1:{}/none", closed_port()),
        "sqlite://missing/tokens.db".into(),
        "sqlite:///".into(),
    ] {
        program.set("DATABASE_URL", &url);
        for command in COMMANDS {
            assert_fails(&program, command, 6, &["DATABASE_URL"]);
        }
    }
    assert!(!program.path().join("missing").exists(), "no file is made in passing");
}

#[tokio::test]
async fn a_database_that_does_not_exist_or_refuses_the_password() {
    let database = test_support::part!(postgres);
    let url = database.url().replace(database.name(), "no_such_database");
    let mut program = Program::bare();
    program.set("DATABASE_URL", &url);
    assert_fails(&program, &["status"], 6, &["no_such_database", "DATABASE_URL"]);
    let _ = postgres::server().await;
}

#[test]
fn a_usage_error_exits_2_and_says_how() {
    let program = Program::bare();
    for args in [
        ["--nonsense"].as_slice(),
        &["nonsense"],
        &["migrate", "--batch-size", "0"],
        &["migrate", "--batch-size", "x"],
        &["migrate", "--rate", "0"],
        &["migrate", "--to", "rot13"],
        &["get"],
        &[],
    ] {
        let run = program.run(args).expect(2);
        assert!(run.stderr.contains("Usage") || run.stderr.contains("--help"), "{args:?}: {}", run.stderr);
    }
    let help = program.run(&["--help"]).expect(0);
    help.says(&["Examples", "Exit codes", "migrate-tokens migrate --dry-run"]);
    assert!(program.run(&["--version"]).expect(0).stdout.contains(env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        assert!(program.run(&["completions", shell]).expect(0).stdout.contains("migrate-tokens"));
    }
}

#[tokio::test]
async fn rebind_is_refused_where_nothing_is_to_be_bound() {
    let db = Sql::sqlite().await;
    fill(&db, 1).await;
    let mut program = Program::on(&db);
    assert_fails(&program, &["migrate", "--rebind", "--to", "direct-aes"], 2, &["--rebind"]);
    program.set("BINDING", "off");
    assert_fails(&program, &["migrate", "--rebind"], 2, &["BINDING"]);
    program.set("ENVELOPE_FORMAT", "v3");
    assert_fails(&program, &["migrate"], 2, &["BINDING", "ENVELOPE_FORMAT"]);
    let document: Value = program.run(&["status", "--format", "json"]).expect(2).document();
    assert!(document["error"].is_object());
}

#[test]
fn a_variable_that_the_aws_sdk_cannot_read_is_named_before_it_is_asked() {
    for (name, value) in [
        ("AWS_ENDPOINT_URL", ""),
        ("AWS_ENDPOINT_URL_KMS", " "),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", ""),
        ("AWS_REGION", ""),
        ("AWS_MAX_ATTEMPTS", ""),
        ("AWS_MAX_ATTEMPTS", "0"),
        ("AWS_MAX_ATTEMPTS", "many"),
        ("AWS_RETRY_MODE", ""),
        ("AWS_RETRY_MODE", "quick"),
    ] {
        let mut program = Program::bare();
        program
            .set("AWS_REGION", "eu-west-1")
            .set("AWS_ACCESS_KEY_ID", "x")
            .set("AWS_SECRET_ACCESS_KEY", "y");
        program.set("KMS_KEY_ID", "alias/x").set(name, value);
        program.secrets(&["list"], "").expect(2).says(&[name]);
        let document = program.secrets(&["list", "--format", "json"], "").expect(2).document();
        assert!(document["error"]["message"].as_str().unwrap().contains(name), "{document}");
        std::fs::write(program.path().join("notes"), "canary").unwrap();
        program.secrets(&["seal-file", "notes", "sealed"], "").expect(2).says(&[name]);
        assert_ne!(program.run(&["doctor"]).code, Some(101), "{name}");
        // Where AWS is not used, its variables do not matter.
        program.unset("KMS_KEY_ID").set("KMS_MASTER_KEY", MASTER_KEY);
        program.secrets(&["--source", "local:s.db", "set", "A"], "canary").expect(0);
    }
}

#[test]
fn a_termination_while_standard_input_is_awaited_ends_the_program() {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY);
    let mut child =
        program.secrets_command(&["--source", "local:secrets.db", "set", "name"]).spawn().unwrap();
    let input = child.stdin.take();
    // It opens the store before it reads, and catches signals before that.
    while !program.path().join("secrets.db").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(&child, "TERM");
    let start = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(5), "it waited for standard input to end");
    drop(input);
}

#[test]
fn a_backup_replaces_no_device_and_no_pipe() {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY);
    program.secrets(&["--source", "local:secrets.db", "set", "name"], "value").expect(0);
    let pipe = program.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let run =
        program.secrets(&["--source", "local:secrets.db", "backup", "pipe", "--overwrite"], "").expect(2);
    run.says(&["not a regular file"]);
    assert!(pipe.exists() && !pipe.is_file());
}

#[test]
fn a_file_that_cannot_be_read_is_a_usage_error_that_names_it() {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY).set("KMS_KEY_ID", "keyring:keyring.json");
    program.run(&["keyring", "init"]).expect(0);
    program.secrets(&["--source", "local:store.db", "set", "a"], "canary").expect(0);
    let told = |run: Run, file: &str| {
        run.says(&[&format!("{file} cannot be read"), "check the path"]);
    };
    for file in ["nope", "."] {
        let local = ["--source", "local:store.db"];
        for command in [
            ["restore", file].as_slice(),
            &["restore", file, "--dry-run"],
            &["import-node", file],
            &["open-file", file, "x"],
            &["seal-file", file, "x"],
            &["reseal-json", file, "--field", "a", "--aad", "b"],
        ] {
            told(program.secrets(&[&local[..], command].concat(), "").expect(2), file);
        }
        told(program.run(&["keyring", "import", file]).expect(2), file);
        told(program.run(&["relocate", "--map", file]).expect(2), file);
    }
    program.run(&["audit", "verify", "nope"]).expect(2).says(&["nope cannot be read"]);
    assert!(!program.path().join("x").exists());
}
