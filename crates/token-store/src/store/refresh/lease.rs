//! Leases for programs that run the grant themselves, in any language.

use std::fmt;
use std::time::Duration;

use super::claim::{Claim, Held, claim, new_holder};
use super::error::LeaseError;
use super::flight::is_same;
use super::look::Place;
use super::spent::Spent;
use crate::database::leases::{LeaseRecord, NextLease, State};
use crate::database::row::StoredRow;
use crate::error::StoreError;
use crate::store::put::check_columns;
use crate::store::{NewToken, TokenKey, TokenStore, Written};

/// How often a write starts over because others changed the row between its read and its write.
const ATTEMPTS: u32 = 8;

/// The right to spend a row's refresh token.
#[derive(Clone)]
pub struct Lease {
    text: String,
    expires_at: i64,
    expires_in: Duration,
    is_uncertain: bool,
}

/// The content of a lease's text.
struct Known {
    holder: String,
    fence: i64,
    spent: Spent,
}

impl Lease {
    /// The lease as text, which [`put_leased`](TokenStore::put_leased) and [`release`](TokenStore::release) take. It is no
    /// secret, but who has it can end the lease.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// When it ends, in milliseconds since 1970 by the database's clock.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.expires_at
    }

    /// How long it lasts.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// Whether an earlier holder vanished that may have spent the refresh token.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        self.is_uncertain
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl Known {
    /// Reads `fence.holder.salt.mark`.
    fn parse(text: &str) -> Result<Self, LeaseError> {
        let mut parts = text.splitn(3, '.');
        let (fence, holder, spent) = (parts.next(), parts.next(), parts.next());
        let holder =
            holder.filter(|text| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let fence = fence.and_then(|text| text.parse().ok()).filter(|fence| *fence > 0);
        let spent = spent.and_then(Spent::parse);
        match (fence, holder, spent) {
            (Some(fence), Some(holder), Some(spent)) => Ok(Self { holder: holder.to_owned(), fence, spent }),
            _ => Err(LeaseError::Malformed),
        }
    }
}

impl TokenStore {
    /// Takes the right to spend a row's refresh token for this time, from 300 ms to an hour. The caller runs
    /// the grant within that time and writes its answer with [`put_leased`](Self::put_leased), or gives the
    /// lease back with [`release`](Self::release) if nothing was spent.
    ///
    /// [`fresh`](Self::fresh) respects it, and is respected by it.
    ///
    /// # Errors
    /// [`LeaseError::Held`] with the time to try again, [`LeaseError::NeedsConsent`], [`LeaseError::Store`].
    pub async fn lease(&self, key: &TokenKey, time: Duration) -> Result<Lease, LeaseError> {
        let place = Place::of(self, key)?;
        let (table, row) = place.names();
        let stored = place.row().await?;
        let Some(refresh_token) = place.refresh_token(&stored).await? else {
            return Err(LeaseError::NeedsConsent { table, row });
        };
        let time = time.clamp(Duration::from_millis(300), Duration::from_secs(3600));
        let (lease_key, grace) = (place.lease_key(&stored), self.refresh_policy.grace_time());
        let holder = new_holder();
        let asked = claim(self.database(), &lease_key, &holder, &refresh_token, time, grace);
        let held = match asked.await? {
            Claim::Held(held) => held,
            Claim::NeedsConsent => return Err(LeaseError::NeedsConsent { table, row }),
            Claim::Wait(wait) => {
                let (expires_in, expires_at) = (wait.remaining, wait.until);
                return Err(LeaseError::Held { table, row, expires_in, expires_at });
            }
        };
        // Another may have written the row between its read and the lease.
        let now = place.refresh_token(&place.row().await?).await?;
        let spent = Spent::of(&refresh_token);
        let is_unchanged = is_same(now.as_ref(), Some(&refresh_token));
        if !is_unchanged || !held.spend(self.database(), &spent).await? {
            held.give_back(self.database()).await;
            return Err(StoreError::Contended { table, row }.into());
        }
        let is_uncertain = held.is_uncertain(&refresh_token);
        if is_uncertain {
            self.inner.refreshes.uncertain();
        }
        // To spend renews the lease: this is the end that others are answered. The lease is held, whether it can be read or not.
        let found = self.database().lease(&lease_key).await.ok().flatten();
        let own = found.filter(|found| found.holder == holder && found.fence == held.fence);
        Ok(Lease {
            text: format!("{}.{}.{}", held.fence, held.holder, spent.as_str()),
            expires_at: own.map_or(held.expires_at, |found| found.expires_at),
            expires_in: time,
            is_uncertain,
        })
    }

    /// Writes the answer of a grant as [`put`](Self::put) does, and ends the lease. A late answer is written as well, as
    /// long as the row holds the refresh token that was leased.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] where others have written since, [`LeaseError::Malformed`], and those of `put`.
    pub async fn put_leased(
        &self,
        key: &TokenKey,
        lease: &str,
        token: NewToken,
    ) -> Result<Written, LeaseError> {
        let (place, known) = (Place::of(self, key)?, Known::parse(lease)?);
        let (table, row) = place.names();
        check_columns(place.layout, &token)?;
        for _ in 0..ATTEMPTS {
            let stored = place.row().await?;
            let now = place.refresh_token(&stored).await?;
            let held = Held::known(place.lease_key(&stored), known.holder.clone(), known.fence);
            if !now.as_ref().is_some_and(|now| known.spent.is(now)) {
                let new = token.set(&place.refresh.refresh).flatten();
                if new.is_none() || !is_same(now.as_ref(), new) {
                    return Err(LeaseError::Lost { table, row });
                }
                // The same answer was written before, and its confirmation was lost.
                held.done(self.database()).await;
                return Ok(self.written(&place, &stored));
            }
            let done = self.update_refreshed(place.layout, stored, &token).await;
            if let Err(error) = &done {
                let id = error.correlation_id();
                self.trail("write").write_failed(place.layout, &row, error.class(), id);
            }
            if let Some((_, written)) = done? {
                held.done(self.database()).await;
                return Ok(written);
            }
        }
        Err(StoreError::Contended { table, row }.into())
    }

    /// Gives a lease back whose refresh token was not spent, and returns whether it was still held.
    ///
    /// # Errors
    /// [`LeaseError::Malformed`], [`LeaseError::Store`].
    pub async fn release(&self, key: &TokenKey, lease: &str) -> Result<bool, LeaseError> {
        let (place, known) = (Place::of(self, key)?, Known::parse(lease)?);
        let held = Held::known(place.lease_key(&place.row().await?), known.holder, known.fence);
        let found = self.database().lease(&held.key).await.map_err(StoreError::from)?;
        let is_held = |found: &LeaseRecord| {
            let is_holder = found.holder == held.holder && found.fence == held.fence;
            is_holder && found.state == State::Spending && found.spent.as_ref() == Some(&known.spent)
        };
        if !found.as_ref().is_some_and(is_held) {
            return Ok(false);
        }
        let next = NextLease {
            holder: &held.holder,
            fence: held.fence,
            state: State::Idle,
            spent: None,
            expires_in: 0,
            attempts: 0,
            retry_in: 0,
        };
        Ok(held.replace(self.database(), &next).await?)
    }

    /// The marks and the content that were written into a row before.
    fn written(&self, place: &Place<'_>, row: &StoredRow) -> Written {
        let version = row.version.as_deref().and_then(|version| version.parse().ok());
        Written {
            encryption_version: version.unwrap_or_else(|| self.write_format().version()),
            encryption_method: row.method.clone(),
            content: self.content(place.layout, row),
        }
    }
}
