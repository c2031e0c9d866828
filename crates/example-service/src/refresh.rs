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
    let token = service.store().get(key).await?;
    let refresh_token = token.refresh_token().context("there is no refresh token")?;
    let grant = service.oauth.refresh(&service.client_secret().await?, refresh_token).await?;
    let new = NewToken::new().access_token(grant.access_token).refresh_token(grant.refresh_token);
    Ok(service.store().put(key, new).await?)
}

/// Refreshes every token of the table again and again.
pub async fn forever(service: Service, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if let Err(error) = refresh_all(&service).await {
            tracing::warn!(error = format!("{error:#}"), "the table could not be walked");
        }
    }
}

async fn refresh_all(service: &Service) -> anyhow::Result<()> {
    const PAGE: usize = 100;
    let mut after = None;
    loop {
        let page = service.store().list(None, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(TokenKey::from_values(last.key.clone()));
        for row in &page {
            // One broken row does not keep the others from being refreshed.
            if let Err(error) = refresh(service, &TokenKey::from_values(row.key.clone())).await {
                tracing::warn!(row = row.row, error = format!("{error:#}"), "token was not refreshed");
            }
        }
    }
    status::status(service.store()).await?;
    Ok(())
}
