//! A bound envelope has one spelling: putting its own wrapped key back gives the same text.
#![no_main]

use envelope_core::format::bound::{Envelope, replace_wrapped};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(envelope) = Envelope::parse(text) else {
        return;
    };
    let wrapped = envelope.wrapped_data_key(None).unwrap();
    assert_eq!(replace_wrapped(text, &wrapped).unwrap(), text);
});
