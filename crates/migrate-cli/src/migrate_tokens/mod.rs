//! The command line of `migrate-tokens`.

mod audit;
#[cfg(feature = "sqlite")]
mod demo;
mod doctor;
mod estimate;
mod find;
mod findings;
mod former_key;
#[cfg(feature = "metrics")]
mod gate;
mod keyring;
mod limits;
#[cfg(feature = "metrics")]
mod load;
mod migrate;
mod profile;
mod relocate;
mod rewrap;
mod rotate_index;
mod schema;
mod status;
mod token;
mod verify;

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::cli::{self, Options};
use crate::exit::{CliError, Exit};
use tokenseal::audit::events;
use tokenseal::database::Access;
use tokenseal::key_service::Load;
use tokenseal::{ConnectError, Settings, Tokenseal};

const EXAMPLES: &str = "\
Examples:
  migrate-tokens demo                        an end-to-end demo on a SQLite file and a local keyring
  migrate-tokens schema                      add the columns that the tables lack
  migrate-tokens status --format json        how the tokens are stored today
  migrate-tokens migrate --dry-run           what a migration would do
  migrate-tokens migrate                     move every token under the key service
  migrate-tokens verify                      open every token
  migrate-tokens rollback                    back to direct AES
  echo -n \"$TOKEN\" | migrate-tokens put --row provider=twitch,channel=my-channel

Configuration comes from the environment: DATABASE_URL, KMS_KEY_ID, ENCRYPTION_KEY, …; `migrate-tokens doctor` lists
and checks it, docs/configuration.md explains it.

Exit codes: 0 done, 1 unexpected, 2 usage or configuration, 3 some rows failed, 4 verification found problems,
5 key service unavailable or refusing, 6 database unavailable or unsuitable, 130 interrupted.";

/// Moves tokens in a database under envelope encryption with AWS KMS or a local keyring, and looks after them there.
#[derive(Parser)]
#[command(name = "migrate-tokens", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add what the profile's tables lack; safe to repeat
    Schema(schema::Args),
    /// Show how the tokens are stored: rows by version, method and key
    Status(status::Args),
    /// Move every row that is not there yet
    Migrate(migrate::Args),
    /// Move every row back to the format of the time before the key service
    Rollback(migrate::RollbackArgs),
    /// Wrap data keys under another key of the key service; tokens stay sealed
    Rewrap(rewrap::Args),
    /// Re-seal values whose row, owner, table or column was renamed or got another key
    Relocate(relocate::Args),
    /// Find rows by a sealed value, read from standard input
    Find(find::Args),
    /// Rotate the keys of blind indexes while they are in use
    RotateIndex(rotate_index::Args),
    /// Open every token; look for readable and unbound ones
    Verify(verify::Args),
    /// Check configuration, database, schema, permissions and key service, each with a hint
    Doctor,
    /// Estimate rows, calls, time and cost of a migration, and the monthly cost after it
    Estimate(estimate::Args),
    #[cfg(feature = "metrics")]
    /// Decide from metrics whether a rollout goes on; exit 4 if it does not, or if there is no data
    Gate(gate::Args),
    #[cfg(feature = "metrics")]
    /// Read rows with many readers at once, and report times, errors and the cache's hit rate; for staging
    Load(load::Args),
    /// Show one token's row; its value only with --reveal
    Get(token::GetArgs),
    /// Write one token, read from standard input
    Put(token::PutArgs),
    /// Create, list, rotate, import into or rekey the local keyring
    Keyring(keyring::Args),
    /// Check an audit trail
    Audit(audit::Args),
    /// Print a profile, or check it against the database
    Profile(profile::Args),
    /// Run an end-to-end demo on SQLite and a local keyring
    #[cfg(feature = "sqlite")]
    Demo(demo::Args),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The command line, for man pages.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with its arguments, the first being its own name.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    cli::run(arguments, |cli: &Cli| &cli.options, async |cli| dispatch(cli.command, cli.options).await).await
}

/// Connects to everything that a command over the tokens needs.
async fn connect(
    settings: Settings,
    access: Access,
    load: Load,
    options: &Options,
) -> Result<Tokenseal, CliError> {
    let actor = options.actor(&settings);
    let audits = settings.audit_log.is_some();
    let builder = Tokenseal::builder(settings).actor(actor.clone()).access(access).load(load);
    let builder = builder.telemetry(&options.telemetry).audit(&options.audit);
    let connected = builder.without_secrets().connect().await;
    if let Err(ConnectError::Key(_) | ConnectError::Keyring(_)) = connected
        && audits
    {
        // Without the key service, no chain can begin.
        let _ = options.audit.record(events::KMS_ERROR, &[("actor", &actor), ("operation", "open")]);
    }
    Ok(connected?)
}

async fn dispatch(command: Command, options: Options) -> Result<Exit, CliError> {
    // These three do not need the environment to be in order.
    let command = match command {
        Command::Completions { shell } => return cli::completions::<Cli>(shell),
        #[cfg(feature = "sqlite")]
        Command::Demo(args) => return demo::run(args, options).await,
        Command::Doctor => return doctor::run(Settings::from_environment(), options).await,
        other => other,
    };
    let settings = Settings::from_environment()?;
    match command {
        Command::Schema(args) => schema::run(args, settings, options).await,
        Command::Status(args) => status::run(args, settings, options).await,
        Command::Estimate(args) => estimate::run(args, settings, options).await,
        Command::Migrate(args) => migrate::run(args, settings, options).await,
        Command::Rollback(args) => migrate::run_rollback(args, settings, options).await,
        Command::Rewrap(args) => rewrap::run(args, settings, options).await,
        Command::Relocate(args) => relocate::run(args, settings, options).await,
        Command::Find(args) => find::run(args, settings, options).await,
        Command::RotateIndex(args) => rotate_index::run(args, settings, options).await,
        Command::Verify(args) => verify::run(args, settings, options).await,
        #[cfg(feature = "metrics")]
        Command::Gate(args) => gate::run(args, settings, options).await,
        #[cfg(feature = "metrics")]
        Command::Load(args) => load::run(args, settings, options).await,
        Command::Get(args) => token::run_get(args, settings, options).await,
        Command::Put(args) => token::run_put(args, settings, options).await,
        Command::Keyring(args) => keyring::run(args, settings, options).await,
        Command::Audit(args) => audit::run(args, settings, options).await,
        Command::Profile(args) => profile::run(args, settings, options).await,
        // Answered above.
        Command::Completions { .. } | Command::Doctor => Ok(Exit::Done),
        #[cfg(feature = "sqlite")]
        Command::Demo(_) => Ok(Exit::Done),
    }
}
