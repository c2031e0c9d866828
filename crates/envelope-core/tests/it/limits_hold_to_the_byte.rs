//! Every length of a format is taken up to its limit and refused one byte further.

use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envelope_core::format::node_json::{self, Accepted};
use envelope_core::format::{FormatError, MAX_PLAINTEXT_LEN, autonomous, kms_envelope, pulseplan_local};
use envelope_core::{Binding, DataKey, EncryptionContext, OpenError, Purpose, WrappedDataKey};

use crate::support::memory::OneKey;

const ONLY: Accepted = Accepted::Only(Purpose::Secret);
const EITHER: Accepted = Accepted::OrUnlabelled(Purpose::Secret);

fn longest(and_more: usize) -> Vec<u8> {
    vec![b'x'; MAX_PLAINTEXT_LEN + and_more]
}

fn refusal<T>(opened: Result<T, OpenError>) -> Option<FormatError> {
    match opened {
        Ok(_) => None,
        Err(OpenError::Malformed(error)) => Some(error),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_json_envelope_holds_a_mebibyte() {
    let ring = OneKey::generate();
    for (more, expected) in [(0, None), (1, Some(FormatError::TooLong))] {
        let labelled = node_json::seal(&ring, Purpose::Secret, None, &longest(more), 7);
        assert_eq!(refusal(node_json::open(&ring, ONLY, None, &labelled)), expected);
        let unlabelled = node_json::seal_unlabelled(&ring, None, &longest(more), 7);
        assert_eq!(refusal(node_json::open(&ring, EITHER, None, &unlabelled)), expected);
    }
}

#[test]
fn a_json_envelope_names_a_key_of_1_to_256_bytes() {
    for (length, is_taken) in [(0, false), (1, true), (256, true), (257, false)] {
        let ring = OneKey("k".repeat(length), Arc::new(DataKey::generate()));
        let expected = (!is_taken).then_some(FormatError::Json);
        let labelled = node_json::seal(&ring, Purpose::Secret, None, b"v", 7);
        assert_eq!(refusal(node_json::open(&ring, ONLY, None, &labelled)), expected, "{length}");
        let unlabelled = node_json::seal_unlabelled(&ring, None, b"v", 7);
        assert_eq!(refusal(node_json::open(&ring, EITHER, None, &unlabelled)), expected, "{length}");
    }
}

#[test]
fn the_fields_of_a_json_envelope_have_one_length() {
    let ring = OneKey::generate();
    let labelled = node_json::seal(&ring, Purpose::Secret, None, b"value", 7);
    let unlabelled = node_json::seal_unlabelled(&ring, None, b"value", 7);
    for (text, names) in [(labelled, vec!["messageId", "commitment", "tag"]), (unlabelled, vec!["iv", "tag"])]
    {
        let fields: serde_json::Value = serde_json::from_str(&text).unwrap();
        for name in names {
            let old = fields[name].as_str().unwrap();
            let bytes = STANDARD.decode(old).unwrap();
            let cut = &bytes[1..];
            let longer = [&bytes[..], &[0]].concat();
            for (changed, expected) in [(cut, FormatError::TooShort), (&longer, FormatError::TooLong)] {
                let text = text.replace(old, &STANDARD.encode(changed));
                assert_eq!(refusal(node_json::open(&ring, EITHER, None, &text)), Some(expected), "{name}");
            }
        }
    }
}

#[test]
fn a_local_value_of_pulseplan_has_exact_parts_and_holds_a_mebibyte() {
    let key = DataKey::generate();
    for (more, expected) in [(0, None), (1, Some(FormatError::TooLong))] {
        let text = String::from_utf8(longest(more)).unwrap();
        let sealed = pulseplan_local::seal(&key, NonZeroU32::MIN, &text);
        assert_eq!(pulseplan_local::Envelope::parse(&sealed).err(), expected);
    }
    for (iv, tag, ciphertext, expected) in [
        (16, 16, 1, None),
        (15, 16, 1, Some(FormatError::TooShort)),
        (17, 16, 1, Some(FormatError::TooLong)),
        (12, 16, 1, Some(FormatError::TooShort)),
        (16, 15, 1, Some(FormatError::TooShort)),
        (16, 4, 1, Some(FormatError::TooShort)),
        (16, 17, 1, Some(FormatError::TooLong)),
    ] {
        let parts = [iv, tag, ciphertext].map(|length| hex::encode(vec![7; length])).join(":");
        assert_eq!(pulseplan_local::Envelope::parse(&format!("v1:{parts}")).err(), expected, "{parts}");
    }
}

#[test]
fn a_value_of_the_autonomous_platform_has_exact_parts_and_holds_a_mebibyte() {
    for (wrapped, nonce, sealed, expected) in [
        (1, 12, 16, None),
        (6_144, 12, 16, None),
        (0, 12, 16, Some(FormatError::WrappedKeyLength)),
        (6_145, 12, 16, Some(FormatError::WrappedKeyLength)),
        (1, 11, 16, Some(FormatError::TooShort)),
        (1, 13, 16, Some(FormatError::TooLong)),
        (1, 12, 15, Some(FormatError::TooShort)),
        (1, 12, MAX_PLAINTEXT_LEN + 16, None),
        (1, 12, MAX_PLAINTEXT_LEN + 17, Some(FormatError::TooLong)),
    ] {
        let parts = [wrapped, nonce, sealed].map(|length| STANDARD.encode(vec![7; length]));
        let text = STANDARD.encode(format!("v1|{}", parts.join("|")));
        assert_eq!(autonomous::Envelope::parse(&text).err(), expected, "{wrapped} {nonce} {sealed}");
    }
}

#[test]
fn an_envelope_of_version_2_has_a_wrapped_key_within_its_bounds_and_at_least_nonce_and_tag() {
    for (wrapped, sealed, expected) in [
        (1, 28, None),
        (6_144, 28, None),
        (0, 28, Some(FormatError::WrappedKeyLength)),
        (6_145, 28, Some(FormatError::WrappedKeyLength)),
        (1, 27, Some(FormatError::TooShort)),
    ] {
        let parts = [wrapped, sealed].map(|length| STANDARD.encode(vec![7; length]));
        let parsed = kms_envelope::Envelope::parse(&format!("kms:v2:{}", parts.join(":")));
        assert_eq!(parsed.err(), expected, "{wrapped} {sealed}");
    }
    for (length, is_taken) in [(0, false), (1, true), (6_144, true), (6_145, false)] {
        assert_eq!(WrappedDataKey::new(vec![7; length], None).is_ok(), is_taken, "{length}");
    }
    for (length, is_taken) in [(31, false), (32, true), (33, false)] {
        assert_eq!(DataKey::from_slice(&vec![7; length]).is_ok(), is_taken, "{length}");
    }
}

#[test]
fn a_context_and_a_binding_have_8192_bytes_at_most() {
    // Each text is after its length of two bytes, and each list after its number of pairs.
    for (more, is_taken) in [(0, true), (1, false)] {
        let value = "x".repeat(8_192 - 2 - 3 - 2 + more);
        assert_eq!(EncryptionContext::new([("a", value.as_str())]).is_ok(), is_taken);
        let value = "x".repeat(8_192 - 3 - 3 - 2 - 4 - 2 - 2 + more);
        assert_eq!(Binding::new("t", "c").key("id", value).canonical().is_ok(), is_taken);
    }
}
