//! A version 2 envelope that parses has a wrapped data key, and takes another in its place.
#![no_main]

use envelope_core::WrappedDataKey;
use envelope_core::stored::StoredEnvelope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(stored) = StoredEnvelope::parse(text, None) else {
        return;
    };
    let other = WrappedDataKey::new(*b"another", None).unwrap();
    let replaced = stored.replace(&other).unwrap();
    assert_eq!(StoredEnvelope::parse(&replaced.text, None).unwrap().wrapped(), &other);
});
