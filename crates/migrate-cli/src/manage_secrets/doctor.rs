//! `doctor`: checks the prerequisites of the other commands, and reports how to fix each problem.

use secrets_cache::source::ListRequest;
use secrets_cache::{SecretName, Stage};

use super::Options;
use super::failure::Failure;
use super::source::{IfMissing, Opened};
use crate::checks::Report;
use crate::exit::Exit;
use tokenseal::Settings;

/// A name that does not exist: learning that takes the same permission as reading it.
const NOBODY: &str = "manage-secrets-doctor";

/// Runs every check that can be run; each needs the one before.
pub(super) async fn run(options: &Options) -> Result<Exit, Failure> {
    let mut report = Report::default();
    if let Err((name, failure)) = checks(options, &mut report).await {
        report.fail(name, &failure);
    }
    Ok(report.print(options.common.format)?)
}

async fn checks(options: &Options, report: &mut Report) -> Result<(), (&'static str, Failure)> {
    let settings = Settings::from_environment().map_err(|error| ("configuration", error.into()))?;
    report.pass("configuration", format!("{:?}, source {}", settings.environment, options.source));
    let opened =
        Opened::open(&settings, options, IfMissing::Fail).await.map_err(|failure| ("source", failure))?;
    report.pass("source", "opens");
    let nobody = SecretName::new(NOBODY).map_err(|error| ("permission to read", error.into()))?;
    let nobody = match opened.source.get(&nobody, &Stage::Current).await {
        Err(error) if error.is_not_found() => "answers that there is no such secret",
        Err(error) => return Err(("permission to read", error.into())),
        Ok(_) => "reads a secret",
    };
    report.pass("permission to read", nobody);
    let page = opened.source.list(&ListRequest::default().with_limit(1)).await;
    let page = page.map_err(|error| ("permission to list", error.into()))?;
    report.pass("permission to list", "lists secrets");
    if let Some(first) = page.secrets.first() {
        match opened.source.get(&first.name, &Stage::Current).await {
            Ok(_) => report.pass("a secret", format!("{} opens", first.name)),
            // Both are as they should be.
            Err(error) if error.is_not_found() || error.class() == "expired" => {
                report.pass("a secret", error.to_string());
            }
            Err(error) => return Err(("a secret", error.into())),
        }
    }
    Ok(())
}
