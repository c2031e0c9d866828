//! A hundred readers live through half a minute without the key service, in real time and through real sockets.
//!
//! It takes some 40 s, because the promise is about that time: a call that hangs, a circuit that probes,
//! connections that die and are made again are all measured in seconds. It runs in a process of its own, so
//! that the memory and the tasks that are counted are those of these readers.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use envelope_core::{KeyProvider, WrappedDataKey};
use futures_util::future::join_all;
use kms_provider::resilience::CircuitState;
use test_support::emulator::AwsFailure;
use test_support::faults::Fault;
use test_support::part;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::behind_a_proxy::{RECOVERY, Stack, report};
use crate::readers::{Readers, Seen};
use crate::support::{row, within_async};

/// Set in the process that has to do it.
const CHILD: &str = "TOKENSEAL_TEST_OUTAGE";

const READERS: usize = 100;
const TOKENS: usize = 500;
const CACHED: usize = 250;
/// Hanging, and then as long refusing.
const HALF: Duration = Duration::from_secs(15);

/// The most calls in progress, and so the most connections; each has a task.
const CALLS: usize = 64;
/// Allowed on top, for buffers of connections and the allocator's reserve. A queue that grows would hold some
/// 30,000 failed reads.
const MEMORY_KIB: u64 = 8 << 10;

#[tokio::test]
async fn a_hundred_readers_of_500_tokens_live_through_it_in_real_time() {
    let moto = part!(moto);
    let this = std::env::current_exe().unwrap();
    let name = format!("{}::child", module_path!().split_once("::").unwrap().1);
    let child = Command::new(this)
        .args(["--exact", "--nocapture", &name])
        .env(CHILD, "1")
        .env("TOKENSEAL_TEST_MOTO_URL", moto.endpoint())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = child.await.unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", output.status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let moto = part!(moto);
    let before = alive_tasks();
    let stack = Stack::new(&moto).await;
    let tokens = Arc::new(stack.tokens(TOKENS).await);
    join_all((0..CACHED).map(async |number| {
        stack.cache.unwrap(&tokens[number], &row(number)).await.unwrap();
    }))
    .await;

    let base = Load::now(&stack);
    let (seen, peak) = outage(&stack, &tokens).await;
    println!("{seen:?}; before {base:?}, at most {peak:?}");
    assert!(seen.cached > 10_000, "{seen:?}");
    assert_eq!(seen.cold, 0, "nothing else could be served");
    // All but those that were under way when it began, and a probe a second.
    assert!(seen.failed_at_once * 100 > seen.failed * 98, "{seen:?}");
    assert!(seen.slowest < Duration::from_secs(10), "{seen:?}");
    assert!(peak.waiting <= READERS, "{peak:?}");
    assert!(peak.tasks <= base.tasks + READERS + CALLS, "{peak:?}, before {base:?}");
    assert!(peak.memory_kib <= base.memory_kib + MEMORY_KIB, "{peak:?}, before {base:?}");

    stack.proxy.faults().heal();
    let recovery = stack.all_served(&tokens).await;
    assert!(recovery < RECOVERY, "{recovery:?}");
    assert_eq!(stack.resilience.snapshot().circuit, CircuitState::Closed);
    let after = Load::now(&stack);
    assert!(after.tasks <= base.tasks + CALLS, "{after:?}, before {base:?}");
    drop((stack, tokens));
    within_async(Duration::from_secs(5), "no task is left", || alive_tasks() == before).await;
    let found = format!(
        "{} cached reads served, {} others failed, {:.1} % at once; memory +{} KiB, no task left",
        seen.cached,
        seen.failed,
        100.0 * seen.failed_at_once as f64 / seen.failed as f64,
        peak.memory_kib.saturating_sub(base.memory_kib),
    );
    report(
        "30 s outage, 100 readers of 500 tokens",
        "timeout, unavailable",
        Some(seen.slowest),
        Some(recovery),
        &found,
    );
}

/// The readers' results, and the peak of every resource meanwhile.
async fn outage(stack: &Stack, tokens: &Arc<Vec<WrappedDataKey>>) -> (Seen, Load) {
    let faults = stack.proxy.faults();
    let (start, mut peak) = (Instant::now(), Load::default());
    faults.always(Fault::Hang);
    let readers = Readers::send(READERS as u64, &stack.cache, tokens, CACHED, start + 2 * HALF);
    let mut hanging = true;
    while start.elapsed() < 2 * HALF {
        if hanging && start.elapsed() >= HALF {
            hanging = false;
            faults.instead(Fault::Fail(AwsFailure::Refused));
        }
        peak = peak.most(Load::now(stack));
        sleep(Duration::from_millis(50)).await;
    }
    (readers.back().await, peak)
}

/// Resources that grow in a process that leaks.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    tasks: usize,
    memory_kib: u64,
    waiting: usize,
}

impl Load {
    fn now(stack: &Stack) -> Self {
        let waiting = stack.resilience.snapshot().waiting;
        Self { tasks: alive_tasks(), memory_kib: resident_kib(), waiting }
    }

    fn most(self, other: Self) -> Self {
        Self {
            tasks: self.tasks.max(other.tasks),
            memory_kib: self.memory_kib.max(other.memory_kib),
            waiting: self.waiting.max(other.waiting),
        }
    }
}

fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// proc(5): `VmRSS`, in units of 1,024 bytes.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
