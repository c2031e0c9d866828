//! `audit verify`: checks an audit trail that `AUDIT_LOG` named.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use tokenseal::Settings;
use tokenseal::audit::{self, AuditError, AuditReport};
use tokenseal::key_service::{KeyService, Load};

use super::Options;
use crate::exit::{CliError, Exit};
use crate::output::emit;

const VERIFY_HELP: &str = "\
Every start of a program begins a chain under a data key of its own. The key service that KMS_KEY_ID names must be the
one that the lines were written with. A trail whose end was cut off is only seen with --head, which the ordinary log
repeats. Lines from after a host was taken over prove nothing.";

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Check that no line of a trail was changed, added, moved or removed
    #[command(after_help = VERIFY_HELP)]
    Verify {
        /// The file that AUDIT_LOG named
        file: PathBuf,
        /// A line that must be in it, as the ordinary log or an earlier check printed it
        #[arg(long, value_name = "H")]
        head: Option<String>,
    },
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    let Command::Verify { file, head } = args.command;
    let opened = File::open(&file).map_err(|error| unreadable(&file, &error))?;
    let keys = KeyService::open(&settings, Load::Few, &options.telemetry).await?;
    let provider = keys.as_ref().map(|keys| &keys.provider);
    let base = settings.profile.base_context();
    let report = audit::verify(BufReader::new(opened), head.as_deref(), provider, &base).await;
    let report = report.map_err(|error| match error {
        AuditError::Io(error) => unreadable(&file, &error),
        AuditError::Key(error) => CliError::Key(error),
        other => CliError::usage_with_hint(
            other.to_string(),
            "set KMS_KEY_ID to the key that the trail was written with",
        ),
    })?;
    emit(options.format, &report, lines)?;
    Ok(if report.ok { Exit::Done } else { Exit::Problems })
}

fn unreadable(file: &std::path::Path, error: &std::io::Error) -> CliError {
    CliError::usage_with_hint(
        format!("{} cannot be read ({})", file.display(), error.kind()),
        "name the file that AUDIT_LOG named",
    )
}

fn lines(report: &AuditReport) -> String {
    let AuditReport { lines, chains, unkeyed, .. } = report;
    let mut text = match (report.broken_at, report.problem) {
        (Some(line), Some(problem)) => format!("line {line}: {problem}"),
        _ => format!("{lines} lines in {chains} chains are as they were written"),
    };
    if *unkeyed > 0 {
        text.push_str(&format!("\n{unkeyed} chains have no key, so any program could have written them"));
    }
    if let Some(head) = &report.head {
        text.push_str(&format!("\nhead: {head}"));
    }
    text
}
