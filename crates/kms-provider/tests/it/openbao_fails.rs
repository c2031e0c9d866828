//! A real OpenBao that fails: each fault has its own class, is bounded in time, and is over as soon as it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope_core::{ErrorClass, KeyProvider, WrappedDataKey};
use kms_provider::{CacheOptions, Caching, Resilience, Vault};
use serde_json::{Value, json};
use test_support::openbao::{OpenBao, Server};
use test_support::part;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use vault_client::{Auth, VaultClient, VaultOptions};

use crate::behind_a_proxy::{RECOVERY, report};
use crate::support::{row, told, wrapped};

/// The default deadline of `Resilience`, and how late a timer on a busy machine may be.
const LIMIT: Duration = Duration::from_millis(10_500);

/// The stack of a service in its default settings. No data key is in its cache that it has not unwrapped.
struct Stack {
    cache: Caching,
    key: String,
}

impl Stack {
    fn new(address: &str, auth: Auth, mount: &str) -> Self {
        let client = VaultClient::new(VaultOptions::new(address, auth)).unwrap();
        let vault = Vault::new(client, format!("vault:{mount}/tokens").parse().unwrap(), []);
        let options = CacheOptions::default().with_remember_generated(false);
        let cache = Caching::with_options(Arc::new(Resilience::new(Arc::new(vault))), options);
        Self { cache, key: format!("{mount}/keys/tokens") }
    }

    /// Tokens whose data keys are not in the cache, the n-th bound to row n.
    async fn tokens(&self) -> Vec<WrappedDataKey> {
        let mut tokens = Vec::new();
        for number in 0..2 {
            tokens.push(wrapped(&self.cache, &row(number)).await);
        }
        tokens
    }

    /// Meets the fault, and continues as soon as `end` ended it.
    async fn play(
        &self,
        scenario: &str,
        cold: (&WrappedDataKey, usize),
        expected: (ErrorClass, &str),
        end: impl Future,
    ) {
        let (token, number) = cold;
        let start = Instant::now();
        let error = self.cache.unwrap(token, &row(number)).await.map(drop).unwrap_err();
        let failed = start.elapsed();
        assert_eq!(error.class(), expected.0, "{scenario}: {}", told(&error));
        assert!(error.hint().is_some_and(|hint| hint.contains(expected.1)), "{scenario}: {}", told(&error));
        assert!(failed < LIMIT, "{scenario}: {failed:?}");
        end.await;
        let start = Instant::now();
        while let Err(error) = self.cache.unwrap(token, &row(number)).await {
            assert!(start.elapsed() < RECOVERY, "{scenario}: not served again: {}", told(&error));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        report(scenario, error.class().label(), Some(failed), Some(start.elapsed()), "served again");
    }
}

async fn post(bao: &OpenBao, path: &str, body: Value) {
    bao.call("POST", path, body).await;
}

#[tokio::test]
async fn sealed_and_with_versions_retired() {
    // Whether OpenBao is there at all is the part's question.
    let _bao = part!(openbao);
    let server = Server::private(None).await.unwrap();
    let bao = server.bao();
    let stack = Stack::new(
        bao.address(),
        Auth::Token(test_support::openbao::ROOT_TOKEN.into()),
        &bao.transit().await,
    );
    let tokens = stack.tokens().await;
    post(bao, "sys/seal", json!({})).await;
    let unsealed = post(bao, "sys/unseal", json!({ "key": server.unseal_key() }));
    stack.play("OpenBao: sealed", (&tokens[0], 0), (ErrorClass::Unavailable, "unseal"), unsealed).await;

    post(bao, &format!("{}/rotate", stack.key), json!({})).await;
    let config = format!("{}/config", stack.key);
    post(bao, &config, json!({ "min_decryption_version": 2 })).await;
    let again = post(bao, &config, json!({ "min_decryption_version": 1 }));
    let expected = (ErrorClass::VersionRetired, "min_decryption_version");
    stack.play("OpenBao: version retired", (&tokens[1], 1), expected, again).await;
}

#[tokio::test]
async fn with_a_token_that_expired_and_a_policy_that_was_revoked() {
    let bao = part!(openbao);
    let mount = bao.transit().await;
    let rules = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"update\"] }}");
    let policy = bao.policy(&rules).await;
    let create = async || -> String {
        let auth = bao.call("POST", "auth/token/create", json!({ "policies": [policy], "ttl": "1h" })).await;
        auth["client_token"].as_str().unwrap().to_owned()
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let first = create().await;
    std::fs::write(&file, &first).unwrap();
    let stack = Stack::new(bao.address(), Auth::TokenFile(file.clone()), &mount);
    let tokens = stack.tokens().await;

    post(&bao, "auth/token/revoke", json!({ "token": first })).await;
    let renewed = async { std::fs::write(&file, create().await).unwrap() };
    stack.play("OpenBao: token expired", (&tokens[0], 0), (ErrorClass::Denied, "token"), renewed).await;

    let path = format!("sys/policies/acl/{policy}");
    post(&bao, &path, json!({ "policy": "path \"nothing\" { capabilities = [\"read\"] }" })).await;
    let restored = post(&bao, &path, json!({ "policy": rules }));
    stack.play("OpenBao: policy revoked", (&tokens[1], 1), (ErrorClass::Denied, "policy"), restored).await;
}

#[tokio::test]
async fn stopped_and_restarted_with_another_key() {
    let _bao = part!(openbao);
    let server = Server::private(None).await.unwrap();
    let mount = server.bao().transit().await;
    let address = server.bao().address().to_owned();
    let stack = Stack::new(&address, Auth::Token(test_support::openbao::ROOT_TOKEN.into()), &mount);
    let token = stack.tokens().await.remove(1);
    drop(server);
    let start = Instant::now();
    let away = stack.cache.unwrap(&token, &row(1)).await.map(drop).unwrap_err();
    assert_eq!(away.class(), ErrorClass::Unavailable, "{}", told(&away));
    assert!(start.elapsed() < LIMIT);

    let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
    let restarted = Server::private(port).await.unwrap();
    let bao = restarted.bao();
    post(bao, &format!("sys/mounts/{mount}"), json!({ "type": "transit" })).await;
    post(bao, &stack.key, json!({ "derived": true })).await;
    let start = Instant::now();
    // The circuit may still be open.
    let error = loop {
        let error = stack.cache.unwrap(&token, &row(1)).await.map(drop).unwrap_err();
        if error.class() != ErrorClass::Unavailable || start.elapsed() > RECOVERY {
            break error;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(error.class(), ErrorClass::ContextMismatchOrCorrupt, "{}", told(&error));
    let seen = error.class().label();
    report(
        "OpenBao: restarted with another key",
        seen,
        Some(start.elapsed()),
        None,
        "no outage, nothing opens",
    );
}

/// A standby of OpenBao serves or forwards; only one that redirects is met here, and no single server does.
#[tokio::test]
async fn a_standby_that_redirects() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("http://{}/v1/transit", elsewhere.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4_096]).await;
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let stack = Stack::new(&address, Auth::Token("s.test".into()), "transit");
    let start = Instant::now();
    let error = stack.cache.generate(&row(1)).await.map(drop).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable, "{}", told(&error));
    assert!(error.hint().is_some_and(|hint| hint.contains("active server")), "{}", told(&error));
    let followed = tokio::time::timeout(Duration::from_millis(200), elsewhere.accept()).await;
    assert!(followed.is_err(), "the token does not go along");
    report(
        "OpenBao: a standby that redirects",
        error.class().label(),
        Some(start.elapsed()),
        None,
        "not followed",
    );
}
