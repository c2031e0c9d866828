//! Seals or opens one value over and over, for `cargo xtask instructions`: it counts what that takes.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a program for measuring has no caller to return an error to"
)]

mod one_key;

use std::hint::black_box;
use std::sync::Arc;

use envelope_core::{Binding, EnvelopeFormat, Sealer};

use crate::one_key::OneKey;

fn sealer(format: EnvelopeFormat) -> Sealer {
    let provider = OneKey::new();
    let base = [("Application", "vod-tender"), ("Purpose", "oauth-token")];
    let base = base.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let sealer = Sealer::new(Arc::new(provider), base).expect("the pairs make a context");
    sealer.with_writing(format)
}

/// The identity of a cell, made for each value as a store makes it.
fn binding() -> Binding<'static> {
    Binding::new("oauth_tokens", "access_token").key("provider", "twitch").key("channel", "my-channel")
}

const USAGE: &str = "usage: hot_paths seal|open v2|v3 TIMES";

/// `seal` or `open`, `v2` or `v3`, and how often.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [verb, version, times] = args.as_slice() else { panic!("{USAGE}") };
    let seals = match verb.as_str() {
        "seal" => true,
        "open" => false,
        _ => panic!("{USAGE}"),
    };
    let format = match version.as_str() {
        "v2" => EnvelopeFormat::V2,
        "v3" => EnvelopeFormat::V3,
        _ => panic!("{USAGE}"),
    };
    let times: u32 = times.parse().expect("TIMES must be a number");
    let (sealer, value) = (sealer(format), "x".repeat(256));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let sealed = sealer.seal(&value, &binding()).await.expect("seals");
        let key_id = sealed.key_id.as_deref();
        for _ in 0..times {
            if seals {
                drop(black_box(sealer.seal(black_box(&value), &binding()).await.expect("seals")));
            } else {
                drop(black_box(sealer.open(&sealed.text, key_id, &binding()).await.expect("opens")));
            }
        }
    });
}
