//! Taking a lease, keeping it, and giving it back.

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use super::passing::{is_passing, persist};
use super::policy::millis;
use super::spent::Spent;
use crate::database::Database;
use crate::database::leases::{LeaseKey, LeaseRecord, NextLease, OldLease, State};
use crate::error::StoreError;

/// How often a lease is tried again that others take at the same moment.
const ATTEMPTS: u32 = 4;

/// How long the release of a lease is retried while the database is unavailable. It ends by itself after
/// that.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// The outcome of a request for a lease.
pub(super) enum Claim {
    Held(Held),
    Wait(Wait),
    /// The provider has refused this refresh token before.
    NeedsConsent,
}

/// Why a lease is not given yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) fence: i64,
    /// The end of the lease itself, or of the pause, by the database's clock, in milliseconds since 1970.
    pub(super) until: i64,
    /// How long to wait: to that end, and for a holder that may have spent the refresh token, through its grace.
    pub(super) remaining: Duration,
    /// The failed attempts, where it is a pause after them.
    pub(super) paused: Option<u32>,
}

/// A lease that this process holds, or held.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) key: LeaseKey,
    pub(super) holder: String,
    pub(super) fence: i64,
    /// The end of it by the database's clock, in milliseconds since 1970.
    pub(super) expires_at: i64,
    time: Duration,
    before: Before,
}

/// The lease's information about the refresh token that the row holds.
#[derive(Clone, Debug)]
struct Before {
    state: State,
    spent: Option<Spent>,
    attempts: u32,
    /// How much of the time for a late answer has passed already.
    since: Duration,
}

/// A name for a holder that no other has.
pub(super) fn new_holder() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Asks for the lease of a row that holds this refresh token. A lease about another refresh token has no say, but for
/// its holder's time. With `grace`, a holder that vanished keeps it for that much longer.
pub(super) async fn claim(
    database: &Database,
    key: &LeaseKey,
    holder: &str,
    refresh_token: &SecretString,
    time: Duration,
    grace: Duration,
) -> Result<Claim, StoreError> {
    let mut wait = Wait { fence: 0, until: 0, remaining: Duration::ZERO, paused: None };
    for _ in 0..ATTEMPTS {
        let Some(found) = database.lease(key).await? else {
            database.add_lease(key, &first(holder, time)).await?;
            continue;
        };
        let before = Before::of(&found, refresh_token);
        if found.holder == holder && found.expires_at > found.now {
            return Ok(Claim::Held(Held::of(key, holder, found.fence, found.expires_at, time, before)));
        }
        if let Some(held) = found.held(&before, grace) {
            return Ok(Claim::Wait(held));
        }
        if before.state == State::NeedsConsent {
            return Ok(Claim::NeedsConsent);
        }
        let next = NextLease {
            holder,
            fence: found.fence.saturating_add(1),
            state: before.state,
            spent: before.spent.as_ref(),
            expires_in: millis(time),
            attempts: before.attempts,
            retry_in: 0,
        };
        let expires_at = Some(found.expires_at);
        let old = OldLease { holder: &found.holder, fence: found.fence, expires_at };
        if database.swap_lease(key, old, &next).await? {
            let until = found.now.saturating_add(millis(time));
            return Ok(Claim::Held(Held::of(key, holder, next.fence, until, time, before)));
        }
        (wait.fence, wait.until) = (found.fence, found.now);
    }
    Ok(Claim::Wait(wait))
}

fn first(holder: &str, time: Duration) -> NextLease<'_> {
    NextLease {
        holder,
        fence: 1,
        state: State::Idle,
        spent: None,
        expires_in: millis(time),
        attempts: 0,
        retry_in: 0,
    }
}

impl LeaseRecord {
    fn held(&self, before: &Before, grace: Duration) -> Option<Wait> {
        let is_spending = before.state == State::Spending;
        let late = if is_spending { millis(grace) } else { 0 };
        let free_at = self.expires_at.saturating_add(late);
        let wait = |until: i64, free_at: i64, paused| Wait {
            fence: self.fence,
            until,
            remaining: positive(free_at.saturating_sub(self.now)),
            paused,
        };
        let pauses = before.attempts > 0 && before.state != State::NeedsConsent;
        let retry_at = if pauses { self.retry_at } else { 0 };
        match () {
            () if free_at > self.now => Some(wait(self.expires_at, free_at, None)),
            () if retry_at > self.now => Some(wait(retry_at, retry_at, Some(before.attempts))),
            () => None,
        }
    }
}

fn positive(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

impl Before {
    fn of(found: &LeaseRecord, refresh_token: &SecretString) -> Self {
        let since = positive(found.now.saturating_sub(found.expires_at));
        match &found.spent {
            Some(spent) if spent.is(refresh_token) => {
                Self { state: found.state, spent: Some(spent.clone()), attempts: found.attempts, since }
            }
            _ => Self { state: State::Idle, spent: None, attempts: 0, since },
        }
    }
}

impl Held {
    fn of(key: &LeaseKey, holder: &str, fence: i64, expires_at: i64, time: Duration, before: Before) -> Self {
        Self { key: key.clone(), holder: holder.to_owned(), fence, expires_at, time, before }
    }

    /// A lease by its text, of which only the holder and the fence are known.
    pub(super) fn known(key: LeaseKey, holder: String, fence: i64) -> Self {
        let before = Before { state: State::Idle, spent: None, attempts: 0, since: Duration::ZERO };
        Self { key, holder, fence, expires_at: 0, time: Duration::ZERO, before }
    }

    /// Whether an earlier holder may have spent this refresh token, which the row holds.
    pub(super) fn is_uncertain(&self, refresh_token: &SecretString) -> bool {
        let spent = self.before.spent.as_ref();
        self.before.state == State::Spending && spent.is_some_and(|spent| spent.is(refresh_token))
    }

    /// How much of the grace is left for a late answer.
    pub(super) fn grace_left(&self, grace: Duration) -> Duration {
        grace.saturating_sub(self.before.since)
    }

    /// Records that the refresh token is about to be spent. `false` where the lease is lost.
    pub(super) async fn spend(&self, database: &Database, spent: &Spent) -> Result<bool, StoreError> {
        let next = NextLease {
            state: State::Spending,
            spent: Some(spent),
            attempts: self.before.attempts,
            ..first(&self.holder, self.time)
        };
        self.replace(database, &next).await
    }

    /// Does some work, during which the lease is renewed.
    pub(super) async fn keep<T>(
        &self,
        database: &Database,
        spent: Option<&Spent>,
        work: impl Future<Output = T>,
    ) -> T {
        let renewed = async {
            loop {
                tokio::time::sleep(self.time / 3).await;
                let renewed = match spent {
                    Some(spent) => self.spend(database, spent).await,
                    None => self.replace(database, &self.as_before(self.time)).await,
                };
                match renewed {
                    Ok(true) => {}
                    // The answer is still written, as long as the row holds the refresh token.
                    Ok(false) => tracing::warn!(table = self.key.table, row = self.key.row, "lease is lost"),
                    Err(error) => tracing::debug!(%error, "lease was not renewed"),
                }
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = renewed => std::future::pending().await,
        }
    }

    /// Gives the lease back: nothing was spent, and the information about the refresh token stays.
    pub(super) async fn give_back(&self, database: &Database) {
        self.end(database, &self.as_before(Duration::ZERO)).await;
    }

    /// Gives the lease back: the row holds valid tokens.
    pub(super) async fn done(&self, database: &Database) {
        self.end(database, &first(&self.holder, Duration::ZERO)).await;
    }

    /// Gives the lease back after a failed attempt, after which there is a pause.
    pub(super) async fn failed(
        &self,
        database: &Database,
        state: State,
        spent: &Spent,
        pause_after: impl Fn(u32) -> Duration,
    ) {
        let attempts = self.before.attempts.saturating_add(1);
        let next = NextLease {
            state,
            spent: Some(spent),
            attempts,
            retry_in: millis(pause_after(attempts)),
            ..first(&self.holder, Duration::ZERO)
        };
        self.end(database, &next).await;
    }

    fn as_before(&self, time: Duration) -> NextLease<'_> {
        NextLease {
            state: self.before.state,
            spent: self.before.spent.as_ref(),
            attempts: self.before.attempts,
            ..first(&self.holder, time)
        }
    }

    async fn end(&self, database: &Database, next: &NextLease<'_>) {
        let until = Instant::now() + GIVE_BACK;
        if let Err(error) = persist(until, || self.replace(database, next)).await {
            let passing = is_passing(&error);
            tracing::warn!(table = self.key.table, row = self.key.row, passing, "lease was not given back");
        }
    }

    pub(super) async fn replace(
        &self,
        database: &Database,
        next: &NextLease<'_>,
    ) -> Result<bool, StoreError> {
        let old = OldLease { holder: &self.holder, fence: self.fence, expires_at: None };
        let next = NextLease { fence: self.fence, ..next.clone() };
        Ok(database.swap_lease(&self.key, old, &next).await?)
    }
}
