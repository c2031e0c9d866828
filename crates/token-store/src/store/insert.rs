//! Adding a row, sealed for the key and owner that the database stores.

use super::put::{altered, refused};
use super::{NewToken, TokenKey, TokenStore, Written};
use crate::database::Kind;
use crate::database::insert::{Inserted, NewRow};
use crate::database::layout::Layout;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::within::Through;
use crate::error::{DatabaseError, StoreError};

impl TokenStore {
    /// Adds a row, sealed for the key and owner that the database stores; `None` where there is one by now.
    pub(super) async fn add(
        &self,
        through: &mut Through<'_, '_>,
        layout: &Layout,
        mut row: StoredRow,
        token: &NewToken,
    ) -> Result<Option<Written>, StoreError> {
        let mut given: Vec<bool> = row.owner.iter().map(Option::is_some).collect();
        let nulls = token.plain.iter().filter(|(_, value)| value.is_none());
        for (column, _) in nulls {
            let index = layout.table.owner.iter().position(|owner| owner == column);
            index.into_iter().for_each(|index| given[index] = true);
        }
        loop {
            let change = self.seal_row(layout, row, token).await?;
            let owner = layout.table.owner.iter().zip(&change.old.owner).zip(&given);
            let owner = owner.filter(|(_, given)| **given);
            let record = layout.record().map(|record| &record.column);
            let plain = token
                .plain
                .iter()
                .filter(|(column, _)| !layout.table.owner.contains(column) && record != Some(column));
            let new = NewRow {
                change: &change,
                owner: owner.map(|((column, value), _)| (column.as_str(), value.as_deref())).collect(),
                plain: plain.map(|(column, value)| (column.as_str(), value.as_deref())).collect(),
            };
            let inserted = through.insert(layout, &new).await;
            match inserted.map_err(|error| refused(layout, &change.old, error))? {
                Inserted::Written => return Ok(Some(self.wrote(layout, &change))),
                Inserted::Exists => return Ok(None),
                Inserted::Stale => {
                    self.forget_index_keys(layout, &change.old)?;
                    row = change.old;
                }
                Inserted::Rival => return Err(refused(layout, &change.old, DatabaseError::rival())),
                // The database gave the row an owner that the caller left out: it is sealed for that one.
                Inserted::Other(Some(stored))
                    if given.iter().any(|given| !given) && stored.key[..] == change.old.key[..] =>
                {
                    row = StoredRow { owner: stored.owner, ..change.old };
                    given.iter_mut().for_each(|given| *given = true);
                }
                Inserted::Other(_) => return Err(altered(layout, &change.old)),
            }
        }
    }

    /// A row that does not exist yet, its key and owner as the database would store them; `None` where it could not.
    pub(super) async fn blank_row(
        &self,
        layout: &Layout,
        key: &TokenKey,
        token: &NewToken,
    ) -> Result<Option<StoredRow>, StoreError> {
        let table = &layout.table;
        check_named_owner(layout, key, token)?;
        let set = |name: &String| {
            let plain = token.plain.iter().rev().find(|(column, _)| column == name);
            plain.map_or_else(|| key.owner(name), |(_, value)| value.as_deref())
        };
        let owner = table.owner.iter().map(|name| (name.as_str(), set(name)));
        let keys =
            table.key.iter().zip(key.values()).map(|(name, text)| (name.as_str(), Some(text.as_str())));
        let columns: Vec<(&str, Option<&str>)> = keys.chain(owner).collect();
        let given: Vec<(&str, &str)> =
            columns.iter().filter_map(|(name, text)| Some((*name, (*text)?))).collect();
        let is_plain_text = |(name, _): &(&str, &str)| {
            layout.column(name).is_some_and(|column| column.kind == Kind::Text && column.limit.is_none())
        };
        let texts = match given.iter().all(is_plain_text) {
            true => Some(given.iter().map(|(_, text)| (*text).to_owned()).collect()),
            false => self.database().canonical(layout, &given).await?,
        };
        // The database's answer is accepted only if it is another text of the same value.
        let is_same = |texts: &Vec<String>| {
            let mut pairs = given.iter().zip(texts);
            pairs.all(|((column, given), stored)| layout.kind(column).same(given, stored))
        };
        let Some(texts) = texts.filter(is_same) else { return Ok(None) };
        let mut texts = texts.into_iter();
        let mut canonical: Vec<Option<String>> =
            columns.iter().map(|(_, text)| text.and_then(|_| texts.next())).collect();
        let owner = canonical.split_off(table.key.len());
        let key = StoredKey::of_texts(canonical.into_iter().map(Option::unwrap_or_default).collect());
        let nothing = std::iter::repeat_with(|| Ok(None)).take(layout.content_columns());
        Ok(Some(StoredRow { owner, ..StoredRow::assemble(layout, key, nothing) }))
    }
}

/// A row is made for the owner that its key names: a plain value of that column cannot make it another's.
fn check_named_owner(layout: &Layout, key: &TokenKey, token: &NewToken) -> Result<(), StoreError> {
    let named = layout.table.owner.iter().filter_map(|column| Some((column, key.owner(column)?)));
    for (column, owner) in named {
        let is_another = |(name, value): &(String, Option<String>)| {
            name == column && !layout.is_same_owner(column, value.as_deref(), Some(owner))
        };
        if token.plain.iter().any(is_another) {
            return Err(StoreError::NotPlain { table: layout.table.name.clone(), column: column.clone() });
        }
    }
    Ok(())
}
