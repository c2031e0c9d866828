//! `profile`: prints a profile, or checks it against the database.

mod types;

use std::path::PathBuf;

use serde::Serialize;
use token_store::findings::{Finding, Kind};
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
        /// Write the types of the key and owner columns into the file, for clients that make keys canonical by themselves
        #[arg(long)]
        write: bool,
    },
}

#[derive(Serialize)]
struct Checked {
    profile: String,
    tables: Vec<String>,
    absent: Vec<String>,
    findings: Vec<Finding>,
    /// The file that types were written into.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<String>,
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    match args.command {
        Command::Show { profile } => {
            let profile = pick(profile, &settings)?;
            emit(options.format, &profile, |profile| {
                toml::to_string(profile).unwrap_or_else(|error| format!("# cannot be shown as TOML: {error}"))
            })?;
        }
        Command::Check { profile, write } => {
            let file = if write { Some(file(profile.as_deref())?) } else { None };
            let profile = pick(profile, &settings)?;
            let database = database::open(&settings, Access::ReadOnly).await?;
            let store = TokenStore::open(database, profile, TokenCipher::new()).await?;
            let absent = store.absent_tables().to_vec();
            let tables = store.profile().tables.iter().map(|table| table.name.clone());
            let tables = tables.filter(|name| !absent.contains(name)).collect();
            let mut findings = token_store::findings::findings(&store, WriteFormat::KmsEnvelope).await?;
            if let Some(file) = &file {
                types::write(file, &token_store::findings::key_types(&store))?;
                findings.retain(|finding| finding.kind != Kind::KeyType);
            }
            let refusal = findings::refusal(&findings);
            let written = file.map(|file| file.display().to_string());
            let checked =
                Checked { profile: store.profile().name.clone(), tables, absent, findings, written };
            emit(options.format, &checked, |checked| {
                let mut lines = findings::lines(&checked.findings);
                let fits = if refusal.is_none() { "fits" } else { "does not fit" };
                let tables = checked.tables.join(", ");
                lines.extend(checked.written.iter().map(|file| format!("types written to {file}")));
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

/// The file of a profile; a built-in one has none.
fn file(name: Option<&str>) -> Result<PathBuf, CliError> {
    let set = std::env::var("TOKEN_PROFILE").ok();
    let name = name.or(set.as_deref()).unwrap_or("vod-tender").trim();
    if Profile::BUILT_IN.iter().any(|(built_in, _)| *built_in == name) {
        return Err(CliError::usage_with_hint(
            format!("profile {name:?} is built in: there is no file to write into"),
            format!("`migrate-tokens profile show {name} > {name}.toml` makes one"),
        ));
    }
    Ok(name.into())
}

fn pick(name: Option<String>, settings: &Settings) -> Result<Profile, CliError> {
    match name {
        Some(name) => Ok(Profile::load(&name)?),
        None => Ok(settings.profile.clone()),
    }
}
