//! The promises of a client of OpenBao and Vault, on a real server.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

mod connections;
mod logins;
mod tokens;

use secrecy::SecretString;
use serde_json::{Value, json};
use test_support::openbao::OpenBao;
use vault_client::{Auth, VaultClient, VaultError, VaultOptions};

/// A policy under which a token may read `secret/`.
const READ: &str = "path \"secret/*\" { capabilities = [\"read\"] }";

fn client(bao: &OpenBao, auth: Auth) -> VaultClient {
    VaultClient::new(VaultOptions::new(bao.address(), auth)).unwrap()
}

fn token(text: &str) -> Auth {
    Auth::Token(SecretString::from(text))
}

/// A secret that a client with [`READ`] may read, below a path of its own.
async fn a_secret(bao: &OpenBao, name: &str) -> String {
    let path = format!("secret/data/{name}");
    bao.call("POST", &path, json!({ "data": { "value": "canary" } })).await;
    path
}

async fn reads(client: &VaultClient, path: &str) -> Result<String, VaultError> {
    let answer: Value = client.get(path).await?.data()?;
    Ok(answer["data"]["value"].as_str().unwrap().to_owned())
}

fn status(error: &VaultError) -> u16 {
    match error {
        VaultError::Refused(refusal) => refusal.status(),
        VaultError::Login { status, .. } => *status,
        other => panic!("no answer of the server: {other:?}"),
    }
}
