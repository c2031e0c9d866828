//! The ways to a token.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use test_support::openbao::OpenBao;
use test_support::part;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use vault_client::{Auth, SecretId};

use crate::{READ, a_secret, client, reads, status};

/// A mount of AppRole with one role, and that role's id.
async fn app_role(bao: &OpenBao, ttl: &str) -> (String, String) {
    let mount = bao.auth("approle").await;
    let policy = bao.policy(READ).await;
    let role = json!({ "token_policies": policy, "token_ttl": ttl, "token_max_ttl": "1h" });
    bao.call("POST", &format!("auth/{mount}/role/app"), role).await;
    let role = bao.call("GET", &format!("auth/{mount}/role/app/role-id"), Value::Null).await;
    (mount, role["role_id"].as_str().unwrap().to_owned())
}

async fn secret_id(bao: &OpenBao, mount: &str) -> String {
    let made = bao.call("POST", &format!("auth/{mount}/role/app/secret-id"), json!({})).await;
    made["secret_id"].as_str().unwrap().to_owned()
}

fn with_role(mount: &str, role_id: &str, secret_id: SecretId) -> Auth {
    Auth::AppRole { role_id: role_id.into(), secret_id, mount: mount.into() }
}

#[tokio::test]
async fn an_app_role_logs_in_with_a_secret_id_from_a_file() {
    let bao = part!(openbao);
    let path = a_secret(&bao, "app-role").await;
    let (mount, role) = app_role(&bao, "1h").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret-id");
    std::fs::write(&file, format!("{}\n", secret_id(&bao, &mount).await)).unwrap();
    let client = client(&bao, with_role(&mount, &role, SecretId::File(file)));
    assert_eq!(reads(&client, &path).await.unwrap(), "canary");
}

#[tokio::test]
async fn a_wrong_secret_id_is_a_failed_login() {
    let bao = part!(openbao);
    let path = a_secret(&bao, "wrong-secret-id").await;
    let (mount, role) = app_role(&bao, "1h").await;
    let client = client(&bao, with_role(&mount, &role, SecretId::Value("guessed".into())));
    let error = reads(&client, &path).await.unwrap_err();
    assert!(matches!(error, vault_client::VaultError::Login { method: "AppRole", .. }), "{error:?}");
    assert_eq!(status(&error), 400);
}

#[tokio::test]
async fn an_app_role_logs_in_again_after_its_token_was_revoked() {
    let bao = part!(openbao);
    let path = a_secret(&bao, "revoked").await;
    let (mount, role) = app_role(&bao, "1h").await;
    let auth = with_role(&mount, &role, SecretId::Value(secret_id(&bao, &mount).await.into()));
    let client = client(&bao, auth);
    reads(&client, &path).await.unwrap();
    // A second token within the pause between two logins is not asked for, so the pause has to pass.
    tokio::time::sleep(std::time::Duration::from_millis(5_100)).await;
    bao.call("POST", &format!("sys/leases/revoke-prefix/auth/{mount}/login"), json!({})).await;
    assert_eq!(reads(&client, &path).await.unwrap(), "canary");
}

#[tokio::test]
async fn a_missing_permission_does_not_cause_one_login_for_each_call() {
    let bao = part!(openbao);
    let (mount, role) = app_role(&bao, "1h").await;
    let auth = with_role(&mount, &role, SecretId::Value(secret_id(&bao, &mount).await.into()));
    let client = client(&bao, auth);
    for _ in 0..20 {
        assert_eq!(status(&client.get("sys/mounts").await.unwrap_err()), 403);
    }
    let tokens = bao.call("GET", "auth/token/accessors?list=true", Value::Null).await;
    let mut logins = 0;
    for accessor in tokens["keys"].as_array().unwrap() {
        let body = json!({ "accessor": accessor });
        let found = bao.try_call("POST", "auth/token/lookup-accessor", body).await.unwrap_or_default();
        logins += usize::from(found["path"] == format!("auth/{mount}/login"));
    }
    assert_eq!(logins, 1);
}

#[tokio::test]
async fn a_service_account_of_kubernetes_logs_in() {
    let bao = part!(openbao);
    let path = a_secret(&bao, "kubernetes").await;
    let cluster = cluster_that_knows_the_service_account().await;
    let mount = bao.auth("kubernetes").await;
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let config = json!({
        "kubernetes_host": cluster,
        "kubernetes_ca_cert": authority,
        "token_reviewer_jwt": "reviewer",
        "disable_local_ca_jwt": true,
    });
    bao.call("POST", &format!("auth/{mount}/config"), config).await;
    let role = json!({
        "bound_service_account_names": "app",
        "bound_service_account_namespaces": "shop",
        "token_policies": bao.policy(READ).await,
    });
    bao.call("POST", &format!("auth/{mount}/role/app"), role).await;
    let directory = tempfile::tempdir().unwrap();
    let token_file = directory.path().join("token");
    write_service_account_token(&token_file);
    let client = client(&bao, Auth::Kubernetes { role: "app".into(), token_file, mount });
    assert_eq!(reads(&client, &path).await.unwrap(), "canary");
}

/// The answer of a cluster's `TokenReview`, which is all that the server asks of it.
async fn cluster_that_knows_the_service_account() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "status": {
            "authenticated": true,
            "user": { "username": "system:serviceaccount:shop:app", "uid": "u-1", "groups": ["system:serviceaccounts"] },
        },
    })
    .to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 16 * 1024];
            let _ = stream.read(&mut request).await;
            let answer = format!(
                "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{review}",
                review.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

/// A token in the form that Kubernetes gives to a pod. The cluster checks its signature, not OpenBao.
fn write_service_account_token(file: &Path) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": "kubernetes",
        "sub": "system:serviceaccount:shop:app",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + 3600,
        "kubernetes.io": { "namespace": "shop", "serviceaccount": { "name": "app", "uid": "u-1" } },
    });
    let part = |text: &str| base64_url(text.as_bytes());
    let header = json!({ "alg": "RS256", "typ": "JWT" });
    let token =
        format!("{}.{}.{}", part(&header.to_string()), part(&claims.to_string()), base64_url(&[1; 256]));
    std::fs::write(file, token).unwrap();
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
