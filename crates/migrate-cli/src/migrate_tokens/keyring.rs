//! `keyring`: the local key service's file.

use std::path::{Path, PathBuf};

use envelope_core::DataKey;
use envelope_core::key::KeyTextError;
use kms_provider::KeyUri;
use kms_provider::keyring::{KeyEntry, Keyring};
use serde::Serialize;

use super::Options;
use crate::exit::{CliError, Exit};
use crate::output::{emit, note, table};
use crate::stdin::read_secret;
use tokenseal::key_service::{master_key, open_keyring};
use tokenseal::settings::{KEY_HINT, Settings};

const REKEY_EXAMPLE: &str = "\
Example, with the old key in KMS_MASTER_KEY:
  printenv NEW_MASTER_KEY | migrate-tokens keyring rekey

What runs with the old KMS_MASTER_KEY reads on, and writes nothing before it is restarted with the new one; rekey a copy
of the file if it must not stop: docs/operations/key-rotation.md.";

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make the keyring that KMS_KEY_ID=keyring:<file> names
    Init,
    /// Show the keys, without their bytes
    List,
    /// Make a new active key; values under the old ones keep opening
    Rotate,
    /// Add the keys of an export of the Node key service; its active key becomes active
    Import {
        /// The exported JSON: {"keys":[{"id","key","isActive"},…]}
        file: PathBuf,
    },
    /// Wrap the keys under a new KMS_MASTER_KEY, read from standard input; values stay as they are
    #[command(after_help = REKEY_EXAMPLE)]
    Rekey,
}

#[derive(Serialize)]
struct Report {
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    id: String,
    active: bool,
    created_at: String,
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    let Some(KeyUri::Keyring(path)) = &settings.key else {
        return Err(CliError::usage_with_hint(
            "KMS_KEY_ID names no local keyring",
            "set it to keyring:<file>, for example KMS_KEY_ID=keyring:./keyring.json",
        ));
    };
    let keyring = match args.command {
        Command::Init => Keyring::init(path, master_key(&settings)?)?,
        Command::List => open_keyring(&settings, path)?,
        Command::Rotate => {
            let keyring = open_keyring(&settings, path)?;
            keyring.rotate()?;
            keyring
        }
        Command::Import { file } => import(&settings, path, file)?,
        Command::Rekey => rekey(&settings, path).await?,
    };
    let keys = keyring.list()?.into_iter().map(|KeyEntry { id, active, created_at, .. }| Key {
        id,
        active,
        created_at,
    });
    emit(options.format, &Report { keys: keys.collect() }, lines)?;
    Ok(Exit::Done)
}

fn import(settings: &Settings, path: &Path, file: PathBuf) -> Result<Keyring, CliError> {
    let export = std::fs::read(&file).map_err(CliError::io(format!("{} cannot be read", file.display())))?;
    let export = zeroize::Zeroizing::new(export);
    let keyring = open_keyring(settings, path)?;
    keyring.import(&export)?;
    Ok(keyring)
}

async fn rekey(settings: &Settings, path: &Path) -> Result<Keyring, CliError> {
    let master = master_key(settings)?;
    let new_master = read_master_key().await?;
    let keyring = Keyring::rekey(path, master, &new_master)?;
    note(&format!(
        "{} is under the new master key: KMS_MASTER_KEY is to be that one from now on",
        path.display()
    ));
    Ok(keyring)
}

async fn read_master_key() -> Result<DataKey, CliError> {
    let bytes = read_secret().await?;
    let key = std::str::from_utf8(&bytes).map_err(|_| KeyTextError::Base64).and_then(str::parse);
    key.map_err(|error| {
        let problem =
            format!("standard input: {error}; the new master key is wanted, base64 of exactly 32 bytes");
        CliError::usage_with_hint(problem, KEY_HINT)
    })
}

fn lines(report: &Report) -> String {
    let mut rows = table(&["id", "active", "created"]);
    for key in &report.keys {
        rows.add_row([key.id.as_str(), if key.active { "yes" } else { "" }, &key.created_at]);
    }
    rows.to_string()
}
