//! Tokens, keys and passwords appear neither on standard output nor on standard error, at any log level, whether a
//! command works or fails.

use crate::support::{DIRECT_KEY, MASTER_KEY, Program, Run, Sql, create_vod_tender, insert_vod};

const TOKEN: &str = "canary-token-51b0a7";
const PASSWORD: &str = "canary-password-88e1";
const DEV_KEY: &str = "KKhNAfeUKy0S--v9uVsyUnDfNNiqzVHtyFe8c_4rcNM=";
const USER_KEY: &str = "canary-user-key-3d5c";

#[track_caller]
fn assert_clean(run: &Run) {
    for secret in [TOKEN, PASSWORD, DEV_KEY, USER_KEY, DIRECT_KEY, MASTER_KEY, "kms:v2:", "Y2FuYXJ5LXRva2Vu"]
    {
        assert!(!run.stdout.contains(secret), "{secret} on standard output: {}", run.stdout);
        assert!(!run.stderr.contains(secret), "{secret} on standard error: {}", run.stderr);
    }
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
                // A name that is well-formed is shown: it is no secret that somebody put there.
                continue;
            }
            for command in [["migrate"].as_slice(), &["doctor"], &["status"], &["get", "--row", "provider=twitch,channel=two"]] {
                assert_clean(&program.run(&[command, &["--log-level", "trace"]].concat()));
            }
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
            assert_clean(&put.expect(6));
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
