//! Tokens, keys and passwords appear neither on standard output nor on standard error nor among the metrics, at any log
//! level, whether a command works or fails.

use std::io::Write as _;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::{EncryptionContext, KeyProvider as _, WrappedDataKey};
use kms_provider::Keyring;
use test_support::emulator::AwsFailure;
use test_support::faults::Fault;
use test_support::http;
use test_support::proxy::Proxy;

use crate::support::{
    DIRECT_KEY, MASTER_KEY, Program, Run, Sql, create_vod_tender, fill, insert_vod, signal, wait_for_progress,
};

const TOKEN: &str = "canary-token-51b0a7";
const PASSWORD: &str = "canary-password-88e1";
const DEV_KEY: &str = "KKhNAfeUKy0S--v9uVsyUnDfNNiqzVHtyFe8c_4rcNM=";
const USER_KEY: &str = "canary-user-key-3d5c";

#[track_caller]
fn assert_clean(run: &Run) {
    assert_secret_free(&run.stdout);
    assert_secret_free(&run.stderr);
}

#[track_caller]
fn assert_secret_free(text: &str) {
    for secret in [TOKEN, PASSWORD, DEV_KEY, USER_KEY, DIRECT_KEY, MASTER_KEY, "kms:v2:", "Y2FuYXJ5LXRva2Vu"]
    {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

/// The data keys of everything in the table, as the keyring unwraps them, in the ways that a byte string is printed.
async fn data_keys(db: &Sql, program: &Program) -> Vec<String> {
    let keyring = Keyring::open(program.path().join("keyring.json"), &MASTER_KEY.parse().unwrap()).unwrap();
    let mut texts = Vec::new();
    for row in db.table("oauth_tokens", &["channel", "access_token", "refresh_token"]).await {
        for (column, stored) in [("access_token", &row[1]), ("refresh_token", &row[2])] {
            let Some(wrapped) =
                stored.as_ref().and_then(|text| text.strip_prefix("kms:v2:")?.split(':').next())
            else {
                continue;
            };
            let context = [
                ("Application", "vod-tender"),
                ("Purpose", "oauth-token"),
                ("table", "oauth_tokens"),
                ("column", column),
                ("provider", "twitch"),
                ("channel", row[0].as_deref().unwrap()),
            ];
            let wrapped = WrappedDataKey::new(STANDARD.decode(wrapped).unwrap(), None::<&str>).unwrap();
            let key = keyring.unwrap(&wrapped, &EncryptionContext::new(context).unwrap()).await.unwrap();
            let bytes = key.expose_secret();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let debug = format!("{bytes:?}");
            texts.extend([STANDARD.encode(bytes), hex, debug.trim_matches(['[', ']']).to_owned()]);
        }
    }
    texts
}

/// Every command but `get --reveal`, at the most talkative level.
fn run_all(program: &Program) {
    let row = "provider=twitch,channel=one";
    let commands: [&[&str]; 18] = [
        &["schema"],
        &["status"],
        &["status", "--keys"],
        &["doctor"],
        &["estimate"],
        &["verify"],
        &["migrate", "--dry-run"],
        &["get", "--row", row],
        &["get", "--row", "provider=twitch,channel=nobody"],
        &["get", "--row", "provider=twitch,channel=broken"],
        &["profile", "show"],
        &["profile", "check"],
        &["migrate"],
        &["verify"],
        &["rewrap", "--to", "keyring:keyring.json"],
        &["rollback"],
        &["keyring", "list"],
        &["keyring", "rotate"],
    ];
    for command in commands {
        for format in ["human", "json"] {
            assert_clean(&program.run(&[command, &["--log-level", "trace", "--format", format]].concat()));
        }
    }
    for input in [TOKEN, &TOKEN.repeat(60_000)] {
        assert_clean(&program.feed(&["put", "--row", row, "--log-level", "trace"], input));
        assert_clean(&program.feed(&["put", "--row", "provider=x", "--log-level", "trace"], input));
    }
}

async fn canaries(db: &Sql) {
    create_vod_tender(db).await;
    insert_vod(db, "one", 0, TOKEN, TOKEN).await;
    insert_vod(db, "two", 1, TOKEN, TOKEN).await;
    insert_vod(db, "broken", 2, TOKEN, TOKEN).await;
    insert_vod(db, "unknown", 7, TOKEN, TOKEN).await;
}

fn talkative(db: &Sql) -> Program {
    let mut program = Program::on(db);
    program.set("TOKEN_ENCRYPTION_KEY", USER_KEY).set("DEV_ENCRYPTION_KEY", DEV_KEY).set("RUST_LOG", "trace");
    program
}

on_each_database! {
    async fn by_any_command(db) {
        canaries(&db).await;
        run_all(&talkative(&db));
    }

    async fn by_the_logs_of_a_migration_that_makes_data_keys(db) {
        canaries(&db).await;
        let program = talkative(&db);
        program.run(&["schema"]).expect(0);
        let mut written = String::new();
        for command in [["migrate"].as_slice(), &["verify"], &["get", "--row", "provider=twitch,channel=one"]] {
            let run = program.run(&[command, &["--log-level", "trace", "--format", "json"]].concat());
            written.push_str(&format!("{}{}", run.stdout, run.stderr));
        }
        let keys = data_keys(&db, &program).await;
        assert_eq!(keys.len(), 4 * 3, "two values of two rows, in three spellings");
        for key in keys {
            assert!(!written.contains(&key), "a data key is in the logs or a report");
        }
    }

    async fn by_the_metrics_of_a_run(db) {
        fill(&db, 60).await;
        insert_vod(&db, "one", 0, TOKEN, TOKEN).await;
        let program = talkative(&db);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let arguments = ["migrate", "--metrics-listen", &listen, "--batch-size", "2", "--rate", "40", "--log-level", "trace"];
        let mut child = program.spawn(&arguments);
        let _rest = wait_for_progress(&mut child);
        for path in ["metrics", "readyz", "healthz"] {
            let answer = http::get(&format!("http://{listen}/{path}")).await.unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            assert_secret_free(&answer.body);
            assert!(path != "metrics" || answer.body.contains("vod_kms_encrypt_duration_seconds_count"));
        }
        signal(&child, "INT");
        assert_clean(&Run::of(&arguments, child.wait_with_output().unwrap()).expect(130));
    }

    async fn by_a_command_whose_configuration_is_wrong(db) {
        canaries(&db).await;
        for (variable, value) in [
            ("KMS_MASTER_KEY", "Y2FuYXJ5LXRva2Vu"),
            ("ENCRYPTION_KEY", PASSWORD),
            ("ENCRYPTION_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            ("DEV_ENCRYPTION_KEY", PASSWORD),
            ("KMS_KEY_ID", PASSWORD),
            ("KMS_KEY_ID", ""),
            ("TOKEN_ENCRYPTION_KEY_ID", PASSWORD),
        ] {
            let mut program = talkative(&db);
            program.set(variable, value);
            if variable == "KMS_KEY_ID" && value == PASSWORD || variable == "TOKEN_ENCRYPTION_KEY_ID" {
                // A well-formed name is shown: it is no secret that was given by mistake.
                continue;
            }
            for command in [["migrate"].as_slice(), &["doctor"], &["status"], &["get", "--row", "provider=twitch,channel=two"]] {
                assert_clean(&program.run(&[command, &["--log-level", "trace"]].concat()));
            }
        }
    }

    async fn by_a_profile_that_is_some_other_file(db) {
        canaries(&db).await;
        let mut program = talkative(&db);
        for content in [format!("{TOKEN}\n"), format!("KMS_MASTER_KEY = {MASTER_KEY}"), format!("name = \"x\"\nkey = '{TOKEN}\n")] {
            std::fs::write(program.path().join("secrets.env"), content).unwrap();
            program.set("TOKEN_PROFILE", "secrets.env");
            assert_clean(&program.run(&["status", "--log-level", "trace"]).expect(2));
            assert_clean(&program.run(&["profile", "show", "secrets.env", "--log-level", "trace"]).expect(2));
        }
    }

    async fn by_a_constraint_that_the_database_reports(db) {
        canaries(&db).await;
        Program::on(&db).run(&["schema"]).expect(0);
        match db.is_postgres() {
            true => db.execute("ALTER TABLE oauth_tokens ADD CHECK (access_token NOT LIKE 'kms:%')").await,
            false => db.execute("CREATE TRIGGER t BEFORE UPDATE ON oauth_tokens WHEN NEW.access_token LIKE 'kms:%' BEGIN SELECT RAISE(ABORT, 'refused'); END").await,
        }
        let program = talkative(&db);
        for format in ["human", "json"] {
            let run = program.run(&["migrate", "--log-level", "trace", "--format", format]).expect(3);
            assert_clean(&run);
            let put = program.feed(&["put", "--row", "provider=twitch,channel=two", "--format", format, "--log-level", "trace"], TOKEN);
            assert_clean(&put.expect(3));
        }
        insert_vod(&db, "three", 0, TOKEN, TOKEN).await;
    }
}

#[tokio::test]
async fn on_aws_kms_whose_answers_hold_plaintext_keys() {
    let moto = test_support::part!(moto);
    let db = Sql::sqlite().await;
    canaries(&db).await;
    let kms = aws_sdk_kms::Client::new(&moto.sdk_config("us-east-1"));
    let key = kms.create_key().send().await.unwrap().key_metadata.unwrap();
    let program = Program::on_aws(&db, moto.endpoint(), key.key_id());
    program.run(&["schema"]).expect(0);
    for command in [["migrate"].as_slice(), &["verify"], &["doctor"]] {
        let run = program.run(&[command, &["--log-level", "trace"]].concat());
        assert_clean(&run);
        assert!(!run.stderr.contains("Plaintext"), "the key service's answers are not logged");
    }
}

#[test]
fn a_password_in_the_databases_address() {
    let mut program = Program::bare();
    program.set("ENCRYPTION_KEY", DIRECT_KEY);
    for url in [
        format!("postgres://user:{PASSWORD}@127.0.0.1:1/none"),
        format!("postgres://user:{PASSWORD}@:port/none"),
        format!("mysql://user:{PASSWORD}@127.0.0.1/none"),
        format!("sqlite:///missing/x.db?mode={PASSWORD}"),
        PASSWORD.to_owned(),
    ] {
        program.set("DATABASE_URL", &url);
        for command in [["status"].as_slice(), &["doctor"], &["doctor", "--format", "json"]] {
            assert_clean(&program.run(&[command, &["--log-level", "trace"]].concat()));
        }
    }
}

/// Every command of `manage-secrets` but `get --reveal`, `open-file` and what `exec` runs.
fn run_all_secrets(program: &Program, source: &[&str]) {
    std::fs::write(program.path().join(".env"), format!("API_KEY={TOKEN}\nPASSWORD={PASSWORD}\n")).unwrap();
    let commands: [(&[&str], &str); 25] = [
        (&["import", ".env", "--dry-run"], ""),
        (&["import", ".env"], ""),
        (&["import", ".env"], ""),
        (&["scan", "."], ""),
        (&["scan", "missing", ".env"], ""),
        (&["set", "one"], TOKEN),
        (&["set", "one", "--tag", "a=b", "--rotation-policy", "30d"], PASSWORD),
        (&["set", "json"], &format!("{{\"password\":\"{PASSWORD}\"}}")),
        (&["get", "one"], ""),
        (&["get", "json#password"], ""),
        (&["get", "json#nothing"], ""),
        (&["get", "one#field"], ""),
        (&["get", "nobody"], ""),
        (&["list"], ""),
        (&["status"], ""),
        (&["rotate", "one"], TOKEN),
        (&["rotate", "json"], TOKEN),
        (&["rotate", "json", "--field", "password"], TOKEN),
        (&["doctor"], ""),
        (&["import", ".env", "--strip"], ""),
        (&["backup", "saved", "--overwrite"], ""),
        (&["restore", "saved"], ""),
        (&["exec", "--", "true"], ""),
        (&["exec", "--file", "one", "--", "true"], ""),
        (&["delete", "one"], ""),
    ];
    for (command, input) in commands {
        for format in ["human", "json"] {
            let arguments = [source, command, &["--log-level", "trace", "--format", format]].concat();
            let arguments = match command {
                ["exec", ..] => [source, &["--log-level", "trace"], command].concat(),
                _ => arguments,
            };
            assert_clean(&program.secrets(&arguments, input));
        }
        let _ = std::fs::remove_file(program.path().join("saved"));
        if matches!(command, ["backup", ..]) {
            program.secrets(&[source, command].concat(), "").expect(0);
        }
    }
}

#[test]
fn by_a_command_on_secrets_in_a_local_store() {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY).set("RUST_LOG", "trace");
    run_all_secrets(&program, &["--source", "local:secrets.db"]);
    program
        .secrets(&["--source", "local:secrets.db", "get", "API_KEY", "--reveal"], "")
        .expect(0)
        .says(&[TOKEN]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_a_command_on_secrets_in_secrets_manager() {
    let moto = test_support::part!(moto);
    let mut program = Program::bare();
    program
        .set("KMS_MASTER_KEY", MASTER_KEY)
        .set("AWS_ENDPOINT_URL", moto.endpoint())
        .set("AWS_REGION", "us-east-1");
    program.set("AWS_ACCESS_KEY_ID", "testing").set("AWS_SECRET_ACCESS_KEY", "testing");
    run_all_secrets(&program, &["--prefix", "canaries/"]);
    program.secrets(&["--prefix", "canaries/", "get", "API_KEY", "--reveal"], "").expect(0).says(&[TOKEN]);
}

/// Commands that send, fetch or show a value.
const TOUCHING_VALUES: [(&[&str], &str); 13] = [
    (&["set", "one"], TOKEN),
    (&["get", "one"], ""),
    (&["get", "json#password"], ""),
    (&["rotate", "one"], TOKEN),
    (&["rotate", "json", "--field", "password"], PASSWORD),
    (&["rotate", "json"], PASSWORD),
    (&["import", ".env", "--overwrite", "--strip"], ""),
    (&["exec", "--", "true"], ""),
    (&["exec", "--file", "one", "--", "true"], ""),
    (&["backup", "saved", "--overwrite"], ""),
    (&["restore", "saved"], ""),
    (&["status"], ""),
    (&["doctor"], ""),
];

fn write_env(program: &Program) {
    let doubtful = format!("DOUBTFUL={TOKEN}#{PASSWORD}\nOPEN=\"{TOKEN}\n");
    std::fs::write(program.path().join(".env"), format!("API_KEY={TOKEN}\nPASSWORD={PASSWORD}\n{doubtful}"))
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_a_command_on_secrets_whose_source_breaks() {
    let moto = test_support::part!(moto);
    let proxy = Proxy::start(moto.endpoint());
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY).set("AWS_ENDPOINT_URL", proxy.endpoint());
    program.set("AWS_REGION", "us-east-1").set("AWS_MAX_ATTEMPTS", "1");
    program.set("AWS_ACCESS_KEY_ID", "testing").set("AWS_SECRET_ACCESS_KEY", "testing");
    let source = ["--prefix", "broken/"];
    let all = |program: &Program| {
        for (command, input) in TOUCHING_VALUES {
            let position = command.iter().position(|word| *word == "--").unwrap_or(command.len());
            let (before, after) = command.split_at(position);
            let arguments = [&source, before, &["--log-level", "trace", "--format", "json"], after].concat();
            assert_clean(&program.secrets(&arguments, input));
        }
    };
    write_env(&program);
    program
        .secrets(&["--prefix", "broken/", "set", "json"], &format!("{{\"password\":\"{PASSWORD}\"}}"))
        .expect(0);
    all(&program);
    for failure in [
        AwsFailure::Error { code: "ValidationException", status: 400 },
        AwsFailure::ACCESS_DENIED,
        AwsFailure::INTERNAL,
        AwsFailure::Status(502),
        AwsFailure::Garbage,
        AwsFailure::Truncated,
        AwsFailure::Reset,
        AwsFailure::Refused,
    ] {
        write_env(&program);
        proxy.faults().always(Fault::Fail(failure));
        proxy.settled().await;
        all(&program);
    }
}

#[test]
fn by_a_command_on_secrets_on_a_full_disk() {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY);
    let source = ["--source", "local:secrets.db"];
    let json = format!("{{\"password\":\"{PASSWORD}\"}}");
    program.secrets(&["--source", "local:secrets.db", "set", "json"], &json).expect(0);
    program.secrets(&["--source", "local:secrets.db", "set", "one"], TOKEN).expect(0);
    write_env(&program);
    for (command, input) in TOUCHING_VALUES {
        // No file grows, and nothing can be printed.
        let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
        let mut full = std::process::Command::new("sh");
        full.args(["-c", script, env!("CARGO_BIN_EXE_manage-secrets")]).args(source).args(command);
        full.current_dir(program.path()).env("KMS_MASTER_KEY", MASTER_KEY);
        full.stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
        let mut child = full.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.code().is_some(), "{command:?} ends by itself: {output:?}");
        assert_clean(&Run::of(command, output));
    }
    let read_back =
        |name: &str| program.secrets(&["--source", "local:secrets.db", "get", name, "--reveal"], "");
    read_back("one").expect(0).says(&[TOKEN]);
    read_back("json").expect(0).says(&[PASSWORD]);
}
