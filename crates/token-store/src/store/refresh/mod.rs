//! Tokens that are valid for long enough: of any number of callers, tasks, processes and replicas, one has the token
//! refreshed, and the others read its result.
//!
//! A lease in the database says which one. [`TokenStore::fresh`] does all of it for a grant that the caller passes;
//! [`TokenStore::lease`], [`TokenStore::put_leased`] and [`TokenStore::release`] are for programs that run the grant
//! themselves.

mod claim;
mod error;
mod flight;
mod fresh;
mod granted;
mod lease;
mod look;
mod passing;
mod policy;
mod spent;
mod store_granted;
mod time;
mod turns;

pub use self::error::{FreshError, GrantError, LeaseError};
pub use self::granted::Granted;
pub use self::lease::Lease;
pub use self::policy::RefreshPolicy;
pub(crate) use self::spent::Spent;
pub(super) use self::turns::Turns;
use super::{NewToken, TokenKey, TokenStore, Written};
use crate::database::layout::Layout;
use crate::database::row::{StoredRow, row_name};
use crate::database::within::Through;
use crate::error::StoreError;
use crate::profile::Refresh;

impl TokenStore {
    /// The same store with other times for refreshes. All processes that refresh the tokens of a table must use the same.
    #[must_use]
    pub fn with_refresh_policy(mut self, policy: RefreshPolicy) -> Self {
        self.refresh_policy = policy;
        self
    }

    /// The provider of a row's tokens: `fixed` of the profile's `[tables.refresh]`, or the value of the row's
    /// column.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::NotRefreshed`] where the profile does not say how the table is refreshed,
    /// [`StoreError::Database`].
    pub async fn provider(&self, key: &TokenKey) -> Result<Option<String>, StoreError> {
        let (layout, refresh) = self.refreshed(key)?;
        if refresh.fixed.is_some() {
            return Ok(refresh.fixed.clone());
        }
        let Some(column) = &refresh.provider else { return Ok(None) };
        let row = self.find_row(layout, key).await?.ok_or_else(|| self.no_row(layout, key))?;
        let table = &layout.table;
        let mut named = table.key.iter().zip(row.key.iter().map(|text| Some(text.as_str())));
        let mut others = table.owner.iter().zip(&row.owner).chain(table.plain.iter().zip(&row.plain));
        let found = named.find(|(name, _)| *name == column).map(|(_, value)| value);
        let other = || others.find(|(name, _)| *name == column).map(|(_, value)| value.as_deref());
        Ok(found.or_else(other).flatten().map(ToOwned::to_owned))
    }

    /// Writes into a row that is unchanged since it was read, and returns it with its new marks, but without
    /// its values; `None` where it is not.
    async fn update_refreshed(
        &self,
        layout: &Layout,
        row: StoredRow,
        token: &NewToken,
    ) -> Result<Option<(StoredRow, Written)>, StoreError> {
        let (key, owner, plain) = (row.key.clone(), row.owner.clone(), row.plain.clone());
        let mut through = Through::Pool(self.database());
        let Some(written) = self.update(&mut through, layout, row, token).await? else { return Ok(None) };
        let version = Some(written.encryption_version.to_string()).filter(|_| layout.version().is_some());
        let method = written.encryption_method.clone();
        let row = StoredRow {
            key,
            owner,
            plain,
            version,
            method,
            key_id: None,
            values: Vec::new(),
            record: Ok(None),
            indexes: Vec::new(),
            unreadable: None,
        };
        Ok(Some((row, written)))
    }

    fn no_row(&self, layout: &Layout, key: &TokenKey) -> StoreError {
        let row = row_name(&layout.table.key, key.values());
        self.trail("refresh").not_found(layout, &row);
        StoreError::NotFound { table: layout.table.name.clone(), row }
    }

    /// The table of a key, and how its tokens are refreshed.
    fn refreshed(&self, key: &TokenKey) -> Result<(&Layout, &Refresh), StoreError> {
        let layout = self.layout(key)?;
        match &layout.table.refresh {
            Some(refresh) => Ok((layout, refresh)),
            None => Err(StoreError::NotRefreshed { table: layout.table.name.clone() }),
        }
    }
}
