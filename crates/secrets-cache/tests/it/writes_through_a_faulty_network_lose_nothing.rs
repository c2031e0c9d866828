//! Secrets Manager over a network that fails, and without rights that a write needs: no value is lost, and each failure names
//! what to do.

use aws_sdk_secretsmanager::Client;
use secrets_cache::source::Replaces;
use secrets_cache::source::secrets_manager::SecretsManager;
use secrets_cache::{SecretName, SecretSource, SourceError, Stage};
use test_support::emulator::{AwsFailure, Emulator};
use test_support::faults::Fault;
use test_support::part;
use test_support::proxy::Proxy;

use crate::support::{name, new, text, value};

const REGION: &str = "eu-west-1";
const DENIED: Fault<AwsFailure> =
    Fault::Fail(AwsFailure::Error { code: "AccessDeniedException", status: 400 });
const UNAVAILABLE: Fault<AwsFailure> = Fault::Fail(AwsFailure::Status(503));

/// A name that no other test has.
fn own(secret: &str) -> SecretName {
    name(&format!("{}/{secret}", std::process::id()))
}

async fn read(source: &SecretsManager, secret: &SecretName, stage: &Stage) -> String {
    text(&source.get(secret, stage).await.unwrap()).to_owned()
}

#[tokio::test]
async fn a_secret_without_a_value_gets_one_without_the_right_to_create_secrets() {
    let (aws, secret) = (Emulator::start(), own("empty"));
    aws.secrets_manager_admin().create_secret().name(secret.as_str()).send().await.unwrap();
    let source = SecretsManager::new(aws.secrets_manager());
    aws.faults().always_for("CreateSecret", DENIED);
    let first = new(secret.as_str(), "first").replacing(Replaces::Nothing);
    let stored = source.put(&first).await.unwrap();
    assert!(!stored.created && !stored.unchanged, "{stored:?}");
    assert_eq!(aws.faults().calls("CreateSecret"), 0);
    assert_eq!(read(&source, &secret, &Stage::Current).await, "first");
    let other = source.put(&new(secret.as_str(), "other").replacing(Replaces::Nothing)).await;
    assert!(matches!(other, Err(SourceError::Conflict { .. } | SourceError::Denied { .. })), "{other:?}");
    assert_eq!(read(&source, &secret, &Stage::Current).await, "first");
    // One that does not exist is created.
    let absent = new(own("absent").as_str(), "value").replacing(Replaces::Nothing);
    assert!(matches!(source.put(&absent).await, Err(SourceError::Denied { .. })));
    aws.faults().heal();
    assert!(source.put(&absent).await.unwrap().created);
}

#[tokio::test]
async fn a_refused_write_names_the_operation_and_the_right_that_is_missing() {
    let moto = part!(moto);
    let (proxy, secret) = (Proxy::start(moto.endpoint()), own("refused"));
    let source = SecretsManager::new(Client::new(&proxy.sdk_config(REGION)));
    let version = source.put(&new(secret.as_str(), "one")).await.unwrap().version;
    proxy.faults().always_for("UpdateSecretVersionStage", DENIED);
    let imported =
        source.put(&new(secret.as_str(), "two").replacing(Replaces::Version(version.clone()))).await;
    let rotated = source.rotate_if(&secret, &value("two"), &version).await;
    for (outcome, operation) in [(imported, "store a secret"), (rotated, "rotate a secret")] {
        let error = outcome.unwrap_err();
        assert_eq!(error.to_string(), format!("not allowed to {operation}"));
        assert!(error.hint().unwrap().contains("UpdateSecretVersionStage"), "{:?}", error.hint());
    }
    assert_eq!(read(&source, &secret, &Stage::Current).await, "one");
}

#[tokio::test]
async fn without_an_answer_about_the_current_value_nothing_is_stored() {
    let moto = part!(moto);
    let (proxy, secret) = (Proxy::start(moto.endpoint()), own("unread"));
    let source = SecretsManager::new(Client::new(&proxy.sdk_config(REGION)));
    let version = source.put(&new(secret.as_str(), "one")).await.unwrap().version;
    proxy.faults().reset_calls();
    proxy.faults().always_for("GetSecretValue", UNAVAILABLE);
    let outcomes = [
        source.rotate(&secret, &value("two")).await,
        source.rotate_if(&secret, &value("two"), &version).await,
        source.put(&new(secret.as_str(), "two")).await,
        source.put(&new(secret.as_str(), "two").replacing(Replaces::Nothing)).await,
        source.put(&new(secret.as_str(), "two").replacing(Replaces::Version(version.clone()))).await,
    ];
    for outcome in outcomes {
        assert!(matches!(outcome, Err(SourceError::Unavailable { .. })), "{outcome:?}");
    }
    for call in ["PutSecretValue", "CreateSecret", "UpdateSecretVersionStage"] {
        assert_eq!(proxy.faults().calls(call), 0, "{call}");
    }
    proxy.faults().heal();
    assert_eq!(read(&source, &secret, &Stage::Current).await, "one");
}

#[tokio::test]
async fn a_repeated_rotation_after_a_lost_answer_keeps_the_value_before() {
    let moto = part!(moto);
    for lost in [AwsFailure::Reset, AwsFailure::Truncated] {
        let (proxy, secret) = (Proxy::start(moto.endpoint()), own(&format!("lost-{lost:?}")));
        let source = SecretsManager::new(Client::new(&proxy.sdk_config(REGION)));
        source.put(&new(secret.as_str(), "one")).await.unwrap();
        proxy.faults().always_for("PutSecretValue", Fault::Fail(lost));
        let first = source.rotate(&secret, &value("two")).await;
        assert!(first.as_ref().is_err_and(SourceError::is_outage), "{first:?}");
        proxy.faults().heal();
        assert_eq!(read(&source, &secret, &Stage::Current).await, "two", "it was stored");
        assert!(source.rotate(&secret, &value("two")).await.unwrap().unchanged);
        assert_eq!(read(&source, &secret, &Stage::Previous).await, "one");
    }
}

#[tokio::test]
async fn a_value_that_would_not_be_served_is_not_stored() {
    let moto = part!(moto);
    let (client, secret) = (Client::new(&moto.sdk_config(REGION)), own("scheduled"));
    let source = SecretsManager::new(client.clone());
    let version = source.put(&new(secret.as_str(), "one")).await.unwrap().version;
    source.delete(&secret).await.unwrap();
    for outcome in [
        source.put(&new(secret.as_str(), "two")).await,
        source.put(&new(secret.as_str(), "two").replacing(Replaces::Nothing)).await,
        source.rotate(&secret, &value("two")).await,
        source.rotate_if(&secret, &value("two"), &version).await,
    ] {
        assert!(matches!(outcome, Err(SourceError::PendingDeletion { .. })), "{outcome:?}");
    }
    client.restore_secret().secret_id(secret.as_str()).send().await.unwrap();
    assert_eq!(read(&source, &secret, &Stage::Current).await, "one");
}

#[tokio::test]
async fn a_secret_whose_lack_of_a_value_looks_like_its_absence_gets_one() {
    let moto = part!(moto);
    let (client, secret) = (Client::new(&moto.sdk_config(REGION)), own("valueless"));
    client.create_secret().name(secret.as_str()).send().await.unwrap();
    let source = SecretsManager::new(client);
    source.put(&new(secret.as_str(), "first").replacing(Replaces::Nothing)).await.unwrap();
    assert_eq!(read(&source, &secret, &Stage::Current).await, "first");
    let other = source.put(&new(secret.as_str(), "other").replacing(Replaces::Nothing)).await;
    assert!(matches!(other, Err(SourceError::Conflict { .. })), "{other:?}");
}
