//! How to reach OpenBao or Vault, and how to log in to it.

use std::ffi::OsString;

use vault_client::{Auth, SecretId, VaultOptions};

use super::error::SettingsError;
use super::reader::Reader;

const WAYS: &str =
    "set one of VAULT_TOKEN, VAULT_TOKEN_FILE, VAULT_ROLE_ID with VAULT_SECRET_ID_FILE, and VAULT_K8S_ROLE";

/// Reads the variables of OpenBao and Vault. Their problems matter only where something needs them: they are
/// set for other programs too.
pub(super) fn read(lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<VaultOptions, SettingsError> {
    let mut reader = Reader::new(lookup);
    let address = reader.text("VAULT_ADDR");
    if address.is_none() {
        reader.problem(
            "VAULT_ADDR",
            "is not set: the address of the server, such as https://bao.example.org:8200",
        );
    }
    let auth = auth(&mut reader);
    let mut options = VaultOptions::new(address.unwrap_or_default().trim(), auth);
    options.namespace = reader.text("VAULT_NAMESPACE").map(|namespace| namespace.trim().to_owned());
    options.ca_file = reader.text("VAULT_CACERT").map(|file| file.trim().into());
    if reader.is_set("VAULT_ADDR")
        && let Err(error) = options.check()
    {
        reader.problem("VAULT_ADDR", format_args!("cannot be used: {error}"));
    }
    reader.finish().map(|()| options)
}

/// Exactly one way to a token; where it is not, any will do, because the problem ends the program.
fn auth(reader: &mut Reader<'_>) -> Auth {
    let mut ways = Vec::new();
    ways.extend(reader.text("VAULT_TOKEN").map(|token| Auth::Token(token.trim().into())));
    // Read when the token is needed, and again when the server refuses it.
    ways.extend(reader.text("VAULT_TOKEN_FILE").map(|file| Auth::TokenFile(file.trim().into())));
    if let Some(role) = reader.text("VAULT_ROLE_ID") {
        let value = reader.text("VAULT_SECRET_ID").map(|id| SecretId::Value(id.trim().into()));
        let file = reader.text("VAULT_SECRET_ID_FILE").map(|file| SecretId::File(file.trim().into()));
        match (value, file) {
            (Some(_), Some(_)) => reader.refuse_twice("VAULT_SECRET_ID"),
            (None, None) => reader.problem("VAULT_SECRET_ID_FILE", "is not set, and VAULT_ROLE_ID needs it"),
            (Some(id), None) | (None, Some(id)) => ways.push(Auth::app_role(role.trim(), id)),
        }
    }
    ways.extend(reader.text("VAULT_K8S_ROLE").map(|role| Auth::kubernetes(role.trim())));
    match (ways.pop(), ways.is_empty()) {
        (Some(way), true) => way,
        (Some(way), false) => {
            reader.problem("VAULT_TOKEN", format_args!("is not the only way to log in: {WAYS}"));
            way
        }
        (None, _) => {
            if !reader.is_set("VAULT_ROLE_ID") {
                reader.problem(
                    "VAULT_TOKEN",
                    format_args!("is not set, and nothing else to log in with is: {WAYS}"),
                );
            }
            Auth::Token("".into())
        }
    }
}
