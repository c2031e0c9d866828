//! Every metric of docs/metrics.md has a series in a real Prometheus that scrapes the service, and no other is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use envelope_core::{ErrorClass, OpenError};
use kms_provider::Keyring;
use secrecy::SecretString;
use test_support::prometheus::{Prometheus, Sample};
use tokenseal::secrets_cache::local::LocalStore;
use tokenseal::secrets_cache::secret::RotationPolicy;
use tokenseal::secrets_cache::{NewSecret, SecretName, SecretSource as _, SourceError};

use crate::support::{Place, Running, put, within};

/// A row of the page.
#[derive(Debug)]
struct Documented {
    name: String,
    kind: String,
    labels: BTreeSet<String>,
    tells: String,
}

impl Documented {
    /// The metrics that Prometheus scrapes, for the prefix `vod`.
    fn all() -> Vec<Self> {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (scraped, _) = page.split_once("## CloudWatch").unwrap();
        scraped.lines().filter_map(Self::row).collect()
    }

    fn row(line: &str) -> Option<Self> {
        let cells: Vec<_> =
            line.strip_prefix("| `")?.trim_end_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, tells] = cells[..] else { return None };
        let labels = labels.split_whitespace().map(|label| label.trim_matches('`').to_owned());
        Some(Self {
            name: name.trim_end_matches('`').replace("<prefix>", "vod"),
            kind: kind.to_owned(),
            labels: labels.collect(),
            tells: tells.to_owned(),
        })
    }

    /// As the program names it before Prometheus' own rules.
    fn family(&self) -> &str {
        self.name.trim_end_matches("_total")
    }

    /// Of which there is one for each set of labels.
    fn series(&self) -> String {
        if self.kind == "histogram" { format!("{}_count", self.name) } else { self.name.clone() }
    }
}

/// A local store of secrets, one of which has waited for too long.
async fn secrets(place: &Place, ring: Arc<Keyring>) -> String {
    let file = place.path().join("secrets.db");
    let store = LocalStore::open_or_create(&file, ring).await.unwrap();
    let name = |name| SecretName::new(name).unwrap();
    store
        .put(&NewSecret::new(name("OAUTH_CLIENT_SECRET"), SecretString::from("client secret")))
        .await
        .unwrap();
    let mut old = NewSecret::new(name("OLD"), SecretString::from("old"));
    old.rotation = Some("1d".parse::<RotationPolicy>().unwrap());
    store.put(&old).await.unwrap();
    store.close().await;
    format!("local:{}", file.display())
}

async fn values(prometheus: &Prometheus, name: &str, label: &str) -> BTreeMap<String, f64> {
    let samples = prometheus.wait_for(name).await;
    samples.into_iter().map(|Sample { mut labels, value }| (labels.remove(label).unwrap(), value)).collect()
}

/// Nothing has happened yet, and still every counter is there.
async fn counters_begin_at_zero(prometheus: &Prometheus) {
    let of_calls: BTreeMap<_, _> =
        ErrorClass::ALL.iter().map(|class| (class.label().to_owned(), 0.0)).collect();
    let of_values = OpenError::OWN_CLASSES.map(|class| (class.to_owned(), 0.0));
    let of_both: BTreeMap<_, _> = of_calls.clone().into_iter().chain(of_values).collect();
    for operation in ["encrypt", "decrypt", "rewrap", "describe"] {
        let name = format!("vod_kms_{operation}_errors_total");
        let classes = if operation == "decrypt" { &of_both } else { &of_calls };
        assert_eq!(values(prometheus, &name, "class").await, *classes, "{name}");
    }
    let classes: BTreeMap<_, _> = SourceError::CLASSES.iter().map(|&class| (class.to_owned(), 0.0)).collect();
    assert_eq!(values(prometheus, "secrets_failures_total", "class").await, classes);
    let outcomes = values(prometheus, "vod_token_refreshes_total", "outcome").await;
    assert_eq!(outcomes, BTreeMap::from([("ok".to_owned(), 0.0), ("failed".to_owned(), 0.0)]));
    let operations = values(prometheus, "vod_kms_requests_total", "operation").await;
    assert_eq!(operations.into_values().collect::<Vec<_>>(), [0.0; 5]);
    let denied = r#"secrets_accesses_total{operation="get",outcome="denied"}"#;
    assert_eq!(values(prometheus, denied, "source").await, BTreeMap::from([("local".to_owned(), 0.0)]));
}

/// Reads of what another program wrote, a refresh, a read from the cache.
async fn traffic(place: &Place, service: &Running) {
    put(&place.other_program(place.keyring()).await, "mine").await;
    assert_eq!(service.read("mine").await.status, 200);
    assert_eq!(service.refresh("mine").await.status, 200);
    assert_eq!(service.refresh("unknown").await.status, 404);
    assert_eq!(service.read("mine").await.status, 200);
    assert_eq!(service.get("/readyz").await.body, "ready\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_name_kind_labels_and_meaning() {
    let prometheus = test_support::part!(prometheus);
    let mut place = Place::on_keyring().await;
    // So that there is a version to count.
    put(&place.other_program(place.keyring()).await, "before").await;
    let source = secrets(&place, place.keyring()).await;
    let service = place.set("SECRETS_SOURCE", &source).start().await;
    let prometheus = prometheus.scrape(&service.address).await;
    counters_begin_at_zero(&prometheus).await;
    traffic(&place, &service).await;
    within("the traffic is scraped", async || {
        let made = prometheus.query(r#"vod_kms_requests_total{operation="describe"} > 0"#).await;
        (!made.is_empty()).then_some(())
    })
    .await;

    let (documented, about) = (Documented::all(), prometheus.about().await);
    assert!(documented.len() >= 32, "the page is not read as it was: {documented:?}");
    for metric in &documented {
        let told = about.get(metric.family()).unwrap_or_else(|| panic!("{} is not scraped", metric.name));
        assert_eq!(told.kind, metric.kind, "{}", metric.name);
        let help = told.help.trim_end_matches('.');
        assert!(metric.tells.starts_with(help), "{}: {:?} is not {help:?}", metric.name, metric.tells);
        for sample in prometheus.wait_for(&metric.series()).await {
            let labels: BTreeSet<_> = sample.labels.into_keys().collect();
            assert_eq!(labels, metric.labels, "{}", metric.name);
        }
    }
    let names: BTreeSet<_> = documented.iter().map(Documented::family).collect();
    let others: Vec<_> = about.keys().filter(|name| !names.contains(name.as_str())).collect();
    assert_eq!(others, Vec::<&String>::new(), "not in docs/metrics.md");
    for (query, value) in [
        ("secrets_stored", 2.0),
        ("vod_kms_requests_total{operation=\"unwrap\"}", 2.0),
        ("vod_token_refreshes_total{outcome=\"ok\"}", 1.0),
        ("vod_token_refreshes_total{outcome=\"failed\"}", 0.0),
        ("vod_token_refresh_duration_seconds_count", 1.0),
        ("vod_kms_requests_total{operation=\"generate\"}", 2.0),
        ("vod_kms_cache_hits_total", 8.0),
    ] {
        assert_eq!(prometheus.query(query).await[0].value, value, "{query}");
    }
}
