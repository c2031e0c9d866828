//! One line of the CloudWatch embedded metric format, for alarms where nothing scrapes Prometheus metrics.
//!
//! AWS KMS publishes neither latencies nor errors of ordinary keys, so they have to come from the application. Printed to
//! a log that CloudWatch Logs collects, each line becomes metrics of the namespace `Tokenseal` with the dimensions
//! `Application` and `Environment`, or those of [`EmfDimensions`]:
//!
//! | metric | unit | value |
//! | --- | --- | --- |
//! | `KMSEncryptErrors`, `KMSDecryptErrors` | Count | failed calls since the line before |
//! | `KMSEncryptLatency`, `KMSDecryptLatency` | Milliseconds | up to 100 calls since the line before, left out where there were none |
//! | `KMSCacheHits`, `KMSCacheMisses` | Count | reads of data keys since the line before |
//! | `SecretReads`, `SecretReadErrors` | Count | requests for the value of a secret since the line before, and those that failed |
//! | `TokenRefreshes`, `TokenRefreshErrors` | Count | refreshes of tokens since the line before, and those that failed |
//! | `Heartbeat` | Count | 1: an alarm on its absence notices an emitter that died |

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

/// The metrics of a line, in the order of the values in [`EmfWriter::line`].
const METRICS: [&str; 11] = [
    "KMSEncryptErrors",
    "KMSDecryptErrors",
    "KMSEncryptLatency",
    "KMSDecryptLatency",
    "KMSCacheHits",
    "KMSCacheMisses",
    "SecretReads",
    "SecretReadErrors",
    "TokenRefreshes",
    "TokenRefreshErrors",
    "Heartbeat",
];
/// The member of a line that describes its metrics.
const DIRECTIVE: &str = "_aws";
/// Most dimensions of a line ("Specification: embedded metric format" in the CloudWatch user guide).
const MAX_DIMENSIONS: usize = 30;
/// Longest name of a dimension, in characters (`Dimension` in the CloudWatch API reference).
const MAX_NAME_LEN: usize = 255;
/// Longest value of a dimension, in characters (`Dimension` in the CloudWatch API reference).
const MAX_VALUE_LEN: usize = 1_024;

/// The dimensions that CloudWatch keeps the metrics under: alarms see only metrics with exactly their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmfDimensions {
    pairs: BTreeMap<String, String>,
}

impl EmfDimensions {
    /// Takes 1 to 30 pairs of names (at most 255 characters) and values (at most 1,024), all printable ASCII.
    ///
    /// # Errors
    /// [`EmfDimensionsError`] for dimensions that CloudWatch would drop silently.
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self, EmfDimensionsError> {
        if !(1..=MAX_DIMENSIONS).contains(&pairs.len()) {
            return Err(EmfDimensionsError::Count { actual: pairs.len() });
        }
        for (name, value) in &pairs {
            if METRICS.contains(&name.as_str()) || name == DIRECTIVE {
                return Err(EmfDimensionsError::Taken { name: name.clone() });
            }
            if name.starts_with(':') || !is_printable(name, MAX_NAME_LEN) {
                return Err(EmfDimensionsError::Name { name: name.clone() });
            }
            if !is_printable(value, MAX_VALUE_LEN) {
                return Err(EmfDimensionsError::Value { name: name.clone() });
            }
        }
        Ok(Self { pairs })
    }
}

/// Why CloudWatch would not take a list of dimensions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmfDimensionsError {
    /// None, or too many.
    #[error("must have 1 to {MAX_DIMENSIONS} dimensions, not {actual}")]
    Count {
        /// How many there are.
        actual: usize,
    },
    /// A metric, or the line's own directive, has this name.
    #[error("{name:?} is the name of another member of the line")]
    Taken {
        /// The name.
        name: String,
    },
    /// A name that CloudWatch does not take.
    #[error(
        "{name:?} must be 1 to {MAX_NAME_LEN} printable ASCII characters, not all spaces, and not begin with a colon"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A value that CloudWatch does not take.
    #[error("the value of {name:?} must be 1 to {MAX_VALUE_LEN} printable ASCII characters, not all spaces")]
    Value {
        /// The name that it belongs to.
        name: String,
    },
}

fn is_printable(text: &str, longest: usize) -> bool {
    let printable = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    printable && text.len() <= longest && !text.trim().is_empty()
}

/// The totals so far, and the latencies since they were last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmfSample {
    /// Failed requests for a new data key.
    pub encrypt_errors: u64,
    /// Data keys not unwrapped and values not opened.
    pub decrypt_errors: u64,
    /// How long getting new data keys took; at most 100 values.
    pub encrypt_latencies: Vec<Duration>,
    /// How long unwrapping and opening took; at most 100 values.
    pub decrypt_latencies: Vec<Duration>,
    /// Reads of data keys that the cache answered.
    pub cache_hits: u64,
    /// Reads of data keys that the cache could not answer.
    pub cache_misses: u64,
    /// Requests to a secret source for a value, if they are counted.
    pub secret_reads: u64,
    /// Those of them that failed. A name that does not exist is no failure.
    pub secret_read_errors: u64,
    /// Refreshes of tokens, if they are counted.
    pub token_refreshes: u64,
    /// Those of them that failed.
    pub token_refresh_errors: u64,
}

impl EmfSample {
    /// Adds the requests for secrets so far, and how many of them failed: the sample of a key service has neither.
    #[must_use]
    pub fn with_secret_reads(self, secret_reads: u64, secret_read_errors: u64) -> Self {
        Self { secret_reads, secret_read_errors, ..self }
    }

    /// Adds the refreshes of tokens so far, and how many of them failed: the sample of a key service has neither.
    #[must_use]
    pub fn with_token_refreshes(self, token_refreshes: u64, token_refresh_errors: u64) -> Self {
        Self { token_refreshes, token_refresh_errors, ..self }
    }
}

/// Turns samples into lines, each of which covers the time since the one before.
#[derive(Debug)]
pub struct EmfWriter {
    dimensions: BTreeMap<String, String>,
    previous: EmfSample,
}

impl EmfWriter {
    /// Starts from zero, with the values of the two usual dimensions.
    pub fn new(application: impl Into<String>, environment: impl Into<String>) -> Self {
        let usual = [("Application", application.into()), ("Environment", environment.into())];
        Self {
            dimensions: usual.map(|(name, value)| (name.to_owned(), value)).into(),
            previous: EmfSample::default(),
        }
    }

    /// Starts from zero, with dimensions of the caller's own.
    #[must_use]
    pub fn with_dimensions(dimensions: EmfDimensions) -> Self {
        Self { dimensions: dimensions.pairs, previous: EmfSample::default() }
    }

    /// The line for a sample, without the line break. The caller prints it, as a separate line without a
    /// prefix.
    pub fn line(&mut self, sample: EmfSample, now: SystemTime) -> String {
        let previous = &self.previous;
        let values = [
            since(sample.encrypt_errors, previous.encrypt_errors),
            since(sample.decrypt_errors, previous.decrypt_errors),
            milliseconds(&sample.encrypt_latencies),
            milliseconds(&sample.decrypt_latencies),
            since(sample.cache_hits, previous.cache_hits),
            since(sample.cache_misses, previous.cache_misses),
            since(sample.secret_reads, previous.secret_reads),
            since(sample.secret_read_errors, previous.secret_read_errors),
            since(sample.token_refreshes, previous.token_refreshes),
            since(sample.token_refresh_errors, previous.token_refresh_errors),
            json!(1),
        ];
        let mut definitions = Vec::new();
        let mut line = Map::new();
        for (name, value) in METRICS.into_iter().zip(values) {
            if value.is_null() {
                continue;
            }
            let unit = if value.is_array() { "Milliseconds" } else { "Count" };
            definitions.push(json!({ "Name": name, "Unit": unit }));
            line.insert(name.into(), value);
        }
        line.extend(self.dimensions.iter().map(|(name, value)| (name.clone(), json!(value))));
        let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        line.insert(
            DIRECTIVE.into(),
            json!({
                "Timestamp": u64::try_from(timestamp).unwrap_or(u64::MAX),
                "CloudWatchMetrics": [{
                    "Namespace": "Tokenseal",
                    "Dimensions": [self.dimensions.keys().collect::<Vec<_>>()],
                    "Metrics": definitions,
                }],
            }),
        );
        self.previous = sample;
        Value::Object(line).to_string()
    }
}

/// Prints a line at a steady pace, and one more when it finishes.
///
/// Alarms expect a line per minute. A line that cannot be printed is lost: a log that was closed must not end a service.
pub struct EmfEmitter {
    task: JoinHandle<()>,
    printer: Arc<dyn Fn() + Send + Sync>,
}

impl EmfEmitter {
    /// Starts printing: the first line comes after a whole period.
    ///
    /// `sample` gives the totals so far; `out` is where CloudWatch Logs collects, such as the standard output. Has to
    /// be called inside a Tokio runtime.
    pub fn start(
        writer: EmfWriter,
        period: Duration,
        sample: impl Fn() -> EmfSample + Send + Sync + 'static,
        out: impl Write + Send + 'static,
    ) -> Self {
        let state = Mutex::new((writer, out));
        let printer: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let (writer, out) = &mut *state;
            let line = writer.line(sample(), SystemTime::now()) + "\n";
            // In one write, so that no other output is mixed in.
            let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        });
        let print = Arc::clone(&printer);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(period).await;
                print();
            }
        });
        Self { task, printer }
    }

    /// Prints the line of the time since the last one, and ends.
    pub fn finish(self) {
        (self.printer)();
    }
}

impl Drop for EmfEmitter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for EmfEmitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmfEmitter").finish_non_exhaustive()
    }
}

fn since(now: u64, previous: u64) -> Value {
    json!(now.saturating_sub(previous))
}

/// Null where there is nothing: a metric without a value is not to be in the line.
fn milliseconds(latencies: &[Duration]) -> Value {
    if latencies.is_empty() {
        return Value::Null;
    }
    latencies.iter().map(|latency| latency.as_secs_f64() * 1_000.0).collect()
}
