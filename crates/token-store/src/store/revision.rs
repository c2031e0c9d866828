//! The revision of a row: a caller gives it back so that a write applies only to the row that was read.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::TokenStore;
use crate::cipher::{Recorded, TokenCipher};
use crate::database::change::Change;
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::error::StoreError;
use crate::profile::{Table, Unmarked};

/// The beginning of the digest's input, so that it is no digest of anything else.
const DOMAIN: &[u8] = b"tokenseal row revision 1";

/// How much work it takes to try one guess at the revision of a row that holds readable tokens.
const ROUNDS: u32 = 10_000;

/// Length of a revision, in bytes, before it is written in hexadecimal.
const LENGTH: usize = 20;

/// An opaque text that stays the same as long as a row's key, owner, tokens and version columns do, for every process
/// that reads it.
///
/// It is made of the stored texts, not of the tokens. Sealed texts are random, so that their revision says nothing about
/// a token. For a row that holds a readable token it is stretched with PBKDF2, so that a short token is not found by
/// trying; still, treat the revision of such a row like the token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(String);

impl Revision {
    /// The text, of at most 40 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Revision {
    /// A text that a caller gave back. One that is no revision is the revision of no row.
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Revision {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// The input of a revision, so that only callers that ask for one pay for it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Content {
    digest: [u8; 32],
    /// Whether a token is stored as it is, so that someone could try values until the digest fits.
    is_readable: bool,
}

impl Content {
    /// The contents of a row.
    pub(super) fn of_row(table: &Table, row: &StoredRow, unmarked: Unmarked) -> Self {
        let values = row.values.iter().map(|value| value.as_ref().map(|text| text.as_str()));
        let marks = [row.version.as_deref(), row.method.as_deref(), row.key_id.as_deref()];
        Self::of(table, row, values, marks, unmarked)
    }

    /// The contents of a row after a change.
    pub(super) fn of_change(layout: &Layout, change: &Change, unmarked: Unmarked) -> Self {
        let values = change.values.iter().map(|value| value.as_ref().map(|text| text.as_str()));
        let marks = match layout.version() {
            None => [None; 3],
            Some(_) => {
                let Change { marks, .. } = change;
                [Some(marks.version.text()), marks.method.as_deref(), marks.key_id.as_deref()]
            }
        };
        Self::of(&layout.table, &change.old, values, marks, unmarked)
    }

    fn of<'a>(
        table: &Table,
        row: &StoredRow,
        values: impl Iterator<Item = Option<&'a str>> + Clone,
        marks: [Option<&str>; 3],
        unmarked: Unmarked,
    ) -> Self {
        let [version, _, key_id] = marks;
        let recorded = match &table.version {
            Some(_) => Recorded::Version { version, key_id },
            None => Recorded::Unmarked(unmarked),
        };
        let mut hash = Sha256::new_with_prefix(DOMAIN);
        add(&mut hash, Some(table.bound_name()));
        row.key.iter().for_each(|part| add(&mut hash, Some(part)));
        row.owner.iter().for_each(|owner| add(&mut hash, owner.as_deref()));
        values.clone().for_each(|value| add(&mut hash, value));
        marks.into_iter().for_each(|mark| add(&mut hash, mark));
        let is_sealed = |text: &str| match TokenCipher::classify(text, recorded) {
            Ok(format) => format != envelope_core::Format::Plaintext,
            Err(_) => false,
        };
        let is_readable = values.flatten().any(|text| !text.is_empty() && !is_sealed(text));
        Self { digest: hash.finalize().into(), is_readable }
    }

    /// A few microseconds, or a few milliseconds where a token is readable.
    pub(super) fn revision(&self) -> Revision {
        let mut revision = [0; LENGTH];
        match self.is_readable {
            true => pbkdf2::pbkdf2_hmac::<Sha256>(&self.digest, DOMAIN, ROUNDS, &mut revision),
            false => revision.copy_from_slice(&self.digest[..LENGTH]),
        }
        Revision(revision.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content")
    }
}

/// Adds a part in a form that no other list of parts has.
fn add(hash: &mut Sha256, part: Option<&str>) {
    match part {
        None => hash.update([0]),
        Some(text) => {
            hash.update([1]);
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
    }
}

impl TokenStore {
    pub(super) fn content(&self, layout: &Layout, row: &StoredRow) -> Content {
        Content::of_row(&layout.table, row, self.profile().unmarked)
    }

    /// Refuses a row that is at another revision than the one that the caller expects.
    pub(super) fn check_revision(
        &self,
        layout: &Layout,
        row: &StoredRow,
        expected: Option<&Revision>,
    ) -> Result<(), StoreError> {
        match expected {
            Some(expected) if self.content(layout, row).revision() != *expected => {
                Err(changed(layout, row.name(layout)))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn changed(layout: &Layout, row: String) -> StoreError {
    StoreError::Changed { table: layout.table.name.clone(), row }
}
