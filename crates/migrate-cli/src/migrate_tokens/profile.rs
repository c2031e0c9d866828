//! `profile`: prints a profile, or checks it against the database.

use serde::Serialize;
use token_store::findings::Finding;
use token_store::{Profile, TokenCipher, TokenStore, WriteFormat};

use super::{Options, findings};
use crate::exit::{CliError, Exit};
use crate::output::emit;
use tokenseal::Settings;
use tokenseal::database::{self, Access};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print a profile as TOML
    Show {
        /// A built-in name or a TOML file; TOKEN_PROFILE if left out
        profile: Option<String>,
    },
    /// Check a profile against the database
    Check {
        /// A built-in name or a TOML file; TOKEN_PROFILE if left out
        profile: Option<String>,
    },
}

#[derive(Serialize)]
struct Checked {
    profile: String,
    tables: Vec<String>,
    absent: Vec<String>,
    findings: Vec<Finding>,
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    match args.command {
        Command::Show { profile } => {
            let profile = pick(profile, &settings)?;
            emit(options.format, &profile, |profile| {
                toml::to_string(profile).unwrap_or_else(|error| format!("# cannot be shown as TOML: {error}"))
            })?;
        }
        Command::Check { profile } => {
            let profile = pick(profile, &settings)?;
            let database = database::open(&settings, Access::ReadOnly).await?;
            let store = TokenStore::open(database, profile, TokenCipher::new()).await?;
            let absent = store.absent_tables().to_vec();
            let tables = store.profile().tables.iter().map(|table| table.name.clone());
            let tables = tables.filter(|name| !absent.contains(name)).collect();
            let findings = token_store::findings::findings(&store, WriteFormat::KmsEnvelope).await?;
            let refusal = findings::refusal(&findings);
            let checked = Checked { profile: store.profile().name.clone(), tables, absent, findings };
            emit(options.format, &checked, |checked| {
                let mut lines = findings::lines(&checked.findings);
                let fits = if refusal.is_none() { "fits" } else { "does not fit" };
                let tables = checked.tables.join(", ");
                lines.push(format!("profile {:?} {fits} the database: {tables}", checked.profile));
                lines.join("\n")
            })?;
            if refusal.is_some() {
                return Ok(Exit::Database);
            }
        }
    }
    Ok(Exit::Done)
}

fn pick(name: Option<String>, settings: &Settings) -> Result<Profile, CliError> {
    match name {
        Some(name) => Ok(Profile::load(&name)?),
        None => Ok(settings.profile.clone()),
    }
}
