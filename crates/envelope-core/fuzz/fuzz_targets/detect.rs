//! Detection classifies every text, and no envelope is classified as another form as well.
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
