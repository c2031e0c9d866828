//! Several Regions: the nearest that answers wraps, any that can unwraps, and no refusal is got around.

use std::sync::Arc;

use async_trait::async_trait;
use envelope_core::conformance::same_key;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, ErrorClass, KeyError, KeyProvider, WrappedDataKey};
use kms_provider::{Aws, Memory, Region, Regions, Resilience};
use test_support::emulator::{Emulator, Key};
use test_support::faults::{Fault, FaultyProvider};

use crate::support::{claimed, class, row};

const MRK: &str = "mrk-0123456789abcdef0123456789abcdef";
const NEAR: &str = "eu-central-1";
const FAR: &str = "us-east-1";

/// A replica of one multi-Region key: it names the key by its own Region's ARN, and takes no other name for it.
struct Replica {
    key: Arc<Memory>,
    arn: String,
}

impl Replica {
    fn rename(&self, wrapped: &WrappedDataKey) -> Result<WrappedDataKey, KeyError> {
        match wrapped.key_id() {
            Some(claim) if claim != self.arn => Err(KeyError::new(ErrorClass::WrongKey, "not this replica")),
            _ => Ok(claimed(wrapped, None)),
        }
    }
}

#[async_trait]
impl KeyProvider for Replica {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        let made = self.key.generate(context).await?;
        let wrapped = claimed(&made.wrapped, Some(&self.arn));
        Ok(GeneratedDataKey::new(made.key.0, wrapped))
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        self.key.unwrap(&self.rename(wrapped)?, context).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        let rewrapped = self.key.rewrap(&self.rename(wrapped)?, context).await?;
        Ok(claimed(&rewrapped, Some(&self.arn)))
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        Ok(KeyDescription::new(self.arn.clone(), "memory"))
    }
}

type Faulty<P> = Arc<FaultyProvider<P>>;

fn regions<P: KeyProvider + 'static>(near: P, far: P) -> (Faulty<P>, Faulty<P>, Regions) {
    let [near, far] = [near, far].map(|provider| Arc::new(FaultyProvider::new(provider)));
    let regions = Regions::new(Region::new(NEAR, near.clone()), [Region::new(FAR, far.clone())]);
    (near, far, regions)
}

fn replicas() -> (Faulty<Replica>, Faulty<Replica>, Regions) {
    let key = Arc::new(Memory::new());
    let replica = |region: &str| Replica {
        key: key.clone(),
        arn: format!("arn:aws:kms:{region}:123456789012:key/{MRK}"),
    };
    regions(replica(NEAR), replica(FAR))
}

#[tokio::test]
async fn without_a_fault_only_the_nearest_region_is_asked() {
    let (_, far, regions) = replicas();
    let made = regions.generate(&row(1)).await.unwrap();
    regions.unwrap(&made.wrapped, &row(1)).await.unwrap();
    regions.rewrap(&made.wrapped, &row(1)).await.unwrap();
    assert_eq!(Some(&*regions.describe().await.unwrap().key_id), made.wrapped.key_id());
    assert_eq!((far.faults().total_calls(), regions.failovers()), (0, 0));
}

#[tokio::test]
async fn with_a_region_down_replicas_seal_and_open_everything_in_the_other() {
    for outage in [ErrorClass::Unavailable, ErrorClass::Timeout, ErrorClass::Throttled] {
        let (near, far, regions) = replicas();
        let before = regions.generate(&row(1)).await.unwrap();
        near.faults().always(Fault::Fail(outage));
        let during = regions.generate_shared(&row(2), 1).await.unwrap();
        assert!(during.wrapped.key_id().unwrap().contains(FAR));
        for (made, context) in [(&before, row(1)), (&during, row(2))] {
            let key = regions.unwrap(&made.wrapped, &context).await.unwrap();
            assert!(same_key(&key, &made.key.0));
            regions.rewrap(&made.wrapped, &context).await.unwrap();
        }
        assert!(regions.describe().await.unwrap().key_id.contains(FAR));
        assert!(regions.failovers() >= 6);
        // The nearest is back, and opens values that the other one sealed.
        near.faults().heal();
        far.faults().always(Fault::Fail(outage));
        assert!(regions.unwrap(&during.wrapped, &row(2)).await.is_ok());
        assert!(regions.generate(&row(3)).await.is_ok());
    }
}

#[tokio::test]
async fn a_refusal_is_never_got_around_through_another_region() {
    for failure in ErrorClass::ALL {
        if failure.is_retryable() || failure == ErrorClass::WrongKey {
            continue;
        }
        let (near, far, regions) = replicas();
        let made = regions.generate(&row(1)).await.unwrap();
        near.faults().always(Fault::Fail(failure));
        assert_eq!(class(regions.unwrap(&made.wrapped, &row(1)).await), failure);
        assert_eq!(class(regions.rewrap(&made.wrapped, &row(1)).await), failure);
        assert_eq!(class(regions.describe().await), failure);
        assert_eq!(far.faults().total_calls(), 0, "{failure}");
    }
}

#[tokio::test]
async fn with_every_region_down_the_failure_of_the_nearest_is_reported() {
    let (near, far, regions) = replicas();
    let made = regions.generate(&row(1)).await.unwrap();
    near.faults().always(Fault::Fail(ErrorClass::Timeout));
    far.faults().always(Fault::Fail(ErrorClass::Throttled));
    assert_eq!(class(regions.generate(&row(1)).await), ErrorClass::Timeout);
    assert_eq!(class(regions.unwrap(&made.wrapped, &row(1)).await), ErrorClass::Timeout);
}

#[tokio::test]
async fn without_a_key_id_every_region_is_tried_and_an_outage_is_never_taken_for_damage() {
    let (near, far, regions) = regions(Memory::new(), Memory::new());
    let made = far.generate(&row(1)).await.unwrap().wrapped;
    let unnamed = claimed(&made, None);
    assert!(regions.unwrap(&unnamed, &row(1)).await.is_ok());
    assert_eq!(class(regions.unwrap(&unnamed, &row(2)).await), ErrorClass::ContextMismatchOrCorrupt);
    far.faults().always(Fault::Fail(ErrorClass::Unavailable));
    assert_eq!(class(regions.unwrap(&unnamed, &row(1)).await), ErrorClass::Unavailable);
    assert_eq!(near.faults().calls("unwrap"), 3, "the nearest first");
}

/// An emulated KMS of each Region, with an independent key.
async fn independent() -> (Emulator, Emulator, Key, Key) {
    let (near, far) = (Emulator::start(), Emulator::start());
    let keys = (near.create_key().await, far.create_key().await);
    (near, far, keys.0, keys.1)
}

#[tokio::test(start_paused = true)]
async fn independent_keys_open_where_they_sealed_and_only_that_region_is_asked() {
    let (near, far, _, far_key) = independent().await;
    // The emulator's keys are all of one Region, so that is the other one's.
    let near_client = aws_sdk_kms::Client::new(&near.sdk_config_in(NEAR));
    let near_arn = {
        let answer = near_client.create_key().send().await.unwrap();
        answer.key_metadata.unwrap().arn.unwrap()
    };
    near.faults().reset_calls();
    assert!(near_arn.contains(NEAR) && far_key.arn.contains(FAR));
    let aws = |client, arn: &str| Arc::new(Aws::from_client(client, arn, [""; 0])) as Arc<dyn KeyProvider>;
    let regions = Regions::new(
        Region::new(NEAR, aws(near_client, &near_arn)),
        [Region::new(FAR, aws(far.kms(), &far_key.arn))],
    );
    let at_home = regions.generate(&row(1)).await.unwrap().wrapped;
    near.faults().always(Fault::Fail(test_support::emulator::AwsFailure::Refused));
    let abroad = regions.generate(&row(1)).await.unwrap().wrapped;
    assert_eq!(abroad.key_id(), Some(&*far_key.arn));
    near.faults().reset_calls();
    assert!(regions.unwrap(&abroad, &row(1)).await.is_ok());
    let rewrapped = regions.rewrap(&abroad, &row(1)).await.unwrap();
    assert_eq!(rewrapped.bytes(), abroad.bytes(), "it is under its Region's current key");
    assert_eq!(near.faults().total_calls(), 0);
    assert_eq!(class(regions.unwrap(&at_home, &row(1)).await), ErrorClass::Unavailable);
    near.faults().heal();
    assert!(regions.unwrap(&at_home, &row(1)).await.is_ok());
    // A key of neither is refused before any call.
    near.faults().reset_calls();
    far.faults().reset_calls();
    let foreign = claimed(&at_home, Some("arn:aws:kms:ap-south-1:123456789012:key/somebody-elses"));
    assert_eq!(class(regions.unwrap(&foreign, &row(1)).await), ErrorClass::WrongKey);
    assert_eq!(near.faults().total_calls() + far.faults().total_calls(), 0);
}

/// A key of this Region of the emulator.
async fn key_in(emulator: &Emulator, region: &str) -> String {
    let client = aws_sdk_kms::Client::new(&emulator.sdk_config_in(region));
    client.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_list_of_arns_is_a_key_service_in_each_region_with_a_circuit_of_its_own() {
    let emulator = Emulator::start();
    let keys = [key_in(&emulator, NEAR).await, key_in(&emulator, FAR).await];
    let mut services = Vec::new();
    // The configured Region is that of neither.
    let regions = Regions::from_config(&emulator.sdk_config_in("ap-south-1"), &keys, &[], |aws| {
        services.push(Arc::new(FaultyProvider::new(aws)));
        Arc::new(Resilience::new(services[services.len() - 1].clone()))
    });
    let regions = regions.unwrap();
    assert_eq!(regions.regions().iter().map(Region::name).collect::<Vec<_>>(), [NEAR, FAR]);
    let at_home = regions.generate(&row(1)).await.unwrap().wrapped;
    services[0].faults().always(Fault::Fail(ErrorClass::Unavailable));
    for _ in 0..10 {
        let abroad = regions.generate(&row(2)).await.unwrap().wrapped;
        assert_eq!(abroad.key_id(), Some(&*keys[1]));
        assert!(regions.unwrap(&abroad, &row(2)).await.is_ok());
    }
    assert!(services[0].faults().total_calls() < 10, "an open circuit spares the Region that is down");
    services[0].faults().heal();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert!(regions.unwrap(&at_home, &row(1)).await.is_ok());
    assert_eq!(
        regions.generate(&row(3)).await.unwrap().wrapped.key_id(),
        Some(&*keys[0]),
        "the nearest again"
    );
}

#[tokio::test]
async fn an_allowed_key_counts_in_its_own_region_and_one_of_no_region_is_a_mistake() {
    let emulator = Emulator::start();
    let (keys, earlier) =
        ([key_in(&emulator, NEAR).await, key_in(&emulator, FAR).await], key_in(&emulator, FAR).await);
    let connect = |allowed: &str| {
        Regions::from_config(&emulator.sdk_config_in(NEAR), &keys, &[allowed.to_owned()], |aws| Arc::new(aws))
    };
    let before = Aws::from_config(&emulator.sdk_config_in(FAR), &earlier, [""; 0]).unwrap();
    let old = before.generate(&row(1)).await.unwrap().wrapped;
    assert!(connect(&earlier).unwrap().unwrap(&old, &row(1)).await.is_ok());
    assert_eq!(class(connect("alias/none").unwrap().unwrap(&old, &row(1)).await), ErrorClass::NotFound);
    assert_eq!(class(connect(&keys[1]).unwrap().unwrap(&old, &row(1)).await), ErrorClass::WrongKey);
    assert_eq!(class(connect("arn:aws:kms:ap-south-1:123456789012:key/k")), ErrorClass::Misconfigured);
}
