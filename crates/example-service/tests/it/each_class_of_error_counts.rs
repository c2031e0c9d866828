//! Each class of error can be made to count, and is seen to by a real Prometheus.

use std::collections::BTreeSet;

use envelope_core::ErrorClass;
use test_support::emulator::AwsFailure;
use test_support::faults::Fault;
use test_support::prometheus::Prometheus;
use test_support::proxy::Proxy;
use test_support::sql::Sql;

use crate::support::{MASTER_KEY, Place, Running, aws, create_key, put, within};

/// A fault of AWS KMS, or of the network path to it, for each class; temporary ones last, because they open
/// the circuit.
const CAUSES: [(ErrorClass, Fault<AwsFailure>); 9] = [
    (ErrorClass::Denied, Fault::Fail(AwsFailure::ACCESS_DENIED)),
    (ErrorClass::NotFound, Fault::Fail(AwsFailure::NOT_FOUND)),
    (ErrorClass::Disabled, Fault::Fail(AwsFailure::DISABLED)),
    (ErrorClass::PendingDeletion, Fault::Fail(AwsFailure::INVALID_STATE)),
    (ErrorClass::WrongKey, Fault::Fail(AwsFailure::INCORRECT_KEY)),
    (
        ErrorClass::InvalidRequest,
        Fault::Fail(AwsFailure::Error { code: "InvalidKeyUsageException", status: 400 }),
    ),
    (ErrorClass::Throttled, Fault::Fail(AwsFailure::THROTTLING)),
    (ErrorClass::Timeout, Fault::Hang),
    (ErrorClass::Unavailable, Fault::Fail(AwsFailure::Refused)),
];

async fn seen(prometheus: &Prometheus, class: ErrorClass) {
    prometheus.wait_for(&format!("vod_kms_decrypt_errors_total{{class=\"{class}\"}} > 0")).await;
}

/// Waits until new keys are made again: the circuit has closed.
async fn recovered(service: &Running) {
    within("the service recovers", async || (service.refresh("healthy").await.status == 200).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_real_prometheus() {
    let (moto, prometheus) = (test_support::part!(moto), test_support::part!(prometheus));
    let (key, proxy) = (create_key(&moto).await, Proxy::start(moto.endpoint()));
    let place = Place::on_aws(Sql::sqlite().await, proxy.endpoint(), &key).await;
    let writer = place.other_program(aws(&moto, &key)).await;
    for channel in ["healthy", "moved", "other"].into_iter().chain(CAUSES.map(|(class, _)| class.label())) {
        put(&writer, channel).await;
    }
    let service = place.start().await;
    let prometheus = prometheus.scrape(&service.address).await;

    for (class, fault) in CAUSES {
        proxy.faults().always(fault);
        let answer = service.read(class.label()).await;
        assert_eq!(answer.status, if class.is_retryable() { 503 } else { 500 }, "{class}: {answer:?}");
        assert!(answer.body.contains("(correlation id "), "{class}: {answer:?}");
        proxy.faults().heal();
        recovered(&service).await;
        seen(&prometheus, class).await;
    }

    // A value in another row than the one it was sealed for.
    let swap = "UPDATE oauth_tokens SET access_token = \
                (SELECT access_token FROM oauth_tokens WHERE channel = 'other') WHERE channel = 'moved'";
    place.db.execute(swap).await;
    assert_eq!(service.read("moved").await.status, 500);
    seen(&prometheus, ErrorClass::ContextMismatchOrCorrupt).await;

    let counted = prometheus.query("vod_kms_decrypt_errors_total > 0").await;
    let counted: BTreeSet<_> =
        counted.into_iter().map(|mut sample| sample.labels.remove("class").unwrap()).collect();
    // AWS KMS opens with every version of a key.
    let others = [ErrorClass::Misconfigured, ErrorClass::VersionRetired];
    let all = ErrorClass::ALL.iter().filter(|class| !others.contains(class));
    assert_eq!(counted, all.map(|class| class.label().to_owned()).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_are_no_credentials() {
    let moto = test_support::part!(moto);
    let key = create_key(&moto).await;
    let mut place = Place::on_aws(Sql::sqlite().await, moto.endpoint(), &key).await;
    put(&place.other_program(aws(&moto, &key)).await, "mine").await;
    place.unset("AWS_ACCESS_KEY_ID").unset("AWS_SECRET_ACCESS_KEY");
    let service = place.start().await;
    assert_eq!(service.read("mine").await.status, 500);
    assert_eq!(
        service.value("vod_kms_decrypt_errors_total{class=\"misconfigured\"}").await,
        2.0,
        "a token each"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_for_new_keys_and_for_what_readiness_asks() {
    let moto = test_support::part!(moto);
    let (key, proxy) = (create_key(&moto).await, Proxy::start(moto.endpoint()));
    let place = Place::on_aws(Sql::sqlite().await, proxy.endpoint(), &key).await;
    put(&place.other_program(aws(&moto, &key)).await, "mine").await;
    let service = place.start().await;
    proxy.faults().always_for("GenerateDataKey", Fault::Fail(AwsFailure::ACCESS_DENIED));
    proxy.faults().always_for("DescribeKey", Fault::Fail(AwsFailure::DISABLED));
    assert_eq!(service.refresh("mine").await.status, 500);
    within("503", async || (service.get("/readyz").await.status == 503).then_some(())).await;
    let at_least_one = service.value("vod_kms_encrypt_errors_total{class=\"denied\"}").await;
    assert!(at_least_one >= 1.0, "{at_least_one}");
    assert_eq!(service.value("vod_kms_describe_errors_total{class=\"disabled\"}").await, 1.0);
}

/// Whatever makes a stored value not open, its class counts, in a scrape and in the lines for CloudWatch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_for_values_of_every_format_that_do_not_open() {
    let mut place = Place::on_keyring().await;
    place.set("PLAINTEXT_POLICY", "forbid").set("ENCRYPTION_KEY", MASTER_KEY);
    let writer = place.other_program(place.keyring()).await;
    for channel in ["whole", "flipped", "copied"] {
        put(&writer, channel).await;
    }
    let set = async |sql: &str| place.db.execute(sql).await;
    set("UPDATE oauth_tokens SET access_token = (SELECT access_token FROM oauth_tokens WHERE channel = 'whole') \
         WHERE channel = 'copied'")
    .await;
    set("UPDATE oauth_tokens SET access_token = substr(access_token, 1, length(access_token) - 8) || 'AAAAAAA=' \
         WHERE channel = 'flipped'")
    .await;
    for (channel, version, text) in [
        ("malformed", "2", "no envelope"),
        ("direct", "1", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("plain", "0", "a readable token"),
    ] {
        set(&format!(
            "INSERT INTO oauth_tokens (provider, channel, access_token, encryption_version) \
             VALUES ('twitch', '{channel}', '{text}', {version})"
        ))
        .await;
    }
    let service = place.start().await;
    for (channel, class) in [
        ("flipped", "context_mismatch_or_corrupt"),
        ("copied", "context_mismatch_or_corrupt"),
        ("direct", "context_mismatch_or_corrupt"),
        ("malformed", "malformed"),
        ("plain", "plaintext_forbidden"),
    ] {
        let sample = format!("vod_kms_decrypt_errors_total{{class=\"{class}\"}}");
        let before = service.value(&sample).await;
        assert_eq!(service.read(channel).await.status, 500, "{channel}");
        assert!(service.value(&sample).await > before, "{channel} counts as {class}");
    }
    assert_eq!(service.read("whole").await.status, 200);
    service.stop().await;
}
