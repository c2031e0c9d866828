//! Detection answers every text, and what it calls an envelope does not claim to be anything else.
#![no_main]

use envelope_core::Format;
use envelope_core::format::{detect, has_strong_mark};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let detected = detect(text);
    if has_strong_mark(text) {
        assert!(!matches!(detected, Ok(Format::Plaintext)));
    }
});
