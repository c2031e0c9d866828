//! `cargo xtask docs`.

use anyhow::bail;

use super::links::broken_links;
use super::promises::broken_promises;
use crate::api;
use crate::cargo::{cargo, root, run as run_command};
use crate::options::Options;
use crate::report::Report;

pub(crate) fn run(_options: &Options) -> anyhow::Result<Report> {
    let mut doc = cargo();
    doc.args(["doc", "--quiet", "--workspace", "--no-deps", "--all-features"]);
    run_command(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    api::check()?;
    let links = broken_links(&root())?;
    let promises = broken_promises(&root())?;
    for problem in links.iter().chain(&promises) {
        eprintln!("{problem}");
    }
    if !links.is_empty() || !promises.is_empty() {
        bail!(
            "{} broken links in Markdown files, {} promises without their test",
            links.len(),
            promises.len()
        );
    }
    Ok(Report::default())
}
