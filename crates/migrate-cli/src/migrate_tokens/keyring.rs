//! `keyring`: the local key service's file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use envelope_core::key::KeyTextError;
use envelope_core::{DataKey, KeyProvider};
use kms_provider::KeyUri;
use kms_provider::keyring::{KeyEntry, Keyring};
use serde::Serialize;
use time::OffsetDateTime;

use super::{Options, limits};
use crate::exit::{CliError, Exit};
use crate::input;
use crate::output::{emit, note, table};
use crate::stdin::read_secret;
use tokenseal::audit::events;
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
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
            let keyring = Arc::new(open_keyring(&settings, path)?);
            let (actor, base) = (options.actor(&settings), settings.profile.base_context());
            let provider: Arc<dyn KeyProvider> = keyring.clone();
            options.audit.start(settings.audit_log.as_ref(), &actor, Some(&provider), &base).await?;
            let entry = keyring.rotate()?;
            events::data_key_rotated(&actor, &format!("keyring:{}", entry.id));
            return show(&keyring, options);
        }
        Command::Import { file } => import(&settings, path, &file)?,
        Command::Rekey => rekey(&settings, path).await?,
    };
    show(&keyring, options)
}

fn show(keyring: &Keyring, options: Options) -> Result<Exit, CliError> {
    let entries = keyring.list()?;
    let now = OffsetDateTime::now_utc();
    let active = entries.iter().filter(|entry| entry.active);
    let warnings = active.filter_map(|entry| limits::of_age(&entry.id, &entry.created_at, now)).collect();
    let keys =
        entries.into_iter().map(|KeyEntry { id, active, created_at, .. }| Key { id, active, created_at });
    let report = Report { keys: keys.collect(), warnings };
    report.warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));
    emit(options.format, &report, lines)?;
    Ok(Exit::Done)
}

fn import(settings: &Settings, path: &Path, file: &Path) -> Result<Keyring, CliError> {
    let export = input::read(file)?;
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
            format!("standard input: {error}; expected the new master key, base64 of exactly 32 bytes");
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
