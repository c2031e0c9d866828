//! `cargo xtask package`: every crate to be published can be packaged, with everything that a package needs.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cargo::{array, cargo, metadata, run as run_command, text, workspace_packages};
use crate::options::Options;
use crate::report::Report;

/// Fields of a package without which a registry refuses it or which a reader needs.
const FIELDS: [&str; 4] = ["description", "license", "readme", "rust_version"];
/// The licences' texts, which both licences want distributed.
const LICENSES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

pub(crate) fn run(_options: &Options) -> anyhow::Result<Report> {
    let metadata = metadata()?;
    let (published, kept): (Vec<_>, Vec<_>) =
        workspace_packages(&metadata).into_iter().partition(|package| is_published(package));
    let mut problems = Vec::new();
    for package in &published {
        problems.extend(problems_of(package, &kept)?);
    }
    if !problems.is_empty() {
        bail!("{} problems:\n  {}", problems.len(), problems.join("\n  "));
    }
    // All of them at once, because they depend on one another and no registry has them yet. They are built by `test`.
    let mut command = cargo();
    command.args(["package", "--workspace", "--no-verify", "--allow-dirty", "--locked", "--no-metadata"]);
    for package in &kept {
        command.args(["--exclude", text(&package["name"])]);
    }
    run_command(&mut command)?;
    println!("{} crates can be packaged", published.len());
    Ok(Report::default())
}

/// `publish = false` is an empty list of registries; no entry means all of them.
fn is_published(package: &Value) -> bool {
    package["publish"].as_array().is_none_or(|registries| !registries.is_empty())
}

fn problems_of(package: &Value, kept: &[&Value]) -> anyhow::Result<Vec<String>> {
    let name = text(&package["name"]);
    let directory = Path::new(text(&package["manifest_path"])).parent();
    let directory = directory.with_context(|| format!("{name} has no directory"))?;
    let mut problems = lacking(package);
    let files = LICENSES.iter().chain(std::iter::once(&"README.md"));
    problems.extend(
        files.filter(|file| !directory.join(file).is_file()).map(|file| format!("{name} has no file {file}")),
    );
    problems.extend(unpublished_dependencies(package, kept));
    Ok(problems)
}

fn lacking(package: &Value) -> Vec<String> {
    let name = text(&package["name"]);
    let is_empty = |field: &&&str| text(&package[**field]).is_empty();
    FIELDS.iter().filter(is_empty).map(|field| format!("{name} has no {field}")).collect()
}

/// A published crate can use one that is not published in its tests only.
fn unpublished_dependencies(package: &Value, kept: &[&Value]) -> Vec<String> {
    let is_kept = |name: &str| kept.iter().any(|package| text(&package["name"]) == name);
    array(&package["dependencies"])
        .iter()
        .filter(|dependency| text(&dependency["kind"]) != "dev" && is_kept(text(&dependency["name"])))
        .map(|dependency| {
            format!(
                "{} depends on {}, which is not published",
                text(&package["name"]),
                text(&dependency["name"])
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_package_is_published_unless_it_names_no_registry() {
        assert!(is_published(&json!({ "publish": null })));
        assert!(is_published(&json!({ "publish": ["one"] })));
        assert!(!is_published(&json!({ "publish": [] })));
    }

    #[test]
    fn each_field_that_is_missing_is_named() {
        let whole = json!({ "name": "a", "description": "b", "license": "MIT", "readme": "README.md", "rust_version": "1" });
        assert_eq!(lacking(&whole), Vec::<String>::new());
        assert_eq!(lacking(&json!({ "name": "a", "description": "" })).len(), FIELDS.len());
    }

    #[test]
    fn a_dependency_that_is_not_published_is_named_unless_it_is_for_tests() {
        let kept = json!({ "name": "test-support" });
        let package =
            |kind: Value| json!({ "name": "a", "dependencies": [{ "name": "test-support", "kind": kind }] });
        assert_eq!(unpublished_dependencies(&package(json!("dev")), &[&kept]).len(), 0);
        assert_eq!(unpublished_dependencies(&package(Value::Null), &[&kept]).len(), 1);
        assert_eq!(unpublished_dependencies(&package(json!("build")), &[&kept]).len(), 1);
    }
}
