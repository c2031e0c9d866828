//! The first source that has a name answers, and no failure is ignored.

use std::sync::Arc;

use secrets_cache::source::dotenv::Dotenv;
use secrets_cache::source::environment::EnvironmentVariables;
use secrets_cache::source::layered::Layered;
use secrets_cache::source::prefixed::Prefixed;
use secrets_cache::source::{ListRequest, list_all};
use secrets_cache::{Environment, SecretSource, SourceError, Stage};

use crate::support::{Flaky, denied, name, new, text, value};

#[tokio::test]
async fn the_first_that_knows_the_name() {
    let (first, second) = (Flaky::with(&[("a", "1")]).await, Flaky::with(&[("a", "2"), ("b", "3")]).await);
    let layered = Layered::new().then(first.clone()).then(second.clone());
    assert_eq!(text(&layered.get(&name("a"), &Stage::Current).await.unwrap()), "1");
    assert_eq!(text(&layered.get(&name("b"), &Stage::Current).await.unwrap()), "3");
    let answers = layered.get_many(&[name("b"), name("c"), name("a")]).await.unwrap();
    assert_eq!(text(answers[0].as_ref().unwrap()), "3");
    assert!(matches!(answers[1], Err(SourceError::NotFound { .. })));
    assert_eq!(text(answers[2].as_ref().unwrap()), "1");
    // A version that the first source does not have is not looked for in the second.
    second.rotate(&name("a"), &value("4")).await.unwrap();
    let previous = layered.get(&name("a"), &Stage::Previous).await;
    assert!(matches!(previous, Err(SourceError::NoSuchStage { .. })));
    first.fail(denied());
    assert!(matches!(layered.get(&name("b"), &Stage::Current).await, Err(SourceError::Denied { .. })));
}

#[tokio::test]
async fn the_order_depends_on_the_environment() {
    let secret = Flaky::with(&[("a", "from the store")]).await;
    let file = Flaky::with(&[("a", "from the file")]).await;
    for (environment, expected) in
        [(Environment::Production, "from the store"), (Environment::Development, "from the file")]
    {
        let file: Arc<dyn SecretSource> = file.clone();
        let layered =
            Layered::new().then_in(&[Environment::Development], environment, || file).then(secret.clone());
        assert_eq!(text(&layered.get(&name("a"), &Stage::Current).await.unwrap()), expected);
    }
}

#[tokio::test]
async fn a_prefix_is_put_on_and_taken_off_in_one_place() {
    let source = Flaky::with(&[("other/a", "0")]).await;
    let inside = Prefixed::new(source.clone(), "store/prod/").unwrap();
    inside.put(&new("a", "1")).await.unwrap();
    inside.rotate(&name("a"), &value("2")).await.unwrap();
    let secret = inside.get(&name("a"), &Stage::Current).await.unwrap();
    assert_eq!((secret.name.as_str(), text(&secret)), ("a", "2"));
    assert_eq!(text(&source.get(&name("store/prod/a"), &Stage::Previous).await.unwrap()), "1");
    let listed = list_all(&inside, &ListRequest::default()).await.unwrap();
    assert_eq!(listed.iter().map(|secret| secret.name.as_str()).collect::<Vec<_>>(), ["a"]);
    let missing = inside.get(&name("b"), &Stage::Current).await.unwrap_err();
    assert!(missing.to_string().contains("store/prod/b"));
}

#[tokio::test]
async fn environment_variables_are_a_source_that_only_reads() {
    let source = EnvironmentVariables::new();
    let expected = std::env::var("PATH").unwrap();
    assert_eq!(text(&source.get(&name("PATH"), &Stage::Current).await.unwrap()), expected);
    let missing = source.get(&name("A_VARIABLE_THAT_NOBODY_SETS"), &Stage::Current).await;
    assert!(matches!(missing, Err(SourceError::NotFound { .. })));
    assert!(matches!(source.put(&new("a", "1")).await, Err(SourceError::Unsupported { .. })));
    assert!(matches!(source.list(&ListRequest::default()).await, Err(SourceError::Unsupported { .. })));
}

#[tokio::test]
async fn a_name_is_found_in_any_spelling_in_a_layer_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(".env");
    std::fs::write(&file, "TEST_SECRET=from-file\nnot-a-variable=other\n").unwrap();
    let dotenv = Dotenv::open(&file, Environment::Development).unwrap();
    let store = Flaky::with(&[("database-url", "from the store")]).await;
    let layered =
        Layered::new().then(store).then(Arc::new(EnvironmentVariables::new())).then(Arc::new(dotenv));
    for (asked, expected) in [
        ("test-secret", "from-file"),
        ("TEST_SECRET", "from-file"),
        ("test/secret", "from-file"),
        ("NOT_A_VARIABLE", "other"),
        ("database-url", "from the store"),
    ] {
        assert_eq!(text(&layered.get(&name(asked), &Stage::Current).await.unwrap()), expected, "{asked}");
        let answers = layered.get_many(&[name(asked)]).await.unwrap();
        assert_eq!(text(answers[0].as_ref().unwrap()), expected, "{asked}");
    }
    let path = layered.get(&name("path"), &Stage::Current).await.unwrap();
    assert_eq!(text(&path), std::env::var("PATH").unwrap());
    assert!(layered.get(&name("test-secrets"), &Stage::Current).await.unwrap_err().is_not_found());
}
