//! Refreshing tokens through the store, which sees to it that each refresh token is spent once.

use std::time::Duration;

use tokenseal::token_store::refresh::FreshError;
use tokenseal::token_store::{Token, TokenKey, status};

use crate::Service;

/// Longer than any token lives: always requests a new one.
const ALWAYS: Duration = Duration::MAX;

/// Has a token refreshed that is valid for less than this, or any token at all if left out, and returns what the row holds
/// then.
///
/// # Errors
/// Of the store, of the secrets or of the provider.
pub async fn refresh(
    service: &Service,
    key: &TokenKey,
    valid_for: Option<Duration>,
) -> anyhow::Result<Token> {
    // A failure of the source of secrets is no attempt: nothing was sent to the provider.
    let client_secret = service.client_secret().await?;
    let oauth = service.oauth.clone();
    let grant = async move |tokens: Token| oauth.refresh(&client_secret, tokens.refresh_token()).await;
    let fresh = service.store().fresh(key, valid_for.unwrap_or(ALWAYS), grant).await;
    fresh.map_err(|error| match error {
        FreshError::Store(error) => error.into(),
        error => error.into(),
    })
}

/// Refreshes every token of the table again and again that would expire before the round after next, except while the
/// pause file exists: an operator stops refreshes with it while new tokens cannot be stored, without a restart, which would
/// empty the cache.
pub async fn forever(service: Service, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if paused(&service) {
            tracing::info!("REFRESH_PAUSE_FILE exists: tokens are not refreshed");
            continue;
        }
        if let Err(error) = refresh_all(&service, every * 2).await {
            tracing::warn!(error = format!("{error:#}"), "the table could not be walked");
        }
    }
}

fn paused(service: &Service) -> bool {
    service.refresh_pause_file.as_ref().is_some_and(|file| file.exists())
}

async fn refresh_all(service: &Service, valid_for: Duration) -> anyhow::Result<()> {
    const PAGE: usize = 100;
    let mut after = None;
    loop {
        let page = service.store().list(None, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(TokenKey::from_values(last.key.clone()));
        for row in &page {
            if paused(service) {
                return Ok(());
            }
            // One broken row does not keep the others from being refreshed.
            let key = TokenKey::from_values(row.key.clone());
            if let Err(error) = refresh(service, &key, Some(valid_for)).await {
                tracing::warn!(row = row.row, error = format!("{error:#}"), "token was not refreshed");
            }
        }
    }
    status::status(service.store()).await?;
    Ok(())
}
