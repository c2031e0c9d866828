//! One line of the CloudWatch embedded metric format, for alarms where nothing scrapes Prometheus metrics.
//!
//! AWS KMS publishes neither latencies nor errors of ordinary keys, so they have to come from the application. Printed to
//! a log that CloudWatch Logs collects, each line becomes metrics of the namespace `Tokenseal` with the dimensions
//! `Application` and `Environment`:
//!
//! | metric | unit | value |
//! | --- | --- | --- |
//! | `KMSEncryptErrors`, `KMSDecryptErrors` | Count | failed calls since the line before |
//! | `KMSEncryptLatency`, `KMSDecryptLatency` | Milliseconds | up to 100 calls since the line before, left out where there were none |
//! | `KMSCacheHits`, `KMSCacheMisses` | Count | reads of data keys since the line before |
//! | `SecretReads` | Count | requests for the value of a secret since the line before |
//! | `Heartbeat` | Count | 1: an alarm on its absence notices an emitter that died |

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

/// The totals so far, and what has been timed since they were last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmfSample {
    /// New data keys that could not be had.
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
    /// Requests to a secret source for a value, if somebody counts them.
    pub secret_reads: u64,
}

impl EmfSample {
    /// Adds the requests for secrets so far, which are not counted here.
    #[must_use]
    pub fn with_secret_reads(self, secret_reads: u64) -> Self {
        Self { secret_reads, ..self }
    }
}

/// Turns samples into lines, each of which tells what was new since the one before.
#[derive(Debug)]
pub struct EmfWriter {
    application: String,
    environment: String,
    previous: EmfSample,
}

impl EmfWriter {
    /// Starts from zero, with the values of the two dimensions.
    pub fn new(application: impl Into<String>, environment: impl Into<String>) -> Self {
        Self {
            application: application.into(),
            environment: environment.into(),
            previous: EmfSample::default(),
        }
    }

    /// The line for a sample, without the line break. The caller prints it, as a line of its own and with nothing before.
    pub fn line(&mut self, sample: EmfSample, now: SystemTime) -> String {
        let previous = &self.previous;
        let metrics = [
            ("KMSEncryptErrors", since(sample.encrypt_errors, previous.encrypt_errors)),
            ("KMSDecryptErrors", since(sample.decrypt_errors, previous.decrypt_errors)),
            ("KMSEncryptLatency", milliseconds(&sample.encrypt_latencies)),
            ("KMSDecryptLatency", milliseconds(&sample.decrypt_latencies)),
            ("KMSCacheHits", since(sample.cache_hits, previous.cache_hits)),
            ("KMSCacheMisses", since(sample.cache_misses, previous.cache_misses)),
            ("SecretReads", since(sample.secret_reads, previous.secret_reads)),
            ("Heartbeat", json!(1)),
        ];
        let mut definitions = Vec::new();
        let mut line = Map::new();
        for (name, value) in metrics {
            if value.is_null() {
                continue;
            }
            let unit = if value.is_array() { "Milliseconds" } else { "Count" };
            definitions.push(json!({ "Name": name, "Unit": unit }));
            line.insert(name.into(), value);
        }
        let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        line.insert("Application".into(), json!(self.application));
        line.insert("Environment".into(), json!(self.environment));
        line.insert(
            "_aws".into(),
            json!({
                "Timestamp": u64::try_from(timestamp).unwrap_or(u64::MAX),
                "CloudWatchMetrics": [{
                    "Namespace": "Tokenseal",
                    "Dimensions": [["Application", "Environment"]],
                    "Metrics": definitions,
                }],
            }),
        );
        self.previous = sample;
        Value::Object(line).to_string()
    }
}

/// Prints a line at a steady pace, and one more when it is told to finish.
///
/// Alarms expect a line a minute. What cannot be printed is lost: a log that was closed must not end a service.
pub struct EmfEmitter {
    task: JoinHandle<()>,
    printer: Arc<dyn Fn() + Send + Sync>,
}

impl EmfEmitter {
    /// Begins to print: the first line comes after a whole period.
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
            // In one piece, so that what others print does not come in between.
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

    /// Prints what was new since the last line, and ends.
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
