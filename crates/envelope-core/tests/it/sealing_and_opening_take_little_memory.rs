//! Sealing and opening take a known number of pieces of memory from the allocator, whose cost is a large part of theirs.

#[path = "../../examples/hot_paths/one_key.rs"]
mod one_key;

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use envelope_core::{Binding, EnvelopeFormat, Sealed, Sealer};
use secrecy::ExposeSecret;

use self::one_key::OneKey;

fn sealer(format: EnvelopeFormat) -> Sealer {
    let provider = OneKey::new();
    let base = [("Application", "vod-tender"), ("Purpose", "oauth-token")];
    let base = base.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Sealer::new(Arc::new(provider), base.to_vec()).unwrap().with_writing(format)
}

fn binding() -> Binding<'static> {
    Binding::new("oauth_tokens", "access_token").key("provider", "twitch").key("channel", "my-channel")
}

/// Runs a future that does not wait, and counts.
fn counted<T>(make: impl AsyncFnOnce() -> T) -> (T, AllocationInfo) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut made = None;
    let info = measure(|| made = Some(runtime.block_on(make())));
    (made.unwrap(), info)
}

/// The pieces that the runtime takes for a future that does nothing.
fn idle() -> u64 {
    counted(async || ()).1.count_total
}

fn count(format: EnvelopeFormat, length: usize) -> ((u64, u64), (u64, u64)) {
    let (sealer, binding, value) = (sealer(format), binding(), "x".repeat(length));
    // What is made once for a process and once for a key: tables, and the key's prepared cipher.
    let warm = counted(async || sealer.seal(&value, &binding).await.unwrap()).0;
    let open = async |sealed: &Sealed| {
        let opened = sealer.open(&sealed.text, sealed.key_id.as_deref(), &binding).await.unwrap();
        assert_eq!(opened.plaintext.expose_secret(), value);
    };
    counted(async || open(&warm).await);
    let (sealed, sealing) = counted(async || sealer.seal(&value, &binding).await.unwrap());
    let opening = counted(async || open(&sealed).await).1;
    let of = |info: AllocationInfo| (info.count_total - idle(), info.bytes_total);
    (of(sealing), of(opening))
}

/// Sealing: the three of the key service, the context, the sealed value and the text. Opening: the two parts of the text, the key id,
/// the context and the plaintext.
#[test]
fn a_value_of_256_bytes_in_version_2_takes_six_pieces_to_seal_and_five_to_open() {
    let (sealing, opening) = count(EnvelopeFormat::V2, 256);
    assert_eq!((sealing.0, opening.0), (6, 5));
    assert!(sealing.1 <= 1_300 && opening.1 <= 900, "{sealing:?} {opening:?}");
}

/// Sealing: four of the key service, whose two ways to a key have a future each, two for the associated data, the envelope and the text.
/// Opening: the envelope, the wrapped key, the key id, two for the associated data and the plaintext.
#[test]
fn a_value_of_256_bytes_in_version_3_takes_eight_pieces_to_seal_and_six_to_open() {
    let (sealing, opening) = count(EnvelopeFormat::V3, 256);
    assert_eq!((sealing.0, opening.0), (8, 6));
    assert!(sealing.1 <= 1_800 && opening.1 <= 1_200, "{sealing:?} {opening:?}");
}

#[test]
fn a_longer_value_takes_longer_pieces_and_no_more_of_them() {
    for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
        let (short, long) = (count(format, 256), count(format, 65_536));
        assert_eq!((short.0.0, short.1.0), (long.0.0, long.1.0), "{format:?}");
    }
}
