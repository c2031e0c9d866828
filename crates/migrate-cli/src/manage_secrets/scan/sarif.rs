//! SARIF 2.1.0 (OASIS): the form in which code hosts take findings.

use std::collections::BTreeSet;
use std::path::Path;

use secrets_cache::scan::{Finding, ScanReport, Unread};
use serde_json::{Value, json};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The one document of a scan.
pub(super) fn document(report: &ScanReport) -> Value {
    let rules: BTreeSet<&str> = report.findings.iter().map(|finding| finding.rule).collect();
    let rules: Vec<Value> = rules.into_iter().map(rule).collect();
    let results: Vec<Value> = report.findings.iter().map(result).collect();
    let unread: Vec<Value> = report.unread.iter().map(notification).collect();
    let is_whole = !report.unread.iter().any(|unread| unread.named);
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "manage-secrets",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
            "invocations": [{ "executionSuccessful": is_whole, "toolExecutionNotifications": unread }],
        }],
    })
}

fn rule(id: &str) -> Value {
    json!({
        "id": id,
        "shortDescription": { "text": format!("A secret in a file: {id}") },
        "help": { "text": "Rotate the secret, move it with `manage-secrets import`, and remove it from the file." },
    })
}

fn result(finding: &Finding) -> Value {
    let name = finding.name.as_ref().map(|name| format!(" in {name}")).unwrap_or_default();
    json!({
        "ruleId": finding.rule,
        "level": "error",
        "message": { "text": format!("{}{name}: {}", finding.rule, finding.masked) },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(&finding.path) },
            "region": { "startLine": finding.line },
        }}],
        // The salted hash of the baseline would differ from run to run without one.
        "partialFingerprints": { "location/v1": format!("{}:{}:{}", finding.rule, uri(&finding.path), finding.line) },
    })
}

fn notification(unread: &Unread) -> Value {
    json!({
        "level": if unread.named { "error" } else { "note" },
        "message": { "text": format!("not read: {}", unread.reason) },
        "locations": [{ "physicalLocation": { "artifactLocation": { "uri": uri(&unread.path) } } }],
    })
}

/// A relative reference (RFC 3986), or a `file:` URI for an absolute path.
fn uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let path = path.strip_prefix(".").unwrap_or(path);
    let mut uri = String::from(if path.is_absolute() { "file://" } else { "" });
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
