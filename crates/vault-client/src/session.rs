//! The current token: asked for at the first call, renewed while it lasts, replaced when the server refuses it.

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::auth::Auth;
use crate::client::parse_data;
use crate::connection::Connection;
use crate::error::VaultError;

/// How often a refused token makes the client log in again. Without it, each call that lacks a permission would.
const LOGIN_PAUSE: Duration = Duration::from_secs(5);

/// The shortest pause between two renewals, also after one that failed.
const MIN_RENEWAL: Duration = Duration::from_secs(1);

/// How often a token from a file is looked at that has no end or cannot be renewed.
const FILE_PAUSE: Duration = Duration::from_secs(60);

/// The way to a token, and the token.
pub(crate) struct Session {
    connection: Connection,
    auth: Auth,
    current: RwLock<Option<Arc<Token>>>,
    /// Held during a login, so that one caller does it for all; the time of the last login.
    asking: Mutex<Option<Instant>>,
}

/// A token, as calls carry it.
pub(crate) struct Token {
    header: HeaderValue,
    lease: Option<Lease>,
}

/// How long a token lasts.
#[derive(Clone, Copy, Debug)]
struct Lease {
    lasts: Duration,
    renewable: bool,
}

#[derive(Deserialize)]
struct LoginAnswer<'a> {
    #[serde(borrow)]
    auth: AuthAnswer<'a>,
}

#[derive(Deserialize)]
struct AuthAnswer<'a> {
    client_token: &'a str,
    lease_duration: u64,
    renewable: bool,
}

#[derive(Deserialize)]
struct LookupAnswer {
    /// Whole seconds, and 0 in the last one.
    ttl: u64,
    /// Absent for a token without an end.
    #[serde(default)]
    expire_time: Option<String>,
    renewable: bool,
}

impl Token {
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }

    fn new(token: &str, lease: Option<Lease>) -> Result<Self, VaultError> {
        let mut header = HeaderValue::from_str(token)
            .map_err(|_| VaultError::Misconfigured { what: "the token has characters that no token has" })?;
        header.set_sensitive(true);
        Ok(Self { header, lease })
    }
}

impl Session {
    pub(crate) fn new(connection: Connection, auth: Auth) -> Self {
        Self { connection, auth, current: RwLock::default(), asking: Mutex::default() }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The current token; the first caller asks for it, and starts what keeps it valid.
    pub(crate) async fn token(this: &Arc<Self>) -> Result<Arc<Token>, VaultError> {
        if let Some(token) = this.current() {
            return Ok(token);
        }
        let mut asked = this.asking.lock().await;
        if let Some(token) = this.current() {
            return Ok(token);
        }
        let token = this.ask().await?;
        *asked = Some(Instant::now());
        tokio::spawn(keep_valid(Arc::downgrade(this)));
        Ok(token)
    }

    /// Another token than the one that the server refused, if there is a way to one.
    pub(crate) async fn replace(
        this: &Arc<Self>,
        refused: &Arc<Token>,
    ) -> Result<Option<Arc<Token>>, VaultError> {
        let mut asked = this.asking.lock().await;
        if let Some(current) = this.current().filter(|current| !Arc::ptr_eq(current, refused)) {
            return Ok(Some(current));
        }
        let too_soon = asked.is_some_and(|at| at.elapsed() < LOGIN_PAUSE);
        // Reading a file again costs nothing, a login does.
        if matches!(this.auth, Auth::Token(_)) || (too_soon && !matches!(this.auth, Auth::TokenFile(_))) {
            return Ok(None);
        }
        *asked = Some(Instant::now());
        let token = this.ask().await?;
        Ok((token.header != refused.header).then_some(token))
    }

    fn current(&self) -> Option<Arc<Token>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_current(&self, token: Token) -> Arc<Token> {
        let token = Arc::new(token);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        token
    }

    async fn ask(&self) -> Result<Arc<Token>, VaultError> {
        let token = match self.auth.given()? {
            Some(given) => self.given(&given)?,
            None => self.login().await?,
        };
        Ok(self.set_current(token))
    }

    fn given(&self, token: &SecretString) -> Result<Token, VaultError> {
        Token::new(token.expose_secret(), None)
    }

    async fn login(&self) -> Result<Token, VaultError> {
        let Some(login) = self.auth.login()? else {
            return Err(VaultError::Misconfigured { what: "no way to log in is configured" });
        };
        let answer = self.connection.send(Method::POST, login.path.as_str().into(), &login.body, None).await;
        let body = answer.map_err(|error| match error {
            VaultError::Refused(refusal) if matches!(refusal.status(), 400..=404) => {
                VaultError::Login { method: login.method, status: refusal.status() }
            }
            other => other,
        })?;
        let answer: LoginAnswer<'_> = serde_json::from_slice(&body).map_err(|_| VaultError::NotAnAnswer)?;
        let lease = lease(answer.auth.lease_duration, answer.auth.renewable);
        Token::new(answer.auth.client_token, lease)
    }

    /// Renews the token, or replaces it where it cannot be renewed any more. Returns how long it lasts now.
    async fn renew(&self) -> Result<Option<Lease>, VaultError> {
        let Some(token) = self.current() else {
            return Ok(None);
        };
        let before = match token.lease {
            Some(lease) => Some(lease),
            None => self.look_up(&token).await?,
        };
        let Some(before) = before else {
            return Ok(None);
        };
        if before.renewable {
            let body = self
                .connection
                .send(Method::POST, "auth/token/renew-self".into(), b"{}", Some(token.header()))
                .await;
            let renewed = body.and_then(|body| {
                let answer: Result<LoginAnswer<'_>, _> = serde_json::from_slice(&body);
                answer.map(|answer| answer.auth.lease_duration).map_err(|_| VaultError::NotAnAnswer)
            });
            match renewed {
                // Near the end of its longest life, a renewal adds less and less.
                Ok(seconds) if Duration::from_secs(seconds) * 2 >= before.lasts => {
                    return Ok(lease(seconds, true));
                }
                Err(error) if !matches!(error, VaultError::Refused(_)) => return Err(error),
                _ => {}
            }
        }
        self.ask_anew(&token).await
    }

    /// Logs in again, or reads the file again; a token that was given stays the same.
    async fn ask_anew(&self, old: &Arc<Token>) -> Result<Option<Lease>, VaultError> {
        let mut asked = self.asking.lock().await;
        match self.current() {
            Some(current) if !Arc::ptr_eq(&current, old) => Ok(current.lease),
            _ if matches!(self.auth, Auth::Token(_)) => Ok(None),
            _ => {
                let token = self.ask().await?;
                *asked = Some(Instant::now());
                Ok(token.lease)
            }
        }
    }

    /// How long a token lasts that did not come from a login. One without an end needs no renewal.
    async fn look_up(&self, token: &Token) -> Result<Option<Lease>, VaultError> {
        let target = "auth/token/lookup-self".into();
        match self.connection.send(Method::GET, target, &[], Some(token.header())).await {
            Ok(body) => parse_data(&body).map(|answer: LookupAnswer| {
                answer.expire_time.and_then(|_| lease(answer.ttl.max(1), answer.renewable))
            }),
            // The token ended, or its policies do not let it look at itself.
            Err(VaultError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn lease(seconds: u64, renewable: bool) -> Option<Lease> {
    (seconds > 0).then(|| Lease { lasts: Duration::from_secs(seconds), renewable })
}

/// Renews the token after two thirds of its time, until the last client is dropped.
async fn keep_valid(session: Weak<Session>) {
    // A token that was given is looked up at once, since nothing says how much of its time is left.
    let mut pause = {
        let Some(session) = session.upgrade() else { return };
        session.current().and_then(|token| token.lease).map_or(Duration::ZERO, until_renewal)
    };
    loop {
        sleep(pause).await;
        let Some(session) = session.upgrade() else { return };
        pause = match session.renew().await {
            Ok(Some(lease)) => until_renewal(lease),
            // Another program may write another token into the file.
            Ok(None) if matches!(session.auth, Auth::TokenFile(_)) => FILE_PAUSE,
            // It has no end, or no renewal helps.
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(error = %error, "cannot renew the token of OpenBao or Vault; trying again");
                MIN_RENEWAL * 5
            }
        };
    }
}

fn until_renewal(lease: Lease) -> Duration {
    (lease.lasts * 2 / 3).max(MIN_RENEWAL)
}
