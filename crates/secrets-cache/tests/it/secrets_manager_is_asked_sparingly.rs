//! AWS Secrets Manager: call counts, stages, batches and failures, against two emulators that share no code.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use secrets_cache::source::prefixed::Prefixed;
use secrets_cache::source::secrets_manager::SecretsManager;
use secrets_cache::source::{ListRequest, list_all};
use secrets_cache::{NewSecret, SecretSource, SecretValue, SecretsCache, SourceError, Stage};
use test_support::emulator::{AwsFailure, Emulator};
use test_support::faults::Fault;

use crate::support::{name, new, text, value, whole};

fn fifty() -> Vec<String> {
    (0..50).map(|n| format!("app/prod/secret-{n}")).collect()
}

#[tokio::test]
async fn one_call_a_life_one_more_when_forced_and_three_for_fifty_names() {
    let aws = Emulator::start();
    let source = Arc::new(SecretsManager::new(aws.secrets_manager()));
    for secret in fifty() {
        source.put(&new(&secret, &format!("value of {secret}"))).await.unwrap();
    }
    aws.faults().reset_calls();
    let cache = SecretsCache::new(source.clone());
    for _ in 0..100 {
        cache.get("app/prod/secret-0").await.unwrap();
    }
    assert_eq!(aws.faults().total_calls(), 1);
    cache.get_fresh("app/prod/secret-0").await.unwrap();
    assert_eq!((aws.faults().calls("GetSecretValue"), aws.faults().total_calls()), (2, 2));
    let cache = SecretsCache::new(source);
    let names = fifty();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (name, secret) in names.iter().zip(cache.get_many(&names).await) {
        assert_eq!(text(&secret.unwrap()), format!("value of {name}"));
    }
    assert_eq!(aws.faults().calls("BatchGetSecretValue"), 3);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let aws = Emulator::start();
    let source = SecretsManager::new(aws.secrets_manager());
    let error = async |code| {
        aws.faults().always(Fault::Fail(AwsFailure::Error { code, status: 400 }));
        let error = source.get(&name("a"), &Stage::Current).await.unwrap_err();
        aws.faults().heal();
        error
    };
    for (code, class) in [
        ("AccessDeniedException", "denied"),
        ("ExpiredTokenException", "denied"),
        ("DecryptionFailure", "denied"),
        ("ThrottlingException", "throttled"),
        ("InternalServiceError", "unavailable"),
        ("ResourceNotFoundException", "not_found"),
        ("InvalidParameterException", "invalid"),
    ] {
        assert_eq!(error(code).await.class(), class, "{code}");
    }
    let denied = error("AccessDeniedException").await;
    assert!(denied.hint().unwrap().contains("secretsmanager:GetSecretValue"));
    aws.faults().always(Fault::Fail(AwsFailure::Refused));
    assert_eq!(source.get(&name("a"), &Stage::Current).await.unwrap_err().class(), "unavailable");
    aws.faults().heal();
    aws.faults().always(Fault::Fail(AwsFailure::Garbage));
    assert_eq!(source.get(&name("a"), &Stage::Current).await.unwrap_err().class(), "unavailable");
}

#[tokio::test]
async fn a_throttled_batch_does_not_take_the_others_with_it() {
    let aws = Emulator::start();
    let source = SecretsManager::new(aws.secrets_manager());
    for secret in fifty() {
        source.put(&new(&secret, "1")).await.unwrap();
    }
    let denied = AwsFailure::Error { code: "AccessDeniedException", status: 400 };
    aws.faults().next_for("BatchGetSecretValue", 1, Fault::Fail(denied));
    let names: Vec<_> = fifty().iter().map(|secret| name(secret)).collect();
    let answers = source.get_many(&names).await.unwrap();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 30);
}

#[tokio::test]
async fn a_refused_value_is_not_quoted() {
    let aws = Emulator::start();
    let source = SecretsManager::new(aws.secrets_manager());
    aws.faults().always(Fault::Fail(AwsFailure::Error { code: "InvalidParameterException", status: 400 }));
    let error = source.put(&new("a", "canary")).await.unwrap_err();
    assert!(whole(&error).contains("message withheld") && !whole(&error).contains("canary"));
}

#[tokio::test]
async fn in_process() {
    let aws = Emulator::start();
    // This emulator drops binary values.
    life_of_a_secret(aws.secrets_manager(), false).await;
}

#[tokio::test]
async fn on_an_independent_emulator() {
    let moto = test_support::part!(moto);
    // A Region of its own: the emulator is shared by all tests.
    let client = Client::new(&moto.sdk_config("eu-north-1"));
    life_of_a_secret(client, true).await;
}

async fn life_of_a_secret(client: Client, keeps_bytes: bool) {
    // An emulator that keeps running still has the secrets of earlier runs.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let manager = Arc::new(SecretsManager::new(client));
    let source = Arc::new(Prefixed::new(manager, &format!("{now:x}/")).unwrap());
    let cache =
        SecretsCache::builder(source.clone()).ttl(Duration::from_millis(300)).early_refresh(0.0).build();
    let missing = source.get(&name("life/a"), &Stage::Current).await;
    assert!(matches!(missing, Err(SourceError::NotFound { .. })), "{missing:?}");
    assert!(
        source
            .put(&new("life/a", r#"{"user":"u","password":"1"}"#).with_tag("team", "red"))
            .await
            .unwrap()
            .created
    );
    source.put(&new("life/b", "b")).await.unwrap();
    source
        .put(&NewSecret::new(name("life/bytes"), SecretValue::binary(vec![0, 159, 146, 150])))
        .await
        .unwrap();
    let password: secrecy::SecretString = cache.read("life/a#password").await.unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&password), "1");

    let previous = source.get(&name("life/a"), &Stage::Previous).await;
    // AWS says whether the secret or the version is missing; one of the emulators does not.
    assert!(previous.as_ref().is_err_and(SourceError::is_not_found), "{previous:?}");
    let mut watch = cache.watch("life/a", Duration::from_millis(50)).await.unwrap();
    source.rotate(&name("life/a"), &value("2")).await.unwrap();
    let seen = tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.unwrap().unwrap();
    assert_eq!(text(&seen), "2");
    let candidates = cache.candidates("life/a").await.unwrap();
    assert!(text(&candidates.previous.unwrap()).contains("password"));
    drop(watch);

    source.put(&new("life/a", "3").at_stage(Stage::Pending)).await.unwrap();
    assert_eq!(text(&source.get(&name("life/a"), &Stage::Current).await.unwrap()), "2");
    assert_eq!(text(&source.get(&name("life/a"), &Stage::Pending).await.unwrap()), "3");
    source.promote(&name("life/a")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(text(&cache.get("life/a").await.unwrap()), "3");

    let answers = source.get_many(&[name("life/b"), name("life/nobody"), name("life/bytes")]).await.unwrap();
    assert_eq!(text(answers[0].as_ref().unwrap()), "b");
    assert!(matches!(answers[1], Err(SourceError::NotFound { .. })));
    if keeps_bytes {
        assert_eq!(answers[2].as_ref().unwrap().value.expose_bytes(), [0, 159, 146, 150]);
    }

    let listed = list_all(&*source, &ListRequest::default().with_prefix("life/")).await.unwrap();
    assert_eq!(listed.len(), 3);
    let red = list_all(&*source, &ListRequest::default().with_tag("team", "red")).await.unwrap();
    assert_eq!(red.iter().map(|secret| secret.name.as_str()).collect::<Vec<_>>(), ["life/a"]);
    assert_eq!(source.describe(&name("life/a")).await.unwrap().tags["team"], "red");

    source.delete(&name("life/b")).await.unwrap();
    let deleted = source.get(&name("life/b"), &Stage::Current).await;
    assert!(matches!(deleted, Err(SourceError::PendingDeletion { .. })), "{deleted:?}");
    let far = time::OffsetDateTime::now_utc();
    assert!(matches!(
        source.put(&new("life/c", "1").with_expiry(far)).await,
        Err(SourceError::Unsupported { .. })
    ));
}
