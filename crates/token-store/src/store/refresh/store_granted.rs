//! Writing what a provider gave: the only valid tokens, which must not be lost.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::flight::is_same;
use super::granted::Granted;
use super::look::{Place, Stale};
use super::passing::{is_passing, jittered};
use super::policy::millis;
use super::time;
use crate::database::leases::TimeColumn;
use crate::database::row::StoredRow;
use crate::error::StoreError;
use crate::store::prepared::Supply;
use crate::store::revision::Content;
use crate::store::{NewToken, Prepared, Token, TokenStore};

/// How long the write is tried while the database is unavailable: as long as prepared data keys are kept.
const WITHIN: Duration = Duration::from_secs(300);

/// The longest pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a write that the database refuses is tried.
const ATTEMPTS: u32 = 4;

/// The outcome for granted tokens.
pub(super) enum Stored {
    Written(Box<Token>),
    /// The row does not hold the refresh token any more that was spent.
    Superseded,
}

/// Writes the tokens as long as the row holds the refresh token that was spent for them, even if another
/// holder has the lease by now.
pub(super) async fn store_granted(
    place: &Place<'_>,
    stale: &Stale,
    prepared: Option<Prepared>,
    granted: Granted,
    asked_at: i64,
) -> Result<Stored, StoreError> {
    let supply = prepared.map(|prepared| Supply { cells: prepared.cells, is_all: false });
    let store = TokenStore { prepared: supply, ..place.store.clone() };
    let expires_at = expires_at(place, stale, &granted, asked_at).await;
    let until = Instant::now() + WITHIN;
    let (mut pause, mut refused) = (Duration::from_millis(20), 0);
    loop {
        let attempt = attempt(&store, place, stale, &granted, expires_at.as_deref(), refused > 1).await;
        match attempt {
            Ok(Some(stored)) => return Ok(stored),
            // Others changed the row between its read and its write.
            Ok(None) => {}
            Err(error) if (is_passing(&error) || error.is_retryable()) && Instant::now() < until => {}
            Err(error @ (StoreError::NotFound { .. } | StoreError::Seal { .. })) => return Err(error),
            Err(error) => {
                refused += 1;
                tracing::warn!(class = error.class(), refused, "granted tokens were not written");
                if refused == ATTEMPTS {
                    return Err(error);
                }
            }
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(PAUSE);
    }
}

/// One attempt; `None` where others were faster. `bare` leaves out the plain columns besides the expiry, which the database
/// may have refused.
async fn attempt(
    store: &TokenStore,
    place: &Place<'_>,
    stale: &Stale,
    granted: &Granted,
    expires_at: Option<&str>,
    bare: bool,
) -> Result<Option<Stored>, StoreError> {
    let row = place.row().await?;
    let column = &place.refresh.refresh;
    // The key service is called only if others have changed the text.
    let is_untouched = place.stored(&row, column) == place.stored(&stale.row, column);
    let holds = if is_untouched { None } else { place.refresh_token(&row).await? };
    if !is_untouched && !is_same(holds.as_ref(), Some(&stale.refresh_token)) {
        // Or it is this very write, whose confirmation was lost.
        let is_own = granted.refresh.is_some() && is_same(holds.as_ref(), granted.refresh.as_ref());
        if !is_own {
            return Ok(Some(Stored::Superseded));
        }
        let content = store.content(place.layout, &row);
        return Ok(Some(Stored::Written(shown(place, stale, row, content, granted, expires_at))));
    }
    if granted.refresh.is_none() && others_refreshed(place, stale, granted, &row).await {
        return Ok(Some(Stored::Superseded));
    }
    let token = new_token(place, stale, &row, granted, expires_at, bare);
    let written = store.update_refreshed(place.layout, row, &token).await?;
    Ok(written.map(|(row, written)| {
        Stored::Written(shown(place, stale, row, written.content, granted, expires_at))
    }))
}

/// Where the refresh token stays the same, the access token says whether others have written since.
async fn others_refreshed(place: &Place<'_>, stale: &Stale, granted: &Granted, row: &StoredRow) -> bool {
    let column = &place.refresh.access;
    if place.stored(row, column) == place.stored(&stale.row, column) {
        return false;
    }
    let now = place.token(row, column).await;
    let is_ours = |known: Option<&SecretString>| now.is_some() && is_same(now.as_ref(), known);
    !is_ours(stale.opened(column)) && !is_ours(Some(&granted.access))
}

/// Every token of the row, so that none has to be opened for the write; one that others have changed since is left to the
/// store, which carries it over.
fn new_token(
    place: &Place<'_>,
    stale: &Stale,
    row: &StoredRow,
    granted: &Granted,
    expires_at: Option<&str>,
    bare: bool,
) -> NewToken {
    let refresh = place.refresh;
    let new_refresh = granted.refresh.as_ref().unwrap_or(&stale.refresh_token);
    let mut token = NewToken::new().column(&refresh.refresh, Some(new_refresh.clone()));
    if granted.has_access() {
        token = token.column(&refresh.access, Some(granted.access.clone()));
        token = match expires_at {
            Some(text) => token.plain(&refresh.expires_at, text),
            None => token.plain_null(&refresh.expires_at),
        };
    } else if place.stored(row, &refresh.access).is_some()
        && place.stored(row, &refresh.access) == place.stored(&stale.row, &refresh.access)
        && stale.opened(&refresh.access).is_none()
    {
        // A damaged access token cannot be carried over, and must not keep the refresh token from being written.
        token = token.column(&refresh.access, Some(SecretString::default()));
    }
    for (column, secret) in &stale.tokens {
        let is_new = *column == refresh.refresh || *column == refresh.access && granted.has_access();
        if !is_new && place.stored(row, column) == place.stored(&stale.row, column) {
            token = token.column(column, secret.clone());
        }
    }
    let others = granted.plain.iter().filter(|_| !bare);
    others.fold(token, |token, (column, value)| token.plain(column, value))
}

/// The row as it was written.
fn shown(
    place: &Place<'_>,
    stale: &Stale,
    mut row: StoredRow,
    content: Content,
    granted: &Granted,
    expires_at: Option<&str>,
) -> Box<Token> {
    let refresh = place.refresh;
    let plain = place.layout.table.plain.iter();
    if let Some(index) = plain.clone().position(|name| *name == refresh.expires_at)
        && let Some(cell) = row.plain.get_mut(index)
    {
        *cell = expires_at.map(ToOwned::to_owned);
    }
    let mut token = Token::new(place.layout, &row, content);
    for column in &place.layout.table.tokens {
        let secret = match column {
            _ if *column == refresh.access => Some(&granted.access),
            _ if *column == refresh.refresh => granted.refresh.as_ref().or(Some(&stale.refresh_token)),
            _ => stale.opened(column),
        };
        token.push(column, secret.filter(|secret| !secret.expose_secret().is_empty()).cloned());
    }
    Box::new(token)
}

/// The expiry as its column takes it. It counts from before the request.
async fn expires_at(place: &Place<'_>, stale: &Stale, granted: &Granted, asked_at: i64) -> Option<String> {
    let database = place.store.database();
    let lifetime = granted.expires_in.unwrap_or_else(|| place.store.refresh_policy.lifetime());
    let millis = asked_at.saturating_add(millis(lifetime));
    let column = database.time_column(place.layout, &place.refresh.expires_at);
    if column == TimeColumn::Session
        && let Ok(Some(text)) = database.in_session_zone(millis.div_euclid(1000)).await
    {
        return Some(text);
    }
    time::write(millis, column, stale.expiry_text())
}
