//! A key service that fails on the wire: each fault has its own class, is bounded in time, and is over as soon as it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope_core::{ErrorClass, KeyError, KeyProvider, WrappedDataKey};
use futures_util::future::join_all;
use kms_provider::resilience::CircuitState;
use kms_provider::{Aws, CacheOptions, Caching, Resilience};
use test_support::emulator::AwsFailure;
use test_support::faults::Fault;
use test_support::moto::Moto;
use test_support::part;
use test_support::proxy::Proxy;

use crate::readers::Readers;
use crate::support::{class, row, told, within_async, wrapped};

pub(crate) const REGION: &str = "us-east-1";
const NONE: [&str; 0] = [];

/// The default deadline of `Resilience`, and how late a timer on a busy machine may be.
const DEADLINE: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_millis(500);

/// How soon after the end of a fault tokens have to be served again.
pub(crate) const RECOVERY: Duration = Duration::from_secs(5);

/// The stack of a service in its default settings, with a network in between that breaks on demand.
pub(crate) struct Stack {
    pub(crate) proxy: Proxy,
    pub(crate) resilience: Arc<Resilience>,
    pub(crate) cache: Arc<Caching>,
    pub(crate) key: String,
}

impl Stack {
    pub(crate) async fn new(moto: &Moto) -> Self {
        let proxy = Proxy::start(moto.endpoint());
        let key = create_key(moto).await;
        let aws = Aws::from_config_without_retries(&proxy.sdk_config(REGION), &key, NONE).unwrap();
        let resilience = Arc::new(Resilience::new(Arc::new(aws)));
        // So that a token that was just sealed can be one whose key is not there.
        let options = CacheOptions::default().with_remember_generated(false);
        let cache = Arc::new(Caching::with_options(resilience.clone(), options));
        Self { proxy, resilience, cache, key }
    }

    /// Tokens whose data keys are not in the cache, the n-th bound to row n.
    pub(crate) async fn tokens(&self, count: usize) -> Vec<WrappedDataKey> {
        join_all((0..count).map(async |number| wrapped(&*self.cache, &row(number)).await)).await
    }

    /// Until a hundred readers have read every token once, each trying again after a failure: how long that took.
    ///
    /// # Panics
    /// One still fails when all should work again.
    pub(crate) async fn all_served(&self, tokens: &[WrappedDataKey]) -> Duration {
        const READERS: usize = 100;
        let start = Instant::now();
        let read = async |number: usize| {
            while let Err(error) = self.cache.unwrap(&tokens[number], &row(number)).await {
                assert!(start.elapsed() < RECOVERY, "token {number} is not served again: {}", told(&error));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let share = async |reader: usize| {
            for number in (reader..tokens.len()).step_by(READERS) {
                read(number).await;
            }
        };
        join_all((0..READERS).map(share)).await;
        start.elapsed()
    }

    /// Until a token is read again: how long that took.
    pub(crate) async fn recovery(&self, token: &WrappedDataKey, number: usize) -> Duration {
        let start = Instant::now();
        while let Err(error) = self.cache.unwrap(token, &row(number)).await {
            assert!(start.elapsed() < RECOVERY, "not served again: {}", told(&error));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        start.elapsed()
    }
}

async fn create_key(moto: &Moto) -> String {
    let kms = aws_sdk_kms::Client::new(&moto.sdk_config(REGION));
    kms.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap()
}

/// One line that `cargo xtask chaos` makes a row of its table from; it misses the ones that do not come.
pub(crate) fn report(
    scenario: &str,
    seen: &str,
    error: Option<Duration>,
    recovery: Option<Duration>,
    found: &str,
) {
    let seconds =
        |time: Option<Duration>| time.map_or("-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()));
    println!("chaos\t{scenario}\t{seen}\t{}\t{}\t{found}", seconds(error), seconds(recovery));
}

/// A way to fail, and the class that it must be reported as.
struct Scenario {
    name: &'static str,
    fault: Fault<AwsFailure>,
    class: ErrorClass,
    /// In the error or its causes, and nothing else's.
    words: &'static str,
    hint: &'static str,
}

const fn silent(name: &'static str, fault: Fault<AwsFailure>) -> Scenario {
    Scenario { name, fault, class: ErrorClass::Timeout, words: "did not answer", hint: "VPC endpoint" }
}

const fn fails(
    name: &'static str,
    failure: AwsFailure,
    class: ErrorClass,
    words: &'static str,
    hint: &'static str,
) -> Scenario {
    Scenario { name, fault: Fault::Fail(failure), class, words, hint }
}

const SCENARIOS: [Scenario; 12] = {
    use ErrorClass::{Denied, Disabled, NotFound, PendingDeletion, Throttled, Unavailable};
    const SLOW: Fault<AwsFailure> = Fault::Delay(Duration::from_secs(4));
    [
        fails(
            "unreachable: the port is closed",
            AwsFailure::Refused,
            Unavailable,
            "could not be reached",
            "AWS_ENDPOINT_URL",
        ),
        silent("hanging: never answers", Fault::Hang),
        silent("too slow: 4 s a call", SLOW),
        fails("throttling", AwsFailure::THROTTLING, Throttled, "throttled Decrypt", "quota"),
        fails(
            "internal errors, HTTP 500",
            AwsFailure::INTERNAL,
            Unavailable,
            "KMSInternalException",
            "Health",
        ),
        fails("bad gateway, HTTP 502", AwsFailure::Status(502), Unavailable, "(HTTP 502)", "Health"),
        fails("access denied", AwsFailure::ACCESS_DENIED, Denied, "denied Decrypt", "kms:Decrypt"),
        fails("key disabled", AwsFailure::DISABLED, Disabled, "is disabled", "kms:EnableKey"),
        fails(
            "key pending deletion",
            AwsFailure::INVALID_STATE,
            PendingDeletion,
            "pending deletion",
            "kms:CancelKeyDeletion",
        ),
        fails("wrong Region: no such key", AwsFailure::NOT_FOUND, NotFound, "in this Region", "AWS_REGION"),
        fails(
            "connection reset in the answer",
            AwsFailure::Reset,
            Unavailable,
            "in the middle of the answer",
            "cut connections",
        ),
        fails(
            "garbage instead of an answer",
            AwsFailure::Garbage,
            Unavailable,
            "not one of AWS KMS",
            "AWS_ENDPOINT_URL",
        ),
    ]
};

/// In real time, because the measured waits happen in sockets: as long as two calls that hang, some 16
/// seconds. All at once, each on a network of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_on_the_wire_has_its_class_and_is_bounded_in_time_and_over_when_it_ends() {
    let moto = part!(moto);
    let play = |scenario: &'static Scenario| (scenario.name, tokio::spawn(scenario.play(moto.clone())));
    let mut failed = Vec::new();
    for (name, played) in SCENARIOS.iter().map(play).collect::<Vec<_>>() {
        failed.extend(played.await.is_err().then_some(name));
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}

impl Scenario {
    async fn play(&self, moto: Moto) {
        let stack = Stack::new(&moto).await;
        let faults = stack.proxy.faults();
        let (kept, asked) = (wrapped(&*stack.cache, &row(1)).await, wrapped(&*stack.cache, &row(2)).await);
        stack.cache.unwrap(&kept, &row(1)).await.unwrap();
        faults.reset_calls();
        faults.always(self.fault);
        stack.proxy.settled().await;

        let (error, took) = self.failure(&stack, &asked).await;
        // The SDK's attempts and those of the decorator do not multiply; where nothing listens nothing is counted.
        let attempts = if error.class().is_retryable() { 3 } else { 1 };
        let heard = if self.fault == Fault::Fail(AwsFailure::Refused) { 0 } else { attempts };
        assert_eq!(faults.calls("Decrypt"), heard, "{}", self.name);
        self.circuit_after_another_call(&stack, &asked).await;
        assert!(stack.cache.unwrap_cached(&kept, &row(1)).is_some(), "{}: cached keys are served", self.name);

        faults.heal();
        let recovery = stack.recovery(&asked, 2).await;
        assert!(stack.recovery(&kept, 1).await < LATE);
        report(
            self.name,
            error.class().label(),
            Some(took),
            Some(recovery),
            "reported, kept keys served, recovered",
        );
    }

    async fn failure(&self, stack: &Stack, asked: &WrappedDataKey) -> (KeyError, Duration) {
        let start = Instant::now();
        let error = stack.cache.unwrap(asked, &row(2)).await.map(drop).unwrap_err();
        let took = start.elapsed();
        let told = told(&error);
        assert_eq!(error.class(), self.class, "{}: {told}", self.name);
        assert!(told.contains(self.words), "{}: {told}", self.name);
        assert!(error.hint().unwrap().contains(self.hint), "{}: {told}", self.name);
        assert!(took < DEADLINE + LATE, "{}: {took:?}", self.name);
        (error, took)
    }

    /// A service that is silent is left alone from now on, and one that answers is not.
    async fn circuit_after_another_call(&self, stack: &Stack, asked: &WrappedDataKey) {
        let is_silence = matches!(self.class, ErrorClass::Unavailable | ErrorClass::Timeout);
        assert!(stack.cache.unwrap(asked, &row(2)).await.is_err(), "{}", self.name);
        assert_eq!(stack.resilience.snapshot().circuit == CircuitState::Open, is_silence, "{}", self.name);
        if is_silence {
            let start = Instant::now();
            assert!(stack.cache.unwrap(asked, &row(2)).await.is_err(), "{}", self.name);
            assert!(start.elapsed() < LATE, "{}: fails at once", self.name);
        }
    }
}

#[tokio::test]
async fn two_seconds_of_delay_on_the_wire_are_served() {
    let moto = part!(moto);
    let stack = Stack::new(&moto).await;
    let token = wrapped(&*stack.cache, &row(1)).await;
    stack.proxy.faults().always(Fault::Delay(Duration::from_secs(2)));
    let start = Instant::now();
    stack.cache.unwrap(&token, &row(1)).await.unwrap();
    let took = start.elapsed();
    assert!((2.0..3.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(stack.proxy.faults().calls("Decrypt"), 1);
    stack.proxy.faults().heal();
    stack.cache.invalidate_all();
    let recovery = stack.recovery(&token, 1).await;
    report(
        "slow: 2 s a call",
        "none",
        None,
        Some(recovery),
        &format!("served after {:.2} s", took.as_secs_f64()),
    );
}

#[tokio::test]
async fn a_data_key_from_before_a_rotation_opens_after_it() {
    let moto = part!(moto);
    let stack = Stack::new(&moto).await;
    let before = wrapped(&*stack.cache, &row(1)).await;
    let admin = aws_sdk_kms::Client::new(&moto.sdk_config(REGION));
    admin.rotate_key_on_demand().key_id(&stack.key).send().await.unwrap();
    let after = wrapped(&*stack.cache, &row(2)).await;
    stack.cache.unwrap(&before, &row(1)).await.unwrap();
    stack.cache.unwrap(&after, &row(2)).await.unwrap();
    report("key rotated", "none", None, None, "old and new data keys open");
}

#[tokio::test]
async fn a_key_in_another_region_is_reported_as_such_by_the_service_itself() {
    let moto = part!(moto);
    let key = create_key(&moto).await;
    let bare = key.rsplit('/').next().unwrap();
    let aws = Aws::from_config_without_retries(&moto.sdk_config("eu-central-1"), bare, NONE).unwrap();
    let error = Resilience::new(Arc::new(aws)).generate(&row(1)).await.map(drop).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert!(error.hint().unwrap().contains("AWS_REGION"), "{}", told(&error));
    // An ARN says more, before any call.
    let error = Aws::from_config_without_retries(&moto.sdk_config("eu-central-1"), &key, NONE).map(drop);
    assert_eq!(class(error), ErrorClass::Misconfigured);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_concurrent_cold_reads_of_one_token_make_one_call_on_the_wire() {
    let moto = part!(moto);
    let stack = Stack::new(&moto).await;
    let token = wrapped(&*stack.cache, &row(1)).await;
    stack.proxy.faults().always_for("Decrypt", Fault::Hold);
    let read = || {
        let (cache, token) = (stack.cache.clone(), token.clone());
        tokio::spawn(async move { cache.unwrap(&token, &row(1)).await.is_ok() })
    };
    let readers: Vec<_> = (0..1_000).map(|_| read()).collect();
    within_async(Duration::from_secs(2), "every caller waits", || stack.cache.counts().misses == 1_000).await;
    stack.proxy.faults().heal();
    for reader in readers {
        assert!(reader.await.unwrap());
    }
    let calls = stack.proxy.faults().calls("Decrypt");
    assert_eq!(calls, 1);
    report("1,000 cold reads of one token", "none", None, None, &format!("{calls} Decrypt on the wire"));
}

/// A limit of this process that lasted longer than the service's would delay most of them for half a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_readers_who_were_throttled_are_served_within_seconds_of_its_end() {
    let moto = part!(moto);
    let stack = Stack::new(&moto).await;
    let tokens = Arc::new(stack.tokens(500).await);
    let before = stack.proxy.faults().calls("Decrypt");
    stack.proxy.faults().always(Fault::Fail(AwsFailure::THROTTLING));
    let throttled = Duration::from_secs(3);
    let start = tokio::time::Instant::now();
    let readers = Readers::send(100, &stack.cache, &tokens, 0, start + throttled);
    tokio::time::sleep_until(start + throttled).await;
    let calls = stack.proxy.faults().calls("Decrypt") - before;
    assert!(calls < 200, "a service that throttles is asked less: {calls} calls");
    stack.proxy.faults().heal();
    let recovery = stack.all_served(&tokens).await;
    assert!(recovery < 2 * RECOVERY, "{recovery:?}");
    let seen = readers.back().await;
    let found = format!("{calls} calls while throttled, {} reads failed", seen.failed);
    report("3 s throttled, 100 readers of 500 tokens", "throttled", None, Some(recovery), &found);
}
