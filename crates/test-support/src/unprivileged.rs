//! The account and the directory of a server that refuses to run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;

use crate::availability::Unavailable;
use crate::leash::Account;

/// A new directory, and the account that the server has to run as: the first of `accounts` that exists, for root.
pub(crate) fn scratch_dir(
    prefix: &str,
    accounts: &[&str],
) -> Result<(PathBuf, Option<Account>), Unavailable> {
    let failed = |error| Unavailable::while_doing("cannot make a directory for a server", error);
    let scratch = tempfile::Builder::new().prefix(prefix).tempdir().map_err(failed)?;
    let we_are_root = fs::metadata(scratch.path()).map_err(failed)?.uid() == 0;
    let account = if we_are_root { Some(first_existing(accounts)?) } else { None };
    if let Some(Account { uid, gid }) = account {
        chown(scratch.path(), Some(uid), Some(gid)).map_err(failed)?;
    }
    Ok((scratch.keep(), account))
}

fn first_existing(names: &[&str]) -> Result<Account, Unavailable> {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    names.iter().find_map(|name| account_named(&accounts, name)).ok_or_else(|| {
        Unavailable::new(format!("running as root, and none of the users {} exists", names.join(", ")))
    })
}

fn account_named(accounts: &str, name: &str) -> Option<Account> {
    let fields: Vec<&str> =
        accounts.lines().map(|line| line.split(':').collect()).find(|f: &Vec<&str>| f[0] == name)?;
    Some(Account { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
}
