//! AWS Secrets Manager: limits are checked without a call, failures name the secret, and a restore does all it can.

use std::sync::Arc;

use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_secretsmanager::types::ReplicaRegionType;
use aws_sdk_secretsmanager::{Client, Config};
use envelope_core::DataKey;
use secrets_cache::backup::{self, Unlabelled};
use secrets_cache::error::Unfit;
use secrets_cache::name::NameError;
use secrets_cache::sealed_stream::{Existing, StreamKey};
use secrets_cache::source::memory::MemorySource;
use secrets_cache::source::prefixed::Prefixed;
use secrets_cache::source::secrets_manager::SecretsManager;
use secrets_cache::{SecretName, SecretSource, SourceError, Stage};
use test_support::emulator::{AwsFailure, Emulator};
use test_support::faults::Fault;

use crate::support::{name, new, text, value, whole};

const CANARY: &str = "canary-9f3b1c";

/// A client whose requests cannot be dispatched: the SDK's own error holds each of them.
fn undispatchable() -> SecretsManager {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("AKIATEST", "secret", None, None, "test"))
        .endpoint_url("localhost:4566")
        .build();
    SecretsManager::new(Client::from_conf(config))
}

#[tokio::test]
async fn no_text_of_a_failed_dispatch_is_passed_on() {
    let source = undispatchable();
    let errors = [
        source.put(&new("a", CANARY)).await.unwrap_err(),
        source.rotate(&name("a"), &value(CANARY)).await.unwrap_err(),
        source.get(&name(CANARY), &Stage::Current).await.unwrap_err(),
    ];
    for error in errors {
        let told = format!("{} {error:?}", whole(&error));
        assert!(
            !told.contains(CANARY) && !told.contains("Authorization") && !told.contains("SecretString"),
            "{told}"
        );
        assert!(error.is_outage() || error.class() == "invalid", "{told}");
    }
}

#[test]
fn names_sizes_and_prefixes_are_checked_without_a_call() {
    let source = undispatchable();
    let check = |secret: &str, length: usize| source.check(&name(secret), &value(&"x".repeat(length)));
    check("app/prod/A_b+c=d.e@f-1", 65_536).unwrap();
    let reason = |outcome: Result<(), SourceError>| match outcome {
        Err(SourceError::Unfit { name, reason }) => (name.to_string(), reason),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(check("a", 65_537)), ("a".into(), Unfit::TooLong { actual: 65_537, limit: 65_536 }));
    assert_eq!(reason(check("a", 0)), ("a".into(), Unfit::Empty));
    for bad in ["a b", "a:b", "ä", "a*", "a,b"] {
        assert_eq!(reason(check(bad, 1)), (bad.into(), Unfit::NameCharacter));
    }
    let inside = Prefixed::new(Arc::new(undispatchable()), "app prod/").unwrap();
    assert_eq!(reason(inside.check(&name("a"), &value("x"))).1, Unfit::NameCharacter);
    for glued in ["app", "app/prod", "app1"] {
        let refused = Prefixed::new(Arc::new(undispatchable()), glued).err();
        assert_eq!(refused, Some(NameError::Prefix), "{glued}");
    }
    for apart in ["app/", "app_", "app-", "app."] {
        assert!(Prefixed::new(Arc::new(undispatchable()), apart).is_ok(), "{apart}");
    }
}

#[tokio::test]
async fn a_batch_that_fails_as_a_whole_is_asked_for_one_by_one() {
    let aws = Emulator::start();
    let source = SecretsManager::new(aws.secrets_manager());
    source.put(&new("a", "1")).await.unwrap();
    source.put(&new("b", "2")).await.unwrap();
    for code in ["InvalidParameterException", "ValidationException"] {
        aws.faults().next_for("BatchGetSecretValue", 1, Fault::Fail(AwsFailure::Error { code, status: 400 }));
        let answers = source.get_many(&[name("a"), name("nobody"), name("b")]).await.unwrap();
        let shown: Vec<Result<&str, String>> =
            answers.iter().map(|answer| answer.as_ref().map(text).map_err(ToString::to_string)).collect();
        assert_eq!(shown[0], Ok("1"), "{code}");
        assert!(shown[1].as_ref().unwrap_err().contains("nobody"), "{shown:?}");
        assert_eq!(shown[2], Ok("2"));
    }
}

/// The service's answers about a replica, a scheduled deletion and a secret without a value.
#[tokio::test]
async fn a_secret_without_a_value_has_no_current_version() {
    let aws = Emulator::start();
    let admin = aws.secrets_manager_admin();
    admin.create_secret().name("empty").send().await.unwrap();
    let source = SecretsManager::new(aws.secrets_manager());
    let single = source.get(&name("empty"), &Stage::Current).await.unwrap_err();
    assert!(matches!(single, SourceError::NoSuchStage { .. }), "{single:?}");
    let batch = source.get_many(&[name("empty")]).await.unwrap().remove(0).unwrap_err();
    assert!(matches!(batch, SourceError::NoSuchStage { .. }), "{batch:?}");
    source.put(&new("empty", "now")).await.unwrap();
    assert_eq!(text(&source.get(&name("empty"), &Stage::Current).await.unwrap()), "now");
}

#[tokio::test]
async fn a_restore_does_all_it_can_and_lists_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    let key = Arc::new(DataKey::generate());
    let full = MemorySource::new();
    for secret in ["a", "b", "c d", "gone"] {
        full.put(&new(secret, &format!("{CANARY} {secret}"))).await.unwrap();
    }
    full.put(&new("large", &"x".repeat(70_000))).await.unwrap();
    backup::write(&full, StreamKey::new(Arc::clone(&key), "test"), &file, Existing::Refuse, &|| false)
        .await
        .unwrap();
    let aws = Emulator::start();
    let target = SecretsManager::new(aws.secrets_manager());
    target.put(&new("gone", "old")).await.unwrap();
    target.delete(&name("gone")).await.unwrap();
    let planned =
        backup::plan(&file, Arc::clone(&key), Unlabelled::Refuse, &target, &|| false).await.unwrap();
    let restored =
        backup::restore(&file, Arc::clone(&key), Unlabelled::Refuse, &target, &|| false).await.unwrap();
    let failed = |plan: &backup::Plan| {
        let mut failed: Vec<(String, &str)> =
            plan.failed.iter().map(|f| (f.name.to_string(), f.class)).collect();
        failed.sort();
        failed
    };
    let expected = [("c d", "unfit"), ("gone", "pending_deletion"), ("large", "unfit")];
    assert_eq!(failed(&restored.plan), expected.map(|(name, class)| (name.to_owned(), class)));
    assert_eq!(failed(&planned), failed(&restored.plan), "the plan matches the restore");
    assert_eq!((restored.versions, restored.plan.added), (2, vec![name("a"), name("b")]));
    assert!(restored.plan.failed.iter().all(|failed| !failed.reason.contains(CANARY)));
    assert_eq!(text(&target.get(&name("a"), &Stage::Current).await.unwrap()), format!("{CANARY} a"));
}

#[tokio::test]
async fn a_replica_is_not_written_and_a_replicated_secret_not_deleted() {
    let moto = test_support::part!(moto);
    let unique: String =
        DataKey::generate().expose_secret().iter().map(|byte| format!("{byte:02x}")).collect();
    let secret = name(&format!("replicated-{unique}"));
    let [primary, replica] = ["eu-west-1", "us-east-1"].map(|region| Client::new(&moto.sdk_config(region)));
    let here = SecretsManager::new(primary.clone());
    here.put(&new(secret.as_str(), CANARY)).await.unwrap();
    let region = ReplicaRegionType::builder().region("us-east-1").build();
    let replicate = primary.replicate_secret_to_regions().secret_id(secret.as_str());
    replicate.add_replica_regions(region).send().await.unwrap();
    let there = SecretsManager::new(replica);
    let read = there.get(&secret, &Stage::Current).await.unwrap();
    assert_eq!(text(&read), CANARY, "a replica is read");
    let failures = [
        there.put(&new(secret.as_str(), "new")).await.unwrap_err(),
        there.rotate(&secret, &value("new")).await.unwrap_err(),
        there.delete(&secret).await.unwrap_err(),
        here.delete(&secret).await.unwrap_err(),
    ];
    for error in failures {
        assert!(matches!(&error, SourceError::Replicated { name } if *name == secret), "{error:?}");
        assert!(error.hint().unwrap().contains("primary Region"));
        assert!(!format!("{error:?}").contains(CANARY));
    }
    assert_eq!(text(&here.get(&secret, &Stage::Current).await.unwrap()), CANARY);
}

#[test]
fn a_name_has_its_spellings() {
    let variable = |text: &str| SecretName::new(text).unwrap().variable();
    assert_eq!(
        ["db/password", "DATABASE_URL", "9lives", "a.b"].map(variable),
        ["DB_PASSWORD", "DATABASE_URL", "_9LIVES", "A_B"]
    );
    assert!(name("database-url").is_spelling_of(&name("DATABASE_URL")));
    assert!(!name("database-url").is_spelling_of(&name("DATABASE_URI")));
    assert!(!name("http_proxy").is_spelling_of(&name("HTTP_PROXY")), "programs read both");
    assert!(name("http_proxy").is_spelling_of(&name("http_proxy")));
}
