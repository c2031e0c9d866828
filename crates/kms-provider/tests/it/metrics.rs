//! Metrics: every one that is documented is scraped, every one that is scraped is documented, and each class counts.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use envelope_core::{ErrorClass, KeyProvider};
use kms_provider::metrics::emf::{EmfDimensions, EmfDimensionsError, EmfEmitter, EmfSample, EmfWriter};
use kms_provider::metrics::{BUCKETS, METRICS, names};
use kms_provider::{CacheOptions, Caching, KmsMetrics, Memory, Metered, Resilience, ResilienceOptions};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::Value;
use test_support::faults::{Fault, FaultyProvider};

use crate::support::{row, wrapped};

/// Documented on the same page, and made elsewhere.
const OF_THE_STORE: [&str; 7] = [
    "token_rows",
    "tokens_resealed_total",
    "kms_fallback_writes_total",
    "token_refreshes_total",
    "token_refresh_duration_seconds",
    "token_refreshes_uncertain_total",
    "token_refreshes_needing_consent_total",
];

struct Observed {
    faulty: Arc<FaultyProvider<Memory>>,
    metrics: Arc<KmsMetrics>,
    cache: Arc<Caching>,
    registry: Registry,
}

/// A whole stack, observed under the prefix `vod`.
fn observed() -> Observed {
    observed_with(ResilienceOptions::default())
}

fn observed_with(options: ResilienceOptions) -> Observed {
    let mut registry = Registry::default();
    let metrics = KmsMetrics::register(&mut registry, "vod");
    let faulty = Arc::new(FaultyProvider::new(Memory::new()));
    let resilience = Arc::new(Resilience::with_options(faulty.clone(), options));
    let metered = Arc::new(Metered::new(resilience.clone(), metrics.clone()));
    let options = CacheOptions::default().with_remember_generated(false);
    let cache = Arc::new(Caching::with_options(metered, options));
    metrics.watch_resilience(&resilience);
    metrics.watch_cache(&cache);
    Observed { faulty, metrics, cache, registry }
}

impl Observed {
    fn scrape(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    /// The value of a sample, which has to be there.
    #[track_caller]
    fn value(&self, sample: &str) -> f64 {
        let text = self.scrape();
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        match line {
            Some(value) => value.parse().unwrap(),
            None => panic!("no {sample} in:\n{text}"),
        }
    }
}

/// The metrics in a scrape, by the names that samples have.
fn families(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| match line.rsplit_once(' ').unwrap() {
            (name, "counter") => format!("{name}_total"),
            (name, _) => name.to_owned(),
        })
        .collect()
}

#[test]
fn the_listed_metrics_are_the_scraped_ones() {
    let listed = |prefix| names(prefix).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(families(&observed().scrape()), listed("vod"));
    for prefix in ["", "other_", "a_b"] {
        let mut registry = Registry::default();
        let _metrics = KmsMetrics::register(&mut registry, prefix);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert_eq!(families(&text), listed(prefix), "without anything watched");
    }
    assert!(names("other_").contains(&"other_kms_cache_hit_rate".to_owned()));
}

#[test]
fn the_documentation_lists_every_metric_with_its_kind_labels_and_meaning_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(path).unwrap();
    for metric in METRICS {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}` ")).collect();
        let (name, kind) = (metric.name, metric.kind.label());
        let line = format!("| `<prefix>_{name}` | {kind} | {}| {} |", labels.join(""), metric.help);
        assert!(page.contains(&line), "docs/metrics.md has to have this line:\n{line}");
    }
    let documented = page.lines().filter_map(|line| line.strip_prefix("| `<prefix>_")?.split_once('`'));
    for (name, _) in documented {
        let known = METRICS.iter().any(|metric| metric.name == name) || OF_THE_STORE.contains(&name);
        assert!(known, "docs/metrics.md names {name}, which nothing registers");
    }
    let buckets: Vec<_> = BUCKETS[..13].iter().map(f64::to_string).collect();
    let buckets = format!("{} and {} s", buckets.join(", "), BUCKETS[13]);
    assert!(page.replace('\n', " ").contains(&buckets), "{buckets}");
    for class in ErrorClass::ALL {
        assert!(page.contains(&format!("`{class}`")), "{class}");
    }
}

#[test]
fn every_counter_is_there_at_zero_before_anything_happens() {
    let observed = observed();
    for class in ErrorClass::ALL {
        for name in ["encrypt", "decrypt", "rewrap", "describe"] {
            let sample = format!("vod_kms_{name}_errors_total{{class=\"{class}\"}}");
            assert_eq!(observed.value(&sample), 0.0);
        }
    }
    for operation in ["generate", "unwrap", "rewrap", "describe", "decrypt"] {
        let sample = format!("vod_kms_requests_total{{operation=\"{operation}\"}}");
        assert_eq!(observed.value(&sample), 0.0);
    }
    for name in [
        "cache_hits_total",
        "cache_misses_total",
        "cache_evictions_total",
        "cache_stale_served_total",
        "cache_refreshes_total",
        "cache_hit_rate",
        "cache_size",
        "circuit_state",
        "circuit_rejections_total",
        "load_rejections_total",
        "retries_total",
        "rate_limit_waits_total",
        "encrypt_duration_seconds_count",
        "decrypt_duration_seconds_count",
    ] {
        assert_eq!(observed.value(&format!("vod_kms_{name}")), 0.0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_class_of_error_can_be_made_to_count() {
    for class in ErrorClass::ALL {
        let observed = observed_with(ResilienceOptions::default().with_circuit(0, Duration::ZERO));
        let made = wrapped(&*observed.cache, &row(1)).await;
        observed.faulty.faults().always(Fault::Fail(class));
        let sealed = b"sealed by the service itself";
        assert!(observed.cache.generate(&row(1)).await.is_err());
        assert!(observed.cache.rewrap(&made, &row(1)).await.is_err());
        assert!(observed.cache.unwrap(&made, &row(1)).await.is_err());
        assert!(observed.cache.decrypt(sealed, None, &row(1)).await.is_err());
        assert!(observed.cache.describe().await.is_err());
        for (name, count) in [("encrypt", 1.0), ("rewrap", 1.0), ("describe", 1.0), ("decrypt", 2.0)] {
            let sample = format!("vod_kms_{name}_errors_total{{class=\"{class}\"}}");
            assert_eq!(observed.value(&sample), count, "{sample}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_timed_as_their_callers_wait_and_cached_reads_are_not_timed() {
    let observed = observed();
    let made = wrapped(&*observed.cache, &row(1)).await;
    observed.faulty.faults().always(Fault::Delay(Duration::from_millis(40)));
    for _ in 0..10 {
        observed.cache.unwrap(&made, &row(1)).await.unwrap();
    }
    observed.cache.describe().await.unwrap();
    assert_eq!(observed.value("vod_kms_decrypt_duration_seconds_count"), 1.0);
    assert_eq!(observed.value("vod_kms_decrypt_duration_seconds_bucket{le=\"0.025\"}"), 0.0);
    assert_eq!(observed.value("vod_kms_decrypt_duration_seconds_bucket{le=\"0.05\"}"), 1.0);
    assert_eq!(observed.value("vod_kms_encrypt_duration_seconds_count"), 1.0);
    assert_eq!(observed.value("vod_kms_requests_total{operation=\"unwrap\"}"), 1.0);
    assert_eq!(observed.value("vod_kms_requests_total{operation=\"describe\"}"), 1.0);
    assert_eq!(observed.value("vod_kms_cache_hits_total"), 9.0);
    assert_eq!(observed.value("vod_kms_cache_misses_total"), 1.0);
    assert_eq!(observed.value("vod_kms_cache_hit_rate"), 0.9);
}

#[tokio::test(start_paused = true)]
async fn an_outage_shows_in_the_circuit_and_in_the_rejected_calls() {
    let observed = observed();
    observed.faulty.faults().always(Fault::Fail(ErrorClass::Unavailable));
    for _ in 0..10 {
        assert!(observed.cache.generate(&row(1)).await.is_err());
    }
    assert_eq!(observed.value("vod_kms_circuit_state"), 2.0);
    assert!(observed.value("vod_kms_circuit_rejections_total") >= 7.0);
    assert!(observed.value("vod_kms_retries_total") >= 2.0);
    observed.faulty.faults().heal();
    tokio::time::advance(Duration::from_secs(1)).await;
    observed.cache.generate(&row(1)).await.unwrap();
    assert_eq!(observed.value("vod_kms_circuit_state"), 0.0);
}

#[tokio::test]
async fn metrics_keep_no_cache_alive() {
    let observed = observed();
    let key = observed.cache.generate(&row(1)).await.unwrap();
    let kept = Arc::downgrade(&observed.cache.unwrap(&key.wrapped, &row(1)).await.unwrap());
    assert_eq!(kept.strong_count(), 1);
    let Observed { cache, registry, .. } = observed;
    drop(cache);
    crate::support::within_async(Duration::from_secs(5), "the key is dropped", || kept.strong_count() == 0)
        .await;
    drop(registry);
}

#[tokio::test(start_paused = true)]
async fn an_emf_line_covers_the_time_since_the_one_before() {
    let observed = observed();
    let mut writer = EmfWriter::new("vod-tender", "production");
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_769_600_123);
    let mut line = |reads| -> Value {
        let sample = observed
            .metrics
            .emf_sample()
            .with_secret_reads(reads, reads / 2)
            .with_token_refreshes(reads * 3, reads);
        let line = writer.line(sample, now);
        assert!(!line.contains('\n'));
        serde_json::from_str(&line).unwrap()
    };
    let quiet = line(0);
    assert_eq!(quiet["_aws"]["Timestamp"], 1_763_769_600_123_u64);
    let directive = &quiet["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Namespace"], "Tokenseal");
    assert_eq!(directive["Dimensions"], serde_json::json!([["Application", "Environment"]]));
    assert_eq!((&quiet["Application"], &quiet["Environment"]), (&"vod-tender".into(), &"production".into()));
    assert_eq!(quiet["Heartbeat"], 1);
    assert_eq!(quiet.get("KMSDecryptLatency"), None, "there was nothing to time");

    let made = wrapped(&*observed.cache, &row(1)).await;
    for _ in 0..3 {
        observed.cache.unwrap(&made, &row(1)).await.unwrap();
    }
    observed.faulty.faults().next(150, Fault::Fail(ErrorClass::Denied));
    for _ in 0..150 {
        assert!(observed.cache.generate(&row(1)).await.is_err());
    }
    let busy = line(7);
    for (name, value) in [
        ("KMSEncryptErrors", 150),
        ("KMSDecryptErrors", 0),
        ("KMSCacheHits", 2),
        ("KMSCacheMisses", 1),
        ("SecretReads", 7),
        ("SecretReadErrors", 3),
        ("TokenRefreshes", 21),
        ("TokenRefreshErrors", 7),
    ] {
        assert_eq!(busy[name], value, "{name}");
    }
    assert_eq!(busy["KMSDecryptLatency"].as_array().unwrap().len(), 1);
    assert_eq!(busy["KMSEncryptLatency"].as_array().unwrap().len(), 100, "the format's limit");
    for definition in busy["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap() {
        let value = &busy[definition["Name"].as_str().unwrap()];
        assert!(value.is_u64() || value.is_array(), "{definition}");
    }

    let quiet = line(7);
    for name in
        ["KMSEncryptErrors", "SecretReads", "SecretReadErrors", "TokenRefreshes", "TokenRefreshErrors"]
    {
        assert_eq!(quiet[name], 0, "{name}");
    }
    assert_eq!(quiet.get("KMSEncryptLatency"), None);
}

fn dimensions(pairs: &[(&str, &str)]) -> Result<EmfDimensions, EmfDimensionsError> {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    EmfDimensions::new(pairs.collect())
}

#[test]
fn a_line_has_exactly_the_dimensions_that_were_asked_for() {
    let pairs = [("Application", "pulseplan"), ("Environment", "qa-eu"), ("Service", "a \"b\" c")];
    let mut writer = EmfWriter::with_dimensions(dimensions(&pairs).unwrap());
    let line = writer.line(EmfSample::default(), SystemTime::now());
    let line: Value = serde_json::from_str(&line).unwrap();
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Dimensions"], serde_json::json!([["Application", "Environment", "Service"]]));
    for (name, value) in pairs {
        assert_eq!(line[name], value);
    }
    let mut writer = EmfWriter::with_dimensions(dimensions(&[("Service", "a")]).unwrap());
    let line = writer.line(EmfSample::default(), SystemTime::now());
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], serde_json::json!([["Service"]]));
    assert_eq!((line.get("Application"), line.get("Environment")), (None, None));
}

#[test]
fn dimensions_that_cloudwatch_would_drop_are_refused() {
    let (name, value) = ("n".repeat(255), "v".repeat(1_024));
    assert!(dimensions(&[(&name, &value)]).is_ok());
    let names: Vec<String> = (0..31).map(|number| format!("name{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "value")).collect();
    assert!(dimensions(&many[..30]).is_ok());
    let (long_name, long_value) = (format!("{name}n"), format!("{value}v"));
    let cases: [(&[(&str, &str)], EmfDimensionsError); 13] = [
        (&[], EmfDimensionsError::Count { actual: 0 }),
        (&many, EmfDimensionsError::Count { actual: 31 }),
        (&[("Heartbeat", "a")], EmfDimensionsError::Taken { name: "Heartbeat".into() }),
        (&[("_aws", "a")], EmfDimensionsError::Taken { name: "_aws".into() }),
        (&[("", "a")], EmfDimensionsError::Name { name: String::new() }),
        (&[(" ", "a")], EmfDimensionsError::Name { name: " ".into() }),
        (&[(":name", "a")], EmfDimensionsError::Name { name: ":name".into() }),
        (&[("größe", "a")], EmfDimensionsError::Name { name: "größe".into() }),
        (&[(&long_name, "a")], EmfDimensionsError::Name { name: long_name.clone() }),
        (&[("name", "")], EmfDimensionsError::Value { name: "name".into() }),
        (&[("name", "a\tb")], EmfDimensionsError::Value { name: "name".into() }),
        (&[("name", "größe")], EmfDimensionsError::Value { name: "name".into() }),
        (&[("name", &long_value)], EmfDimensionsError::Value { name: "name".into() }),
    ];
    for (pairs, expected) in cases {
        assert_eq!(dimensions(pairs), Err(expected));
    }
}

/// An output that can be looked at.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<u8>>>);

impl Shown {
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn emf_lines_are_printed_once_a_period_and_once_more_at_the_end() {
    let observed = observed();
    let (shown, metrics) = (Shown::default(), observed.metrics.clone());
    let writer = EmfWriter::new("vod-tender", "staging");
    let sample = move || metrics.emf_sample();
    let emitter = EmfEmitter::start(writer, Duration::from_secs(60), sample, shown.clone());
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(shown.lines().len(), 0);
    tokio::time::sleep(Duration::from_secs(62)).await;
    assert_eq!(shown.lines().len(), 2);
    observed.cache.generate(&row(1)).await.unwrap();
    emitter.finish();
    assert_eq!(
        shown.lines()[2]["KMSEncryptLatency"].as_array().unwrap().len(),
        1,
        "nothing is lost at the end"
    );
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(shown.lines().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_output_that_was_closed_ends_nothing() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    let sample = Default::default;
    let emitter = EmfEmitter::start(EmfWriter::new("a", "b"), Duration::from_secs(1), sample, Closed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    emitter.finish();
}
