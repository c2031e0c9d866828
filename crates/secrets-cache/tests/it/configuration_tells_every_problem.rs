//! A wrong configuration is reported with all its problems; a valid one shows no secret.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use secrets_cache::SecretsCache;
use secrets_cache::config::{Declared, Origins, ProblemKind, Setting, mask};

use crate::support::{Flaky, denied, whole};

fn settings() -> Declared {
    Declared::new()
        .with(Setting::url("DATABASE_URL", &["postgres"]).secret())
        .with(Setting::url("BROKER_URL", &["amqp"]))
        .with(Setting::integer("PORT", 1..=65_535).or("8080"))
        .with(Setting::text_of("JWT_SECRET", 32..=usize::MAX).secret())
        .with(Setting::duration("TIMEOUT", Duration::from_secs(1)..=Duration::from_secs(60)).or("10s"))
        .with(Setting::one_of("LOG_LEVEL", &["debug", "info"]))
        .with(Setting::boolean("VERBOSE").optional())
        .with(Setting::text("API_KEY").secret().found_at("service/keys#api"))
}

const GOOD: &[(&str, &str)] = &[
    ("BROKER_URL", "amqp://app:canary-1@broker/?token=canary-2"),
    ("LOG_LEVEL", "info"),
    ("JWT_SECRET", "too short, and not the one that counts"),
    ("VERBOSE", ""),
];

const SECRETS: &[(&str, &str)] = &[
    ("DATABASE_URL", "postgres://app:canary-3@db/app"),
    ("JWT_SECRET", "canary-4-canary-4-canary-4-canary-4"),
    ("service/keys", r#"{"api":"canary-5"}"#),
];

#[tokio::test]
async fn a_right_one_is_typed_and_shows_no_secret() {
    let environment = Flaky::with(GOOD).await;
    let secrets = Flaky::with(SECRETS).await;
    let cache = SecretsCache::new(secrets.clone());
    let origins = Origins::environment(&*environment).and_secrets(&cache);
    let config = settings().load(&origins).await.unwrap();
    assert_eq!(config.get::<u16>("PORT").unwrap(), 8080);
    assert_eq!(config.get::<Duration>("TIMEOUT").unwrap(), Duration::from_secs(10));
    assert_eq!(config.get_optional::<bool>("VERBOSE").unwrap(), None);
    let jwt: SecretString = config.get("JWT_SECRET").unwrap();
    assert!(jwt.expose_secret().starts_with("canary-4"), "secrets come before the environment");
    assert_eq!(config.get::<SecretString>("API_KEY").unwrap().expose_secret(), "canary-5");
    let public = config.public();
    assert_eq!(public["BROKER_URL"], "amqp://app:***@broker/?token=***");
    assert_eq!(public["DATABASE_URL"], "postgres://app:***@db/app");
    assert_eq!(public.len(), 5);
    assert!(!format!("{config:?} {:?}", config.status()).contains("canary"));
    let origin = |name: &str| config.status().into_iter().find(|s| s.name == name).unwrap().origin;
    assert_eq!(origin("PORT").as_deref(), Some("default"));
    assert_eq!(origin("API_KEY").as_deref(), Some("memory"));
    assert_eq!(origin("VERBOSE"), None);
    assert_eq!(secrets.batches(), 1, "all of them together");
}

#[tokio::test]
async fn a_wrong_one_is_told_whole() {
    let environment = Flaky::with(&[
        ("DATABASE_URL", "mysql://app:canary@db/app"),
        ("PORT", "70000"),
        ("JWT_SECRET", "canary"),
        ("TIMEOUT", "2h"),
        ("LOG_LEVEL", "canary"),
        ("VERBOSE", "canary"),
    ])
    .await;
    let error = settings().load(&Origins::environment(&*environment)).await.unwrap_err();
    let wrong: Vec<&str> = error.problems.iter().map(|problem| problem.setting.as_str()).collect();
    let expected =
        ["DATABASE_URL", "BROKER_URL", "PORT", "JWT_SECRET", "TIMEOUT", "LOG_LEVEL", "VERBOSE", "API_KEY"];
    assert_eq!(wrong, expected);
    assert!(!whole(&error).contains("canary"));
    let text = error.to_string();
    assert!(text.contains("JWT_SECRET: not text of at least 32 characters"), "{text}");
    assert!(text.contains("PORT: not an integer from 1 to 65535"), "{text}");
}

#[tokio::test]
async fn a_source_that_refuses_is_not_a_missing_setting() {
    let environment = Flaky::with(GOOD).await;
    let secrets = Flaky::with(SECRETS).await;
    secrets.fail(denied());
    let cache = SecretsCache::new(secrets);
    let error = settings().load(&Origins::environment(&*environment).and_secrets(&cache)).await.unwrap_err();
    let refused = error.problems.iter().find(|problem| problem.setting == "JWT_SECRET").unwrap();
    assert!(matches!(refused.kind, ProblemKind::Unavailable(_)), "not the weaker value from the environment");
}

#[test]
fn connection_strings_are_masked() {
    for (text, shown) in [
        ("postgres://app:pw@db:5432/x?sslmode=require", "postgres://app:***@db:5432/x?sslmode=require"),
        ("redis://:pw@cache", "redis://:***@cache"),
        ("https://ghp_abc@github.com/x", "https://***@github.com/x"),
        ("https://api/?api_key=pw&b=1", "https://api/?api_key=***&b=1"),
        ("host=db password='p w' user=app", "host=db password=*** user=app"),
        ("Server=db;Pwd=p;Database=x", "Server=db;Pwd=***;Database=x"),
        ("postgres://app:p w@[", "***"),
        ("plain text", "plain text"),
    ] {
        assert_eq!(mask::connection_string(text), shown);
    }
}
