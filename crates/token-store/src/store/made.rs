//! Adding a row whose key the database makes.

use super::put::{ATTEMPTS, WRITE, check_columns};
use super::{NewToken, TokenKey, TokenStore, Written};
use crate::database::layout::Layout;
use crate::database::row::row_name;
use crate::database::within::Through;
use crate::error::StoreError;

impl TokenStore {
    /// Adds a row to a table of the profile (the first, if none is named), and returns the key that the database made.
    ///
    /// Parts of the key, owner and plain columns are set with [`NewToken::plain`]; the database makes the rest of the key,
    /// as it does for a row that is added without it: the next number, or the column's default. Values are sealed for that
    /// key before the row is added, so that no lock is held while the key service is called. A row that exists is never
    /// changed. A number that another row takes first is skipped.
    ///
    /// # Errors
    /// [`StoreError::NoKeyMade`] for a key column that has no default, [`StoreError::Exists`] where the key is given as a
    /// whole and taken, those of [`put`](Self::put).
    pub async fn insert(
        &self,
        table: Option<&str>,
        token: NewToken,
    ) -> Result<(TokenKey, Written), StoreError> {
        let layout = self.layout_named(table)?;
        let (given, token) = take_key(layout, token);
        check_columns(layout, &token)?;
        let outcome = self.insert_made(layout, &given, &token).await;
        if let Err(error) = &outcome {
            let known: Vec<String> = given.iter().map(|part| part.clone().unwrap_or_default()).collect();
            let name = row_name(&layout.table.key, &known);
            self.trail(WRITE).write_failed(layout, &name, error.class(), error.correlation_id());
        }
        outcome
    }

    async fn insert_made(
        &self,
        layout: &Layout,
        given: &[Option<String>],
        token: &NewToken,
    ) -> Result<(TokenKey, Written), StoreError> {
        let is_given = given.iter().all(Option::is_some);
        let mut key = self.make_key(layout, given).await?;
        for _ in 0..ATTEMPTS {
            let row = self.blank_row(layout, &key, token).await?;
            let row = row.ok_or_else(|| self.key_not_storable(layout, &key))?;
            let stored = TokenKey::from_values(row.key.to_vec()).in_table(&layout.table.name);
            let mut through = Through::Pool(self.database());
            let added = match self.add(&mut through, layout, row, token).await {
                // Of several inserts with the same number, this one collided with another.
                Err(StoreError::Contended { .. }) => None,
                added => added?,
            };
            match added {
                Some(written) => return Ok((stored, written)),
                None if is_given => {
                    let (table, row) = (layout.table.name.clone(), row_name(&layout.table.key, key.values()));
                    return Err(StoreError::Exists { table, row });
                }
                None => key = self.make_key(layout, given).await?,
            }
        }
        let (table, row) = (layout.table.name.clone(), row_name(&layout.table.key, key.values()));
        Err(StoreError::Contended { table, row })
    }

    async fn make_key(&self, layout: &Layout, given: &[Option<String>]) -> Result<TokenKey, StoreError> {
        let mut parts = Vec::with_capacity(given.len());
        for (column, part) in layout.table.key.iter().zip(given) {
            let made = match part {
                Some(part) => Some(part.clone()),
                None => self.database().make_key(layout, column).await?,
            };
            let (table, column) = (layout.table.name.clone(), column.clone());
            parts.push(made.ok_or(StoreError::NoKeyMade { table, column })?);
        }
        Ok(TokenKey::from_values(parts).in_table(&layout.table.name))
    }
}

/// Takes the parts of the key out of the plain columns.
fn take_key(layout: &Layout, mut token: NewToken) -> (Vec<Option<String>>, NewToken) {
    let last = |name: &String| token.plain.iter().rev().find(|(column, _)| column == name);
    let given = layout.table.key.iter().map(|name| last(name).and_then(|(_, value)| value.clone())).collect();
    token.plain.retain(|(column, _)| !layout.table.key.contains(column));
    (given, token)
}
