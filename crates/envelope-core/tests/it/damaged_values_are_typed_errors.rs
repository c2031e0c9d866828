//! Every single-byte change and every truncation of a stored value is a typed error, never a panic, never plaintext.
//!
//! The one exception is what nothing authenticates: the time stamps of two JSON formats.

use std::ops::Range;

use envelope_core::{Format, OpenError, detect};

use crate::support::vectors::{self, Vector};

/// Values up to this length get every change of every byte, longer ones that of every bit.
const SHORT: usize = 450;

#[test]
fn every_byte_change_of_every_vector_is_refused() {
    for vector in vectors::all() {
        let (opener, unauthenticated) = (vector.opener(), unauthenticated(&vector));
        for (at, damaged) in byte_changes(&vector.stored) {
            match opener.open(&damaged) {
                Err(error) => assert!(is_about_the_value(&error), "{}: {error:?}", vector.format),
                Ok(opened) => {
                    assert!(unauthenticated.contains(&at), "{} opens with byte {at} changed", vector.format);
                    assert_eq!(opened, vector.plaintext);
                }
            }
        }
    }
}

#[test]
fn every_truncation_of_every_vector_is_refused() {
    for vector in vectors::all() {
        let opener = vector.opener();
        for cut in cuts(&vector.stored) {
            let error = opener.open(cut).expect_err("a truncated value opened");
            assert!(is_about_the_value(&error), "{}: {error:?}", vector.format);
        }
    }
}

#[test]
fn every_byte_change_of_a_marked_value_is_still_not_taken_for_plaintext() {
    for vector in marked() {
        for (at, damaged) in byte_changes(&vector.stored) {
            assert_ne!(detect(&damaged), Ok(Format::Plaintext), "{} with byte {at} changed", vector.format);
        }
    }
}

#[test]
fn a_marked_value_that_is_cut_off_after_its_mark_is_not_taken_for_plaintext() {
    for vector in marked() {
        let mark = match vector.format.as_str() {
            "kms-v2" | "pulseplan-kms" => "kms:".len().min(vector.stored.find(['{', ':']).unwrap() + 1),
            "kms-v2-twice" => "a21zOnYyO".len(),
            "pulseplan-local" => vector.stored.find(':').unwrap() + 1,
            "autonomous" => "djF8".len(),
            "autonomous-dev" => "ZGV2f".len(),
            _ => "{".len(),
        };
        for cut in cuts(&vector.stored).filter(|cut| cut.len() >= mark) {
            assert_ne!(detect(cut), Ok(Format::Plaintext), "{} cut to {}", vector.format, cut.len());
        }
    }
}

fn marked() -> impl Iterator<Item = Vector> {
    vectors::all().into_iter().filter(|vector| vector.format != "direct-aes")
}

/// Changes of one byte that leave UTF-8; a database holds nothing else.
fn byte_changes(text: &str) -> impl Iterator<Item = (usize, String)> {
    let all = text.len() <= SHORT;
    let flips = move || (1..=255_u8).filter(move |flip| all || flip.is_power_of_two());
    (0..text.len()).flat_map(move |at| {
        flips().filter_map(move |flip| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= flip;
            String::from_utf8(bytes).ok().map(|damaged| (at, damaged))
        })
    })
}

fn cuts(text: &str) -> impl Iterator<Item = &str> {
    (1..text.len()).filter_map(|length| text.get(..length))
}

/// Where the value of an unauthenticated field is.
fn unauthenticated(vector: &Vector) -> Range<usize> {
    let (field, end) = match vector.format.as_str() {
        "pulseplan-kms" => ("\"encrypted_at\": \"", "\""),
        // With the space before it, which may become a digit of it.
        "node-json" => ("\"timestamp\":", "}"),
        _ => return 0..0,
    };
    let start = vector.stored.find(field).unwrap() + field.len();
    start..start + vector.stored[start..].find(end).unwrap()
}

fn is_about_the_value(error: &OpenError) -> bool {
    match error {
        OpenError::Malformed(_) | OpenError::NotAuthentic | OpenError::UnknownDataKey { .. } => true,
        OpenError::Key(error) => error.class().label() == "wrong_key",
        _ => false,
    }
}
