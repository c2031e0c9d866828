//! Transit of a real OpenBao as a key service.

use std::io::Write;
use std::sync::{Arc, Mutex};

use envelope_core::conformance::same_key;
use envelope_core::{ErrorClass, KeyProvider};
use kms_provider::Vault;
use kms_provider::uri::TransitKey;
use serde_json::{Value, json};
use test_support::openbao::{OpenBao, ROOT_TOKEN, Server};
use test_support::part;
use tracing_subscriber::filter::LevelFilter;
use vault_client::{Auth, VaultClient, VaultOptions};

use crate::leaks::assert_silent;
use crate::support::{claimed, class, context, row, told, wrapped};

pub(crate) fn client(bao: &OpenBao, token: &str) -> VaultClient {
    VaultClient::new(VaultOptions::new(bao.address(), Auth::Token(token.into()))).unwrap()
}

fn key(mount: &str, name: &str) -> TransitKey {
    format!("vault:{mount}/{name}").parse().unwrap()
}

/// The key `tokens` of a mount, as the operator.
pub(crate) fn vault(bao: &OpenBao, mount: &str) -> Vault {
    Vault::new(client(bao, ROOT_TOKEN), key(mount, "tokens"), [])
}

async fn rotate(bao: &OpenBao, mount: &str) {
    bao.call("POST", &format!("{mount}/keys/tokens/rotate"), json!({})).await;
}

async fn configure(bao: &OpenBao, mount: &str, setting: Value) {
    bao.call("POST", &format!("{mount}/keys/tokens/config"), setting).await;
}

#[tokio::test]
async fn a_mistyped_key_name_is_not_found_and_makes_no_key() {
    let bao = part!(openbao);
    let mount = bao.transit().await;
    let mistyped = Vault::new(client(&bao, ROOT_TOKEN), key(&mount, "tokenz"), [key(&mount, "tokens")]);
    let token = wrapped(&vault(&bao, &mount), &row(1)).await;
    assert_eq!(class(mistyped.generate(&row(1)).await), ErrorClass::NotFound);
    assert_eq!(class(mistyped.describe().await), ErrorClass::NotFound);
    // A data key of another key is not re-wrapped either.
    assert_eq!(class(mistyped.rewrap(&token, &row(1)).await), ErrorClass::NotFound);
    let keys = bao.call("GET", &format!("{mount}/keys?list=true"), Value::Null).await;
    assert_eq!(keys["keys"], json!(["tokens"]));
}

#[tokio::test]
async fn a_mount_that_is_not_there_and_one_that_is_not_transit_are_not_found() {
    let bao = part!(openbao);
    for mount in ["nowhere".to_owned(), bao.kv().await] {
        let error = vault(&bao, &mount).generate(&row(1)).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::NotFound, "{mount}: {}", told(&error));
        assert!(error.hint().is_some(), "{mount}");
    }
}

#[tokio::test]
async fn a_key_that_binds_no_context_is_refused_before_it_is_used() {
    let bao = part!(openbao);
    let mount = bao.transit().await;
    for (name, settings) in [("plain", json!({})), ("rsa", json!({ "type": "rsa-2048" }))] {
        bao.call("POST", &format!("{mount}/keys/{name}"), settings).await;
        let vault = Vault::new(client(&bao, ROOT_TOKEN), key(&mount, name), []);
        assert_eq!(class(vault.generate(&row(1)).await), ErrorClass::Misconfigured, "{name}");
        assert_eq!(class(vault.describe().await), ErrorClass::Misconfigured, "{name}");
    }
    // The server itself would open this under any context.
    let path = format!("{mount}/datakey/plaintext/plain");
    let made = bao.call("POST", &path, json!({ "context": "AAA=" })).await;
    let text = made["ciphertext"].as_str().unwrap();
    let unbound = envelope_core::WrappedDataKey::new(text, None).unwrap();
    let vault = Vault::new(client(&bao, ROOT_TOKEN), key(&mount, "plain"), []);
    assert_eq!(class(vault.unwrap(&unbound, &row(1)).await), ErrorClass::Misconfigured);
}

#[tokio::test]
async fn after_a_rotation_rewrap_changes_old_data_keys_and_keeps_the_bytes_of_current_ones() {
    let bao = part!(openbao);
    let mount = bao.transit().await;
    let vault = vault(&bao, &mount);
    let made = vault.generate(&row(1)).await.unwrap();
    assert_eq!(made.wrapped.key_id(), Some(&*format!("vault:{mount}/tokens:v1")));
    rotate(&bao, &mount).await;
    assert_eq!(vault.describe().await.unwrap().key_id, format!("vault:{mount}/tokens:v2"));
    let new = vault.rewrap(&made.wrapped, &row(1)).await.unwrap();
    assert_ne!(new.bytes(), made.wrapped.bytes());
    assert_eq!(new.key_id(), Some(&*format!("vault:{mount}/tokens:v2")));
    let again = vault.rewrap(&new, &row(1)).await.unwrap();
    assert_eq!(again.bytes(), new.bytes());
    for wrapped in [&made.wrapped, &new] {
        assert!(same_key(&vault.unwrap(wrapped, &row(1)).await.unwrap(), &made.key.0));
        assert_eq!(class(vault.rewrap(wrapped, &row(2)).await), ErrorClass::ContextMismatchOrCorrupt);
    }
}

#[tokio::test]
async fn a_retired_version_has_a_class_of_its_own_and_rewrap_comes_before_it() {
    let bao = part!(openbao);
    let mount = bao.transit().await;
    let vault = vault(&bao, &mount);
    let old = wrapped(&vault, &row(1)).await;
    rotate(&bao, &mount).await;
    let new = vault.rewrap(&old, &row(1)).await.unwrap();
    configure(&bao, &mount, json!({ "min_decryption_version": 2 })).await;
    let error = vault.unwrap(&old, &row(1)).await.map(drop).unwrap_err();
    assert_eq!(error.class(), ErrorClass::VersionRetired);
    assert!(error.hint().is_some_and(|hint| hint.contains("min_decryption_version")), "{}", told(&error));
    assert!(!error.class().is_outage(), "the other rows open");
    assert_eq!(class(vault.rewrap(&old, &row(1)).await), ErrorClass::VersionRetired);
    vault.unwrap(&new, &row(1)).await.unwrap();
    configure(&bao, &mount, json!({ "min_decryption_version": 1 })).await;
    vault.unwrap(&old, &row(1)).await.unwrap();
}

#[tokio::test]
async fn a_wrong_key_and_a_wrong_context_are_one_error() {
    let bao = part!(openbao);
    let (mount, other) = (bao.transit().await, bao.transit().await);
    let vault = vault(&bao, &mount);
    let own = wrapped(&vault, &row(1)).await;
    let foreign = wrapped(&Vault::new(client(&bao, ROOT_TOKEN), key(&other, "tokens"), []), &row(1)).await;
    let wrong_context = vault.unwrap(&own, &row(2)).await.map(drop).unwrap_err();
    let wrong_key = vault.unwrap(&claimed(&foreign, None), &row(1)).await.map(drop).unwrap_err();
    assert_eq!(told(&wrong_key), told(&wrong_context));
    assert_eq!(wrong_key.class(), ErrorClass::ContextMismatchOrCorrupt);
}

#[tokio::test]
async fn a_data_key_moves_to_another_allowed_key_and_opens_with_both() {
    let bao = part!(openbao);
    let (old, new) = (bao.transit().await, bao.transit().await);
    let made = vault(&bao, &old).generate(&row(1)).await.unwrap();
    let moving = Vault::new(client(&bao, ROOT_TOKEN), key(&new, "tokens"), [key(&old, "tokens")]);
    for claim in [made.wrapped.key_id(), None] {
        let moved = moving.rewrap(&claimed(&made.wrapped, claim), &row(1)).await.unwrap();
        assert_eq!(moved.key_id(), Some(&*format!("vault:{new}/tokens:v1")));
        let opened = vault(&bao, &new).unwrap(&moved, &row(1)).await.unwrap();
        assert!(same_key(&opened, &made.key.0));
        assert_eq!(class(moving.unwrap(&moved, &row(2)).await), ErrorClass::ContextMismatchOrCorrupt);
    }
    assert!(same_key(&moving.unwrap(&made.wrapped, &row(1)).await.unwrap(), &made.key.0));
}

#[tokio::test]
async fn each_missing_capability_is_denied_with_the_path_to_allow() {
    let bao = part!(openbao);
    let mount = bao.transit().await;
    let token = wrapped(&vault(&bao, &mount), &row(1)).await;
    let paths =
        [("keys", "read"), ("datakey/plaintext", "update"), ("decrypt", "update"), ("rewrap", "update")];
    for (missing, capability) in paths {
        let rules: String = paths
            .iter()
            .filter(|(path, _)| *path != missing)
            .map(|(path, may)| format!("path \"{mount}/{path}/tokens\" {{ capabilities = [\"{may}\"] }}\n"))
            .collect();
        let limited = bao.token(&rules, "1h").await;
        let vault = Vault::new(client(&bao, &limited), key(&mount, "tokens"), []);
        let outcomes = [
            vault.describe().await.map(drop),
            vault.generate(&row(1)).await.map(drop),
            vault.unwrap(&token, &row(1)).await.map(drop),
            vault.rewrap(&token, &row(1)).await.map(drop),
        ];
        let errors: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert_eq!(errors.len(), if missing == "keys" { 4 } else { 1 }, "{missing}");
        for error in errors {
            assert_eq!(error.class(), ErrorClass::Denied, "{missing}: {}", told(&error));
            let hint = error.hint().unwrap();
            assert!(
                hint.contains(&format!("{mount}/{missing}/tokens")) && hint.contains(capability),
                "{hint}"
            );
        }
    }
}

#[tokio::test]
async fn a_sealed_server_is_unavailable_and_serves_again_once_it_is_unsealed() {
    // Whether OpenBao is there at all is the part's question.
    let _bao = part!(openbao);
    let server = Server::private(None).await.unwrap();
    let bao = server.bao();
    let mount = bao.transit().await;
    let vault = vault(bao, &mount);
    let token = wrapped(&vault, &row(1)).await;
    bao.call("POST", "sys/seal", json!({})).await;
    for outcome in [vault.unwrap(&token, &row(1)).await.map(drop), vault.generate(&row(1)).await.map(drop)] {
        let error = outcome.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unavailable, "{}", told(&error));
        assert!(error.hint().is_some_and(|hint| hint.contains("unseal")), "{}", told(&error));
    }
    bao.call("POST", "sys/unseal", json!({ "key": server.unseal_key() })).await;
    vault.unwrap(&token, &row(1)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_came_back_with_another_key_opens_nothing_and_blames_no_outage() {
    let _bao = part!(openbao);
    let server = Server::private(None).await.unwrap();
    let mount = server.bao().transit().await;
    let vault = vault(server.bao(), &mount);
    let token = wrapped(&vault, &row(1)).await;
    let port = server.bao().address().rsplit(':').next().and_then(|port| port.parse().ok());
    drop(server);
    assert_eq!(class(vault.unwrap(&token, &row(1)).await), ErrorClass::Unavailable);
    let restarted = Server::private(port).await.unwrap();
    assert_eq!(class(vault.unwrap(&token, &row(1)).await), ErrorClass::NotFound);
    let bao = restarted.bao();
    bao.call("POST", &format!("sys/mounts/{mount}"), json!({ "type": "transit" })).await;
    bao.call("POST", &format!("{mount}/keys/tokens"), json!({ "derived": true })).await;
    assert_eq!(class(vault.unwrap(&token, &row(1)).await), ErrorClass::ContextMismatchOrCorrupt);
}

#[tokio::test]
async fn a_deleted_key_is_distinguished_from_one_that_never_existed() {
    let bao = part!(openbao);
    let mount = bao.transit().await;
    let vault = vault(&bao, &mount);
    let token = wrapped(&vault, &row(1)).await;
    bao.call("DELETE", &format!("{mount}/keys/tokens/soft-delete"), json!({})).await;
    assert_eq!(class(vault.unwrap(&token, &row(1)).await), ErrorClass::PendingDeletion);
    assert_eq!(class(vault.describe().await), ErrorClass::PendingDeletion);
    bao.call("POST", &format!("{mount}/keys/tokens/soft-delete-restore"), json!({})).await;
    vault.unwrap(&token, &row(1)).await.unwrap();
}

#[tokio::test]
async fn a_rate_limit_of_the_server_is_throttling() {
    let bao = part!(openbao);
    let mount = bao.transit().await;
    let vault = vault(&bao, &mount);
    vault.generate(&row(1)).await.unwrap();
    let quota = json!({ "path": format!("{mount}/"), "rate": 1, "interval": "60s" });
    bao.call("POST", &format!("sys/quotas/rate-limit/{mount}"), quota).await;
    let mut classes = Vec::new();
    for _ in 0..5 {
        classes.extend(vault.generate(&row(1)).await.map_err(|error| error.class()).err());
    }
    bao.call("DELETE", &format!("sys/quotas/rate-limit/{mount}"), Value::Null).await;
    assert!(!classes.is_empty(), "the quota holds");
    assert!(classes.iter().all(|class| *class == ErrorClass::Throttled), "{classes:?}");
}

#[tokio::test]
async fn the_longest_context_is_taken() {
    let bao = part!(openbao);
    let vault = vault(&bao, &bao.transit().await);
    // 2 for the count, and 2 for each length.
    let long = context(&[("a", &"x".repeat(8_192 - 2 - 4 - 1))]);
    let made = vault.generate(&long).await.unwrap();
    assert!(same_key(&vault.unwrap(&made.wrapped, &long).await.unwrap(), &made.key.0));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// On one thread, which is the one whose log lines are kept.
#[tokio::test]
async fn neither_the_token_nor_a_key_is_in_a_log_line_or_an_error() {
    let bao = part!(openbao);
    let (mount, other) = (bao.transit().await, bao.transit().await);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let vault = Vault::new(client(&bao, ROOT_TOKEN), key(&mount, "tokens"), [key(&other, "tokens")]);
    let made = vault.generate(&row(1)).await.unwrap();
    vault.rewrap(&made.wrapped, &row(1)).await.unwrap();
    let mut shown = format!("{vault:?} {made:?}");
    shown += &told(&vault.unwrap(&made.wrapped, &row(2)).await.map(drop).unwrap_err());
    shown += &told(
        &vault.unwrap(&claimed(&made.wrapped, Some("vault:x/y")), &row(1)).await.map(drop).unwrap_err(),
    );
    let moving = Vault::new(client(&bao, ROOT_TOKEN), key(&other, "tokens"), [key(&mount, "tokens")]);
    moving.rewrap(&made.wrapped, &row(1)).await.unwrap();
    drop(guard);
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("TRACE"), "everything is logged");
    for text in [logged, shown] {
        assert!(!text.contains(ROOT_TOKEN), "a token is in: {text}");
        assert_silent(&text, made.key.0.expose_secret());
    }
}
