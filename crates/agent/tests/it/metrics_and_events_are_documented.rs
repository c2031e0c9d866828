//! The pages of metrics and audit events, and the OpenAPI document, agree with the agent.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use crate::support::{Place, Sql, twitch};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The names in the first column of the tables of a section.
fn documented(page: &str) -> BTreeSet<String> {
    let (_, section) = page.split_once("\n## The agent\n").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(ToOwned::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_scraped_and_no_other() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    agent.post("/v1/tokens/get", &json!({ "row": twitch("me") })).class(404);
    agent.client().header("X-Tokenseal", None).post("/v1/tokens/get", &json!({})).class(401);
    let text = agent.client().get("/metrics").text;
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE agent_")?.split_once(' '));
    let suffix = |kind: &str| if kind == "counter" { "_total" } else { "" };
    let scraped: BTreeSet<String> =
        kinds.map(|(name, kind)| format!("agent_{name}{}", suffix(kind))).collect();
    assert_eq!(documented(&page("docs/metrics.md")), scraped);
    assert!(text.contains("agent_requests_total{operation=\"get\",status=\"404\"} 1"), "{text}");
    assert!(text.contains("agent_refused_total{reason=\"header\"} 1"), "{text}");
    assert!(
        text.contains("agent_refused_total{reason=\"token\"} 0"),
        "a counter is there before its first event"
    );
}

#[test]
fn every_event_has_its_place() {
    let source = page("crates/agent/src/audit.rs");
    let constants =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = \""));
    let events: BTreeSet<String> =
        constants.map(|(_, value)| value.trim_end_matches("\";").to_owned()).collect();
    assert_eq!(documented(&page("docs/audit.md")), events);
    let text = page("docs/audit.md");
    for reason in
        ["header_too_long", "header_too_slow", "broken_off", "not_http", "too_many", "host", "policy"]
    {
        assert!(text.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_has_every_route_of_the_page_and_no_other() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    let document = agent.client().get("/v1/openapi.json").expect(200);
    let paths: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let text = page("docs/agent.md");
    let (_, section) = text.split_once("\n## Routes\n").unwrap();
    let (section, _) = section.split_once("\n## Errors\n").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let own = ["/healthz", "/readyz", "/metrics", "/v1/openapi.json"];
    let expected: BTreeSet<String> = rows.chain(own).map(ToOwned::to_owned).collect();
    assert_eq!(paths, expected);
}
