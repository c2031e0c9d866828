//! Transit: an answer that cannot be one to the request is an error before anything is used. No real server gives these.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envelope_core::{ErrorClass, KeyProvider, WrappedDataKey};
use kms_provider::Vault;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vault_client::{Auth, VaultClient, VaultOptions};

use crate::support::{class, row, told};

/// The key that is asked for; the other one may have wrapped, too.
const KEY: &str = "vault:transit/tokens";
const FORMER: &str = "vault:transit/former";

type Answers = dyn Fn(&str, &mut Value) + Send + Sync;

/// A Transit that answers everything as OpenBao does, with a new data key each time, except for the changes
/// of a test.
async fn answering(change: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> Vault {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (change, made): (Arc<Answers>, _) = (Arc::new(change), Arc::new(AtomicU8::new(0)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, change.clone(), made.clone()));
        }
    });
    let client = VaultClient::new(VaultOptions::new(address, Auth::Token("s.test".into()))).unwrap();
    Vault::new(client, KEY.parse().unwrap(), [FORMER.parse().unwrap()])
}

/// Answers one request on a connection, and closes it.
async fn serve(mut stream: TcpStream, change: Arc<Answers>, made: Arc<AtomicU8>) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let text = String::from_utf8(request).unwrap();
    let path = text.split(' ').nth(1).unwrap().strip_prefix("/v1/").unwrap();
    let (operation, name) = path.strip_prefix("transit/").unwrap_or(path).rsplit_once('/').unwrap();
    let mut data = match operation {
        "keys" => {
            json!({ "name": name, "derived": true, "supports_derivation": true, "latest_version": 2 })
        }
        _ => {
            let key = [made.fetch_add(1, Ordering::SeqCst); 32];
            json!({ "plaintext": STANDARD.encode(key), "ciphertext": wrapped(2), "key_version": 2 })
        }
    };
    change(operation, &mut data);
    let body = json!({ "data": data }).to_string();
    let head = format!("content-type: application/json\r\ncontent-length: {}", body.len());
    let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\nconnection: close\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes()).await;
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// A wrapped data key at a version of its key.
fn wrapped(version: u32) -> String {
    format!("vault:v{version}:{}", STANDARD.encode([1; 60]))
}

fn stored(version: u32, key: &str) -> WrappedDataKey {
    WrappedDataKey::new(wrapped(version), Some(&format!("{key}:v{version}"))).unwrap()
}

#[tokio::test]
async fn answers_of_the_key_that_was_asked_for_are_taken() {
    let vault = answering(|_, _| {}).await;
    let made = vault.generate(&row(1)).await.unwrap();
    assert_eq!(made.wrapped.key_id(), Some("vault:transit/tokens:v2"));
    vault.unwrap(&stored(1, KEY), &row(1)).await.unwrap();
    for (was, key) in [(1, KEY), (2, KEY), (7, FORMER)] {
        let new = vault.rewrap(&stored(was, key), &row(1)).await.unwrap();
        assert_eq!(new.key_id(), Some("vault:transit/tokens:v2"), "from version {was} of {key}");
    }
    assert_eq!(vault.describe().await.unwrap().key_id, "vault:transit/tokens:v2");
    // A server that does not state the version next to the wrapped data key.
    let vault = answering(|_, answer| drop(answer.as_object_mut().unwrap().remove("key_version"))).await;
    vault.generate(&row(1)).await.unwrap();
}

#[tokio::test]
async fn a_description_of_another_key_is_an_error_in_every_operation() {
    for name in ["former", "Tokens", "tokens ", "transit/tokens", ""] {
        let vault = answering(move |operation, answer| {
            if operation == "keys" {
                answer["name"] = name.into();
            }
        })
        .await;
        let error = vault.generate(&row(1)).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::WrongKey, "{name}: {}", told(&error));
        assert!(error.hint().unwrap().contains("VAULT_ADDR"));
        assert_eq!(class(vault.unwrap(&stored(1, KEY), &row(1)).await), ErrorClass::WrongKey);
        for key in [KEY, FORMER] {
            assert!(vault.rewrap(&stored(1, key), &row(1)).await.is_err(), "{name}: {key}");
        }
        assert_eq!(class(vault.describe().await), ErrorClass::WrongKey);
    }
    let vault = answering(|_, answer| drop(answer.as_object_mut().unwrap().remove("name"))).await;
    assert_eq!(class(vault.generate(&row(1)).await), ErrorClass::Unavailable, "one that names no key");
}

#[tokio::test]
async fn a_version_that_contradicts_the_wrapped_data_key_is_an_error() {
    for version in [0, 1, 3] {
        let vault = answering(move |_, answer| answer["key_version"] = version.into()).await;
        assert!(vault.generate(&row(1)).await.is_err(), "version {version}");
        for key in [KEY, FORMER] {
            assert!(vault.rewrap(&stored(1, key), &row(1)).await.is_err(), "version {version} of {key}");
        }
    }
    // A rewrap under an older version than the value has.
    let vault = answering(|_, _| {}).await;
    assert_eq!(class(vault.rewrap(&stored(3, KEY), &row(1)).await), ErrorClass::Unavailable);
}

#[tokio::test]
async fn a_data_key_of_another_length_is_an_error() {
    for length in [0, 16, 31, 33, 64] {
        let vault =
            answering(move |_, answer| answer["plaintext"] = STANDARD.encode(vec![9; length]).into()).await;
        assert!(vault.generate(&row(1)).await.is_err(), "{length} bytes");
        assert!(vault.unwrap(&stored(1, KEY), &row(1)).await.is_err(), "{length} bytes");
        assert!(vault.rewrap(&stored(1, FORMER), &row(1)).await.is_err(), "{length} bytes");
    }
}

#[tokio::test]
async fn a_wrapped_data_key_that_is_empty_too_short_or_of_another_form_is_an_error() {
    let long = format!("vault:v2:{}", STANDARD.encode(vec![1; 6_000]));
    let short = format!("vault:v2:{}", STANDARD.encode([1; 59]));
    for text in ["", "vault:v2:", &short, &long, "vault:v0:AAAA", "v2:AAAA"] {
        let text = text.to_owned();
        let vault = answering(move |_, answer| answer["ciphertext"] = text.clone().into()).await;
        assert!(vault.generate(&row(1)).await.is_err());
        for key in [KEY, FORMER] {
            assert!(vault.rewrap(&stored(1, key), &row(1)).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_data_key_that_is_given_out_twice_is_an_error() {
    let vault = answering(|_, answer| answer["plaintext"] = STANDARD.encode([9; 32]).into()).await;
    vault.generate(&row(1)).await.unwrap();
    for _ in 0..3 {
        let error = vault.generate(&row(1)).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unavailable);
        assert!(error.hint().unwrap().contains("VAULT_ADDR"), "{}", told(&error));
    }
    // Opening the same data key again is what a cache saves, and no fault.
    vault.unwrap(&stored(1, KEY), &row(1)).await.unwrap();
    vault.unwrap(&stored(1, KEY), &row(1)).await.unwrap();
}
