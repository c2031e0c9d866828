//! The command line of `manage-secrets`.

mod backup;
mod doctor;
mod exec;
mod failure;
mod file_key;
mod import;
mod list;
mod metadata;
mod node;
mod one;
mod reseal_json;
mod rotate;
#[cfg_attr(
    not(any(feature = "mysql", feature = "postgres")),
    allow(
        dead_code,
        unused_variables,
        reason = "a build without these databases rotates nothing, and says so"
    )
)]
mod rotation;
mod scan;
mod seal;
mod source;

use std::ffi::OsString;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};

use self::failure::Failure;
use self::source::{IfMissing, Opened, SourceUri};
use crate::exit::Exit;
use crate::{cli, startup};
use secrets_cache::sealed_stream::StreamError;
use token_store::migration::StopFlag;
use tokenseal::Settings;
use tokenseal::audit::events;
use tokenseal::telemetry::Readiness;

const EXAMPLES: &str = "\
Examples:
  manage-secrets import .env --dry-run                       what would be moved into Secrets Manager
  manage-secrets import .env --strip                         move the values, and leave the rest of the file as it is
  manage-secrets --source local:secrets.db import .env       the same, into an encrypted file
  manage-secrets list                                        names, versions, expiry, tags; no values
  manage-secrets get database#password --reveal              one field of a JSON secret
  echo -n \"$VALUE\" | manage-secrets set api/key --tag team=red
  manage-secrets rotate jwt/secret --length 48               a new random value; the old one stays for a while
  manage-secrets exec -- ./service                           run a program with the secrets in its environment
  manage-secrets scan .                                      what was left in files; exit code 4 if anything
  manage-secrets backup secrets.backup                       one encrypted file, under a key of KMS_KEY_ID or KMS_MASTER_KEY

--source is secretsmanager (the default), local:<file.db>, dotenv:<file> or vault:<mount/path>. A local store needs KMS_MASTER_KEY; its
data keys are in the keyring that KMS_KEY_ID=keyring:<file> names, or in <file.db>.keyring beside it.

Exit codes: 0 done, 1 unexpected, 2 usage or configuration, 3 some secrets failed, 4 a scan found secrets,
5 secret source or key service unavailable or refusing, 130 interrupted.";

/// Moves secrets out of `.env` files into AWS Secrets Manager or an encrypted local store, and looks after them there.
#[derive(Parser)]
#[command(name = "manage-secrets", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

/// Options that are accepted before and after the command.
#[derive(clap::Args, Clone)]
struct Options {
    /// Where the secrets are: secretsmanager, local:<file.db>, dotenv:<file>, vault:<mount/path> or
    /// vault-lease:<mount>/creds
    #[arg(long, global = true, help_heading = cli::COMMON, default_value = "secretsmanager", value_name = "SOURCE")]
    source: SourceUri,
    /// Use only names with this prefix, such as gaara-store/prod/; it is stripped
    #[arg(long, global = true, help_heading = cli::COMMON, value_name = "P")]
    prefix: Option<String>,
    #[command(flatten)]
    common: cli::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Show a secret; its value only with --reveal
    Get(one::GetArgs),
    /// Store a value, read from standard input
    Set(one::SetArgs),
    /// Delete a secret; in Secrets Manager it can be restored for 30 days
    Delete(one::DeleteArgs),
    /// Give a secret a new value, read from standard input or generated; the old one stays readable for a while
    Rotate(rotate::Args),
    /// Take one step of a rotation of database credentials; the event of Secrets Manager is on standard input
    RotationStep(rotation::Args),
    /// Answer the events of Secrets Manager as the entry point of a Lambda function
    RotationFunction(rotation::Args),
    /// List secrets, without their values
    List(list::ListArgs),
    /// Count secrets: how many there are, have expired, are due for rotation
    Status,
    /// Move a .env file into the source; running it again changes nothing
    Import(import::Args),
    /// Take over secrets of the Node key service into a local store
    ImportNode(node::ImportArgs),
    /// Look for secrets that were left in files; exit code 4 if there are any
    Scan(scan::Args),
    /// Run a program with the secrets in its environment
    Exec(exec::Args),
    /// Write all secrets into one encrypted file
    Backup(backup::BackupArgs),
    /// Bring the secrets of a backup back, into any source
    Restore(backup::RestoreArgs),
    /// Encrypt a file, or with --watch rotated log files as they close
    SealFile(seal::SealArgs),
    /// Decrypt a file that seal-file or backup wrote
    OpenFile(seal::OpenArgs),
    /// Re-seal everything in a local store, after `migrate-tokens keyring rotate`
    Reseal,
    /// Seal values in exported JSON documents again, each bound to its own document
    ResealJson(reseal_json::Args),
    /// Accept a local store whose file was put back to an older copy on purpose
    AcceptRestore,
    /// Remove from a local store what expired a while ago
    CleanUp(list::CleanUpArgs),
    /// Check configuration, connection and permissions, each with a hint
    Doctor,
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
    cli::run(arguments, |cli: &Cli| &cli.options.common, interruptible).await
}

/// Every change is one transaction or one request, so stopping between two of them leaves nothing half-written.
async fn interruptible(cli: Cli) -> Result<Exit, Failure> {
    // A program that is run gets the signals itself.
    if matches!(cli.command, Command::Exec(_)) {
        return dispatch(cli.command, cli.options, &StopFlag::default()).await;
    }
    let stop = startup::stop_on_signals();
    // These finish the current item, and report.
    if cli.command.ends_between_items() {
        return dispatch(cli.command, cli.options, &stop).await;
    }
    tokio::select! {
        outcome = dispatch(cli.command, cli.options, &stop) => outcome,
        () = stopped(&stop) => Ok(Exit::Interrupted),
    }
}

/// Returns after a signal to stop.
async fn stopped(stop: &StopFlag) {
    while !stop.is_set() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Prepares work that ends between two items: a signal in the meantime ends the command, since nothing is changed yet.
async fn unless_stopped<T, E>(
    stop: &StopFlag,
    preparation: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    tokio::select! {
        prepared = preparation => Ok(prepared?),
        () = stopped(stop) => Err(StreamError::Stopped.into()),
    }
}

async fn dispatch(command: Command, options: Options, stop: &StopFlag) -> Result<Exit, Failure> {
    // None of these needs a source.
    let command = match command {
        Command::Completions { shell } => return Ok(cli::completions::<Cli>(shell)?),
        Command::Scan(args) => return scan::run(args, &options),
        Command::Doctor => return doctor::run(&options).await,
        other => other,
    };
    let settings = Settings::from_environment()?;
    events::configuration_loaded(&options.common.actor(&settings), &settings.profile.name);
    let command = match command {
        Command::SealFile(args) => return seal::seal_file(args, &settings, &options, stop).await,
        Command::OpenFile(args) => return seal::open_file(args, &settings, &options, stop).await,
        Command::ResealJson(args) => return reseal_json::run(args, &settings, &options).await,
        Command::RotationStep(args) => return rotation::step(args, &settings, &options).await,
        Command::RotationFunction(args) => return rotation::function(args, &settings, &options).await,
        other => other,
    };
    let opened = Opened::open(&settings, &options, command.if_missing());
    let opened = match command.ends_between_items() {
        true => unless_stopped(stop, opened).await?,
        false => opened.await?,
    };
    options.common.telemetry.set_ready(Readiness::default());
    let outcome = with_source(command, &settings, &opened, &options, stop).await;
    opened.close().await;
    outcome
}

async fn with_source(
    command: Command,
    settings: &Settings,
    opened: &Opened,
    options: &Options,
    stop: &StopFlag,
) -> Result<Exit, Failure> {
    match command {
        Command::Get(args) => one::get(args, opened, options).await,
        Command::Set(args) => one::set(args, opened, options).await,
        Command::Delete(args) => one::delete(args, opened, options).await,
        Command::Rotate(args) => rotate::run(args, opened, options).await,
        Command::List(args) => list::list(args, opened, options).await,
        Command::Status => list::status(settings, opened, options).await,
        Command::CleanUp(args) => list::clean_up(args, opened, options).await,
        Command::Reseal => list::reseal(opened, options).await,
        Command::AcceptRestore => list::accept_restore(opened, options).await,
        Command::Import(args) => import::run(args, settings, opened, options, stop).await,
        Command::ImportNode(args) => node::run(args, opened, options).await,
        Command::Exec(args) => exec::run(args, opened, options).await,
        Command::Backup(args) => backup::write(args, settings, opened, options, stop).await,
        Command::Restore(args) => backup::restore(args, settings, opened, options, stop).await,
        // Answered without a source.
        Command::Completions { .. }
        | Command::Scan(_)
        | Command::Doctor
        | Command::ResealJson(_)
        | Command::RotationStep(_)
        | Command::RotationFunction(_)
        | Command::SealFile(_)
        | Command::OpenFile(_) => Ok(Exit::Done),
    }
}

impl Command {
    /// Whether the command deals with a signal itself: it finishes the current item.
    fn ends_between_items(&self) -> bool {
        matches!(
            self,
            Self::Import(_) | Self::Backup(_) | Self::Restore(_) | Self::SealFile(_) | Self::OpenFile(_)
        )
    }

    /// The treatment of a local store that does not exist.
    fn if_missing(&self) -> IfMissing {
        match self {
            Self::Set(_) | Self::ImportNode(_) => IfMissing::Create,
            // A store that was not made yet is counted as empty.
            Self::Status => IfMissing::Pretend,
            Self::Import(import::Args { dry_run, .. })
            | Self::Restore(backup::RestoreArgs { dry_run, .. }) => {
                if *dry_run {
                    IfMissing::Rehearse
                } else {
                    IfMissing::Create
                }
            }
            _ => IfMissing::Fail,
        }
    }
}
