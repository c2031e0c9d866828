//! Every stored format opens, from vectors made by the programs that it comes from.

use envelope_core::{Format, detect};

use crate::support::vectors;

#[test]
fn every_vector_opens() {
    let vectors = vectors::all();
    assert!(vectors.len() >= 32, "vectors are missing");
    for (at, vector) in vectors.iter().enumerate() {
        let opened = vector.opener().open(&vector.stored);
        assert_eq!(
            opened.as_deref().ok(),
            Some(vector.plaintext.as_str()),
            "{} at {at}: {opened:?}",
            vector.format
        );
    }
}

#[test]
fn every_vector_is_detected() {
    for vector in vectors::all() {
        let expected = match vector.format.as_str() {
            "direct-aes" => Format::Plaintext,
            "kms-v2" | "kms-v2-twice" => Format::KmsEnvelope,
            "pulseplan-local" => Format::PulseplanLocal,
            "pulseplan-kms" => Format::PulseplanKms,
            "autonomous" => Format::Autonomous,
            "autonomous-dev" => Format::AutonomousDev,
            "node-json" => Format::NodeJson,
            other => panic!("vector of an unknown format: {other}"),
        };
        assert_eq!(detect(&vector.stored), Ok(expected), "{}", vector.format);
        assert_eq!(detect(&vector.plaintext), Ok(Format::Plaintext));
    }
}
