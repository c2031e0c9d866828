//! One request to a token endpoint: no redirects, and an answer of bounded size.

use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};

/// An answer of a token endpoint is a few kilobytes at most.
const LONGEST_ANSWER: usize = 64 << 10;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Less than servers keep an idle connection: none is used that they have closed.
const IDLE: Duration = Duration::from_secs(20);

/// Connections to token endpoints.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Why there is no answer to read.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// The request was not sent.
    #[error("cannot connect")]
    Unreachable,
    /// The request may have arrived.
    #[error("connection broke")]
    Broken,
    /// The endpoint did not take the request.
    #[error("refused with status {status}")]
    Refused { status: u16 },
    /// The endpoint failed, possibly after it had acted.
    #[error("failed with status {status}")]
    Failed { status: u16 },
}

impl Http {
    pub(super) fn new() -> std::io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let https = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?;
        // Plain HTTP is for the loopback interface: the profile has seen to that.
        let https = https.https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Self { client: Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(https) })
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = request.map(|body| Full::new(Bytes::from(body)));
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| match error.is_connect() {
            true => HttpError::Unreachable,
            false => HttpError::Broken,
        })?;
        let (parts, body) = answer.into_parts();
        let status = parts.status;
        let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(|_| HttpError::Broken)?;
        let body = body.to_bytes().to_vec();
        let is_refusal =
            || serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|json| json["error"].is_string());
        match status.as_u16() {
            number @ (300..400 | 429) => Err(HttpError::Refused { status: number }),
            number @ 400..500 if !is_refusal() => Err(HttpError::Refused { status: number }),
            number @ (100..200 | 500..) => Err(HttpError::Failed { status: number }),
            // GitHub refuses with status 200.
            200 if is_refusal() => {
                let mut refusal = HttpResponse::new(body);
                *refusal.status_mut() = oauth2::http::StatusCode::BAD_REQUEST;
                Ok(refusal)
            }
            _ => Ok(HttpResponse::from_parts(parts, body)),
        }
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
