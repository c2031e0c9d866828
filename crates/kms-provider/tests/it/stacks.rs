//! Every decorator passes the suite of key services, alone and in their intended order.

use std::sync::Arc;

use envelope_core::KeyProvider;
use envelope_core::conformance::{Capabilities, check_with};
use kms_provider::{
    Aws, Caching, Counting, KmsMetrics, Memory, Metered, Region, Regions, Resilience, Reuse, ReuseLimits,
};
use prometheus_client::registry::Registry;
use test_support::emulator::Emulator;

use crate::leaks::assert_silent;
use crate::support::{row, told};

type Provider = Arc<dyn KeyProvider>;

fn reuse(inner: Provider) -> Provider {
    let limits: ReuseLimits = "messages=1000".parse().unwrap();
    Arc::new(Reuse::new(inner, limits))
}

fn metered(inner: Provider) -> Provider {
    let metrics = KmsMetrics::register(&mut Registry::default(), "test");
    Arc::new(Metered::new(inner, metrics))
}

fn regions(inner: Provider) -> Provider {
    let region = |name: &str| Region::new(name, inner.clone());
    Arc::new(Regions::new(region("us-east-1"), [region("eu-central-1")]))
}

fn resilience(inner: Provider) -> Provider {
    Arc::new(Resilience::new(inner))
}

/// In the order of the crate's documentation, outermost first.
fn whole(backend: Provider) -> Provider {
    let counting = Arc::new(Counting::new(backend));
    reuse(Arc::new(Caching::new(metered(resilience(counting)))))
}

async fn every_stack_conforms(backend: Provider, capabilities: Capabilities) {
    for (name, stack) in [
        ("reuse", reuse(backend.clone())),
        ("metered", metered(backend.clone())),
        ("resilience", resilience(backend.clone())),
        ("regions", regions(backend.clone())),
        ("regions(resilience)", regions(resilience(backend.clone()))),
        ("whole", whole(backend.clone())),
        ("whole, with regions", whole(regions(backend.clone()))),
    ] {
        println!("stack: {name}");
        check_with(&*stack, capabilities).await;
    }
}

#[tokio::test]
async fn every_stack_conforms_over_memory() {
    every_stack_conforms(Arc::new(Memory::new()), Capabilities::default()).await;
}

#[tokio::test]
async fn every_stack_conforms_over_aws() {
    let emulator = Emulator::start();
    let key = emulator.create_key().await;
    let aws = Aws::from_config_without_retries(&emulator.sdk_config(), key.arn, [""; 0]).unwrap();
    // The emulator joins a name and its value with an equals sign.
    let capabilities = Capabilities::default().without_unambiguous_contexts();
    every_stack_conforms(Arc::new(aws), capabilities).await;
}

#[tokio::test]
async fn no_decorator_shows_a_key_and_none_repeats_what_it_was_given() {
    let memory: Provider = Arc::new(Memory::new());
    let metrics = KmsMetrics::register(&mut Registry::default(), "test");
    let resilience = Arc::new(Resilience::new(memory.clone()));
    let metered = Arc::new(Metered::new(resilience.clone(), metrics.clone()));
    let cache = Arc::new(Caching::new(metered.clone()));
    let reuse = Reuse::new(cache.clone(), "messages=1000".parse().unwrap());
    let regions = Regions::new(Region::new("us-east-1", memory), []);
    let made = reuse.generate_shared(&row(1), 1).await.unwrap();
    regions.unwrap(&made.wrapped, &row(1)).await.unwrap();
    let texts = [
        format!("{reuse:?} {cache:?} {metered:?} {resilience:?} {regions:?} {metrics:?}"),
        told(&reuse.unwrap(&made.wrapped, &row(2)).await.map(drop).unwrap_err()),
        told(&regions.unwrap(&made.wrapped, &row(2)).await.map(drop).unwrap_err()),
    ];
    for text in texts {
        assert_silent(&text, made.key.0.expose_secret());
        assert_silent(&text, made.wrapped.bytes());
    }
}
