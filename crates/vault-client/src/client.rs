//! Calls with a valid token.

use std::sync::Arc;

use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::connection::{Connection, Target};
use crate::error::VaultError;
use crate::options::VaultOptions;
use crate::session::Session;

/// A client of one server with one identity. Clones share connections and the token.
#[derive(Clone)]
pub struct VaultClient {
    session: Arc<Session>,
}

impl VaultClient {
    /// Prepares a client. Nothing is sent until the first call.
    ///
    /// # Errors
    /// [`VaultError::Misconfigured`] and [`VaultError::File`]: the address is not usable, or the file of certificate
    /// authorities is not.
    pub fn new(options: VaultOptions) -> Result<Self, VaultError> {
        let connection = Connection::new(&options)?;
        Ok(Self { session: Arc::new(Session::new(connection, options.auth)) })
    }

    /// Reads a path below `/v1/`.
    ///
    /// # Errors
    /// Those of [`VaultError`].
    pub async fn get(&self, path: &str) -> Result<Answer, VaultError> {
        self.call(Method::GET, path.into(), &[]).await
    }

    /// Reads a path below `/v1/`, with a query such as `version=3`.
    ///
    /// # Errors
    /// Those of [`VaultError`].
    pub async fn get_with(&self, path: &str, query: &str) -> Result<Answer, VaultError> {
        self.call(Method::GET, Target { path, query: Some(query) }, &[]).await
    }

    /// Sends JSON to a path below `/v1/`.
    ///
    /// # Errors
    /// Those of [`VaultError`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, VaultError> {
        self.post_bytes(path, &Zeroizing::new(body.to_string().into_bytes())).await
    }

    /// Sends JSON that holds a secret, from a buffer that the caller wipes.
    ///
    /// # Errors
    /// Those of [`VaultError`].
    pub async fn post_bytes(&self, path: &str, json: &[u8]) -> Result<Answer, VaultError> {
        self.call(Method::POST, path.into(), json).await
    }

    /// Lists the names below a path below `/v1/`.
    ///
    /// # Errors
    /// Those of [`VaultError`].
    pub async fn list(&self, path: &str) -> Result<Answer, VaultError> {
        self.get_with(path, "list=true").await
    }

    /// Deletes the entry at a path below `/v1/`.
    ///
    /// # Errors
    /// Those of [`VaultError`].
    pub async fn delete(&self, path: &str) -> Result<Answer, VaultError> {
        self.call(Method::DELETE, path.into(), &[]).await
    }

    /// A call with the token, and once more with a new one where the server refuses it and there is another.
    async fn call(&self, method: Method, target: Target<'_>, body: &[u8]) -> Result<Answer, VaultError> {
        let connection = self.session.connection();
        let token = Session::token(&self.session).await?;
        let first = connection.send(method.clone(), target, body, Some(token.header())).await;
        let body = match first {
            // An expired token and a missing permission are one answer.
            Err(VaultError::Refused(refusal)) if refusal.status() == 403 => {
                match Session::replace(&self.session, &token).await? {
                    Some(other) => connection.send(method, target, body, Some(other.header())).await,
                    None => Err(VaultError::Refused(refusal)),
                }
            }
            outcome => outcome,
        };
        body.map(Answer)
    }
}

impl std::fmt::Debug for VaultClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultClient").finish_non_exhaustive()
    }
}

/// A successful answer, wiped when dropped.
pub struct Answer(Zeroizing<Vec<u8>>);

impl Answer {
    /// The answer's `data`. Borrowed text in `T` is not copied out of the buffer that is wiped.
    ///
    /// # Errors
    /// [`VaultError::NotAnAnswer`] if it has another shape.
    pub fn data<'a, T: Deserialize<'a>>(&'a self) -> Result<T, VaultError> {
        parse_data(&self.0)
    }

    /// The whole answer, with the fields of a lease.
    ///
    /// # Errors
    /// [`VaultError::NotAnAnswer`] if it has another shape.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, VaultError> {
        serde_json::from_slice(&self.0).map_err(|_| VaultError::NotAnAnswer)
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer([REDACTED])")
    }
}

#[derive(Deserialize)]
struct WithData<T> {
    data: T,
}

pub(crate) fn parse_data<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, VaultError> {
    let parsed: Result<WithData<T>, _> = serde_json::from_slice(body);
    // The parser's message may repeat its input.
    parsed.map(|body| body.data).map_err(|_| VaultError::NotAnAnswer)
}
