//! Metrics of the agent: requests by operation and status, refusals by reason, connections.

use std::time::Duration;

use axum::http::StatusCode;
use tokenseal::Telemetry;
use tokenseal::prometheus_client::metrics::counter::Counter;
use tokenseal::prometheus_client::metrics::family::Family;
use tokenseal::prometheus_client::metrics::gauge::Gauge;
use tokenseal::prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of the buckets in seconds: a cached read takes less than a millisecond, and a refresh grant seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// The values of the label `reason`, of which each is there from the start.
pub(crate) const REASONS: [&str; 11] = [
    "header",
    "host",
    "token",
    "policy",
    "body_too_long",
    "body_too_slow",
    "broken_off",
    "header_too_long",
    "header_too_slow",
    "too_many",
    "not_http",
];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The agent's metrics. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    requests: Family<Labels<2>, Counter>,
    duration: Family<Labels<1>, Histogram, fn() -> Histogram>,
    refused: Family<Labels<1>, Counter>,
    connections: Gauge,
}

impl Metrics {
    pub(crate) fn register(telemetry: &Telemetry, operations: &[&'static str]) -> Self {
        let duration = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let metrics = Self {
            requests: Family::default(),
            duration,
            refused: Family::default(),
            connections: Gauge::default(),
        };
        for reason in REASONS {
            drop(metrics.refused.get_or_create(&[("reason", reason)]));
        }
        for operation in operations {
            drop(metrics.requests.get_or_create(&[("operation", operation), ("status", "200")]));
            drop(metrics.duration.get_or_create(&[("operation", operation)]));
        }
        telemetry.register(|registry| {
            registry.register(
                "agent_requests",
                "Requests, by operation and status",
                metrics.requests.clone(),
            );
            registry.register(
                "agent_request_duration_seconds",
                "Time from the whole request to its answer, by operation",
                metrics.duration.clone(),
            );
            registry.register(
                "agent_refused",
                "Requests and connections that were refused before anything was done, by reason",
                metrics.refused.clone(),
            );
            registry.register("agent_connections", "Open connections", metrics.connections.clone());
        });
        metrics
    }

    pub(crate) fn answered(&self, operation: &'static str, status: StatusCode, took: Duration) {
        self.requests.get_or_create(&[("operation", operation), ("status", label(status))]).inc();
        self.duration.get_or_create(&[("operation", operation)]).observe(took.as_secs_f64());
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts a connection for as long as the value lives.
    pub(crate) fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }
}

/// An open connection.
pub(crate) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The statuses that the agent answers with; a label has few values.
fn label(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "200",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        408 => "408",
        409 => "409",
        413 => "413",
        422 => "422",
        423 => "423",
        429 => "429",
        503 => "503",
        _ => "500",
    }
}
