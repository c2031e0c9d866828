//! `cargo xtask layers`: which crate may depend on which.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use serde_json::Value;

use crate::cargo::{array, metadata, text, workspace_packages};
use crate::options::Options;
use crate::report::Report;

/// For each of our crates, those of ours that it may depend on outside of its tests.
const MAY_USE: [(&str, &[&str]); 12] = [
    ("durable-file", &[]),
    ("envelope-core", &[]),
    ("kms-provider", &["durable-file", "envelope-core", "vault-client"]),
    ("secrets-cache", &["durable-file", "envelope-core", "vault-client"]),
    ("token-store", &["envelope-core"]),
    ("tokenseal", &["envelope-core", "kms-provider", "secrets-cache", "token-store", "vault-client"]),
    (
        "migrate-cli",
        &["durable-file", "envelope-core", "kms-provider", "secrets-cache", "token-store", "tokenseal"],
    ),
    ("example-service", &["tokenseal"]),
    ("tokenseal-agent", &["tokenseal"]),
    ("test-support", &["envelope-core"]),
    ("vault-client", &[]),
    ("xtask", &[]),
];

/// The crate that must stay free of I/O, and what in its dependencies would break that. A name that ends in `-` or
/// `_` covers every crate with this prefix.
const PURE: &str = "envelope-core";
const IMPURE: [&str; 18] = [
    "async-global-executor",
    "async-io",
    "async-net",
    "async-std",
    "aws-",
    "futures-io",
    "hyper",
    "hyper-",
    "mio",
    "polling",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "sqlx",
    "sqlx-",
    "tokio",
    "tokio-",
];

/// Dependencies other than those of tests. A crate that is there in several versions is named `name@version`: each version has
/// dependencies of its own.
type Graph = BTreeMap<String, BTreeSet<String>>;

pub(crate) fn run(_options: &Options) -> anyhow::Result<Report> {
    let metadata = metadata()?;
    let ours: Vec<String> =
        workspace_packages(&metadata).iter().map(|package| text(&package["name"]).to_owned()).collect();
    let broken = broken_rules(&ours, &graph(&metadata));
    for rule in &broken {
        eprintln!("{rule}");
    }
    if !broken.is_empty() {
        bail!("{} forbidden dependencies", broken.len());
    }
    println!("{} crates depend only on what they may", ours.len());
    Ok(Report::default())
}

/// Every broken rule, as a sentence that names the edge and the rule.
fn broken_rules(ours: &[String], graph: &Graph) -> Vec<String> {
    let mut broken: Vec<String> = ours.iter().flat_map(|from| forbidden_edges(from, ours, graph)).collect();
    broken.extend(impure_paths(graph));
    broken
}

fn forbidden_edges(from: &str, ours: &[String], graph: &Graph) -> Vec<String> {
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == from) else {
        return vec![format!(
            "{from}: no rule says what it may depend on; add it to the table in xtask's `layers`"
        )];
    };
    let used = graph.get(from).into_iter().flatten().filter(|used| ours.contains(used));
    used.filter(|used| !allowed.contains(&used.as_str()))
        .map(|used| {
            let rule = match *allowed {
                [] => "none of our crates".to_owned(),
                names => format!("no crate of ours but {}", names.join(", ")),
            };
            format!("{from} -> {used}: outside of its tests, {from} may depend on {rule}")
        })
        .collect()
}

/// The way from the pure crate to each impure one.
fn impure_paths(graph: &Graph) -> Vec<String> {
    let mut paths: BTreeMap<&str, Vec<&str>> = BTreeMap::from([(PURE, vec![PURE])]);
    let mut queue = vec![PURE];
    let mut broken = Vec::new();
    while let Some(name) = queue.pop() {
        for used in graph.get(name).into_iter().flatten() {
            if paths.contains_key(used.as_str()) {
                continue;
            }
            let path: Vec<&str> = paths[name].iter().copied().chain([used.as_str()]).collect();
            if is_impure(used) {
                broken
                    .push(format!("{}: {PURE} may reach no runtime, network or database", path.join(" -> ")));
            } else {
                queue.push(used);
            }
            paths.insert(used, path);
        }
    }
    broken
}

fn is_impure(label: &str) -> bool {
    let name = label.split('@').next().unwrap_or(label);
    IMPURE.iter().any(|impure| name == *impure || (impure.ends_with('-') && name.starts_with(impure)))
}

/// The resolved graph.
fn graph(metadata: &Value) -> Graph {
    let labels = labels(array(&metadata["packages"]));
    let mut graph = Graph::new();
    for node in array(&metadata["resolve"]["nodes"]) {
        let used = array(&node["deps"])
            .iter()
            .filter(|edge| array(&edge["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev"))
            .filter_map(|edge| labels.get(text(&edge["pkg"])).cloned());
        let from = labels.get(text(&node["id"])).cloned().unwrap_or_default();
        graph.entry(from).or_default().extend(used);
    }
    graph
}

/// The label of each package in the graph, by its id.
fn labels(packages: &[Value]) -> BTreeMap<&str, String> {
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for package in packages {
        *versions.entry(text(&package["name"])).or_default() += 1;
    }
    let label = |package: &Value| {
        let name = text(&package["name"]);
        if versions[name] > 1 { format!("{name}@{}", text(&package["version"])) } else { name.to_owned() }
    };
    packages.iter().map(|package| (text(&package["id"]), label(package))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn broken(edges: &[(&str, &str)]) -> Vec<String> {
        let ours: Vec<String> = MAY_USE.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        broken_rules(&ours, &graph)
    }

    #[test]
    fn the_intended_shape_breaks_nothing() {
        let edges = [
            ("kms-provider", "envelope-core"),
            ("kms-provider", "durable-file"),
            ("kms-provider", "vault-client"),
            ("secrets-cache", "vault-client"),
            ("secrets-cache", "durable-file"),
            ("kms-provider", "tokio"),
            ("token-store", "envelope-core"),
            ("migrate-cli", "kms-provider"),
            ("migrate-cli", "tokenseal"),
            ("tokenseal", "token-store"),
            ("example-service", "tokenseal"),
            ("envelope-core", "aes-gcm"),
        ];
        assert_eq!(broken(&edges), Vec::<String>::new());
    }

    #[test]
    fn each_forbidden_edge_is_named_with_its_rule() {
        for (from, to) in [
            ("envelope-core", "kms-provider"),
            ("durable-file", "envelope-core"),
            ("token-store", "durable-file"),
            ("token-store", "kms-provider"),
            ("secrets-cache", "token-store"),
            ("migrate-cli", "test-support"),
            ("token-store", "tokenseal"),
            ("tokenseal", "migrate-cli"),
            ("example-service", "kms-provider"),
            ("kms-provider", "test-support"),
            ("kms-provider", "xtask"),
        ] {
            let broken = broken(&[(from, to)]);
            assert_eq!(broken.len(), 1, "{broken:?}");
            assert!(broken[0].starts_with(&format!("{from} -> {to}: ")), "{broken:?}");
        }
    }

    #[test]
    fn an_impure_crate_is_found_however_deep() {
        for impure in ["tokio", "async-std", "sqlx-core", "reqwest", "hyper-util", "aws-smithy-types", "mio"]
        {
            let broken = broken(&[("envelope-core", "harmless"), ("harmless", "more"), ("more", impure)]);
            assert_eq!(broken.len(), 1, "{impure}");
            assert!(
                broken[0].starts_with(&format!("envelope-core -> harmless -> more -> {impure}: ")),
                "{broken:?}"
            );
        }
    }

    #[test]
    fn each_version_of_a_crate_has_its_own_dependencies() {
        let normal = json!([{ "kind": null }]);
        let graph_of = |used: &str| {
            graph(&json!({
                "packages": [
                    { "id": "1", "name": "envelope-core", "version": "0.1.0" },
                    { "id": "2", "name": "getrandom", "version": "0.2.0" },
                    { "id": "3", "name": "getrandom", "version": "0.4.0" },
                    { "id": "4", "name": "tokio", "version": "1.0.0" },
                    { "id": "5", "name": "tokio", "version": "0.2.0" },
                ],
                "resolve": { "nodes": [
                    { "id": "1", "deps": [{ "pkg": used, "dep_kinds": normal }] },
                    { "id": "2", "deps": [{ "pkg": "4", "dep_kinds": normal }] },
                    { "id": "3", "deps": [] },
                ] },
            }))
        };
        assert_eq!(impure_paths(&graph_of("3")), Vec::<String>::new());
        assert_eq!(impure_paths(&graph_of("2")).len(), 1, "a version of an impure crate is impure");
    }

    #[test]
    fn a_new_crate_needs_a_rule() {
        assert_eq!(broken_rules(&["new".to_owned()], &Graph::new()).len(), 1);
    }

    #[test]
    fn dependencies_of_tests_do_not_count() {
        let edge = |kinds: &[Value]| {
            json!({
                "packages": [{ "id": "1", "name": "token-store" }, { "id": "2", "name": "test-support" }],
                "resolve": { "nodes": [{ "id": "1", "deps": [{ "pkg": "2", "dep_kinds": kinds }] }] },
            })
        };
        let dev = json!({ "kind": "dev" });
        let normal = json!({ "kind": null });
        assert!(graph(&edge(std::slice::from_ref(&dev)))["token-store"].is_empty());
        assert!(graph(&edge(&[dev, normal]))["token-store"].contains("test-support"));
        assert!(graph(&edge(&[json!({ "kind": "build" })]))["token-store"].contains("test-support"));
    }
}
