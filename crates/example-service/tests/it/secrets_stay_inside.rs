//! Tokens, keys and the client secret appear in no log line at any level, no metric and no answer.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use test_support::emulator::AwsFailure;
use test_support::faults::Fault;
use test_support::proxy::Proxy;
use test_support::sql::Sql;
use token_store::{NewToken, TokenKey};

use crate::support::{MASTER_KEY, Place, Running, aws, create_key, within};

const CLIENT_SECRET: &str = "canary-client-secret";
const DIRECT_KEY: &str = "Y2FuYXJ5IGtleSBvZiB0aGUgdGVzdHMsIDMyIGJ5dGU=";
const AWS_SECRET: &str = "canary-aws-secret";

/// Everything that must not be seen, also as it would be in other notations.
fn canaries() -> Vec<String> {
    // The test's own tokens, and those that the fake provider grants.
    let mut canaries: Vec<String> = ["canary-access", "canary-refresh", "example-access", "example-refresh"]
        .into_iter()
        .chain([CLIENT_SECRET, DIRECT_KEY, AWS_SECRET, MASTER_KEY])
        .map(ToOwned::to_owned)
        .collect();
    canaries.push("canary key of the tests".into());
    canaries
}

/// Requests every path, and returns all answers, errors included.
async fn asked(service: &Running) -> String {
    let mut answers = String::new();
    for channel in ["mine", "plain", "nobody"] {
        for answer in
            [service.read(channel).await, service.refresh(channel).await, service.read(channel).await]
        {
            answers += &format!("{} {}\n", answer.status, answer.body);
        }
    }
    for path in ["/metrics", "/readyz", "/healthz", "/tokens/twitch", "/"] {
        answers += &service.get(path).await.body;
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_logged_and_whatever_is_broken() {
    let moto = test_support::part!(moto);
    let (key, proxy) = (create_key(&moto).await, Proxy::start(moto.endpoint()));
    let mut place = Place::on_aws(Sql::sqlite().await, proxy.endpoint(), &key).await;
    let token = NewToken::new().access_token("canary-access").refresh_token("canary-refresh");
    let writer = place.other_program(aws(&moto, &key)).await;
    writer.put(&TokenKey::new("twitch", "mine"), token).await.unwrap();
    let (provider, plain) = (Some("twitch"), Some("plain"));
    let row = [("provider", provider), ("channel", plain), ("access_token", Some("canary-access"))];
    place.db.insert("oauth_tokens", &row).await;
    let file = place.path().join(".env");
    fs::write(&file, format!("OAUTH_CLIENT_SECRET={CLIENT_SECRET}\n")).unwrap();
    place.set("SECRETS_SOURCE", &format!("dotenv:{}", file.display())).set("LOG_LEVEL", "trace");
    place.set("ENCRYPTION_KEY", DIRECT_KEY).set("KMS_MASTER_KEY", MASTER_KEY);
    place.set("AWS_SECRET_ACCESS_KEY", AWS_SECRET).set("EMF_METRICS", "1s").set("RUST_LOG", "trace");
    let service = place.start().await;

    let mut seen = String::new();
    for fault in [
        Fault::Fail(AwsFailure::Truncated),
        Fault::Fail(AwsFailure::Garbage),
        Fault::Fail(AwsFailure::INVALID_CIPHERTEXT),
        Fault::Fail(AwsFailure::Reset),
    ] {
        proxy.faults().always(fault);
        seen += &asked(&service).await;
        proxy.faults().heal();
        within("it recovers", async || (service.refresh("mine").await.status == 200).then_some(())).await;
    }
    // A value that does not parse, and then everything as it should be.
    place
        .db
        .execute("UPDATE oauth_tokens SET refresh_token = 'kms:v2:canary-access' WHERE channel = 'plain'")
        .await;
    seen += &asked(&service).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", service.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    let stopped = service.stop().await;
    assert!(stopped.log.contains("audit: "), "{}", stopped.log);
    assert!(seen.contains("\"encryption_version\":2") && seen.contains("correlation id"), "{seen}");
    seen = seen + &stopped.log + &stopped.out;
    for canary in canaries() {
        assert!(!seen.contains(&canary), "{canary} in:\n{seen}");
    }
}

#[test]
fn a_variable_that_is_no_text_is_named_and_not_shown() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-service"));
    command.env_clear().env("DATABASE_URL", "sqlite://tokens.db");
    let output = command.env("KMS_MASTER_KEY", OsStr::from_bytes(b"canary\xff")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("KMS_MASTER_KEY is not UTF-8 text"), "{told}");
    assert!(!told.contains("canary"), "{told}");
}
