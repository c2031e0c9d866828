//! `cargo xtask api`: what each published crate makes public, as a list in `docs/api.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cargo::{cargo, root, run as run_command, target_dir};

/// The crates whose interfaces users depend on.
const CRATES: [&str; 6] =
    ["durable_file", "envelope_core", "kms_provider", "secrets_cache", "token_store", "tokenseal"];

const HEAD: &str = "# Public interface\n\nEvery public item of the published crates, with all features, and of each type its \
methods, variants and fields, so that a change of the interface shows in a diff. `cargo xtask api` writes this page; \
`cargo xtask docs` compares it with the code.\n";

/// Prefixes of the identifiers of a page's anchors.
const MEMBERS: [&str; 6] =
    ["method.", "tymethod.", "variant.", "structfield.", "associatedconstant.", "associatedtype."];

/// Builds the documentation and writes the list.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let mut doc = cargo();
    doc.args(["doc", "--quiet", "--workspace", "--no-deps", "--all-features"]);
    run_command(&mut doc)?;
    std::fs::write(page(), list(&target_dir()?.join("doc"))?).context("docs/api.md cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

/// Compares the page with the documentation that was built just now.
pub(crate) fn check() -> anyhow::Result<()> {
    let written = std::fs::read_to_string(page()).unwrap_or_default();
    let current = list(&target_dir()?.join("doc"))?;
    let (written, current): (BTreeSet<&str>, BTreeSet<&str>) =
        (written.lines().collect(), current.lines().collect());
    for line in written.symmetric_difference(&current) {
        eprintln!("{} {line}", if current.contains(line) { "+" } else { "-" });
    }
    if written != current {
        bail!("docs/api.md differs from the code: run `cargo xtask api`");
    }
    Ok(())
}

fn page() -> PathBuf {
    root().join("docs/api.md")
}

fn list(doc: &Path) -> anyhow::Result<String> {
    let mut text = HEAD.to_owned();
    for name in CRATES {
        let folder = doc.join(name);
        let all = read(&folder.join("all.html"))?;
        // Writing into a string does not fail.
        let _ = write!(text, "\n## {}\n\n", name.replace('_', "-"));
        for link in items(&all) {
            let members = members(&read(&folder.join(&link))?);
            let members: Vec<String> = members.iter().map(|name| format!("`{name}`")).collect();
            let item = item(&link);
            let _ = match members.is_empty() {
                true => writeln!(text, "- `{item}`"),
                false => writeln!(text, "- `{item}`: {}", members.join(", ")),
            };
        }
    }
    Ok(text)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// The pages of a crate's items, from the page that lists them all.
fn items(all: &str) -> BTreeSet<String> {
    let links = all.split("<a href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let is_item = |link: &&str| {
        let file = link.rsplit('/').next().unwrap_or_default();
        !link.contains("..")
            && !link.contains(':')
            && file.matches('.').count() == 2
            && file.ends_with(".html")
    };
    links.filter(is_item).map(ToOwned::to_owned).collect()
}

/// `struct kind::ErrorKind` of `kind/struct.ErrorKind.html`.
fn item(link: &str) -> String {
    let (modules, file) = link.rsplit_once('/').unwrap_or(("", link));
    let (kind, name) = file.trim_end_matches(".html").split_once('.').unwrap_or(("", file));
    let modules = modules.split('/').filter(|module| !module.is_empty());
    format!("{kind} {}", modules.chain([name]).collect::<Vec<_>>().join("::"))
}

/// The type's own members; those from traits that it implements are not listed.
fn members(page: &str) -> BTreeSet<String> {
    let own = page.split("id=\"trait-implementations\"").next().unwrap_or_default();
    let own = own.split("id=\"implementors\"").next().unwrap_or_default();
    let own = own.split("id=\"foreign-impls\"").next().unwrap_or_default();
    let anchors = own.split("id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let names = anchors.filter_map(|anchor| {
        let name = MEMBERS.iter().find_map(|kind| anchor.strip_prefix(kind))?;
        if name.ends_with(".fields") {
            return None;
        }
        // A field of a variant is under its variant: `variant.Open.field.table`.
        Some(name.replace(".field.", "::"))
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::{item, items, members};

    #[test]
    fn items_and_their_own_members_are_found() {
        let all = r#"<a href="../help.html">x</a><li><a href="kind/enum.ErrorKind.html">kind::ErrorKind</a></li>
                     <a href="fn.detect.html">detect</a><a href="https://doc.rust-lang.org/a.b.html">"#;
        let found = items(all);
        assert_eq!(
            found.iter().map(|link| item(link)).collect::<Vec<_>>(),
            ["fn detect", "enum kind::ErrorKind"]
        );
        let page = r#"<section id="variant.Open"><div id="variant.Open.fields"><span id="variant.Open.field.table"><section id="method.kind">
                      <h2 id="trait-implementations"><section id="method.fmt">"#;
        let found: Vec<String> = members(page).into_iter().collect();
        assert_eq!(found, ["Open", "Open::table", "kind"]);
    }
}
