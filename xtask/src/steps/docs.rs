//! `cargo xtask docs`.

use anyhow::bail;

use super::links::broken_links;
use crate::cargo::{cargo, root, run as run_command};
use crate::options::Options;
use crate::report::Report;

pub(crate) fn run(_options: &Options) -> anyhow::Result<Report> {
    let mut doc = cargo();
    doc.args(["doc", "--quiet", "--workspace", "--no-deps", "--all-features"]);
    run_command(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    let broken = broken_links(&root())?;
    for link in &broken {
        eprintln!("{link}");
    }
    if !broken.is_empty() {
        bail!("{} broken links in Markdown files", broken.len());
    }
    Ok(Report::default())
}
