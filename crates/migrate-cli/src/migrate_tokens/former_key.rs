//! The key that `rewrap --from` names, by the names that rows have for it.

use std::collections::BTreeSet;
use std::path::Path;

use kms_provider::KeyUri;
use kms_provider::uri::{KeyUriError, TransitKey};
use token_store::TokenStore;
use tokenseal::Settings;
use tokenseal::key_service::open_keyring;

use crate::exit::CliError;

/// What every key of a keyring is named with, in rows.
const KEYRING: &str = "keyring:";

/// The former key as the operator spelled it, with what the settings know of it.
pub(super) struct FormerKey {
    text: String,
    uri: Result<KeyUri, KeyUriError>,
    /// The keys in the keyring that it names by its file, as rows name them.
    in_file: Option<BTreeSet<String>>,
    /// The keys in the keyrings that the settings name.
    in_keyrings: BTreeSet<String>,
}

impl FormerKey {
    /// Reads the keyrings that matter.
    ///
    /// # Errors
    /// [`CliError`] if one does not open, or the rows of a table name no keys.
    pub(super) fn read(text: &str, settings: &Settings) -> Result<Self, CliError> {
        if let Some(table) =
            settings.profile.tables.iter().find(|table| table.version.is_none() && !table.tokens.is_empty())
        {
            let problem =
                format!("--from chooses by the key that a row names, and rows of {:?} name none", table.name);
            return Err(CliError::usage_with_hint(problem, "leave out --from"));
        }
        let uri = text.parse();
        let in_file = match &uri {
            Ok(KeyUri::Keyring(file)) if file.is_file() => Some(keys_in(file, settings)?),
            _ => None,
        };
        let mut in_keyrings = BTreeSet::new();
        if matches!(uri, Ok(KeyUri::Keyring(_))) && in_file.is_none() {
            let allowed = settings.allowed_keys.iter().filter_map(|key| key.parse().ok());
            for key in settings.key.iter().cloned().chain(allowed) {
                if let KeyUri::Keyring(file) = key
                    && file.is_file()
                {
                    in_keyrings.extend(keys_in(&file, settings)?);
                }
            }
        }
        Ok(Self { text: text.to_owned(), uri, in_file, in_keyrings })
    }

    /// The names that rows may have for this key: it may be given by its ARN, id or alias, by the file of a keyring, as a key of
    /// Transit without its version, or by the name itself.
    ///
    /// # Errors
    /// [`CliError`] if the text names no key that is known, or the key to rewrap to: a run would move nothing and look complete.
    pub(super) async fn names(&self, store: &TokenStore, to: &KeyUri) -> Result<Vec<String>, CliError> {
        let recorded = store.recorded_keys().await?;
        if recorded.contains(&self.text) {
            return Ok(vec![self.text.clone()]);
        }
        let uri = self.uri.as_ref().map_err(|error| {
            CliError::usage_with_hint(format!("--from names no key: {error}"), "give it as in KMS_KEY_ID")
        })?;
        match (uri, &self.in_file) {
            // All of them, also those that no row names yet: a service may be writing.
            (_, Some(ids)) => Ok(ids.iter().cloned().collect()),
            (KeyUri::Keyring(_), None) if self.in_keyrings.contains(&self.text) => {
                Ok(vec![self.text.clone()])
            }
            (KeyUri::Vault(key), None) => Ok(vec![key.to_string()]),
            (uri, None) if !uri.aws_keys().is_empty() => of_aws(uri, to, &recorded).await,
            _ => Err(CliError::usage_with_hint(
                "--from names neither a keyring's file nor a key that a row names",
                "check the path; `migrate-tokens status --keys` shows the keys that rows name",
            )),
        }
    }

    /// Whether any row names one of these keys. After a complete run, none does.
    pub(super) async fn is_recorded(&self, store: &TokenStore, names: &[String]) -> Result<bool, CliError> {
        let is_of = |recorded: &String, name: &String| {
            recorded == name
                || TransitKey::parse_stored(recorded).is_some_and(|(key, _)| key.to_string() == *name)
        };
        let recorded = store.recorded_keys().await?;
        Ok(recorded.iter().any(|recorded| names.iter().any(|name| is_of(recorded, name))))
    }
}

fn keys_in(file: &Path, settings: &Settings) -> Result<BTreeSet<String>, CliError> {
    let keys = open_keyring(settings, file)?.list()?;
    Ok(keys.into_iter().map(|key| format!("{KEYRING}{}", key.id)).collect())
}

/// Rows name a key of AWS KMS by its ARN.
async fn of_aws(uri: &KeyUri, to: &KeyUri, recorded: &BTreeSet<String>) -> Result<Vec<String>, CliError> {
    let mut names = Vec::new();
    for key in uri.aws_keys() {
        let is_arn_of_a_key = key.starts_with("arn:") && key.contains(":key/");
        let end = format!(":key/{key}");
        let of_id = recorded.iter().filter(|name| name.ends_with(&end));
        let known: Vec<String> = if is_arn_of_a_key { vec![key.clone()] } else { of_id.cloned().collect() };
        if known.is_empty() {
            let described = described(key).await?;
            for to in to.aws_keys() {
                if *to == described || self::described(to).await? == described {
                    return Err(CliError::usage_with_hint(
                        "--from and --to name one key",
                        "an alias may have been given the new key already: give the ARN of the former key to --from",
                    ));
                }
            }
            names.push(described);
        }
        names.extend(known);
    }
    Ok(names)
}

/// The ARN of an alias, or of a key by its id.
#[cfg(feature = "aws")]
async fn described(key: &str) -> Result<String, CliError> {
    use envelope_core::KeyProvider as _;
    let none: [&str; 0] = [];
    let aws = kms_provider::Aws::connect_without_retries(key, none).await?;
    Ok(aws.describe().await?.key_id)
}

#[cfg(not(feature = "aws"))]
async fn described(_: &str) -> Result<String, CliError> {
    Err(CliError::usage_with_hint(
        "--from names a key of AWS KMS, which this build does not support",
        "give its ARN",
    ))
}
