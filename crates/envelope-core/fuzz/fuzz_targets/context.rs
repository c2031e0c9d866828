//! The pairs of a context come back as they went in.
#![no_main]

use std::collections::BTreeMap;

use envelope_core::EncryptionContext;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|pairs: BTreeMap<String, String>| {
    let given = || pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let Ok(context) = EncryptionContext::new(given()) else {
        return;
    };
    assert!(context.pairs().eq(given()));
});
