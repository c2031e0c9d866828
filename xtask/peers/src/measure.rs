//! Timing: every peer has its turn in every round, so that all see the same machine.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds, of which the fastest and the median are reported.
const ROUNDS: usize = 1_001;
/// Calls of each kind in a round: so few that most rounds end before the system gives the processor to another program.
const CALLS: usize = 2 * BATCH;
/// Values that are made ready before opening is timed: few enough to stay in the processor's cache.
const BATCH: usize = 64;

/// A way to seal and open values.
pub(crate) trait Peer {
    /// A sealed value, in the form in which the peer hands it out.
    type Sealed: Clone;
    fn seal(&self, value: &str) -> anyhow::Result<Self::Sealed>;
    /// Opens a value and returns its length.
    fn open(&self, sealed: Self::Sealed) -> anyhow::Result<usize>;
}

/// A peer that is ready to be measured.
pub(crate) struct Contest {
    pub(crate) name: &'static str,
    round: Box<dyn FnMut() -> (Duration, Duration)>,
}

/// Nanoseconds for one call: the fastest round, and the median of all.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    pub(crate) fastest: f64,
    pub(crate) median: f64,
}

#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) seal: Time,
    pub(crate) open: Time,
}

impl Contest {
    /// Seals and opens once, which warms its caches and shows that it works, before anything is timed.
    pub(crate) fn new<P: Peer + 'static>(name: &'static str, peer: P, value: &str) -> anyhow::Result<Self> {
        Self::opening(name, peer, value, |peer, value| {
            let sealed = peer.seal(value)?;
            peer.open(sealed.clone())?;
            Ok(sealed)
        })
    }

    /// The same, with a value to open that is made in another way.
    pub(crate) fn opening<P: Peer + 'static>(
        name: &'static str,
        peer: P,
        value: &str,
        make: impl FnOnce(&P, &str) -> anyhow::Result<P::Sealed>,
    ) -> anyhow::Result<Self> {
        let value = value.to_owned();
        let sealed = make(&peer, &value)?;
        anyhow::ensure!(peer.open(sealed.clone())? == value.len(), "{name} does not open what it sealed");
        let round = Box::new(move || (time_seal(&peer, &value), time_open(&peer, &sealed)));
        Ok(Self { name, round })
    }
}

fn time_seal<P: Peer>(peer: &P, value: &str) -> Duration {
    let start = Instant::now();
    for _ in 0..CALLS {
        // An error was ruled out when the contest was made; black_box keeps the call.
        let _ = black_box(peer.seal(black_box(value)));
    }
    start.elapsed()
}

fn time_open<P: Peer>(peer: &P, sealed: &P::Sealed) -> Duration {
    let mut elapsed = Duration::ZERO;
    for _ in 0..CALLS / BATCH {
        let batch = vec![sealed.clone(); BATCH];
        let start = Instant::now();
        for sealed in batch {
            let _ = black_box(peer.open(black_box(sealed)));
        }
        elapsed += start.elapsed();
    }
    elapsed
}

/// Measures all of them, one after the other in each round.
pub(crate) fn in_turns(contests: &mut [Contest]) -> Vec<(&'static str, Times)> {
    let mut rounds: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); contests.len()];
    for _ in 0..ROUNDS {
        for (contest, (seal, open)) in contests.iter_mut().zip(&mut rounds) {
            let (sealing, opening) = (contest.round)();
            seal.push(per_call(sealing));
            open.push(per_call(opening));
        }
    }
    let times = rounds.into_iter().map(|(seal, open)| Times { seal: summary(seal), open: summary(open) });
    contests.iter().map(|contest| contest.name).zip(times).collect()
}

fn per_call(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e9 / CALLS as f64
}

fn summary(mut times: Vec<f64>) -> Time {
    times.sort_by(f64::total_cmp);
    Time { fastest: times[0], median: times[times.len() / 2] }
}
