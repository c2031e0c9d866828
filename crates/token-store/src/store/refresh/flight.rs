//! One refresh, from the lease to the written row.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout};

use super::claim::Held;
use super::error::{FreshError, GrantError};
use super::granted::Granted;
use super::look::{Place, Seen, Stale, Wanted};
use super::passing::persist;
use super::spent::Spent;
use super::store_granted::{Stored, store_granted};
use crate::database::Database;
use crate::database::leases::State;
use crate::error::StoreError;
use crate::store::{Prepared, Token, TokenStore};

/// How often it is looked for a late answer.
const GRACE_POLL: Duration = Duration::from_millis(500);

/// A refresh whose lease is held.
pub(super) struct Flight<'a> {
    place: Place<'a>,
    wanted: &'a Wanted,
    held: Held,
}

/// How a refresh ended.
pub(super) enum Flown<E> {
    Ended(Result<Token, FreshError<E>>),
    /// Another took the lease before anything was spent.
    LeaseLost,
}

/// Everything that is prepared before the refresh token is spent.
struct Ready {
    stale: Box<Stale>,
    /// The data keys for the provider's tokens; none where the fallback is written.
    prepared: Option<Prepared>,
    spent: Spent,
    is_uncertain: bool,
}

impl<'a> Flight<'a> {
    pub(super) fn new(place: Place<'a>, wanted: &'a Wanted, held: Held) -> Self {
        Self { place, wanted, held }
    }

    fn store(&self) -> &'a TokenStore {
        self.place.store
    }

    fn database(&self) -> &'a Database {
        self.store().database()
    }

    /// Spends the refresh token, unless the row has become valid meanwhile.
    pub(super) async fn fly<G, F, E>(self, grant: &mut Option<G>) -> Flown<E>
    where
        G: FnOnce(Token) -> F,
        F: Future<Output = Result<Granted, GrantError<E>>>,
    {
        let ready = match self.held.keep(self.database(), None, self.ready()).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(token)) => {
                self.held.done(self.database()).await;
                return Flown::Ended(Ok(*token));
            }
            Err(error) => {
                self.held.give_back(self.database()).await;
                return Flown::Ended(Err(error));
            }
        };
        match self.held.spend(self.database(), &ready.spent).await {
            Ok(true) => {}
            Ok(false) => return Flown::LeaseLost,
            Err(error) => {
                self.held.give_back(self.database()).await;
                return Flown::Ended(Err(error.into()));
            }
        }
        let Some(grant) = grant.take() else {
            self.held.give_back(self.database()).await;
            return Flown::Ended(Err(self.contended().into()));
        };
        let metrics = &self.store().inner.refreshes;
        if ready.is_uncertain {
            metrics.uncertain();
            let (table, row) = self.place.names();
            tracing::warn!(table, row, "refresh token may have been spent by a holder that vanished");
        }
        Flown::Ended(metrics.measure(self.granted(grant, ready)).await)
    }

    /// Looks again, now that the lease is held, waits for a late answer where there may be one, and makes the data keys.
    /// The inner error is a token that has become valid.
    async fn ready<E>(&self) -> Result<Result<Ready, Box<Token>>, FreshError<E>> {
        let mut stale = match self.place.look(self.wanted).await? {
            Seen::Valid(token) => return Ok(Err(token)),
            Seen::Stale(stale) => stale,
            Seen::NoRefreshToken => return Err(self.needs_consent()),
        };
        let mut is_uncertain = false;
        if self.held.is_uncertain(&stale.refresh_token) {
            let earlier = Spent::of(&stale.refresh_token);
            let until = Instant::now() + self.held.grace_left(self.store().refresh_policy.grace_time());
            while Instant::now() < until && earlier.is(&stale.refresh_token) {
                tokio::time::sleep_until(until.min(Instant::now() + GRACE_POLL)).await;
                stale = match self.place.look(self.wanted).await? {
                    Seen::Valid(token) => return Ok(Err(token)),
                    Seen::Stale(stale) => stale,
                    Seen::NoRefreshToken => return Err(self.needs_consent()),
                };
            }
            is_uncertain = earlier.is(&stale.refresh_token);
        }
        let prepared = self.prepared().await?;
        let spent = Spent::of(&stale.refresh_token);
        Ok(Ok(Ready { stale, prepared, spent, is_uncertain }))
    }

    /// Data keys; without any, only where the operator has chosen the fallback for outages of the key service.
    async fn prepared(&self) -> Result<Option<Prepared>, StoreError> {
        let store = self.store();
        match store.prepare(self.place.key).await {
            Ok(prepared) => Ok(Some(prepared)),
            Err(StoreError::Seal { source, .. })
                if store.cipher().falls_back(store.profile(), &source).is_some() =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Runs the grant, and writes its tokens.
    async fn granted<G, F, E>(&self, grant: G, ready: Ready) -> Result<Token, FreshError<E>>
    where
        G: FnOnce(Token) -> F,
        F: Future<Output = Result<Granted, GrantError<E>>>,
    {
        let Ready { stale, prepared, spent, is_uncertain } = ready;
        let policy = &self.store().refresh_policy;
        let (asked_at, deadline) = (stale.now(), policy.deadline());
        let asked = timeout(deadline, grant(stale.token(&self.place)));
        let answer = self.held.keep(self.database(), Some(&spent), asked).await;
        let (state, error) = match answer {
            Ok(Ok(granted)) if !granted.has_access() => {
                return self.without_access(granted, &stale, prepared, &spent, asked_at).await;
            }
            Ok(Ok(granted)) => {
                let stored = store_granted(&self.place, &stale, prepared, granted, asked_at);
                let stored = self.held.keep(self.database(), Some(&spent), stored).await;
                return self.ended(stored, &spent).await;
            }
            Ok(Err(GrantError::Rejected(error))) => {
                return self.rejected(error, &spent, is_uncertain).await;
            }
            Ok(Err(GrantError::NotSpent(error))) => (State::Idle, FreshError::Grant(error)),
            Ok(Err(GrantError::Unknown(error))) => (State::Spending, FreshError::Grant(error)),
            Err(_) => (State::Spending, FreshError::Timeout { deadline }),
        };
        self.held.failed(self.database(), state, &spent, |attempts| policy.pause_after(attempts)).await;
        Err(error)
    }

    /// The refresh token was spent for no access token: its successor is kept, and the attempt has failed.
    async fn without_access<E>(
        &self,
        granted: Granted,
        stale: &Stale,
        prepared: Option<Prepared>,
        spent: &Spent,
        asked_at: i64,
    ) -> Result<Token, FreshError<E>> {
        let pause = |attempts| self.store().refresh_policy.pause_after(attempts);
        let (table, row) = self.place.names();
        let failed = Err(FreshError::NoAccessToken { table, row });
        let Some(successor) = granted.refresh.as_ref().map(Spent::of) else {
            self.held.failed(self.database(), State::Spending, spent, pause).await;
            return failed;
        };
        let stored = store_granted(&self.place, stale, prepared, granted, asked_at);
        match self.held.keep(self.database(), Some(spent), stored).await {
            Ok(Stored::Written(_)) => {
                // The pause is about the refresh token that the row holds now.
                self.held.failed(self.database(), State::Idle, &successor, pause).await;
                failed
            }
            other => self.ended(other, spent).await,
        }
    }

    async fn ended<E>(
        &self,
        stored: Result<Stored, StoreError>,
        spent: &Spent,
    ) -> Result<Token, FreshError<E>> {
        match stored {
            Ok(Stored::Written(token)) => {
                self.held.done(self.database()).await;
                Ok(*token)
            }
            Ok(Stored::Superseded) => {
                let (table, row) = self.place.names();
                tracing::warn!(table, row, "answer came after others had written the row, and is not stored");
                self.held.done(self.database()).await;
                match self.place.look(self.wanted).await? {
                    Seen::Valid(token) => Ok(*token),
                    _ => Err(self.contended().into()),
                }
            }
            Err(error) => {
                let (table, row) = self.place.names();
                let class = error.class();
                tracing::error!(
                    table,
                    row,
                    class,
                    "granted tokens were not stored: the user must sign in again"
                );
                let pause = |attempts| self.store().refresh_policy.pause_after(attempts);
                self.held.failed(self.database(), State::Spending, spent, pause).await;
                Err(error.into())
            }
        }
    }

    /// Believes that a refresh token is refused only where the row still holds it: the loser of a race is refused as well.
    async fn rejected<E>(&self, error: E, spent: &Spent, is_uncertain: bool) -> Result<Token, FreshError<E>> {
        let policy = &self.store().refresh_policy;
        let grace = if is_uncertain { policy.grace_time() } else { Duration::ZERO };
        let mut seen = self.seen_again().await?;
        if matches!(&seen, Seen::Stale(stale) if spent.is(&stale.refresh_token)) && !grace.is_zero() {
            // The earlier holder, which has spent it first, may be about to write its answer.
            self.held.keep(self.database(), Some(spent), tokio::time::sleep(grace)).await;
            seen = self.seen_again().await?;
        }
        match seen {
            Seen::Valid(token) => {
                self.held.done(self.database()).await;
                Ok(*token)
            }
            Seen::Stale(stale) if !spent.is(&stale.refresh_token) => {
                self.held.done(self.database()).await;
                Err(FreshError::Grant(error))
            }
            Seen::Stale(_) | Seen::NoRefreshToken => {
                self.store().inner.refreshes.needs_consent();
                let pause = |attempts| policy.pause_after(attempts);
                self.held.failed(self.database(), State::NeedsConsent, spent, pause).await;
                Err(self.needs_consent())
            }
        }
    }

    async fn seen_again(&self) -> Result<Seen, StoreError> {
        let until = Instant::now() + self.store().refresh_policy.wait_time();
        persist(until, || self.place.look(self.wanted)).await
    }

    fn needs_consent<E>(&self) -> FreshError<E> {
        let (table, row) = self.place.names();
        FreshError::NeedsConsent { table, row }
    }

    fn contended(&self) -> StoreError {
        let (table, row) = self.place.names();
        StoreError::Contended { table, row }
    }
}

/// Whether two secrets are the same.
pub(super) fn is_same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(|secret| secret.expose_secret()) == other.map(|secret| secret.expose_secret())
}
