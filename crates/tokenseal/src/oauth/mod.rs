//! The refresh grant of OAuth 2.0 (RFC 6749, section 6) at the providers of the profile.

mod answer;
mod error;
mod http;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use oauth2::basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse};
use oauth2::{
    AuthType, Client, ClientId, ClientSecret, RefreshToken, RequestTokenError, StandardRevocableToken,
    TokenResponse as _, TokenUrl,
};
use secrecy::{ExposeSecret as _, SecretString};
use token_store::profile::{ClientAuth, Provider};
use token_store::refresh::{FreshError, GrantError, Granted};
use token_store::{Profile, Token, TokenKey};

use self::answer::Answer;
pub use self::error::ProviderError;
use self::http::{Http, HttpError};
use crate::connect::Tokenseal;
use crate::secrets::Secrets;
use crate::settings::SettingsError;

/// The profile's providers, and the client for requests to them.
pub(crate) struct Providers {
    providers: BTreeMap<String, Provider>,
    http: Http,
    secrets: Option<Secrets>,
}

impl Providers {
    /// Sets up the client for the profile's providers, if it has any.
    pub(crate) fn open(profile: &Profile, secrets: Option<Secrets>) -> Result<Option<Self>, SettingsError> {
        if profile.providers.is_empty() {
            return Ok(None);
        }
        let http = Http::new().map_err(|error| {
            let hint = "install the system's certificate authorities, or set SSL_CERT_FILE";
            SettingsError::of(
                "TOKEN_PROFILE",
                format_args!("has providers, and TLS cannot be set up: {error}"),
                hint,
            )
        })?;
        Ok(Some(Self { providers: profile.providers.clone(), http, secrets }))
    }

    /// Exchanges a refresh token at the provider of this name.
    async fn refresh(
        &self,
        name: &str,
        refresh_token: &SecretString,
    ) -> Result<Granted, GrantError<ProviderError>> {
        let unknown = || GrantError::NotSpent(ProviderError::NoProvider { name: name.to_owned() });
        let provider = self.providers.get(name).ok_or_else(unknown)?;
        let url = TokenUrl::new(provider.token_url.clone());
        let url = url.map_err(|_| GrantError::NotSpent(ProviderError::TokenUrl { name: name.to_owned() }))?;
        let auth = match provider.auth {
            ClientAuth::Post => AuthType::RequestBody,
            _ => AuthType::BasicAuth,
        };
        let mut client = OAuthClient::new(ClientId::new(provider.client_id.clone())).set_auth_type(auth);
        if let Some(secret) = &provider.client_secret {
            let secret = self.client_secret(secret).await.map_err(GrantError::NotSpent)?;
            client = client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
        }
        let client = client.set_token_uri(url);
        let refresh_token = RefreshToken::new(refresh_token.expose_secret().to_owned());
        let request = client.exchange_refresh_token(&refresh_token);
        let answer: Answer = request.request_async(&self.http).await.map_err(refused)?;
        if !answer.has_tokens() {
            return Err(GrantError::Unknown(ProviderError::NotUnderstood));
        }
        Ok(granted(&answer))
    }

    async fn client_secret(&self, name: &str) -> Result<SecretString, ProviderError> {
        let secrets = self.secrets.as_ref().ok_or(ProviderError::NoSecrets)?;
        secrets.cache().read(name).await.map_err(|error| ProviderError::Secret(Box::new(error)))
    }
}

type OAuthClient = Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

fn granted(answer: &Answer) -> Granted {
    let granted = Granted::new(answer.access_token().secret().as_str());
    let granted = match answer.refresh_token() {
        Some(token) => granted.refresh_token(token.secret().as_str()),
        None => granted,
    };
    match answer.expires_in() {
        Some(lifetime) => granted.expires_in(lifetime),
        None => granted,
    }
}

/// Whether the refresh token was spent. No text of the provider is passed on.
fn refused(error: RequestTokenError<HttpError, BasicErrorResponse>) -> GrantError<ProviderError> {
    match error {
        RequestTokenError::ServerResponse(refusal) => {
            let refused = ProviderError::refused(refusal.error().as_ref());
            let is_about_token = error::is_about_token(&refusal);
            if is_about_token { GrantError::Rejected(refused) } else { GrantError::NotSpent(refused) }
        }
        RequestTokenError::Request(HttpError::Unreachable) => {
            GrantError::NotSpent(ProviderError::Unreachable)
        }
        RequestTokenError::Request(HttpError::Refused { status }) => {
            GrantError::NotSpent(ProviderError::Status { status })
        }
        RequestTokenError::Request(HttpError::Failed { status }) => {
            GrantError::Unknown(ProviderError::Status { status })
        }
        RequestTokenError::Request(_) => GrantError::Unknown(ProviderError::Broken),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            GrantError::Unknown(ProviderError::NotUnderstood)
        }
    }
}

impl Tokenseal {
    /// Returns a row's tokens whose access token is valid for at least `valid_for`, after a refresh grant at the row's
    /// provider where that is needed: once among all callers, processes and replicas.
    ///
    /// The profile's `[tables.refresh]` names the provider, and `[providers]` says where it is; the client's secret is
    /// read through the cache of [secrets](Self::secrets).
    ///
    /// # Errors
    /// As [`TokenStore::fresh`](token_store::TokenStore::fresh).
    pub async fn fresh(
        &self,
        key: &TokenKey,
        valid_for: Duration,
    ) -> Result<Token, FreshError<ProviderError>> {
        let (this, of) = (self.clone(), key.clone());
        self.store().fresh(key, valid_for, move |tokens| async move { this.grant(&of, tokens).await }).await
    }

    async fn grant(&self, key: &TokenKey, tokens: Token) -> Result<Granted, GrantError<ProviderError>> {
        let not_spent = |error| Err(GrantError::NotSpent(error));
        let name = match self.store().provider(key).await {
            Ok(Some(name)) => name,
            Ok(None) => return not_spent(ProviderError::Unnamed),
            Err(error) => return not_spent(ProviderError::Store(Box::new(error))),
        };
        let Some(providers) = self.providers() else {
            return not_spent(ProviderError::NoProvider { name });
        };
        let table = self.store().profile().table(key.table());
        let refresh = table.and_then(|table| table.refresh.as_ref());
        let Some(token) = refresh.and_then(|refresh| tokens.column(&refresh.refresh)) else {
            return not_spent(ProviderError::Unnamed);
        };
        providers.refresh(&name, token).await
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Providers").field("names", &self.providers.keys()).finish_non_exhaustive()
    }
}
