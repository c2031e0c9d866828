//! Tables whose tokens are refreshed, at a provider that revokes refresh tokens that are spent twice.

use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::ExposeSecret as _;
use test_support::oauth::Provider;
use test_support::sql::Sql;
use token_store::profile::Refresh;
use token_store::refresh::{GrantError, Granted, RefreshPolicy};
use token_store::{Database, NewToken, Profile, Token, TokenKey, TokenStore, schema};

use super::{Keys, create_vod_tender};

/// How long a slow answer takes: longer than the grace, shorter than the deadline of [`short`].
const SLOW: Duration = Duration::from_millis(700);

/// Why a grant of the tests fails.
#[derive(Debug, thiserror::Error)]
#[error("the test's provider refuses")]
pub(crate) struct Refused;

/// vod-tender's profile, with tokens that are refreshed.
pub(crate) fn refreshed_profile() -> Profile {
    let refresh = Refresh::new("access_token", "refresh_token", "expires_at");
    Profile::load("vod-tender").unwrap().with_refresh("oauth_tokens", refresh).unwrap()
}

/// Short times, so that a test does not wait long.
pub(crate) fn short() -> RefreshPolicy {
    RefreshPolicy::default()
        .lease(Duration::from_millis(1500))
        .grace(Duration::from_millis(300))
        .wait(Duration::from_secs(20))
        .pauses(Duration::from_millis(400), Duration::from_secs(2))
}

/// vod-tender's table and the table of leases, and the keys of a store on them. No cache, so that an outage is one.
pub(crate) async fn refreshed_table(db: &Sql) -> Keys {
    create_vod_tender(db).await;
    let mut keys = Keys::new("vod-tender").decorated(|without_cache| without_cache);
    keys.profile = refreshed_profile();
    let database = Database::connect(db.url()).await.unwrap();
    schema::migrate(&database, &keys.profile).await.unwrap();
    database.close().await;
    keys
}

/// A store as one of several processes has it.
pub(crate) async fn replica(keys: &Keys, db: &Sql) -> TokenStore {
    keys.store(db).await.with_refresh_policy(short())
}

/// A row whose access token has expired, with the first refresh token of a family.
pub(crate) async fn expired(store: &TokenStore, provider: &Provider, channel: &str) -> TokenKey {
    let key = TokenKey::new("twitch", channel);
    let token = NewToken::new().access_token("expired").refresh_token(provider.sign_in());
    store.put(&key, token.plain("expires_at", "2020-01-01T00:00:00Z")).await.unwrap();
    key
}

/// Exchanges the refresh token of a row.
pub(crate) fn exchange(provider: &Provider, tokens: &Token) -> Result<Granted, GrantError<Refused>> {
    let refresh = tokens.refresh_token().unwrap().expose_secret();
    let pair = provider.exchange(refresh).ok_or(GrantError::Rejected(Refused))?;
    Ok(Granted::new(pair.access).refresh_token(pair.refresh).expires_in(Duration::from_secs(3600)))
}

/// A grant at the provider.
pub(crate) fn grant(
    provider: &Provider,
) -> impl FnOnce(Token) -> std::future::Ready<Result<Granted, GrantError<Refused>>> + Send + 'static {
    let provider = provider.clone();
    move |tokens| std::future::ready(exchange(&provider, &tokens))
}

/// A grant at the provider whose answer arrives late: longer than the grace, so that another holder would
/// spend the same refresh token meanwhile.
pub(crate) fn slow_grant(
    provider: &Provider,
) -> impl FnOnce(Token) -> BoxFuture<'static, Result<Granted, GrantError<Refused>>> + Send + 'static {
    let provider = provider.clone();
    move |tokens| {
        let granted = exchange(&provider, &tokens);
        Box::pin(async move {
            tokio::time::sleep(SLOW).await;
            granted
        })
    }
}

/// A counter of a store, as it is scraped.
pub(crate) fn counter(store: &TokenStore, name: &str) -> u64 {
    let mut registry = prometheus_client::registry::Registry::default();
    token_store::metrics::register(&mut registry, store);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
}
