//! Tests that need private functions: sealing with a given message id gives the vectors, byte for byte.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    purpose: String,
    key_id: String,
    data_key: String,
    message_id: String,
    aad: Option<String>,
    timestamp: u64,
    plaintext: String,
    stored: String,
}

#[test]
fn sealing_with_a_vectors_message_id_makes_the_vector() {
    let file: File = serde_json::from_str(include_str!("../../../../tests/vectors/json_v2.json")).unwrap();
    let good: Vec<_> = file.vectors.iter().filter(|vector| !vector.name.starts_with("fail_")).collect();
    assert!(good.len() >= 7);
    for vector in good {
        let key: DataKey = vector.data_key.parse().unwrap();
        let purpose = Purpose::from_label(&vector.purpose).unwrap();
        let id: [u8; ID_LEN] = decode_base64(&vector.message_id).unwrap().try_into().unwrap();
        let aad = vector.aad.as_deref().map(|aad| decode_base64(aad).unwrap());
        let plaintext = vector.plaintext.as_bytes();
        let made =
            seal_with_id(&vector.key_id, &key, purpose, aad.as_deref(), plaintext, vector.timestamp, &id);
        assert_eq!(made, vector.stored, "{}", vector.name);
    }
}
