//! No text is both a production and a development value.
#![no_main]

use envelope_core::format::autonomous::{DevEnvelope, Envelope};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    assert!(Envelope::parse(text).is_err() || DevEnvelope::parse(text).is_err());
});
