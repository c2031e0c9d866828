//! A call that is repeated, and one of several at once, takes no value away: in every source that stores.

use std::sync::Arc;

use secrets_cache::local::LocalStore;
use secrets_cache::source::memory::MemorySource;
use secrets_cache::source::prefixed::Prefixed;
use secrets_cache::source::secrets_manager::SecretsManager;
use secrets_cache::source::vault::VaultKv;
use secrets_cache::source::{NewSecret, Replaces};
use secrets_cache::{SecretSource, SourceError, Stage};
use test_support::openbao::ROOT_TOKEN;
use test_support::part;
use vault_client::{Auth, VaultClient, VaultOptions};

use crate::support::{Ring, name, new, text, value};

/// Memory, a local store, Secrets Manager and KV of OpenBao, the last two real programs.
async fn sources() -> Option<(tempfile::TempDir, Vec<Arc<dyn SecretSource>>)> {
    let (moto, bao) = (part!(moto, None), part!(openbao, None));
    let directory = tempfile::tempdir().unwrap();
    let local = LocalStore::open_or_create(directory.path().join("s.db"), Ring::of(1)).await.unwrap();
    let client = aws_sdk_secretsmanager::Client::new(&moto.sdk_config("eu-west-1"));
    let prefix = format!("{}/", directory.path().file_name().unwrap().to_string_lossy());
    let manager = Prefixed::new(Arc::new(SecretsManager::new(client)), &prefix).unwrap();
    let options = VaultOptions::new(bao.address(), Auth::Token(ROOT_TOKEN.into()));
    let path = format!("{}/app", bao.kv().await).parse().unwrap();
    let vault = VaultKv::new(VaultClient::new(options).unwrap(), path);
    Some((
        directory,
        vec![Arc::new(MemorySource::new()), Arc::new(local), Arc::new(manager), Arc::new(vault)],
    ))
}

async fn read(source: &dyn SecretSource, stage: &Stage) -> String {
    text(&source.get(&name("a"), stage).await.unwrap()).to_owned()
}

#[tokio::test]
async fn rotating_to_the_current_value_leaves_the_previous_one() {
    let Some((_directory, sources)) = sources().await else { return };
    for source in sources {
        let id = source.id();
        source.put(&new("a", "one")).await.unwrap();
        let first = source.rotate(&name("a"), &value("two")).await.unwrap();
        assert!(!first.unchanged, "{id}");
        let again = source.rotate(&name("a"), &value("two")).await.unwrap();
        assert_eq!((again.unchanged, &again.version), (true, &first.version), "{id}");
        let same = source.rotate_if(&name("a"), &value("two"), &first.version).await.unwrap();
        assert_eq!((same.unchanged, &same.version), (true, &first.version), "{id}");
        let other = source.rotate_if(&name("a"), &value("two"), "1234567890").await;
        assert!(matches!(other, Err(SourceError::Conflict { .. })), "{id}: {other:?}");
        assert_eq!(read(&*source, &Stage::Current).await, "two", "{id}");
        assert_eq!(read(&*source, &Stage::Previous).await, "one", "{id}");
    }
}

#[tokio::test]
async fn a_value_is_stored_only_over_the_version_that_it_may_replace() {
    let Some((_directory, sources)) = sources().await else { return };
    for source in sources {
        let id = source.id();
        let put =
            async |text: &str, replaces: Replaces| source.put(&new("a", text).replacing(replaces)).await;
        let is_conflict =
            |outcome: Result<_, SourceError>| matches!(outcome, Err(SourceError::Conflict { .. }));
        assert!(
            is_conflict(put("x", Replaces::Version("1".into())).await) || id.as_ref() == "secretsmanager"
        );
        let first = put("one", Replaces::Nothing).await.unwrap();
        assert!(first.created, "{id}");
        assert!(put("one", Replaces::Nothing).await.unwrap().unchanged, "{id}");
        assert!(is_conflict(put("two", Replaces::Nothing).await), "{id}");
        let second = put("two", Replaces::Version(first.version.clone())).await.unwrap();
        assert!(is_conflict(put("three", Replaces::Version(first.version)).await), "{id}");
        assert!(put("two", Replaces::Version(second.version)).await.unwrap().unchanged, "{id}");
        assert_eq!(read(&*source, &Stage::Current).await, "two", "{id}");
        assert_eq!(read(&*source, &Stage::Previous).await, "one", "{id}");
    }
}

#[tokio::test]
async fn of_several_first_values_at_once_one_is_stored_and_the_others_are_conflicts() {
    let Some((_directory, sources)) = sources().await else { return };
    for source in sources {
        let id = source.id();
        let writes = (0..6).map(|n| {
            let source = source.clone();
            async move { source.put(&new("a", &format!("value {n}")).replacing(Replaces::Nothing)).await }
        });
        let outcomes = futures_util::future::join_all(writes).await;
        let stored: Vec<usize> = (0..6).filter(|&n| outcomes[n].is_ok()).collect();
        assert_eq!(stored.len(), 1, "{id}: {outcomes:?}");
        let conflicts =
            outcomes.iter().filter(|outcome| matches!(outcome, Err(SourceError::Conflict { .. })));
        assert_eq!(conflicts.count(), 5, "{id}: {outcomes:?}");
        assert_eq!(read(&*source, &Stage::Current).await, format!("value {}", stored[0]), "{id}");
    }
}

#[tokio::test]
async fn a_transaction_with_a_conflict_stores_none_of_its_values() {
    use futures_util::StreamExt as _;
    let directory = tempfile::tempdir().unwrap();
    let local = LocalStore::open_or_create(directory.path().join("s.db"), Ring::of(1)).await.unwrap();
    local.put(&new("b", "there")).await.unwrap();
    let secrets: Vec<NewSecret> =
        ["a", "b"].map(|secret| new(secret, "new").replacing(Replaces::Nothing)).into();
    let outcome = local.put_all(futures_util::stream::iter(secrets.into_iter().map(Ok)).boxed()).await;
    assert!(matches!(&outcome, Err(SourceError::Conflict { name }) if name.as_str() == "b"), "{outcome:?}");
    assert!(local.get(&name("a"), &Stage::Current).await.unwrap_err().is_not_found());
    assert_eq!(text(&local.get(&name("b"), &Stage::Current).await.unwrap()), "there");
}
