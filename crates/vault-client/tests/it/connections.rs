//! The way to the server: TLS, namespaces, addresses and paths.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use test_support::openbao::{ROOT_TOKEN, Server};
use test_support::part;
use tracing_subscriber::fmt::MakeWriter;
use vault_client::{VaultClient, VaultError, VaultOptions};

use crate::{READ, a_secret, client, reads, status, token};

#[tokio::test]
async fn only_a_certificate_of_the_configured_authority_is_trusted() {
    // Whether OpenBao is there at all is the part's question.
    let _bao = part!(openbao);
    let directory = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.key_pair.serialize_pem()).unwrap();
    let (server, port) = Server::with_tls(&cert, &key).await.unwrap();
    let path = a_secret(server.bao(), "tls").await;
    let at = |host: &str, ca: Option<&std::path::Path>| {
        let mut options = VaultOptions::new(format!("https://{host}:{port}"), token(ROOT_TOKEN));
        options.ca_file = ca.map(ToOwned::to_owned);
        VaultClient::new(options).unwrap()
    };
    assert_eq!(reads(&at("localhost", Some(&cert)), &path).await.unwrap(), "canary");
    let untrusted = reads(&at("localhost", None), &path).await.unwrap_err();
    assert!(matches!(untrusted, VaultError::Untrusted), "{untrusted:?}");
    let other = directory.path().join("other.pem");
    let unrelated = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&other, unrelated.cert.pem()).unwrap();
    let error = reads(&at("localhost", Some(&other)), &path).await.unwrap_err();
    assert!(matches!(error, VaultError::Untrusted), "{error:?}");
}

#[tokio::test]
async fn a_namespace_keeps_its_secrets_apart() {
    let bao = part!(openbao);
    let namespace = bao.namespace().await;
    bao.call(
        "POST",
        &format!("{namespace}/sys/mounts/secret"),
        json!({ "type": "kv", "options": { "version": "2" } }),
    )
    .await;
    bao.call("POST", &format!("{namespace}/secret/data/a"), json!({ "data": { "value": "inside" } })).await;
    let mut options = VaultOptions::new(bao.address(), token(ROOT_TOKEN));
    options.namespace = Some(format!("{namespace}/"));
    let inside = VaultClient::new(options).unwrap();
    assert_eq!(reads(&inside, "secret/data/a").await.unwrap(), "inside");
    assert_eq!(status(&reads(&client(&bao, token(ROOT_TOKEN)), "secret/data/a").await.unwrap_err()), 404);
}

#[tokio::test]
async fn no_path_leads_out_of_the_api_or_to_another_name() {
    let bao = part!(openbao);
    let client = client(&bao, token(ROOT_TOKEN));
    for path in ["", "/", "secret//data", "secret/../sys/mounts", "./sys/mounts", "sys/mounts/"] {
        let outcome = client.get(path).await;
        assert!(matches!(outcome, Err(VaultError::Misconfigured { .. })), "{path}: {outcome:?}");
    }
    // Characters with a meaning in a URL are part of the name.
    bao.call("POST", "secret/data/a%3Fversion=1%23b", json!({ "data": { "value": "odd" } })).await;
    assert_eq!(reads(&client, "secret/data/a?version=1#b").await.unwrap(), "odd");
}

#[test]
fn an_address_that_would_show_the_token_is_refused() {
    for address in [
        "http://bao.example.org:8200",
        "http://10.0.0.1:8200",
        "ftp://localhost",
        "localhost:8200",
        "https://user:password@host",
        "https://host/?a=b",
        "",
    ] {
        let made = VaultClient::new(VaultOptions::new(address, token("s.canary")));
        assert!(matches!(made, Err(VaultError::Misconfigured { .. })), "{address}");
    }
    for address in
        ["http://127.0.0.1:8200", "http://[::1]:8200", "http://localhost", "https://bao.example.org/prefix"]
    {
        assert!(VaultClient::new(VaultOptions::new(address, token("s.canary"))).is_ok(), "{address}");
    }
}

#[tokio::test]
async fn nothing_answers_at_a_closed_port() {
    let client = VaultClient::new(VaultOptions::new("http://127.0.0.1:1", token("s.canary"))).unwrap();
    assert!(matches!(client.get("secret/data/a").await, Err(VaultError::Unreachable { .. })));
}

#[tokio::test(flavor = "current_thread")]
async fn neither_tokens_nor_secrets_are_in_a_log_at_any_level_or_in_an_error() {
    let bao = part!(openbao);
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone());
    let guard = tracing::subscriber::set_default(subscriber.finish());
    let path = a_secret(&bao, "leaks").await;
    let text = bao.token(READ, "1h").await;
    let client = client(&bao, token(&text));
    assert_eq!(reads(&client, &path).await.unwrap(), "canary");
    let answer = client.get(&path).await.unwrap();
    let error = client.post("sys/mounts/x", &json!({ "type": "canary" })).await.unwrap_err();
    let shown = format!("{client:?} {answer:?} {error:?} {error}");
    drop(guard);
    let written = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(!written.is_empty(), "the HTTP client writes at this level");
    for (what, shown) in [("the log", &written), ("an error or a Debug", &shown)] {
        assert!(!shown.contains("canary"), "{what} holds a secret");
        assert!(!shown.contains(&text), "{what} holds a token");
    }
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

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
