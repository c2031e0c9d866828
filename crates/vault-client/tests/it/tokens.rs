//! How long a token lasts, and what replaces it.

use std::time::Duration;

use serde_json::json;
use test_support::part;
use tokio::time::{Instant, sleep};
use vault_client::Auth;

use crate::{READ, a_secret, client, reads, status, token};

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let bao = part!(openbao);
    let path = a_secret(&bao, "renewed").await;
    let client = client(&bao, token(&bao.token(READ, "3s").await));
    let end = Instant::now() + Duration::from_secs(7);
    // More than twice as long as it lasts by itself.
    while Instant::now() < end {
        assert_eq!(reads(&client, &path).await.unwrap(), "canary");
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn an_expired_token_that_was_given_is_a_refusal() {
    let bao = part!(openbao);
    let path = a_secret(&bao, "expired").await;
    let text = bao.token(READ, "1h").await;
    let client = client(&bao, token(&text));
    reads(&client, &path).await.unwrap();
    bao.call("POST", "auth/token/revoke", json!({ "token": text })).await;
    assert_eq!(status(&reads(&client, &path).await.unwrap_err()), 403);
}

#[tokio::test]
async fn a_token_in_a_file_is_read_again_after_a_refusal() {
    let bao = part!(openbao);
    let path = a_secret(&bao, "file").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let first = bao.token(READ, "1h").await;
    std::fs::write(&file, &first).unwrap();
    let client = client(&bao, Auth::TokenFile(file.clone()));
    reads(&client, &path).await.unwrap();
    bao.call("POST", "auth/token/revoke", json!({ "token": first })).await;
    assert_eq!(status(&reads(&client, &path).await.unwrap_err()), 403);
    std::fs::write(&file, format!("{}\n", bao.token(READ, "1h").await)).unwrap();
    assert_eq!(reads(&client, &path).await.unwrap(), "canary");
}

#[tokio::test]
async fn an_empty_or_missing_token_file_is_an_error_that_names_no_content() {
    let bao = part!(openbao);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let missing = client(&bao, Auth::TokenFile(file.clone()));
    assert!(matches!(missing.get("secret/data/x").await, Err(vault_client::VaultError::File { .. })));
    std::fs::write(&file, " \n").unwrap();
    assert!(matches!(
        client(&bao, Auth::TokenFile(file.clone())).get("secret/data/x").await,
        Err(vault_client::VaultError::Misconfigured { .. })
    ));
    std::fs::write(&file, "s.canary\nsecond line").unwrap();
    let error = client(&bao, Auth::TokenFile(file)).get("secret/data/x").await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains("canary"), "{error:?}");
}
