//! The published policies allow their intended calls, and nothing more: a real OpenBao decides.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use envelope_core::KeyProvider;
use kms_provider::Vault;
use serde::Deserialize;
use serde_json::{Value, json};
use test_support::openbao::Server;
use test_support::part;

use crate::support::row;
use crate::vault::client;

#[derive(Deserialize)]
struct Decision {
    policy: String,
    path: String,
    may: Vec<String>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/openbao")
}

fn json_file(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(directory().join(name)).unwrap()).unwrap()
}

/// Every policy by its file's name.
fn policies() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(directory().join("policies")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    files
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(file).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn each_policy_allows_what_the_table_says_and_nothing_else() {
    // Whether OpenBao is there at all is the part's question; the policies name mounts that others use too.
    let _bao = part!(openbao);
    let server = Server::private(None).await.unwrap();
    let bao = server.bao();
    let decisions: Vec<Decision> = serde_json::from_value(json_file("decisions.json")).unwrap();
    for (name, rules) in policies() {
        let token = bao.token(&rules, "1h").await;
        let own: Vec<&Decision> = decisions.iter().filter(|decision| decision.policy == name).collect();
        assert!(own.iter().any(|d| d.may.is_empty()) && own.iter().any(|d| !d.may.is_empty()), "{name}");
        for decision in own {
            let body = json!({ "token": token, "path": decision.path });
            let answer = bao.call("POST", "sys/capabilities", body).await;
            let mut expected: Vec<&str> = decision.may.iter().map(String::as_str).collect();
            if expected.is_empty() {
                expected.push("deny");
            }
            assert_eq!(answer["capabilities"], json!(expected), "{name} on {}", decision.path);
        }
    }
    assert!(decisions.iter().all(|decision| policies().contains_key(&decision.policy)));
}

#[tokio::test]
async fn the_key_and_the_policy_of_a_service_are_enough_for_it() {
    let _bao = part!(openbao);
    let server = Server::private(None).await.unwrap();
    let bao = server.bao();
    bao.call("POST", "sys/mounts/transit", json!({ "type": "transit" })).await;
    bao.call("POST", "transit/keys/tokens", json_file("key.json")).await;
    let policies = policies();
    let with = async |policy: &str| {
        let token = bao.token(&policies[policy], "1h").await;
        Vault::new(client(bao, &token), "vault:tokens".parse().unwrap(), [])
    };
    let made = with("service").await.generate(&row(1)).await.unwrap();
    with("reader").await.unwrap(&made.wrapped, &row(1)).await.unwrap();
    assert!(with("reader").await.generate(&row(1)).await.is_err());
    with("migration").await.rewrap(&made.wrapped, &row(1)).await.unwrap();
    assert!(with("service").await.rewrap(&made.wrapped, &row(1)).await.is_err());
    assert!(with("rotation").await.unwrap(&made.wrapped, &row(1)).await.is_err());
}
