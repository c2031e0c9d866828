//! One GET request, bounded in time and bytes.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_rustls::ConfigBuilderExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use url::Url;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes: a process has some hundred series.
const MOST: usize = 16 << 20;

/// Why nothing was fetched. Neither the address nor the answer is repeated: both may hold a password.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("metrics address is not an http or https URL")]
    Url,
    #[error("TLS cannot be set up")]
    Tls,
    #[error("metrics server cannot be reached")]
    Unreachable,
    #[error("metrics server did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("metrics server answered with status {0}")]
    Status(u16),
    #[error("the metrics server returned an unexpected answer")]
    Answer,
}

/// The body of a successful answer.
pub(super) async fn get(url: &Url) -> Result<String, FetchError> {
    tokio::time::timeout(TIMEOUT, exchange(url)).await.unwrap_or(Err(FetchError::Timeout))
}

async fn exchange(url: &Url) -> Result<String, FetchError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.map_err(|_| FetchError::Tls)?.with_native_roots().map_err(|_| FetchError::Tls)?;
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls.with_no_client_auth())
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(https);
    let request = Request::get(url.as_str()).body(Empty::new()).map_err(|_| FetchError::Url)?;
    let answer = client.request(request).await.map_err(|_| FetchError::Unreachable)?;
    if !answer.status().is_success() {
        return Err(FetchError::Status(answer.status().as_u16()));
    }
    let body = Limited::new(answer.into_body(), MOST).collect().await.map_err(|_| FetchError::Answer)?;
    String::from_utf8(body.to_bytes().to_vec()).map_err(|_| FetchError::Answer)
}
