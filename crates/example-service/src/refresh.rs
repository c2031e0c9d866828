//! The read, refresh, write that every OAuth client has.

use std::time::Duration;

use anyhow::Context as _;
use tokenseal::token_store::{NewToken, TokenKey, Written, status};

use crate::Service;

/// Reads a token, has it refreshed, and writes the new pair.
///
/// # Errors
/// Of the store, of the secrets or of the provider; nothing was written then.
pub async fn refresh(service: &Service, key: &TokenKey) -> anyhow::Result<Written> {
    service.refreshes.measure(refresh_once(service, key)).await
}

async fn refresh_once(service: &Service, key: &TokenKey) -> anyhow::Result<Written> {
    let token = service.store().get(key).await?;
    let refresh_token = token.refresh_token().context("there is no refresh token")?;
    let grant = service.oauth.refresh(&service.client_secret().await?, refresh_token).await?;
    let new = NewToken::new().access_token(grant.access_token).refresh_token(grant.refresh_token);
    Ok(service.store().put(key, new).await?)
}

/// Refreshes every token of the table again and again, except while the pause file exists: an operator stops refreshes with it
/// while new tokens cannot be stored, without a restart, which would empty the cache.
pub async fn forever(service: Service, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if paused(&service) {
            tracing::info!("REFRESH_PAUSE_FILE exists: tokens are not refreshed");
            continue;
        }
        if let Err(error) = refresh_all(&service).await {
            tracing::warn!(error = format!("{error:#}"), "the table could not be walked");
        }
    }
}

fn paused(service: &Service) -> bool {
    service.refresh_pause_file.as_ref().is_some_and(|file| file.exists())
}

async fn refresh_all(service: &Service) -> anyhow::Result<()> {
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
            if let Err(error) = refresh(service, &TokenKey::from_values(row.key.clone())).await {
                tracing::warn!(row = row.row, error = format!("{error:#}"), "token was not refreshed");
            }
        }
    }
    status::status(service.store()).await?;
    Ok(())
}
