//! Shared by the tests: a key service in memory, a key ring in memory, the vectors, and AES-GCM from its parts.

pub mod gcm;
pub mod memory;
pub mod vectors;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use envelope_core::Purpose;
use envelope_core::format::node_json::Accepted;

/// Values with and without a purpose.
pub const ANY: Accepted = Accepted::OrUnlabelled(Purpose::Secret);

/// Runs a future that never has to wait.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// Pairs as the sealer takes them.
pub fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}
