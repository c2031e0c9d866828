//! Pacing spreads calls and changes nothing else.

use std::time::Duration;

use envelope_core::KeyProvider;
use kms_provider::{Memory, Pacing};
use tokio::time::Instant;

use crate::support::{row, shared};

#[tokio::test(start_paused = true)]
async fn calls_wait_for_their_turn() {
    let paced = Pacing::new(shared(Memory::new()), 10.0);
    let start = Instant::now();
    for number in 0..21 {
        paced.generate(&row(number)).await.unwrap();
    }
    let taken = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_millis(2_100)).contains(&taken), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_not_saved_up_for_a_burst() {
    let paced = Pacing::new(shared(Memory::new()), 10.0);
    tokio::time::advance(Duration::from_secs(60)).await;
    let start = Instant::now();
    for number in 0..11 {
        paced.generate(&row(number)).await.unwrap();
    }
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_rate_that_is_no_positive_number_does_not_limit() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let paced = Pacing::new(shared(Memory::new()), rate);
        for number in 0..100 {
            paced.generate(&row(number)).await.unwrap();
        }
    }
}
