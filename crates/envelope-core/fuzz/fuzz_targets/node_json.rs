//! A JSON envelope that parses names a data key, within its limit.
#![no_main]

use envelope_core::format::node_json::Envelope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(envelope) = Envelope::parse(text) else {
        return;
    };
    assert!((1..=256).contains(&envelope.key_id().len()));
});
