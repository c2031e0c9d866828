//! No key and no token in any message, `Debug` output or chain of causes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envelope_core::{DataKey, KeyError, KeyProvider, WrappedDataKey};
use kms_provider::{Aws, Caching, Counting, Keyring, Memory};

use crate::keyring::Fixture;
use crate::support::{claimed, row, shared, told};
use crate::wire;

const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

/// The ways in which bytes usually get into a text.
fn spellings(bytes: &[u8]) -> Vec<String> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{bytes:?}");
    vec![
        hex.to_uppercase(),
        hex,
        // Without its end, which depends on what follows.
        STANDARD.encode(bytes).trim_end_matches('=')[..40].to_owned(),
        list.trim_matches(['[', ']']).to_owned(),
        String::from_utf8_lossy(bytes).into_owned(),
    ]
}

#[track_caller]
pub(crate) fn assert_silent(text: &str, secret: &[u8]) {
    for spelling in spellings(secret) {
        assert!(!text.contains(&spelling), "a secret is in: {text}");
    }
}

#[tokio::test]
async fn providers_and_their_errors_never_show_a_key() {
    let fixture = Fixture::new();
    let keyring = fixture.init();
    let ring_key = keyring.active_data_key().1;
    let made = keyring.generate(&row(1)).await.unwrap();
    let cache = Caching::new(shared(Keyring::open(fixture.path(), &fixture.master).unwrap()));
    cache.unwrap(&made.wrapped, &row(1)).await.unwrap();
    let mut damaged = made.wrapped.bytes().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let mut texts = vec![
        format!("{keyring:?} {cache:?} {made:?} {:#?}", keyring.list().unwrap()),
        format!("{:?} {:?}", Memory::new(), Counting::new(shared(Memory::new()))),
        told(&KeyError::from(Keyring::open(fixture.path(), &DataKey::generate()).unwrap_err())),
    ];
    let wrong = [
        (made.wrapped.clone(), row(2)),
        (claimed(&made.wrapped, Some("keyring:other")), row(1)),
        (WrappedDataKey::new(damaged, None).unwrap(), row(1)),
    ];
    for (wrapped, context) in &wrong {
        texts.push(told(&cache.unwrap(wrapped, context).await.map(drop).unwrap_err()));
    }
    for text in texts {
        for secret in [fixture.master.expose_secret(), ring_key.expose_secret(), made.key.0.expose_secret()] {
            assert_silent(&text, secret);
        }
    }
}

#[test]
fn a_broken_export_is_never_repeated() {
    const CANARY: &str = "Q0FOQVJZLUNBTkFSWS1DQU5BUlktQ0FOQVJZLTEyMzQ=";
    let fixture = Fixture::new();
    let keyring = fixture.init();
    for text in [
        format!(r#"{{"keys":[{{"id":"a","key":["{CANARY}"],"isActive":true}}]}}"#),
        format!(r#"{{"keys":[{{"id":"a","key":"{CANARY}x","isActive":true}}]}}"#),
        format!(r#"{{"keys":[{{"id":"a","key":"AAAA","isActive":"{CANARY}"}}]}}"#),
        format!(r#"{{"keys":{{"{CANARY}":1}}}}"#),
        format!(r#"{{"keys":"{CANARY}"}}"#),
        format!(r#"["{CANARY}"]"#),
        format!("{CANARY} {{"),
    ] {
        let error = keyring.import(text.as_bytes()).unwrap_err();
        let told = format!("{error} {error:?}") + &told(&KeyError::from(error));
        assert!(!told.contains(&CANARY[..20]), "{told}");
        std::fs::write(fixture.path(), &text).unwrap();
        let error = fixture.open().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&CANARY[..20]), "{error:?}");
        std::fs::remove_file(fixture.path()).unwrap();
        let again = Keyring::init(fixture.path(), &fixture.master).unwrap();
        assert_eq!(again.list().unwrap().len(), 1);
    }
}

/// The SDK keeps the whole answer in the error when it cannot be read; ours keeps none of it.
#[tokio::test]
async fn an_answer_of_kms_that_cannot_be_read_is_never_repeated() {
    let key = STANDARD.encode([b'C'; 32]);
    let bodies = [
        format!(r#"{{"Plaintext":"{key}","KeyId":"#),
        format!(r#"{{"Plaintext":"{key}!","KeyId":"{ARN}"}}"#),
        format!(r#"{{"Plaintext":["{key}"]}}"#),
        format!(r#"{{"Plaintext":"{}","KeyId":"{ARN}"}}"#, STANDARD.encode([b'C'; 48])),
    ];
    for body in bodies {
        let aws = Aws::from_client(wire::client(move |_, _| (200, body.clone())), ARN, [""; 0]);
        let wrapped = WrappedDataKey::new(*b"wrapped", None).unwrap();
        for error in [
            aws.unwrap(&wrapped, &row(1)).await.map(drop).unwrap_err(),
            aws.generate(&row(1)).await.map(drop).unwrap_err(),
        ] {
            let told = told(&error);
            assert!(!told.contains("Q0ND") && !told.contains("CCCC") && !told.contains("67, 67"), "{told}");
        }
    }
}
