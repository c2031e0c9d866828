//! A row whose token is refreshed: whether its access token is valid for long enough, and the data needed for
//! a refresh if not.

use std::sync::OnceLock;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::flight::is_same;
use super::policy::millis;
use super::time;
use crate::database::layout::Layout;
use crate::database::leases::{Expiry, LeaseKey, Validity};
use crate::database::row::{StoredRow, row_name};
use crate::error::StoreError;
use crate::profile::Refresh;
use crate::store::{Token, TokenKey, TokenStore};

/// How often a row is read again because others changed it between two statements.
const ATTEMPTS: u32 = 8;

/// A row by its key, and how its tokens are refreshed.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) store: &'a TokenStore,
    pub(super) layout: &'a Layout,
    pub(super) refresh: &'a Refresh,
    pub(super) key: &'a TokenKey,
}

/// Which access tokens are good enough.
pub(super) struct Wanted {
    valid_for: i64,
    first: OnceLock<First>,
}

/// The row's access token when the caller first looked, which was not valid for long enough.
struct First {
    expires: Option<Expiry>,
    access: Option<SecretString>,
}

/// The result of a look at a row.
pub(super) enum Seen {
    /// The access token is valid for long enough.
    Valid(Box<Token>),
    /// It is not.
    Stale(Box<Stale>),
    /// It is not, and there is no refresh token.
    NoRefreshToken,
}

/// A row whose access token must be refreshed.
pub(super) struct Stale {
    pub(super) row: StoredRow,
    /// The tokens that open, by column.
    pub(super) tokens: Vec<(String, Option<SecretString>)>,
    pub(super) refresh_token: SecretString,
    pub(super) expires: Option<Expiry>,
    now: i64,
    read: Instant,
}

impl Wanted {
    pub(super) fn new(valid_for: Duration) -> Self {
        Self { valid_for: millis(valid_for), first: OnceLock::new() }
    }

    /// Keeps what the caller saw first.
    fn saw(&self, stale: &Stale, access: &str) {
        let first = || First { expires: stale.expires.clone(), access: stale.opened(access).cloned() };
        self.first.get_or_init(first);
    }
}

impl<'a> Place<'a> {
    pub(super) fn of(store: &'a TokenStore, key: &'a TokenKey) -> Result<Self, StoreError> {
        let (layout, refresh) = store.refreshed(key)?;
        Ok(Self { store, layout, refresh, key })
    }

    /// The row's name in errors; its lease has the name that the database's own texts give.
    pub(super) fn names(&self) -> (String, String) {
        (self.layout.table.name.clone(), row_name(&self.layout.table.key, self.key.values()))
    }

    pub(super) fn lease_key(&self, row: &StoredRow) -> LeaseKey {
        LeaseKey {
            schema: self.layout.facts.schema.clone(),
            table: self.layout.table.name.clone(),
            row: row.name(self.layout),
        }
    }

    /// The stored row.
    pub(super) async fn row(&self) -> Result<StoredRow, StoreError> {
        let row = self.store.find_row(self.layout, self.key).await?;
        row.ok_or_else(|| self.store.no_row(self.layout, self.key))
    }

    /// Checks whether the access token is valid for the requested time.
    pub(super) async fn look(&self, wanted: &Wanted) -> Result<Seen, StoreError> {
        for _ in 0..ATTEMPTS {
            let row = self.row().await?;
            let Some(validity) = self.validity(&row).await? else { continue };
            let access = self.stored(&row, &self.refresh.access);
            if access != validity.access.as_ref().map(|text| text.as_str()) {
                continue;
            }
            let expires = self.expiry(&row, &validity)?;
            let has_access = access.is_some_and(|text| !text.is_empty());
            let remaining = expires.map_or(0, |expires| expires.saturating_sub(validity.now));
            let is_long = remaining >= wanted.valid_for;
            if has_access && remaining > 0 && (is_long || self.is_new(&row, &validity, wanted).await) {
                let token = self.store.open_row(self.layout, &row).await?;
                self.store.trail("read").read(self.layout, &row);
                return Ok(Seen::Valid(Box::new(token)));
            }
            let seen = self.stale(row, validity).await?;
            if let Seen::Stale(stale) = &seen {
                wanted.saw(stale, &self.refresh.access);
            }
            return Ok(seen);
        }
        let (table, row) = self.names();
        Err(StoreError::Contended { table, row })
    }

    /// Whether the access token was written after the caller began: then it is as fresh as the provider gives them. Two
    /// grants within a second may have the same expiry, so the token itself is compared, and not its text, which is
    /// another one after each sealing.
    async fn is_new(&self, row: &StoredRow, validity: &Validity, wanted: &Wanted) -> bool {
        let Some(first) = wanted.first.get() else { return false };
        if first.expires != validity.expires {
            return true;
        }
        let now = self.token(row, &self.refresh.access).await;
        now.is_some() && first.access.is_some() && !is_same(now.as_ref(), first.access.as_ref())
    }

    async fn validity(&self, row: &StoredRow) -> Result<Option<Validity>, StoreError> {
        let (expires_at, access) = (&self.refresh.expires_at, &self.refresh.access);
        Ok(self.store.database().validity(self.layout, &row.key, expires_at, access).await?)
    }

    fn expiry(&self, row: &StoredRow, validity: &Validity) -> Result<Option<i64>, StoreError> {
        let unreadable = || StoreError::Unreadable {
            table: self.layout.table.name.clone(),
            row: row.name(self.layout),
            column: self.refresh.expires_at.clone(),
            reason: "it holds no time that is understood".into(),
        };
        let expires = validity.expires.as_ref();
        expires.map(|expiry| time::read(expiry).ok_or_else(unreadable)).transpose()
    }

    /// Opens what a refresh needs. Only the refresh token has to open: a damaged access token is about to be replaced.
    async fn stale(&self, row: StoredRow, validity: Validity) -> Result<Seen, StoreError> {
        let read = Instant::now();
        let Some(refresh_token) = self.refresh_token(&row).await? else { return Ok(Seen::NoRefreshToken) };
        let mut tokens = Vec::new();
        for (column, stored) in self.layout.table.tokens.iter().zip(&row.values) {
            let opened = match stored {
                _ if *column == self.refresh.refresh => Ok(Some(refresh_token.clone())),
                Some(text) => self.open(&row, column, text).await.map(Some),
                None => Ok(None),
            };
            tokens.extend(opened.ok().map(|opened| (column.clone(), opened)));
        }
        let Validity { now, expires, .. } = validity;
        Ok(Seen::Stale(Box::new(Stale { row, tokens, refresh_token, expires, now, read })))
    }

    /// The row's refresh token; `None` where it holds none.
    pub(super) async fn refresh_token(&self, row: &StoredRow) -> Result<Option<SecretString>, StoreError> {
        let column = &self.refresh.refresh;
        let Some(text) = self.stored(row, column) else { return Ok(None) };
        let token = self.open(row, column, text).await?;
        Ok(Some(token).filter(|token| !token.expose_secret().is_empty()))
    }

    /// One token of a row that may have changed since it was opened; `None` where it does not open.
    pub(super) async fn token(&self, row: &StoredRow, column: &str) -> Option<SecretString> {
        self.open(row, column, self.stored(row, column)?).await.ok()
    }

    async fn open(&self, row: &StoredRow, column: &str, text: &str) -> Result<SecretString, StoreError> {
        self.store.open_cell(self.store.trail("refresh"), self.layout, row, column, text).await
    }

    pub(super) fn stored<'r>(&self, row: &'r StoredRow, column: &str) -> Option<&'r str> {
        let index = self.layout.table.tokens.iter().position(|name| name == column)?;
        row.values.get(index)?.as_ref().map(|text| text.as_str())
    }
}

impl Stale {
    /// The row as the caller's grant sees it.
    pub(super) fn token(&self, place: &Place<'_>) -> Token {
        let content = place.store.content(place.layout, &self.row);
        let mut token = Token::new(place.layout, &self.row, content);
        for (column, secret) in &self.tokens {
            token.push(column, secret.clone());
        }
        token
    }

    pub(super) fn opened(&self, column: &str) -> Option<&SecretString> {
        self.tokens.iter().find(|(name, _)| name == column)?.1.as_ref()
    }

    /// Now by the database's clock, in milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.now.saturating_add(millis(self.read.elapsed()))
    }

    /// The expiry as text, where it is one.
    pub(super) fn expiry_text(&self) -> Option<&str> {
        match self.expires.as_ref()? {
            Expiry::Text(text) => Some(text),
            Expiry::Millis(_) => None,
        }
    }
}
