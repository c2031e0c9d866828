//! No text opens under a key that did not seal it.
#![no_main]

use envelope_core::DataKey;
use envelope_core::format::direct_aes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let key = DataKey::from_slice(&[7; 32]).unwrap();
    assert!(text.is_empty() || direct_aes::open(&key, text).is_err());
});
