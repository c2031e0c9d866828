//! A local value that parses does not open under a key that did not seal it.
#![no_main]

use envelope_core::DataKey;
use envelope_core::format::pulseplan_local::Envelope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(envelope) = Envelope::parse(text) else {
        return;
    };
    assert!(envelope.open(&DataKey::from_slice(&[7; 32]).unwrap()).is_err());
});
