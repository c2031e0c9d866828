//! Version 2 envelopes open and fail as their vectors say, which the clients in other languages follow as well.

use envelope_core::DataKey;
use envelope_core::error::OpenError;
use envelope_core::format::has_strong_mark;
use envelope_core::format::kms_envelope::Envelope;
use secrecy::ExposeSecret;
use serde::Deserialize;

use crate::support::vectors::decode;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    error: Option<String>,
    data_key: String,
    wrapped_data_key: Option<String>,
    plaintext: Option<String>,
    stored: String,
}

#[test]
fn every_version_2_vector_does_what_its_name_says() {
    let file: File = serde_json::from_str(include_str!("../vectors/envelope_v2.json")).unwrap();
    assert!(file.vectors.len() >= 30);
    for Vector { name, error, data_key, wrapped_data_key, plaintext, stored } in file.vectors {
        let key: DataKey = data_key.parse().unwrap();
        let parsed = Envelope::parse(&stored).map_err(OpenError::from);
        let opened = parsed.and_then(|envelope| envelope.open(&key));
        let done = match &opened {
            Ok(_) => None,
            Err(OpenError::NotAuthentic) => Some("not_authentic"),
            Err(OpenError::Malformed(_)) => Some("malformed"),
            Err(OpenError::NotText) => {
                assert_eq!(name, "not_text");
                continue;
            }
            Err(other) => panic!("{name}: {other}"),
        };
        assert_eq!(done, error.as_deref(), "{name}");
        assert_eq!(error.is_some(), name.starts_with("fail_"));
        if let Ok(opened) = opened {
            assert_eq!(opened.expose_secret().as_bytes(), decode(&plaintext.unwrap()), "{name}");
            let wrapped = Envelope::parse(&stored).unwrap().wrapped_data_key(None).unwrap();
            assert_eq!(wrapped.bytes(), decode(&wrapped_data_key.unwrap()), "{name}");
            assert!(has_strong_mark(&stored));
        }
    }
}
