//! No text makes the readers of key variables panic.
#![no_main]

use envelope_core::DataKey;
use envelope_core::format::{autonomous::DevKey, pulseplan_local::MasterKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = text.parse::<DataKey>();
    let _ = DevKey::from_variable(text);
    assert_eq!(MasterKey::from_variable(text).is_err(), text.is_empty());
});
