//! A secret is read as a type, and an error says its name and the type, never the value.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use secrets_cache::typed::{Json, ReadError};
use secrets_cache::{NewSecret, SecretSource, SecretValue, SecretsCache};
use serde::Deserialize;
use url::Url;

use crate::support::{Flaky, name, whole};

#[derive(Deserialize)]
struct Database {
    host: String,
    port: u16,
    #[serde(deserialize_with = "secrets_cache::typed::secret_string")]
    password: SecretString,
}

const DATABASE: &str =
    r#"{"host":"db","port":5432,"password":"s\u00e9same","tls":true,"a/b":{"c":["x","y"]}}"#;

async fn cache(value: &str) -> SecretsCache {
    SecretsCache::new(Flaky::with(&[("a", value)]).await)
}

#[tokio::test]
async fn as_what_it_is() {
    assert_eq!(cache("8080\n").await.read::<u16>("a").await.unwrap(), 8080);
    assert_eq!(cache("-1").await.read::<i64>("a").await.unwrap(), -1);
    assert!(cache("Yes").await.read::<bool>("a").await.unwrap());
    assert_eq!(cache("1h 30m").await.read::<Duration>("a").await.unwrap(), Duration::from_secs(5400));
    let url: Url = cache("postgres://u:p@db/x").await.read("a").await.unwrap();
    assert_eq!(url.host_str(), Some("db"));
    let text: SecretString = cache(" as it is\n").await.read("a").await.unwrap();
    assert_eq!(text.expose_secret(), " as it is\n");
    let Json(database): Json<Database> = cache(DATABASE).await.read("a").await.unwrap();
    assert_eq!((database.host.as_str(), database.port), ("db", 5432));
    assert_eq!(database.password.expose_secret(), "sésame");
}

#[tokio::test]
async fn a_field_at_a_time() {
    let cache = cache(DATABASE).await;
    assert_eq!(cache.read::<u16>("a#port").await.unwrap(), 5432);
    assert!(cache.read::<bool>("a#tls").await.unwrap());
    assert_eq!(cache.read::<SecretString>("a#password").await.unwrap().expose_secret(), "sésame");
    assert_eq!(cache.read::<SecretString>("a#/a~1b/c/1").await.unwrap().expose_secret(), "y");
    assert!(matches!(cache.read::<u16>("a#nothing").await, Err(ReadError::NoField { .. })));
    assert!(matches!(cache.read::<u16>("a#").await, Err(ReadError::Name(_))));
}

#[tokio::test]
async fn bytes_are_bytes() {
    let source = Flaky::with(&[]).await;
    source.put(&NewSecret::new(name("b"), SecretValue::binary(vec![0, 255, 1]))).await.unwrap();
    let cache = SecretsCache::new(source);
    assert_eq!(cache.read::<SecretSlice<u8>>("b").await.unwrap().expose_secret(), [0, 255, 1]);
    assert!(matches!(cache.read::<SecretString>("b").await, Err(ReadError::WrongType { .. })));
}

#[tokio::test]
async fn errors_say_name_and_type_only() {
    let cache = cache("canary-5a1f").await;
    let errors = [
        cache.read::<u16>("a").await.err(),
        cache.read::<f64>("a").await.err(),
        cache.read::<bool>("a").await.err(),
        cache.read::<Url>("a").await.err(),
        cache.read::<Duration>("a").await.err(),
        cache.read::<Json<Database>>("a").await.err(),
        cache.read::<u16>("a#field").await.err(),
    ];
    for error in errors {
        let error = error.unwrap();
        assert!(!whole(&error).contains("canary"), "{error}");
        assert!(error.to_string().contains("\"a"), "{error}");
    }
    let wrong = cache.read::<u16>("a").await.unwrap_err();
    assert!(wrong.to_string().contains("u16"));
}
