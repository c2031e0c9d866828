//! The test suite that every key service must pass, decorators included.
//!
//! It needs nothing but the provider: no runtime, no network of its own. A test is one line, in any runtime:
//!
//! ```
//! # use envelope_core::KeyProvider;
//! // Under `#[tokio::test]`, for example.
//! async fn conforms(my_provider: &dyn KeyProvider) {
//!     envelope_core::conformance::check(my_provider).await;
//! }
//! ```
//!
//! Events that the trait cannot cause, such as a rotation, are left to the tests of each provider; [`same_key`] helps there.
#![expect(clippy::panic, clippy::expect_used, reason = "a suite reports by failing the test that runs it")]

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use crate::context::EncryptionContext;
use crate::key::{DataKey, WrappedDataKey};
use crate::provider::{ErrorClass, GeneratedDataKey, KeyError, KeyProvider};

/// Behaviour that an emulator is known to get wrong. Real key services, and every provider of ours, pass with all of it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// `{"a":"bc"}` is another context than `{"ab":"c"}`, and `{"a":"b=c"}` another than `{"a=b":"c"}`. Off: contexts
    /// whose names and values come to the same text when strung together, but for punctuation, are not compared.
    pub unambiguous_contexts: bool,
    /// Damaged bytes are answered with a class that is about the value. Off: any class will do, as long as they do
    /// not open.
    pub damage_is_about_the_value: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { unambiguous_contexts: true, damage_is_about_the_value: true }
    }
}

impl Capabilities {
    /// Lets ambiguous contexts pass.
    #[must_use]
    pub fn without_unambiguous_contexts(self) -> Self {
        Self { unambiguous_contexts: false, ..self }
    }

    /// Lets any class of error pass for damaged bytes.
    #[must_use]
    pub fn without_damage_about_the_value(self) -> Self {
        Self { damage_is_about_the_value: false, ..self }
    }
}

/// Runs the whole suite.
///
/// # Panics
/// If the provider violates a rule; the message names the rule.
pub async fn check(provider: &dyn KeyProvider) {
    check_with(provider, Capabilities::default()).await;
}

/// Runs the suite, but for what `capabilities` leaves out.
///
/// # Panics
/// If the provider violates a rule; the message names the rule.
pub async fn check_with(provider: &dyn KeyProvider, capabilities: Capabilities) {
    round_trip(provider).await;
    fresh_keys(provider).await;
    empty_context(provider).await;
    other_contexts(provider, capabilities).await;
    order_of_pairs(provider).await;
    damage(provider, capabilities).await;
    foreign_keys(provider).await;
    rewrap(provider).await;
    description(provider).await;
    concurrency(provider).await;
}

/// Whether two plaintext keys are the same. Only a test may ask.
#[must_use]
pub fn same_key(one: &DataKey, other: &DataKey) -> bool {
    one.expose_secret() == other.expose_secret()
}

async fn round_trip(provider: &dyn KeyProvider) {
    let context = context(&[("Application", "conformance"), ("row", "1")]);
    let made = generate(provider, &context).await;
    for time in ["first", "second"] {
        let key = unwrap(provider, &made.wrapped, &context).await;
        assert!(same_key(&key, &made.key.0), "the {time} unwrap gives another key than generate gave");
    }
    let unnamed = renamed(&made.wrapped, None);
    let key = unwrap(provider, &unnamed, &context).await;
    assert!(same_key(&key, &made.key.0), "without a stored key id, the wrapped key gives another key");
}

async fn fresh_keys(provider: &dyn KeyProvider) {
    let context = context(&[("Application", "conformance")]);
    let (one, two) = (generate(provider, &context).await, generate(provider, &context).await);
    assert!(!same_key(&one.key.0, &two.key.0), "two data keys are the same");
    assert!(one.wrapped.bytes() != two.wrapped.bytes(), "two data keys are wrapped alike");
    assert!(one.key.0.expose_secret().iter().any(|byte| *byte != 0), "a data key is all zeros");
}

async fn empty_context(provider: &dyn KeyProvider) {
    let made = generate(provider, &EncryptionContext::empty()).await;
    let key = unwrap(provider, &made.wrapped, &EncryptionContext::empty()).await;
    assert!(same_key(&key, &made.key.0), "under the empty context, unwrap gives another key");
    refuses(provider, &made.wrapped, &context(&[("a", "b")]), "a context where there was none").await;
}

async fn other_contexts(provider: &dyn KeyProvider, capabilities: Capabilities) {
    type Pairs = &'static [(&'static str, &'static str)];
    const PAIRS: [(Pairs, Pairs, &str); 10] = [
        (&[("a", "bc")], &[("ab", "c")], "a name's end moved into the value"),
        (&[("a", "b")], &[("a", "b"), ("c", "d")], "an extra pair"),
        (&[("a", "b"), ("c", "d")], &[("a", "b")], "a missing pair"),
        (&[("a", "b")], &[("a", "B")], "a value in capitals"),
        (&[("a", "b")], &[("a", "b ")], "a value with a trailing space"),
        (&[("name", "caf\u{e9}")], &[("name", "cafe\u{301}")], "another Unicode normalization"),
        (&[("a", "1|b|2")], &[("a", "1"), ("b", "2")], "a pair written inside a value with |"),
        (&[("a", "1:b:2")], &[("a", "1"), ("b", "2")], "a pair written inside a value with :"),
        (&[("a", "b=c")], &[("a=b", "c")], "a name and a value parted at another ="),
        (&[("user", "alice"), ("table", "t")], &[("user", "bob"), ("table", "t")], "another user"),
    ];
    for (right, wrong, what) in PAIRS {
        if !capabilities.unambiguous_contexts && strung_together(right) == strung_together(wrong) {
            continue;
        }
        let (right, wrong) = (context(right), context(wrong));
        let made = generate(provider, &right).await;
        refuses(provider, &made.wrapped, &wrong, what).await;
        // The right context first, so that a cache is warm and must still distinguish the two.
        let key = unwrap(provider, &made.wrapped, &right).await;
        assert!(same_key(&key, &made.key.0), "after a refusal ({what}), the right context gives another key");
        refuses(provider, &made.wrapped, &wrong, what).await;
        refuses(provider, &made.wrapped, &EncryptionContext::empty(), "no context").await;
    }
}

async fn order_of_pairs(provider: &dyn KeyProvider) {
    let made = generate(provider, &context(&[("b", "2"), ("a", "1"), ("c", "3")])).await;
    let key = unwrap(provider, &made.wrapped, &context(&[("c", "3"), ("b", "2"), ("a", "1")])).await;
    assert!(same_key(&key, &made.key.0), "pairs in another order give another key");
}

async fn damage(provider: &dyn KeyProvider, capabilities: Capabilities) {
    let context = context(&[("Application", "conformance")]);
    let made = generate(provider, &context).await;
    unwrap(provider, &made.wrapped, &context).await;
    let bytes = made.wrapped.bytes();
    let flipped = (0..bytes.len()).map(|at| {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1 << (at % 8);
        (damaged, format!("bit {} of byte {at} is flipped", at % 8))
    });
    let cut = [1, 2, 3, bytes.len() / 2, bytes.len().saturating_sub(16), bytes.len() - 1]
        .into_iter()
        .filter(|length| (1..bytes.len()).contains(length))
        .map(|length| (bytes[..length].to_vec(), format!("only {length} bytes are left")));
    let longer = [([bytes, &[0]].concat(), "a byte is added".to_owned())];
    for (damaged, what) in flipped.chain(cut).chain(longer) {
        for key_id in [made.wrapped.key_id(), None] {
            let wrapped = WrappedDataKey::new(damaged.clone(), key_id).expect("the length is possible");
            let Err(error) = provider.unwrap(&wrapped, &context).await else {
                panic!("a wrapped key opens although {what}");
            };
            assert!(
                !capabilities.damage_is_about_the_value || !error.class().is_outage(),
                "where {what}, the error blames the key service: {} ({error})",
                error.class(),
            );
        }
    }
}

async fn foreign_keys(provider: &dyn KeyProvider) {
    const FOREIGN: [&str; 6] = [
        "arn:aws:kms:us-east-1:999999999999:key/00000000-0000-0000-0000-000000000000",
        "00000000-0000-0000-0000-000000000000",
        "alias/somebody-elses",
        "keyring:somebody-elses",
        "memory:999999999",
        "?",
    ];
    let context = context(&[("Application", "conformance")]);
    let made = generate(provider, &context).await;
    unwrap(provider, &made.wrapped, &context).await;
    for claim in FOREIGN {
        let wrapped = renamed(&made.wrapped, Some(claim));
        assert!(
            provider.unwrap_cached(&wrapped, &context).is_none(),
            "a key that is claimed to be under {claim} is answered from memory",
        );
        let unwrapped = provider.unwrap(&wrapped, &context).await;
        expect_class(unwrapped.map(drop), ErrorClass::WrongKey, &format!("unwrap, claimed key {claim}"));
        let rewrapped = provider.rewrap(&wrapped, &context).await;
        expect_class(rewrapped.map(drop), ErrorClass::WrongKey, &format!("rewrap, claimed key {claim}"));
    }
}

async fn rewrap(provider: &dyn KeyProvider) {
    let context_of_row = context(&[("Application", "conformance"), ("row", "1")]);
    let made = generate(provider, &context_of_row).await;
    let again = provider.rewrap(&made.wrapped, &context_of_row).await.expect("rewrap under the current key");
    assert!(
        again.bytes() == made.wrapped.bytes(),
        "rewrap changes bytes that are under the current key already"
    );
    assert!(again.key_id() == made.wrapped.key_id(), "rewrap under the current key names another key");
    let key = unwrap(provider, &again, &context_of_row).await;
    assert!(same_key(&key, &made.key.0), "rewrap changes the data key");
    let elsewhere = context(&[("Application", "conformance"), ("row", "2")]);
    let refused = provider.rewrap(&made.wrapped, &elsewhere).await;
    expect_class(refused.map(drop), ErrorClass::ContextMismatchOrCorrupt, "rewrap under another context");
}

async fn description(provider: &dyn KeyProvider) {
    let made = generate(provider, &EncryptionContext::empty()).await;
    let described = provider.describe().await.expect("describe");
    let named = made.wrapped.key_id().expect("generate says which key wrapped");
    assert!(described.key_id == named, "describe names {:?}, generate {named:?}", described.key_id);
}

async fn concurrency(provider: &dyn KeyProvider) {
    let contexts: Vec<_> = (0..16).map(|row| context(&[("row", &row.to_string())])).collect();
    let made = join_all(contexts.iter().map(|context| generate(provider, context))).await;
    let pairs = made.iter().zip(&contexts);
    let all = pairs.clone().chain(pairs.clone());
    let keys = join_all(all.map(|(made, context)| unwrap(provider, &made.wrapped, context))).await;
    for (key, made) in keys.iter().zip(made.iter().chain(&made)) {
        assert!(same_key(key, &made.key.0), "side by side, one unwrap gets the key of another");
    }
}

async fn generate(provider: &dyn KeyProvider, context: &EncryptionContext) -> GeneratedDataKey {
    provider.generate(context).await.unwrap_or_else(|error| panic!("generate fails: {}", told(&error)))
}

async fn unwrap(
    provider: &dyn KeyProvider,
    wrapped: &WrappedDataKey,
    context: &EncryptionContext,
) -> Arc<DataKey> {
    let unwrapped = provider.unwrap(wrapped, context).await;
    unwrapped.unwrap_or_else(|error| panic!("unwrap under {context:?} fails: {}", told(&error)))
}

async fn refuses(
    provider: &dyn KeyProvider,
    wrapped: &WrappedDataKey,
    wrong: &EncryptionContext,
    what: &str,
) {
    assert!(provider.unwrap_cached(wrapped, wrong).is_none(), "answered from memory in spite of {what}");
    let refused = provider.unwrap(wrapped, wrong).await;
    expect_class(refused.map(drop), ErrorClass::ContextMismatchOrCorrupt, &format!("unwrap with {what}"));
}

fn expect_class(outcome: Result<(), KeyError>, expected: ErrorClass, what: &str) {
    match outcome {
        Ok(()) => panic!("{what}: works, and should be refused as {expected}"),
        Err(error) if error.class() == expected => {}
        Err(error) => panic!("{what}: refused, but not as {expected}: {}", told(&error)),
    }
}

fn told(error: &KeyError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(format!("{} ({})", error, error.class()), |told, cause| format!("{told}: {cause}"))
}

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::new(pairs.iter().copied()).expect("the pairs make a context")
}

fn renamed(wrapped: &WrappedDataKey, key_id: Option<&str>) -> WrappedDataKey {
    WrappedDataKey::new(wrapped.bytes(), key_id).expect("the length has not changed")
}

fn strung_together(pairs: &[(&str, &str)]) -> String {
    let mut sorted = pairs.to_vec();
    sorted.sort_unstable();
    let all: String = sorted.iter().map(|(name, value)| format!("{name}{value}")).collect();
    all.chars().filter(|c| !c.is_ascii_punctuation()).collect()
}

/// Drives all futures at once in the current task. The crate has no runtime, and needs none for this.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = pending.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, slot) in pending.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *slot = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
