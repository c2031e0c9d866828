//! A real Prometheus that scrapes a program every second.
//!
//! It is the program of the Debian package `prometheus`; nothing is installed, nor does one that is running serve.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use url::Url;

use crate::availability::Unavailable;
use crate::http;
use crate::leash::{self, Leash};
use crate::process::{free_port, on_path};

const READY_LIMIT: Duration = Duration::from_secs(30);
const SCRAPED_LIMIT: Duration = Duration::from_secs(30);

/// The program, found on this machine.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: String,
    _leash: Leash,
}

/// One series and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels, without those that the scraping added, and without its name.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// A program's description of one of its metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// `counter`, `gauge`, `histogram`.
    pub kind: String,
    /// Its meaning.
    pub help: String,
}

/// The program on this machine.
pub(crate) fn program() -> Result<Program, Unavailable> {
    let missing = || Unavailable::new("there is no `prometheus`: the Debian package of that name has it");
    on_path("prometheus").map(Program).ok_or_else(missing)
}

impl Program {
    /// Starts a server that scrapes `host:port` every second.
    ///
    /// # Panics
    /// It does not start.
    pub async fn scrape(&self, target: &str) -> Prometheus {
        self.start(target).await.unwrap_or_else(|reason| panic!("{reason}"))
    }

    async fn start(&self, target: &str) -> Result<Prometheus, Unavailable> {
        let failed = |error| Unavailable::while_doing("cannot prepare Prometheus", error);
        let scratch =
            tempfile::Builder::new().prefix("tokenseal-prometheus-").tempdir().map_err(failed)?.keep();
        // JSON is YAML.
        let configuration = json!({
            "global": { "scrape_interval": "1s" },
            "scrape_configs": [{ "job_name": "test", "static_configs": [{ "targets": [target] }] }],
        });
        let file = scratch.join("prometheus.yml");
        std::fs::write(&file, configuration.to_string()).map_err(failed)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut leash = Leash::start(leash::Server {
            program: &self.0,
            args: &[
                format!("--config.file={}", file.display()),
                format!("--storage.tsdb.path={}", scratch.join("data").display()),
                format!("--web.listen-address={address}"),
            ],
            signal: "TERM",
            scratch,
            account: None,
        })?;
        let deadline = Instant::now() + READY_LIMIT;
        while !http::get(&format!("http://{address}/-/ready")).await.is_ok_and(|ready| ready.status == 200) {
            leash.check_alive()?;
            if Instant::now() > deadline {
                return Err(Unavailable::new(format!("Prometheus is not ready: {}", leash.log_tail())));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Prometheus { address, _leash: leash })
    }
}

impl Prometheus {
    /// The result of a query now.
    ///
    /// # Panics
    /// Prometheus refuses the query.
    pub async fn query(&self, query: &str) -> Vec<Sample> {
        let answer = self.ask("query", &[("query", query)]).await;
        let found = answer["result"].as_array().expect("a query gives a vector");
        found.iter().map(sample).collect()
    }

    /// The first result of a query that is not empty.
    ///
    /// # Panics
    /// It gives nothing within half a minute.
    pub async fn wait_for(&self, query: &str) -> Vec<Sample> {
        let deadline = Instant::now() + SCRAPED_LIMIT;
        loop {
            match self.query(query).await {
                found if !found.is_empty() => return found,
                _ if Instant::now() > deadline => panic!("Prometheus has no {query}"),
                _ => sleep(Duration::from_millis(250)).await,
            }
        }
    }

    /// The program's descriptions of its metrics, by name without the `_total` of counters.
    ///
    /// # Panics
    /// Prometheus does not answer.
    pub async fn about(&self) -> BTreeMap<String, About> {
        let answer = self.ask("metadata", &[]).await;
        let told = answer.as_object().expect("metadata by name");
        told.iter()
            .map(|(name, entries)| (name.trim_end_matches("_total").to_owned(), about(&entries[0])))
            .collect()
    }

    async fn ask(&self, what: &str, params: &[(&str, &str)]) -> Value {
        let url = Url::parse_with_params(&format!("http://{}/api/v1/{what}", self.address), params);
        let answer = http::get(url.expect("an address").as_str()).await.expect("Prometheus answers");
        assert_eq!(answer.status, 200, "{what} {params:?}: {}", answer.body);
        let mut document: Value = serde_json::from_str(&answer.body).expect("Prometheus answers in JSON");
        document["data"].take()
    }
}

fn sample(found: &Value) -> Sample {
    let labels = found["metric"].as_object().into_iter().flatten();
    let labels = labels.filter(|(name, _)| !["__name__", "instance", "job"].contains(&name.as_str()));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Sample {
        labels: labels.map(|(name, value)| (name.clone(), text(value))).collect(),
        value: text(&found["value"][1]).parse().expect("a number"),
    }
}

fn about(entry: &Value) -> About {
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    About { kind: text("type"), help: text("help") }
}
