//! Settings, secrets and the key service leave the audit events that the replaced systems' users look for.

use serde_json::Value;

use crate::support::{Program, Sql, fill};

fn events(program: &Program) -> Vec<Value> {
    let text = std::fs::read_to_string(program.path().join("audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_of_the_keyring_and_the_settings_of_a_run_are_in_the_trail() {
    let db = Sql::sqlite().await;
    fill(&db, 2).await;
    let mut program = Program::on(&db);
    program.set("AUDIT_LOG", "audit.log").set("AUDIT_ACTOR", "ada");
    program.run(&["keyring", "rotate"]).expect(0);
    let active = program.json(0, &["keyring", "list"])["keys"][1]["id"].as_str().unwrap().to_owned();
    let events_of_rotation = events(&program);
    let rotated = named(&events_of_rotation, "data_key_rotated");
    assert_eq!(rotated.len(), 1, "{events_of_rotation:?}");
    assert_eq!(
        (&rotated[0]["actor"], &rotated[0]["key"]),
        (&"ada".into(), &format!("keyring:{active}").into())
    );
    program.run(&["migrate"]).expect(0);
    let all = events(&program);
    let loaded = named(&all, "configuration_loaded");
    assert_eq!(
        (loaded.len(), &loaded[0]["profile"], &loaded[0]["actor"]),
        (1, &"vod-tender".into(), &"ada".into())
    );
    assert!(named(&all, "kms_error").is_empty());
    program.run(&["audit", "verify", "audit.log"]).expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_master_key_and_a_missing_keyring_are_errors_of_the_key_service_in_the_trail() {
    let db = Sql::sqlite().await;
    fill(&db, 1).await;
    let mut program = Program::on(&db);
    for (name, value) in [
        ("KMS_MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("KMS_KEY_ID", "keyring:gone.json"),
    ] {
        program.set(name, value);
        for args in [&["--log-level", "info", "verify"][..], &["--log-level", "info", "keyring", "list"]] {
            let run = program.run(args).expect(2);
            assert!(run.stderr.contains("kms_error"), "{name}, {args:?}: {}", run.stderr);
        }
        // Where a chain cannot begin, the line is written to standard error at every level.
        program.set("AUDIT_LOG", "audit.log");
        let run = program.run(&["verify"]).expect(2);
        assert!(run.stderr.contains("\"kms_error\""), "{}", run.stderr);
        program.unset("AUDIT_LOG");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_service_that_does_not_answer_is_an_error_in_the_trail() {
    let db = Sql::sqlite().await;
    fill(&db, 1).await;
    let program = Program::on_aws(&db, "http://127.0.0.1:9", "alias/tokens");
    let run = program.run(&["--log-level", "info", "migrate"]).expect(5);
    assert!(run.stderr.contains("kms_error") && run.stderr.contains("unavailable"), "{}", run.stderr);
}

#[test]
fn a_source_of_secrets_that_is_opened_is_in_the_trail() {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", crate::support::MASTER_KEY).set("AUDIT_ACTOR", "ada");
    let run = program.secrets(&["--source", "local:store.db", "--log-level", "info", "set", "db"], "secret");
    let run = run.expect(0);
    assert!(run.stderr.contains("secrets_manager_initialized"), "{}", run.stderr);
    assert!(run.stderr.contains("configuration_loaded"), "{}", run.stderr);
}

/// The first line about the key names the key itself, even if an alias is configured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_line_about_the_key_names_its_arn_and_shortens_the_account_only_if_asked() {
    let moto = test_support::part!(moto);
    let db = Sql::sqlite().await;
    fill(&db, 1).await;
    let arn = crate::support::key_in(&moto, "us-east-1").await;
    let kms = aws_sdk_kms::Client::new(&moto.sdk_config("us-east-1"));
    let alias = format!("alias/{}", &arn[arn.len() - 12..]);
    kms.create_alias().alias_name(&alias).target_key_id(&arn).send().await.unwrap();
    let mut program = Program::on_aws(&db, moto.endpoint(), &alias);
    let run = program.run(&["--log-level", "info", "verify"]).expect(4);
    assert!(run.stderr.contains(&arn), "{}", run.stderr);
    program.set("LOG_ACCOUNT_IDS", "short");
    let run = program.run(&["--log-level", "info", "verify"]).expect(4);
    let account = arn.split(':').nth(4).unwrap();
    assert!(!run.stderr.contains(account), "{}", run.stderr);
    assert!(run.stderr.contains(arn.rsplit(':').next().unwrap()), "{}", run.stderr);
}

#[test]
fn every_event_is_documented() {
    let page = include_str!("../../../../docs/audit.md");
    for event in ["configuration_loaded", "secrets_manager_initialized", "kms_error", "data_key_rotated"] {
        assert!(page.contains(&format!("| `{event}` |")), "{event}");
    }
}
