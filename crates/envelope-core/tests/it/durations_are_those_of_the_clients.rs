//! The programs read spans of time as the clients do: one table is true of all.

use std::time::Duration;

use envelope_core::duration;

#[test]
fn each_span_of_the_shared_table_is_read_alike() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../clients/shared/durations.json");
    let table: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let spans = table["spans"].as_object().unwrap();
    assert!(spans.len() > 20);
    for (text, span) in spans {
        assert_eq!(duration::parse(text), span.as_u64().map(Duration::from_millis), "{text:?}");
    }
}
