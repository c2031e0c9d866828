//! The store's metrics, registered into a registry that the caller owns.

mod refresh;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::store::TokenStore;

pub use refresh::{NEEDS_CONSENT, OUTCOMES, REFRESH_DURATION, REFRESHES, RefreshMetrics, UNCERTAIN};

/// Counter: rows re-sealed because they were read in an older form.
pub const RESEALED: &str = "tokens_resealed";
/// Counter: rows written in direct AES because the key service was unavailable.
pub const FALLBACK_WRITES: &str = "kms_fallback_writes";
/// Gauge: rows by `version`, as the last status counted them; no sample before the first.
pub const ROWS: &str = "token_rows";

/// Registers the store's metrics under the profile's prefix, those of refreshes where the profile has any. A counter's name ends in `_total` when it is scraped.
pub fn register(registry: &mut Registry, store: &TokenStore) {
    let prefix = store.profile().metrics_prefix.clone();
    if store.profile().tables.iter().any(|table| table.refresh.is_some()) {
        store.refreshes().register_in(registry, &prefix);
    }
    registry.register_collector(Box::new(StoreMetrics { store: store.clone(), prefix }));
}

struct StoreMetrics {
    store: TokenStore,
    prefix: String,
}

impl fmt::Debug for StoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreMetrics").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counters = [
            (RESEALED, "Rows re-sealed because they were read in an older form", self.store.resealed_rows()),
            (
                FALLBACK_WRITES,
                "Rows written in direct AES because the key service was unavailable",
                self.store.fallback_writes(),
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let name = format!("{}_{name}", self.prefix);
            counter.encode(encoder.encode_descriptor(&name, help, None, MetricType::Counter)?)?;
        }
        let rows = self.store.rows_by_version();
        let name = format!("{}_{ROWS}", self.prefix);
        let mut family =
            encoder.encode_descriptor(&name, "Rows by encryption version", None, MetricType::Gauge)?;
        for (version, count) in rows.iter() {
            let gauge = ConstGauge::new(i64::try_from(*count).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&[("version", version.as_str())])?)?;
        }
        Ok(())
    }
}
