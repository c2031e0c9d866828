//! The keyring as a ledger: its memory of the local secret stores whose values are under its keys.

use std::io;
use std::sync::Arc;

use envelope_core::ledger::{Ledger, LedgerError, StoreRecord};

use super::Keyring;
use super::error::KeyringError;

impl Ledger for Keyring {
    fn records(&self) -> Result<Vec<StoreRecord>, LedgerError> {
        Ok(self.reloaded().map_err(failed)?.ring.stores.clone())
    }

    fn update(&self, change: &mut dyn FnMut(&mut Vec<StoreRecord>)) -> Result<(), LedgerError> {
        let updated = Keyring::update(self, |ring| {
            let before = ring.stores.clone();
            change(&mut ring.stores);
            Ok((ring.stores != before, ()))
        });
        updated.map_err(failed)
    }
}

fn failed(error: KeyringError) -> LedgerError {
    match &error {
        KeyringError::Io { source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            LedgerError::ReadOnly
        }
        _ => LedgerError::Failed(Arc::new(error)),
    }
}
