//! A sealed value opens to the same bytes in every format that is written, and no text makes a parser panic.

use std::num::NonZeroU32;
use std::sync::Arc;

use envelope_core::format::bound::{self, Suite};
use envelope_core::format::{
    Format, autonomous, detect, direct_aes, kms_envelope, node_json, pulseplan_kms, pulseplan_local,
};
use envelope_core::{Binding, DataKey, EnvelopeFormat, Sealer, WrappedDataKey};
use proptest::prelude::*;
use secrecy::ExposeSecret;

use crate::support::memory::{MemoryKms, OneKey};
use crate::support::{ANY, now, pairs, vectors};

fn parse_everything(text: &str) {
    let _ = detect(text);
    let _ = envelope_core::format::has_strong_mark(text);
    let _ = kms_envelope::Envelope::parse(text);
    let _ = bound::Envelope::parse(text);
    let _ = pulseplan_local::Envelope::parse(text);
    let _ = pulseplan_kms::Envelope::parse(text);
    let _ = autonomous::Envelope::parse(text);
    let _ = autonomous::DevEnvelope::parse(text);
    let _ = autonomous::is_dev(text);
    let _ = node_json::Envelope::parse(text);
    let _ = text.parse::<DataKey>();
    let _ = autonomous::DevKey::from_variable(text);
    let _ = pulseplan_local::MasterKey::from_variable(text);
    let _ = direct_aes::open(&DataKey::generate(), text);
}

fn stored() -> impl Strategy<Value = String> {
    proptest::sample::select(vectors::all().into_iter().map(|vector| vector.stored).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn direct_values_come_back(value in ".{1,300}") {
        let key = DataKey::generate();
        let text = direct_aes::seal(&key, &value);
        let opened = direct_aes::open(&key, &text).unwrap();
        prop_assert_eq!(opened.expose_secret(), value.as_str());
    }

    #[test]
    fn envelopes_come_back(value in ".{0,300}", version_3 in any::<bool>(), chacha in any::<bool>(), id in ".{0,40}") {
        let format = if version_3 { EnvelopeFormat::V3 } else { EnvelopeFormat::V2 };
        let suite = if chacha { Suite::ChaCha20Poly1305 } else { Suite::Aes256Gcm };
        let sealer = Sealer::new(Arc::new(MemoryKms::new()), pairs(&[("Application", "a")])).unwrap();
        let sealer = sealer.with_writing(format).with_suite(suite);
        let binding = Binding::new("t", "c").key("id", id);
        let sealed = now(sealer.seal(&value, &binding)).unwrap();
        let opened = now(sealer.open(&sealed.text, sealed.key_id.as_deref(), &binding)).unwrap();
        prop_assert_eq!(opened.plaintext.expose_secret(), value.as_str());
        let expected = match (value.is_empty(), version_3) {
            (true, _) => Format::Plaintext,
            (_, true) => Format::BoundEnvelope,
            (_, false) => Format::KmsEnvelope,
        };
        prop_assert_eq!(detect(&sealed.text), Ok(expected));
    }

    #[test]
    fn bound_bytes_come_back(value in proptest::collection::vec(any::<u8>(), 0..300), wrapped in proptest::collection::vec(any::<u8>(), 1..300)) {
        let (key, wrapped) = (DataKey::generate(), WrappedDataKey::new(wrapped, None).unwrap());
        let binding = Binding::new("t", "c");
        let text = bound::seal(Suite::Aes256Gcm, &key, &wrapped, &binding, &value).unwrap();
        let envelope = bound::Envelope::parse(&text).unwrap();
        prop_assert_eq!(envelope.wrapped_data_key(None).unwrap(), wrapped);
        let opened = envelope.open_bytes(&key, &binding).unwrap();
        prop_assert_eq!(opened.expose_secret(), value.as_slice());
    }

    #[test]
    fn local_values_come_back(value in ".{1,300}", version in 1_u32..) {
        let (key, version) = (DataKey::generate(), NonZeroU32::new(version).unwrap());
        let text = pulseplan_local::seal(&key, version, &value);
        let envelope = pulseplan_local::Envelope::parse(&text).unwrap();
        prop_assert_eq!(envelope.version(), version);
        let opened = envelope.open(&key).unwrap();
        prop_assert_eq!(opened.expose_secret(), value.as_str());
        prop_assert_eq!(detect(&text), Ok(Format::PulseplanLocal));
    }

    #[test]
    fn json_values_come_back(value in proptest::collection::vec(any::<u8>(), 1..300), id in "\\PC{1,40}", aad in proptest::option::of(".{0,40}"), timestamp in any::<u64>()) {
        let ring = OneKey(id.clone(), Arc::new(DataKey::generate()));
        let aad = aad.as_deref().map(str::as_bytes);
        let text = node_json::seal_unlabelled(&ring, aad, &value, timestamp);
        let opened = node_json::open(&ring, ANY, aad, &text).unwrap();
        prop_assert_eq!(opened.expose_secret(), value.as_slice());
        let envelope = node_json::Envelope::parse(&text).unwrap();
        prop_assert_eq!((envelope.key_id(), envelope.claimed_timestamp()), (id.as_str(), timestamp));
        prop_assert_eq!(detect(&text), Ok(Format::NodeJson));
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in any::<String>()) {
        parse_everything(&text);
    }

    #[test]
    fn no_text_like_an_envelope_makes_a_parser_panic(
        text in "(kms:(v[0-9]:)?|v[0-9+-]{0,3}:|\\{|a21zOnYyO|djF8|ZGV2f)?[0-9a-fA-F:{}\"=|_/+\\\\u -]{0,120}\\}?",
    ) {
        parse_everything(&text);
    }

    #[test]
    fn no_change_of_a_vector_makes_a_parser_panic(text in stored(), at in any::<prop::sample::Index>(), insert in ".{0,3}", remove in 0_usize..4) {
        let mut chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        let end = (at + remove).min(chars.len());
        chars.splice(at..end, insert.chars());
        parse_everything(&chars.into_iter().collect::<String>());
    }
}

#[test]
fn the_empty_string_stays_the_empty_string() {
    let ring = OneKey::generate();
    assert_eq!(direct_aes::seal(&ring.1, ""), "");
    assert_eq!(pulseplan_local::seal(&ring.1, NonZeroU32::MIN, ""), "");
    assert_eq!(node_json::seal_unlabelled(&ring, None, b"", 0), "");
    assert_eq!(node_json::open(&ring, ANY, None, "").unwrap().expose_secret(), b"");
    let kms = Arc::new(MemoryKms::new());
    for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
        let sealer = Sealer::new(kms.clone(), pairs(&[])).unwrap().with_writing(format);
        let sealed = now(sealer.seal("", &Binding::new("t", "c"))).unwrap();
        assert_eq!((sealed.text.as_str(), sealed.key_id), ("", None));
    }
    assert_eq!(kms.calls(), 0);
}

#[test]
fn a_json_envelope_is_what_json_stringify_makes() {
    let ring = OneKey::generate();
    let text = node_json::seal_unlabelled(&ring, Some(b"name"), b"x", 1_761_500_000_000);
    let ends = [
        r#"{"v":1,"alg":"aes-256-gcm","keyId":"ring-1","iv":""#,
        r#","aad":"bmFtZQ==","timestamp":1761500000000}"#,
    ];
    assert!(text.starts_with(ends[0]) && text.ends_with(ends[1]), "{text}");
    assert!(node_json::seal_unlabelled(&ring, None, b"x", 7).ends_with(r#","aad":null,"timestamp":7}"#));
}
