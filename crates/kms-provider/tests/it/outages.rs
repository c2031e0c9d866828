//! A failing key service: each failure has its class and an end, cached keys serve meanwhile, and no restart is needed.

use std::sync::Arc;
use std::time::Duration;

use envelope_core::{ErrorClass, KeyProvider, WrappedDataKey};
use kms_provider::resilience::CircuitState;
use kms_provider::{Aws, CacheOptions, Caching, Memory, Resilience};
use test_support::emulator::{AwsFailure, Emulator};
use test_support::faults::{Fault, FaultyProvider};
use tokio::time::{Instant, sleep};

use crate::readers::{Numbers, Readers};
use crate::support::{class, row, within_async, wrapped};

const DEADLINE: Duration = Duration::from_secs(10);
const RECOVERY: Duration = Duration::from_secs(5);

struct Stack {
    faulty: Arc<FaultyProvider<Memory>>,
    resilience: Arc<Resilience>,
    cache: Arc<Caching>,
}

fn stack() -> Stack {
    let faulty = Arc::new(FaultyProvider::new(Memory::new()));
    let resilience = Arc::new(Resilience::new(faulty.clone()));
    let options = CacheOptions::default().with_remember_generated(false);
    let cache = Arc::new(Caching::with_options(resilience.clone(), options));
    Stack { faulty, resilience, cache }
}

async fn tokens(count: usize, cache: &Caching) -> Vec<WrappedDataKey> {
    let mut tokens = Vec::new();
    for number in 0..count {
        tokens.push(wrapped(cache, &row(number)).await);
    }
    tokens
}

#[tokio::test(start_paused = true)]
async fn each_fault_of_aws_has_its_class_and_is_bounded_in_time_and_over_when_it_ends() {
    use ErrorClass::{Denied, Disabled, NotFound, PendingDeletion, Throttled, Timeout, Unavailable};
    let slow = Fault::Delay(Duration::from_secs(4));
    let faults = [
        ("unreachable", Fault::Fail(AwsFailure::Refused), Unavailable, "AWS_ENDPOINT_URL"),
        ("hanging", Fault::Hang, Timeout, "VPC endpoint"),
        ("too slow", slow, Timeout, "VPC endpoint"),
        ("throttling", Fault::Fail(AwsFailure::THROTTLING), Throttled, "quota"),
        ("500", Fault::Fail(AwsFailure::INTERNAL), Unavailable, "Health"),
        ("bad gateway", Fault::Fail(AwsFailure::Status(502)), Unavailable, "Health"),
        ("denied", Fault::Fail(AwsFailure::ACCESS_DENIED), Denied, "kms:Decrypt"),
        ("disabled", Fault::Fail(AwsFailure::DISABLED), Disabled, "kms:EnableKey"),
        (
            "pending deletion",
            Fault::Fail(AwsFailure::INVALID_STATE),
            PendingDeletion,
            "kms:CancelKeyDeletion",
        ),
        ("wrong Region", Fault::Fail(AwsFailure::NOT_FOUND), NotFound, "AWS_REGION"),
    ];
    for (name, fault, expected, hint) in faults {
        let emulator = Emulator::start();
        let key = emulator.create_key().await;
        let aws = Aws::from_config_without_retries(&emulator.sdk_config(), key.arn, [""; 0]).unwrap();
        let provider = Resilience::new(Arc::new(aws));
        let made = wrapped(&provider, &row(1)).await;
        emulator.faults().reset_calls();
        emulator.faults().always(fault);
        let start = Instant::now();
        let error = provider.unwrap(&made, &row(1)).await.map(drop).unwrap_err();
        assert_eq!(error.class(), expected, "{name}");
        assert!(error.hint().unwrap().contains(hint), "{name}: {:?}", error.hint());
        assert!(start.elapsed() <= DEADLINE, "{name}: {:?}", start.elapsed());
        // The SDK's attempts and these do not multiply.
        let attempts = if expected.is_retryable() { 3 } else { 1 };
        assert_eq!(emulator.faults().calls("Decrypt"), attempts, "{name}");
        // Long enough that the circuit opens where it is to open.
        for _ in 0..20 {
            assert!(provider.unwrap(&made, &row(1)).await.is_err());
            sleep(Duration::from_millis(100)).await;
        }
        let is_silence = matches!(expected, Unavailable | Timeout);
        assert_eq!(provider.snapshot().circuit != CircuitState::Closed, is_silence, "{name}");
        emulator.faults().heal();
        let healed = Instant::now();
        while provider.unwrap(&made, &row(1)).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
        assert!(healed.elapsed() <= RECOVERY, "{name}: {:?}", healed.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn two_seconds_of_delay_are_served_and_a_rotation_goes_unnoticed() {
    let emulator = Emulator::start();
    let key = emulator.create_key().await;
    let aws = Aws::from_config_without_retries(&emulator.sdk_config(), key.arn, [""; 0]).unwrap();
    let provider = Resilience::new(Arc::new(aws));
    let made = wrapped(&provider, &row(1)).await;
    emulator.faults().always(Fault::Delay(Duration::from_secs(2)));
    assert!(provider.unwrap(&made, &row(1)).await.is_ok());
    let memory = Arc::new(Memory::new());
    let provider = Caching::new(Arc::new(Resilience::new(memory.clone())));
    let before = wrapped(&provider, &row(1)).await;
    memory.rotate();
    provider.invalidate_all();
    assert!(provider.unwrap(&before, &row(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_disabled_or_scheduled_for_deletion_serve_again_once_that_is_undone() {
    let emulator = Emulator::start();
    let key = emulator.create_key().await;
    let admin = emulator.kms_admin();
    let aws = Aws::from_config_without_retries(&emulator.sdk_config(), key.arn, [""; 0]).unwrap();
    let provider = Resilience::new(Arc::new(aws));
    let made = wrapped(&provider, &row(1)).await;
    admin.disable_key().key_id(&key.id).send().await.unwrap();
    assert_eq!(class(provider.unwrap(&made, &row(1)).await), ErrorClass::Disabled);
    admin.enable_key().key_id(&key.id).send().await.unwrap();
    assert!(provider.unwrap(&made, &row(1)).await.is_ok());
    admin.schedule_key_deletion().key_id(&key.id).send().await.unwrap();
    assert_eq!(class(provider.unwrap(&made, &row(1)).await), ErrorClass::PendingDeletion);
    admin.cancel_key_deletion().key_id(&key.id).send().await.unwrap();
    admin.enable_key().key_id(&key.id).send().await.unwrap();
    assert!(provider.unwrap(&made, &row(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_hundred_readers_of_500_tokens_live_through_a_half_minute_outage() {
    for fault in [Fault::Hang, Fault::Fail(ErrorClass::Unavailable)] {
        readers_live_through(fault).await;
    }
}

async fn readers_live_through(fault: Fault<ErrorClass>) {
    const TOKENS: usize = 500;
    const CACHED: usize = 250;
    const OUTAGE: Duration = Duration::from_secs(30);
    let Stack { faulty, resilience, cache } = stack();
    let tokens = Arc::new(tokens(TOKENS, &cache).await);
    for (number, token) in tokens.iter().enumerate().take(CACHED) {
        cache.unwrap(token, &row(number)).await.unwrap();
    }
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let tasks_before = tasks();

    faulty.faults().reset_calls();
    faulty.faults().always(fault);
    let start = Instant::now();
    let readers = Readers::send(100, &cache, &tokens, CACHED, start + OUTAGE);
    let mut longest_queue = 0;
    while start.elapsed() < OUTAGE {
        let snapshot = resilience.snapshot();
        longest_queue = longest_queue.max(snapshot.waiting);
        assert!(snapshot.in_progress <= 64, "{snapshot:?}");
        sleep(Duration::from_millis(10)).await;
    }
    let seen = readers.back().await;
    let calls = faulty.faults().calls("unwrap");
    println!("{fault:?}: {seen:?}, {calls} calls made, {longest_queue} callers waited at most");
    assert!(seen.cached > 20_000, "{seen:?}");
    assert_eq!(seen.cold, 0, "nothing else could be served");
    // All but those that were under way when it began, and a probe a second.
    assert!(seen.failed_at_once * 100 > seen.failed * 98, "{seen:?}");
    assert!(seen.slowest <= DEADLINE, "{seen:?}");
    assert!(longest_queue <= 100, "{longest_queue}");
    assert!(calls < 200, "a service that is down is left alone: {calls} calls");
    assert!(cache.len() <= TOKENS as u64);

    faulty.faults().heal();
    let healed = Instant::now();
    for (number, token) in tokens.iter().enumerate() {
        while cache.unwrap(token, &row(number)).await.is_err() {
            assert!(healed.elapsed() < RECOVERY, "token {number} is not served again");
            sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(healed.elapsed() < RECOVERY, "{:?}", healed.elapsed());
    let snapshot = resilience.snapshot();
    assert_eq!((snapshot.in_progress, snapshot.waiting), (0, 0));
    assert_eq!(snapshot.circuit, CircuitState::Closed);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(tasks(), tasks_before, "no task is left over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_concurrent_cold_reads_of_one_token_make_one_call_through_the_whole_stack() {
    let Stack { faulty, cache, .. } = stack();
    let token = wrapped(&*cache, &row(1)).await;
    faulty.faults().always_for("unwrap", Fault::Hold);
    let read = || {
        let (cache, token) = (cache.clone(), token.clone());
        tokio::spawn(async move { cache.unwrap(&token, &row(1)).await.is_ok() })
    };
    let readers: Vec<_> = (0..1_000).map(|_| read()).collect();
    within_async(Duration::from_secs(2), "every caller waits", || cache.counts().misses == 1_000).await;
    faulty.faults().heal();
    for reader in readers {
        assert!(reader.await.unwrap());
    }
    assert_eq!(faulty.faults().calls("unwrap"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_zipf_mix_of_500_tokens_for_a_minute_is_answered_by_the_cache_over_95_times_in_100() {
    let Stack { cache, .. } = stack();
    let tokens = tokens(500, &cache).await;
    // The n-th token is read in proportion to 1/n.
    let mut reach = Vec::new();
    let mut sum = 0.0;
    for rank in 1..=500_u32 {
        sum += f64::from(rank).recip();
        reach.push(sum);
    }
    let mut numbers = Numbers(42);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        for _ in 0..20 {
            let drawn = f64::from(u32::try_from(numbers.next() >> 40).unwrap()) / f64::from(1 << 24) * sum;
            let number = reach.partition_point(|reach| *reach <= drawn).min(499);
            cache.unwrap(&tokens[number], &row(number)).await.unwrap();
        }
        sleep(Duration::from_millis(50)).await;
    }
    let counts = cache.counts();
    println!("{counts:?}");
    assert!(counts.hits * 100 > (counts.hits + counts.misses) * 95, "{counts:?}");
}
