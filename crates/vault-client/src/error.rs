//! Why a call failed, as far as a caller can act on it.

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::client::parse_data;

/// Why a call failed. None of the variants repeats data that the server sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// A setting is missing or wrong on this side.
    #[error("{what}")]
    Misconfigured {
        /// Which, in words.
        what: &'static str,
    },
    /// The file of a setting cannot be read.
    #[error("cannot read {what}")]
    File {
        /// Which file, in words.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// No connection, or one that broke.
    #[error("{what}")]
    Unreachable {
        /// The failure, in words.
        what: &'static str,
    },
    /// The server's certificate is not from a trusted authority, or is for another name.
    #[error("the server's certificate is not trusted, or is of another name")]
    Untrusted,
    /// No answer in time.
    #[error("no answer within {seconds} s")]
    Timeout {
        /// The limit.
        seconds: u64,
    },
    /// The server refused the login.
    #[error("the server refused the {method} login ({status})")]
    Login {
        /// How the login was done.
        method: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// The server refused the call.
    #[error(transparent)]
    Refused(Refusal),
    /// The answer is not one of OpenBao or Vault.
    #[error("the answer is not one of OpenBao or Vault")]
    NotAnAnswer,
}

/// A refusal of the server.
#[derive(thiserror::Error)]
#[error("the server answered {status}")]
pub struct Refusal {
    status: u16,
    body: Zeroizing<Vec<u8>>,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

/// A body of an answer with the status 404.
#[derive(Deserialize)]
struct NotThere {
    errors: Option<Vec<String>>,
    /// Every answer about a path that has something to say carries one.
    request_id: Option<serde::de::IgnoredAny>,
}

impl Refusal {
    pub(crate) fn new(status: u16, body: Zeroizing<Vec<u8>>) -> Self {
        Self { status, body }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether one of the server's reasons contains a text. The reasons themselves stay here, because they may repeat
    /// parts of the request.
    #[must_use]
    pub fn says(&self, text: &str) -> bool {
        let errors = serde_json::from_slice::<Errors>(&self.body).map(|body| body.errors);
        errors.unwrap_or_default().iter().any(|reason| reason.contains(text))
    }

    /// Whether this is an answer of the server itself and not of something in front of it.
    #[must_use]
    pub fn is_the_servers(&self) -> bool {
        serde_json::from_slice::<Errors>(&self.body).is_ok()
    }

    /// Whether the server says that nothing is stored under the path. A 404 with a reason (`namespace not found`,
    /// `no handler for route`) says that the path itself leads nowhere, and one of a proxy says nothing about the server.
    #[must_use]
    pub fn is_nothing_there(&self) -> bool {
        let says_so = |body: NotThere| match body.errors {
            Some(errors) => errors.is_empty(),
            None => body.request_id.is_some(),
        };
        self.status == 404 && serde_json::from_slice(&self.body).is_ok_and(says_so)
    }

    /// The data that came with a refusal, as with a deleted version of a secret.
    ///
    /// # Errors
    /// [`VaultError::NotAnAnswer`] if there is none of this shape.
    pub fn data<'a, T: Deserialize<'a>>(&'a self) -> Result<T, VaultError> {
        parse_data(&self.body)
    }
}

impl std::fmt::Debug for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refusal").field("status", &self.status).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_404_of_the_server_without_a_reason_says_that_nothing_is_there() {
        for (status, body, expected) in [
            (404, r#"{"errors":[]}"#, true),
            (404, r#"{"request_id":"a","data":{"metadata":{"destroyed":true}},"warnings":null}"#, true),
            (404, r#"{"errors":["namespace not found"]}"#, false),
            (404, r#"{"errors":["no handler for route \"kv/data/a\". route entry not found."]}"#, false),
            (404, r#"{"message":"no route matched"}"#, false),
            (404, "<html>404</html>", false),
            (404, "", false),
            (403, r#"{"errors":[]}"#, false),
        ] {
            let refusal = Refusal::new(status, Zeroizing::new(body.as_bytes().to_vec()));
            assert_eq!(refusal.is_nothing_there(), expected, "{status} {body}");
        }
    }
}
