//! Every format has one spelling; anything else is refused.

use std::num::NonZeroU32;

use envelope_core::format::{
    FormatError, autonomous, direct_aes, kms_envelope, node_json, pulseplan_kms, pulseplan_local,
};
use envelope_core::key::{KeyTextError, MAX_WRAPPED_LEN};
use envelope_core::{DataKey, OpenError, WrappedDataKey};

use crate::support::vectors::{self, Vector};

fn vector(format: &str) -> Vector {
    vectors::all().into_iter().find(|vector| vector.format == format).unwrap()
}

#[test]
fn direct_values() {
    let vector = vector("direct-aes");
    let opener = vector.opener();
    let text = vector.stored.as_str();
    for other in
        [format!(" {text}"), format!("{text}\n"), text.trim_end_matches('=').into(), text.replace('/', "_")]
    {
        assert!(matches!(opener.open(&other), Err(OpenError::Malformed(FormatError::Base64))), "{other}");
    }
    let key = DataKey::generate();
    assert!(matches!(direct_aes::open(&key, "QUJD"), Err(OpenError::Malformed(FormatError::TooShort))));
}

#[test]
fn kms_envelopes() {
    let text = vector("kms-v2").stored;
    for other in [
        text.replace("kms:v2:", "kms:v02:"),
        text.replace("kms:v2:", "KMS:v2:"),
        text.replace("kms:v2:", "kms:v2::"),
        format!("{text}:"),
        format!("{text} "),
        format!(" {text}"),
        text.trim_end_matches('=').into(),
        format!("kms:v2::{}", text.rsplit_once(':').unwrap().1),
        text.rsplit_once(':').unwrap().0.into(),
    ] {
        assert!(kms_envelope::Envelope::parse(&other).is_err(), "{other}");
    }
    let twice = vector("kms-v2-twice").stored;
    assert!(kms_envelope::Envelope::parse(twice.trim_end_matches('=')).is_err());
}

#[test]
fn local_values() {
    let (iv, tag) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let parse = |text: String| pulseplan_local::Envelope::parse(&text).map(|envelope| envelope.version());
    assert_eq!(parse(format!("{iv}:{tag}:00")), Ok(NonZeroU32::MIN));
    assert_eq!(parse(format!("v12:{iv}:{tag}:00")), Ok(NonZeroU32::new(12).unwrap()));
    assert_eq!(parse(format!("v4294967295:{iv}:{tag}:00")), Ok(NonZeroU32::MAX));
    for version in ["v0", "v02", "v+2", "v-2", "v", "V2", "2", "", "v4294967296", "v2 ", "v٢"] {
        assert!(parse(format!("{version}:{iv}:{tag}:00")).is_err(), "{version}");
    }
    for other in [
        format!("v1:{}:{tag}:00", iv.to_uppercase()),
        format!("v1:{iv}:{}:00", tag.to_uppercase()),
        format!("v1:{iv}:{tag}:AB"),
        format!("v1:{iv}:{tag}:0"),
        format!("v1:{iv}:{tag}:"),
        format!("v1:{iv}::00"),
        format!("v1::{tag}:00"),
        format!("{iv}:{tag}:"),
        format!("v1:{iv}:{tag}:00:00"),
        format!("v1:{iv}00:{tag}:00"),
        format!("v1:{}:{tag}:00", &iv[2..]),
        format!("v1:{iv}:{tag}00:00"),
        format!("v1:{iv}:{}:00", &tag[2..]),
        format!("v1:{iv}:{tag}:00 "),
        format!(" v1:{iv}:{tag}:00"),
    ] {
        assert!(parse(other.clone()).is_err(), "{other}");
    }
}

#[test]
fn kms_rows() {
    let text = vector("pulseplan-kms").stored;
    let parse = pulseplan_kms::Envelope::parse;
    assert!(parse(&text).is_ok() && parse(&format!("kms:{text}")).is_ok());
    for (from, to) in [
        ("{\"ciphertext\"", "{\"ciphertext\": \"AA==\", \"ciphertext\""),
        ("{\"ciphertext\"", "{\"more\": 1, \"ciphertext\""),
        ("{\"user_id\"", "{\"user_id\": \"x\", \"user_id\""),
        ("{\"user_id\"", "{\"\": \"x\", \"user_id\""),
        ("{\"user_id\"", "{\"empty\": \"\", \"user_id\""),
        ("{\"user_id\"", "{\"number\": 1, \"user_id\""),
        ("\"KMS\"", "\"kms\""),
        ("\"KMS\"", "null"),
        ("\"algorithm\": \"KMS\", ", ""),
        ("\"encrypted_at\": \"", "\"encrypted_at\": \"x"),
        ("2025-10-30T12:00:00.123456", "2025-10-30 12:00:00"),
        ("2025-10-30T12:00:00.123456", "2025-10-30T12:00:00."),
        ("2025-10-30T12:00:00.123456", ""),
        ("arn:aws:kms:us-east-1:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", ""),
        ("\", \"key_id\"", "=\", \"key_id\""),
        ("\", \"key_id\"", " \", \"key_id\""),
        (", \"", ",\n\""),
        (", \"", ",\t\""),
        ("user_id", "\\u0075ser_id\\u002D"),
        ("\"user_id\": ", "\"user_id\\u00FC\": "),
    ] {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text, "{from} is not there");
        assert!(parse(&other).is_err(), "{other}");
    }
    for stamp in ["2025-10-30T12:00:00", "2025-10-30T12:00:00Z", "2025-10-30T12:00:00.1+02:00"] {
        assert!(parse(&text.replace("2025-10-30T12:00:00.123456", stamp)).is_ok(), "{stamp}");
    }
    for other in [
        "kms:".into(),
        "{}".into(),
        "[]".into(),
        format!("{text} "),
        format!("{text}{{}}"),
        format!(" {text}"),
        format!("kms: {text}"),
        format!("kms:kms:{text}"),
    ] {
        assert!(parse(&other).is_err(), "{other}");
    }
    for (length, fits) in [(0, false), (1, true), (6_144, true), (6_145, false)] {
        let start = text.find(": \"").unwrap() + 3;
        let end = start + text[start..].find('"').unwrap();
        let other = [&text[..start], &vectors::encode(&vec![7; length]), &text[end..]].concat();
        assert_eq!(parse(&other).is_ok(), fits, "{length} bytes");
    }
}

#[test]
fn autonomous_values() {
    let text = vector("autonomous").stored;
    let inner = String::from_utf8(vectors::decode(&text)).unwrap();
    let parse = |inner: &str| autonomous::Envelope::parse(&vectors::encode(inner.as_bytes()));
    assert!(parse(&inner).is_ok());
    let parts: Vec<&str> = inner.split('|').collect();
    for other in [
        inner.replacen("v1", "v2", 1),
        inner.replacen("v1", "V1", 1),
        format!("{inner}|"),
        format!("{inner}|QUJD"),
        parts[..3].join("|"),
        format!("v1||{}|{}", parts[2], parts[3]),
        format!("v1|{}|QUJD|{}", parts[1], parts[3]),
        format!("v1|{}|{}AAAA|{}", parts[1], parts[2], parts[3]),
        format!("v1|{}|{}|QUJD", parts[1], parts[2]),
        inner.replace('=', ""),
        format!("{inner}\n"),
    ] {
        assert_ne!(other, inner);
        assert!(parse(&other).is_err(), "{other}");
    }
    assert!(autonomous::Envelope::parse(text.trim_end_matches('=')).is_err());
    let dev = vector("autonomous-dev").stored;
    assert!(matches!(
        crate::support::now(autonomous::open(&crate::support::memory::MemoryKms::new(), &dev)),
        Err(OpenError::DevelopmentToken)
    ));
    let token = String::from_utf8(vectors::decode(&dev)).unwrap();
    for other in [
        token.trim_end_matches('='),
        &format!("{token}="),
        &token.replace("dev|", "dev"),
        &format!("{token}\n"),
    ] {
        assert!(autonomous::DevEnvelope::parse(&vectors::encode(other.as_bytes())).is_err(), "{other}");
    }
}

#[test]
fn json_envelopes() {
    let text = vector("node-json").stored;
    let parse = node_json::Envelope::parse;
    assert!(parse(&text).is_ok());
    for (from, to) in [
        ("\"v\": 1", "\"v\": 2"),
        ("\"v\": 1", "\"v\": 1.0"),
        ("\"v\": 1", "\"v\": \"1\""),
        ("\"v\": 1", "\"v\": 1, \"v\": 1"),
        ("\"v\": 1, ", ""),
        ("\"v\": 1", "\"v\": 1, \"more\": 1"),
        ("aes-256-gcm", "aes-128-gcm"),
        ("\"aad\": \"", "\"aad\": \" "),
        ("\"timestamp\": 1", "\"timestamp\": -1"),
        ("\"timestamp\": 1", "\"timestamp\": 1.5e1"),
        (", \"timestamp\": 1761500000000", ""),
        ("\"iv\": \"", "\"iv\": \"AAAA"),
        ("\"tag\": \"", "\"tag\": \"AAAA"),
        ("\"default-1761300000\"", "\"\""),
        ("\"default-1761300000\"", "null"),
    ] {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text, "{from} is not there");
        assert!(parse(&other).is_err(), "{other}");
    }
    let aad = text.find("\"aad\"").unwrap();
    let without = [&text[..aad], &text[text.find("\"timestamp\"").unwrap()..]].concat();
    assert!(parse(&without).is_err(), "an absent aad is not a null one");
    assert!(parse(&format!("{text} ")).is_err() && parse("[1]").is_err());
}

#[test]
fn keys_and_wrapped_keys() {
    let error = |text: &str| text.parse::<DataKey>().err().unwrap();
    assert!(matches!(error("AAAA"), KeyTextError::Length(error) if error.actual == 3));
    assert!(matches!(error("not base64"), KeyTextError::Base64));
    assert!(matches!(error(""), KeyTextError::Length(error) if error.actual == 0));
    assert!(autonomous::DevKey::from_variable("AAAA").is_err());
    assert!(pulseplan_local::MasterKey::from_variable("").is_err());
    for (length, fits) in [(0, false), (1, true), (MAX_WRAPPED_LEN, true), (MAX_WRAPPED_LEN + 1, false)] {
        assert_eq!(WrappedDataKey::new(vec![0; length], None).is_ok(), fits);
    }
}
