//! Reading a line of the CloudWatch embedded metric format as CloudWatch would.

use std::collections::BTreeMap;

use serde_json::Value;

/// A line, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The namespace of its metrics.
    pub namespace: String,
    /// The dimensions by name, with their values.
    pub dimensions: BTreeMap<String, String>,
    /// The metrics by name: unit and value, a number or a list of numbers.
    pub metrics: BTreeMap<String, (String, Value)>,
}

impl Line {
    /// Takes a line apart, by the rules of the "Specification: embedded metric format" in the CloudWatch user guide.
    ///
    /// # Panics
    /// It breaks one of them.
    pub fn parse(line: &str) -> Self {
        let document: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let document = document.as_object().expect("a line is an object");
        assert!(document["_aws"]["Timestamp"].is_u64(), "milliseconds since 1970: {line}");
        let directives = document["_aws"]["CloudWatchMetrics"].as_array().expect("a list of directives");
        let [directive] = directives.as_slice() else { panic!("one directive: {line}") };
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned();
        let names = directive["Dimensions"][0].as_array().expect("a set of dimensions");
        let metric = |definition: &Value| {
            let name = text(&definition["Name"]);
            let value = document.get(&name).unwrap_or_else(|| panic!("{name} has no value: {line}"));
            let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            assert!(
                (1..=100).contains(&values.len()) && values.iter().all(Value::is_number),
                "{name}: {line}"
            );
            (name, (text(&definition["Unit"]), value.clone()))
        };
        let metrics =
            directive["Metrics"].as_array().expect("a list of metrics").iter().map(metric).collect();
        let line = Self {
            namespace: text(&directive["Namespace"]),
            dimensions: names.iter().map(|name| (text(name), text(&document[text(name).as_str()]))).collect(),
            metrics,
        };
        let told = 1 + line.dimensions.len() + line.metrics.len();
        assert_eq!(document.len(), told, "a line has nothing that it does not declare: {document:?}");
        line
    }
}

/// The contents of the lines, as infra/checks/metrics.json lists them for the alarms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The namespace.
    pub namespace: String,
    /// The metrics by name, with their units.
    pub metrics: BTreeMap<String, String>,
}

/// Reads the list.
///
/// # Panics
/// It is not there, or is something else.
pub fn expected() -> Expected {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/checks/metrics.json");
    let text = std::fs::read_to_string(file).expect("the list of metrics");
    let list: Value = serde_json::from_str(&text).expect("the list of metrics is JSON");
    let metrics = list["emf"]["metrics"].as_object().expect("metrics by name").iter();
    let unit = |unit: &Value| unit.as_str().expect("a unit").to_owned();
    Expected {
        namespace: list["emf"]["namespace"].as_str().expect("a namespace").to_owned(),
        metrics: metrics.map(|(name, value)| (name.clone(), unit(value))).collect(),
    }
}
