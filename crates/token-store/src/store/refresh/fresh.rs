//! Getting a token that is valid for long enough, by waiting for others or by a grant of one's own.

use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::instrument::WithSubscriber as _;

use super::claim::{Claim, Wait, claim, new_holder};
use super::error::{FreshError, GrantError};
use super::flight::{Flight, Flown};
use super::granted::Granted;
use super::look::{Place, Seen, Stale, Wanted};
use super::passing::{is_passing, jittered, persist};
use crate::database::leases::LeaseKey;
use crate::store::{Token, TokenKey, TokenStore};

/// The first and the longest pause between two looks at another's lease.
const POLL: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(500));

impl TokenStore {
    /// Returns a row's tokens whose access token is valid for at least `valid_for`, by the database's clock.
    ///
    /// Where it is not, one of all callers of all processes runs the grant, and the others wait and read its result. The
    /// grant is given the row's tokens; it says whether the refresh token was spent where it fails. It must end within the
    /// deadline of the [`RefreshPolicy`](super::RefreshPolicy). Once it has begun, the refresh runs to its
    /// end, even where the caller is dropped: a grant that the provider gave is always written.
    ///
    /// If the provider's tokens are valid for less than `valid_for`, a new one is returned as it is.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use token_store::refresh::{GrantError, Granted};
    /// # use token_store::{TokenKey, TokenStore};
    /// # async fn ask_provider(token: Option<&secrecy::SecretString>) -> std::io::Result<(String, String)> { Ok(Default::default()) }
    /// # async fn example(store: TokenStore) -> Result<(), Box<dyn std::error::Error>> {
    /// let key = TokenKey::new("twitch", "channel");
    /// let tokens = store.fresh(&key, Duration::from_secs(60), async |tokens| {
    ///     let (access, refresh) = ask_provider(tokens.refresh_token()).await?;
    ///     Ok::<_, GrantError<std::io::Error>>(
    ///         Granted::new(access).refresh_token(refresh).expires_in(Duration::from_secs(3600)),
    ///     )
    /// });
    /// let tokens = tokens.await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`FreshError`]; its variants say whether the caller can do something about it.
    pub async fn fresh<G, F, E>(
        &self,
        key: &TokenKey,
        valid_for: Duration,
        grant: G,
    ) -> Result<Token, FreshError<E>>
    where
        G: FnOnce(Token) -> F + Send + 'static,
        F: Future<Output = Result<Granted, GrantError<E>>> + Send + 'static,
        E: Send + 'static,
    {
        let wanted = Wanted::new(valid_for);
        let first = match Place::of(self, key)?.look(&wanted).await {
            Ok(Seen::Valid(token)) => return Ok(*token),
            Ok(Seen::Stale(stale)) => Some(stale),
            Err(error) if !is_passing(&error) => return Err(error.into()),
            _ => None,
        };
        let (store, key) = (self.clone(), key.clone());
        let refreshed = async move { refreshed(&store, &key, &wanted, first, grant).await };
        // A task of its own, which continues if the caller is dropped.
        let task = tokio::spawn(refreshed.in_current_span().with_current_subscriber());
        match task.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(done) => done,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_)) => Err(FreshError::Interrupted),
        }
    }
}

async fn refreshed<G, F, E>(
    store: &TokenStore,
    key: &TokenKey,
    wanted: &Wanted,
    mut first: Option<Box<Stale>>,
    grant: G,
) -> Result<Token, FreshError<E>>
where
    G: FnOnce(Token) -> F,
    F: Future<Output = Result<Granted, GrantError<E>>>,
{
    let place = Place::of(store, key)?;
    let until = Instant::now() + store.refresh_policy.wait_time();
    let (table, row) = place.names();
    let turn = store.inner.turns.of(&table, &row);
    let _turn = match turn.try_lock() {
        Ok(turn) => turn,
        Err(_) => {
            // The caller before this one has probably had the row written.
            first = None;
            let Ok(turn) = tokio::time::timeout_at(until, turn.lock()).await else {
                return Err(FreshError::Busy { table, row });
            };
            turn
        }
    };
    let (mut grant, holder) = (Some(grant), new_holder());
    loop {
        // The caller's own look is sufficient to ask for the lease: its holder looks again.
        let is_first = first.is_some();
        let stale = match first.take() {
            Some(stale) => stale,
            None => match persist(until, || place.look(wanted)).await? {
                Seen::Valid(token) => return Ok(*token),
                Seen::NoRefreshToken => return Err(FreshError::NeedsConsent { table, row }),
                Seen::Stale(stale) => stale,
            },
        };
        let (key, time) = (place.lease_key(&stale.row), store.refresh_policy.lease_time());
        let asked = || claim(store.database(), &key, &holder, &stale.refresh_token, time, Duration::ZERO);
        match persist(until, asked).await? {
            Claim::Held(held) => match Flight::new(place, wanted, held).fly(&mut grant).await {
                // The database was unavailable before anything was spent.
                Flown::Ended(Err(FreshError::Store(error)))
                    if grant.is_some() && is_passing(&error) && Instant::now() < until =>
                {
                    tokio::time::sleep(jittered(POLL.1)).await;
                }
                Flown::Ended(result) => return result,
                Flown::LeaseLost => {}
            },
            Claim::NeedsConsent if is_first => {}
            Claim::NeedsConsent => return Err(FreshError::NeedsConsent { table, row }),
            Claim::Wait(wait) => {
                let late = Instant::now() + wait.remaining > until;
                match wait.paused {
                    Some(attempts) if late => {
                        let retry_in = wait.remaining;
                        return Err(FreshError::Paused { table, row, attempts, retry_in });
                    }
                    _ if Instant::now() >= until => return Err(FreshError::Busy { table, row }),
                    _ => await_change(store, &key, wait, until).await,
                }
            }
        }
    }
}

/// Waits until another's lease has ended or has another holder. Looks at the lease only, which costs one small query.
async fn await_change(store: &TokenStore, key: &LeaseKey, wait: Wait, until: Instant) {
    let mut pause = POLL.0;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        tokio::time::sleep(jittered(pause).min(left)).await;
        pause = (pause * 2).min(POLL.1);
        let is_same = match store.database().lease(key).await {
            Ok(Some(now)) => {
                let ends = if wait.paused.is_some() { now.retry_at } else { now.expires_at };
                now.fence == wait.fence && ends > now.now
            }
            Ok(None) => false,
            // The database is unavailable, so no one else gets the lease meanwhile.
            Err(_) => true,
        };
        if !is_same || Instant::now() >= until {
            return;
        }
    }
}
