//! `keyring`: the local key service's file.

use std::path::PathBuf;

use kms_provider::KeyUri;
use kms_provider::keyring::{KeyEntry, Keyring};
use serde::Serialize;

use super::Options;
use crate::exit::{CliError, Exit};
use crate::output::{emit, table};
use crate::services::{master_key, open_keyring};
use crate::settings::Settings;

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

pub(super) fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
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
    };
    let keys = keyring.list()?.into_iter().map(|KeyEntry { id, active, created_at, .. }| Key {
        id,
        active,
        created_at,
    });
    emit(options.format, &Report { keys: keys.collect() }, lines)?;
    Ok(Exit::Done)
}

fn import(settings: &Settings, path: &std::path::Path, file: PathBuf) -> Result<Keyring, CliError> {
    let export = std::fs::read(&file).map_err(CliError::io(format!("{} cannot be read", file.display())))?;
    let export = zeroize::Zeroizing::new(export);
    let keyring = open_keyring(settings, path)?;
    keyring.import(&export)?;
    Ok(keyring)
}

fn lines(report: &Report) -> String {
    let mut rows = table(&["id", "active", "created"]);
    for key in &report.keys {
        rows.add_row([key.id.as_str(), if key.active { "yes" } else { "" }, &key.created_at]);
    }
    rows.to_string()
}
