//! A KMS row that parses parses with and without its prefix, to the same claims.
#![no_main]

use envelope_core::format::pulseplan_kms::Envelope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(envelope) = Envelope::parse(text) else {
        return;
    };
    let bare = Envelope::parse(text.strip_prefix("kms:").unwrap_or(text)).unwrap();
    assert_eq!(envelope.claimed_context(), bare.claimed_context());
    assert_eq!(envelope.key_id(), bare.key_id());
});
