//! KV version 2 of a real OpenBao as a source: versions, stages, check-and-set, and versions that are not
//! served.

use secrets_cache::source::vault::VaultKv;
use secrets_cache::source::{ListRequest, NewSecret, list_all};
use secrets_cache::{SecretName, SecretSource, SecretValue, SourceError, Stage};
use serde_json::{Value, json};
use test_support::openbao::{OpenBao, ROOT_TOKEN};
use test_support::part;
use vault_client::{Auth, VaultClient, VaultOptions};

fn source(bao: &OpenBao, path: &str, token: &str) -> VaultKv {
    let options = VaultOptions::new(bao.address(), Auth::Token(token.into()));
    VaultKv::new(VaultClient::new(options).unwrap(), path.parse().unwrap())
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

async fn text(source: &VaultKv, secret: &str, stage: &Stage) -> Result<String, SourceError> {
    let secret = source.get(&name(secret), stage).await?;
    Ok(secret.value.expose_text().unwrap().to_owned())
}

async fn put(source: &VaultKv, secret: &str, value: &str) -> String {
    source.put(&NewSecret::new(name(secret), SecretValue::text(value))).await.unwrap().version
}

#[tokio::test]
async fn the_newest_version_is_current_and_the_one_before_it_previous() {
    let bao = part!(openbao);
    let source = source(&bao, &format!("{}/app/prod", bao.kv().await), ROOT_TOKEN);
    assert!(text(&source, "db", &Stage::Current).await.unwrap_err().is_not_found());
    assert_eq!(put(&source, "db", "one").await, "1");
    assert!(matches!(text(&source, "db", &Stage::Previous).await, Err(SourceError::NoSuchStage { .. })));
    let rotated = source.rotate(&name("db"), &SecretValue::text("two")).await.unwrap();
    assert_eq!((rotated.version.as_str(), rotated.created), ("2", false));
    assert_eq!(text(&source, "db", &Stage::Current).await.unwrap(), "two");
    assert_eq!(text(&source, "db", &Stage::Previous).await.unwrap(), "one");
    assert_eq!(text(&source, "db", &Stage::from("v1")).await.unwrap(), "one");
    assert!(matches!(text(&source, "db", &Stage::from("9")).await, Err(SourceError::NoSuchStage { .. })));
    let secret = source.get(&name("db"), &Stage::Current).await.unwrap();
    assert_eq!((secret.version.as_str(), &*secret.source), ("2", "vault"));
    assert!(secret.created.is_some());
}

#[tokio::test]
async fn a_secret_that_never_was_cannot_be_rotated() {
    let bao = part!(openbao);
    let source = source(&bao, &bao.kv().await, ROOT_TOKEN);
    let outcome = source.rotate(&name("db"), &SecretValue::text("x")).await;
    assert!(matches!(outcome, Err(SourceError::NotFound { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_change_of_another_program_is_a_conflict_and_not_lost() {
    let bao = part!(openbao);
    let mount = bao.kv().await;
    let source = source(&bao, &mount, ROOT_TOKEN);
    put(&source, "db", "one").await;
    // Many at once: each starts from a version that only one of them may replace.
    let writes = (0..8).map(|n| {
        let (source, value) = (&source, format!("writer {n}"));
        async move { source.rotate(&name("db"), &SecretValue::text(value)).await }
    });
    let outcomes = futures_util::future::join_all(writes).await;
    let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let conflicts =
        outcomes.iter().filter(|outcome| matches!(outcome, Err(SourceError::Conflict { .. }))).count();
    assert_eq!(written + conflicts, 8, "{outcomes:?}");
    let metadata = bao.call("GET", &format!("{mount}/metadata/db"), Value::Null).await;
    assert_eq!(metadata["current_version"], json!(1 + written), "every write that succeeded is a version");
}

#[tokio::test]
async fn deleted_destroyed_and_expired_versions_are_told_apart() {
    let bao = part!(openbao);
    let mount = bao.kv().await;
    let source = source(&bao, &mount, ROOT_TOKEN);
    for secret in ["deleted", "destroyed"] {
        put(&source, secret, "value").await;
    }
    source.delete(&name("deleted")).await.unwrap();
    bao.call("POST", &format!("{mount}/destroy/destroyed"), json!({ "versions": [1] })).await;
    bao.call("POST", &format!("{mount}/metadata/expired"), json!({ "delete_version_after": "1s" })).await;
    put(&source, "expired", "value").await;
    assert_eq!(text(&source, "expired", &Stage::Current).await.unwrap(), "value");
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    let class = async |secret| text(&source, secret, &Stage::Current).await.unwrap_err().class();
    assert_eq!(class("deleted").await, "pending_deletion");
    assert_eq!(class("destroyed").await, "no_such_stage");
    assert_eq!(class("expired").await, "expired");
    assert_eq!(class("never").await, "not_found");
    bao.call("POST", &format!("{mount}/undelete/deleted"), json!({ "versions": [1] })).await;
    assert_eq!(text(&source, "deleted", &Stage::Current).await.unwrap(), "value");
}

#[tokio::test]
async fn a_value_comes_back_as_it_was_and_fields_of_others_as_json() {
    let bao = part!(openbao);
    let mount = bao.kv().await;
    let source = source(&bao, &format!("{mount}/app"), ROOT_TOKEN);
    for value in ["plain", "{\"a\": 1}", "line\nbreak \"quoted\" é", &"x".repeat(60_000)] {
        put(&source, "text", value).await;
        assert_eq!(text(&source, "text", &Stage::Current).await.unwrap(), *value);
    }
    let bytes = vec![0, 159, 146, 150, 255];
    source.put(&NewSecret::new(name("bytes"), SecretValue::binary(bytes.clone()))).await.unwrap();
    let read = source.get(&name("bytes"), &Stage::Current).await.unwrap();
    assert!(read.value.is_binary() && read.value.expose_bytes() == bytes);
    bao.call("POST", &format!("{mount}/data/app/db"), json!({ "data": { "user": "u", "password": "p" } }))
        .await;
    let fields: Value = serde_json::from_str(&text(&source, "db", &Stage::Current).await.unwrap()).unwrap();
    assert_eq!(fields, json!({ "user": "u", "password": "p" }));
}

#[tokio::test]
async fn a_list_has_every_secret_below_the_path_and_none_beside_it() {
    let bao = part!(openbao);
    let mount = bao.kv().await;
    let (app, other) = (source(&bao, &format!("{mount}/app"), ROOT_TOKEN), source(&bao, &mount, ROOT_TOKEN));
    put(&other, "application", "beside").await;
    let tagged = NewSecret::new(name("a"), SecretValue::text("1")).with_tag("owner", "shop");
    app.put(&tagged).await.unwrap();
    for secret in ["deep/er/b", "deep/c", "gone"] {
        put(&app, secret, "2").await;
    }
    app.delete(&name("gone")).await.unwrap();
    let listed = async |request: ListRequest| -> Vec<String> {
        list_all(&app, &request).await.unwrap().iter().map(|secret| secret.name.to_string()).collect()
    };
    assert_eq!(listed(ListRequest::default()).await, ["a", "deep/c", "deep/er/b"]);
    assert_eq!(listed(ListRequest::default().with_limit(1)).await, ["a", "deep/c", "deep/er/b"]);
    assert_eq!(listed(ListRequest::default().with_prefix("deep/")).await, ["deep/c", "deep/er/b"]);
    assert_eq!(listed(ListRequest::default().with_tag("owner", "shop")).await, ["a"]);
    let described = app.describe(&name("a")).await.unwrap();
    assert_eq!(described.tags["owner"], "shop");
    assert_eq!(described.versions[0].stages, [Stage::Current]);
    // A later value leaves the tags as they are.
    put(&app, "a", "3").await;
    assert_eq!(app.describe(&name("a")).await.unwrap().tags["owner"], "shop");
}

#[tokio::test]
async fn a_mount_with_a_slash_in_its_name_is_found_and_another_engine_refused() {
    let bao = part!(openbao);
    let mount = format!("{}-team/kv", bao.kv().await);
    bao.call("POST", &format!("sys/mounts/{mount}"), json!({ "type": "kv", "options": { "version": "2" } }))
        .await;
    let nested = source(&bao, &format!("{mount}/app"), ROOT_TOKEN);
    put(&nested, "db", "nested").await;
    let read = bao.call("GET", &format!("{mount}/data/app/db"), Value::Null).await;
    assert_eq!(read["data"]["value"], "nested");
    let first = bao.mount("kv", json!({ "version": "1" })).await;
    for other in [bao.transit().await, first] {
        let outcome = text(&source(&bao, &other, ROOT_TOKEN), "db", &Stage::Current).await;
        assert!(matches!(outcome, Err(SourceError::Invalid { .. })), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_token_without_the_capability_is_denied_and_a_name_leads_nowhere_else() {
    let bao = part!(openbao);
    let mount = bao.kv().await;
    put(&source(&bao, &mount, ROOT_TOKEN), "app/db", "value").await;
    let token =
        bao.token(&format!("path \"{mount}/data/app/*\" {{ capabilities = [\"read\"] }}"), "1h").await;
    let limited = source(&bao, &format!("{mount}/app"), &token);
    assert_eq!(text(&limited, "db", &Stage::Current).await.unwrap(), "value");
    let refused = limited.put(&NewSecret::new(name("db"), SecretValue::text("x"))).await;
    assert!(matches!(refused, Err(SourceError::Denied { .. })), "{refused:?}");
    for outside in ["../other/db", "a//b", "./db"] {
        let outcome = text(&limited, outside, &Stage::Current).await;
        assert!(matches!(outcome, Err(SourceError::Invalid { .. })), "{outside}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_mount_or_a_namespace_that_does_not_exist_is_no_empty_source() {
    let bao = part!(openbao);
    let mount = bao.kv().await;
    let gone = source(&bao, &mount, ROOT_TOKEN);
    put(&gone, "db", "value").await;
    bao.call("DELETE", &format!("sys/mounts/{mount}"), Value::Null).await;
    let mut elsewhere = VaultOptions::new(bao.address(), Auth::Token(ROOT_TOKEN.into()));
    elsewhere.namespace = Some("no-such-namespace".into());
    let path = bao.kv().await.parse().unwrap();
    let elsewhere = VaultKv::new(VaultClient::new(elsewhere).unwrap(), path);
    let absent = source(&bao, "no-such-mount/app", ROOT_TOKEN);
    for source in [&gone, &elsewhere, &absent] {
        let listed = source.list(&ListRequest::default()).await.map(drop);
        let read = source.get(&name("db"), &Stage::Current).await.map(drop);
        let previous = source.get(&name("db"), &Stage::Previous).await.map(drop);
        let described = source.describe(&name("db")).await.map(drop);
        let stored = source.put(&NewSecret::new(name("db"), SecretValue::text("x"))).await.map(drop);
        let rotated = source.rotate(&name("db"), &SecretValue::text("x")).await.map(drop);
        for outcome in [listed, read, previous, described, stored, rotated] {
            assert!(matches!(outcome, Err(SourceError::Unavailable { .. })), "{outcome:?}");
        }
    }
}
