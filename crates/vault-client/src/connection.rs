//! One request and its answer, over TLS, bounded in time and bytes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use url::Url;
use zeroize::Zeroizing;

use crate::error::{Refusal, VaultError};
use crate::options::{CONNECT_TIMEOUT, MAX_ANSWER, VaultOptions};

/// Vault's own clients send it, and the server refuses calls without it where an operator asks for that.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
pub(crate) const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");

/// How long an idle connection is kept: less than the server's five minutes, so that none is used that it has closed.
const IDLE: Duration = Duration::from_secs(60);

/// The target of a request: a path below `/v1/` whose parts are escaped here, and a query.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
}

impl<'a> From<&'a str> for Target<'a> {
    fn from(path: &'a str) -> Self {
        Self { path, query: None }
    }
}

/// Connections to one server.
pub(crate) struct Connection {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: Url,
    namespace: Option<HeaderValue>,
    timeout: Duration,
}

impl Connection {
    pub(crate) fn new(options: &VaultOptions) -> Result<Self, VaultError> {
        let base = options.base()?;
        let namespace =
            options.namespace.as_deref().map(|name| HeaderValue::from_str(name.trim_matches('/')));
        let namespace = namespace
            .transpose()
            .map_err(|_| VaultError::Misconfigured { what: "the namespace is not a path" })?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls(options.ca_file.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(https);
        Ok(Self { http, base, namespace, timeout: options.timeout })
    }

    /// Sends a request, with this token if there is one, and returns the body of a successful answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        target: Target<'_>,
        body: &[u8],
        token: Option<&HeaderValue>,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let request = self.request(method, target, body, token)?;
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|error| unreachable(&error))?;
            read(answer).await
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or(Err(VaultError::Timeout { seconds: self.timeout.as_secs() }))
    }

    fn request(
        &self,
        method: Method,
        target: Target<'_>,
        body: &[u8],
        token: Option<&HeaderValue>,
    ) -> Result<Request<Full<Bytes>>, VaultError> {
        let url = self.url(target)?;
        let mut request = Request::builder().method(method).uri(url.as_str()).header(REQUEST, "true");
        if let Some(namespace) = &self.namespace {
            request = request.header(NAMESPACE, namespace);
        }
        if let Some(token) = token {
            request = request.header(TOKEN, token);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::copy_from_slice(body));
        request.body(body).map_err(|_| VaultError::Misconfigured { what: "a path is not one of a URL" })
    }

    /// `..` in a path would leave the API, and an empty part would name another thing.
    fn url(&self, target: Target<'_>) -> Result<Url, VaultError> {
        let wrong = VaultError::Misconfigured { what: "a path has an empty part, `.` or `..` in it" };
        if target.path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(wrong);
        }
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().push("v1").extend(target.path.split('/')),
            Err(()) => return Err(wrong),
        };
        url.set_query(target.query);
        Ok(url)
    }
}

async fn read(answer: Response<Incoming>) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let status = answer.status();
    let collected = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let collected = collected.map_err(|_| VaultError::Unreachable {
        what: "the connection broke in the middle of the answer, or the answer is too long",
    })?;
    let body = Zeroizing::new(collected.to_bytes().to_vec());
    if status.is_success() { Ok(body) } else { Err(VaultError::Refused(Refusal::new(status.as_u16(), body))) }
}

/// A few words only: the text of a lower layer may repeat addresses and parts of the request.
fn unreachable(error: &hyper_util::client::legacy::Error) -> VaultError {
    if std::error::Error::source(error).is_some_and(is_untrusted) {
        return VaultError::Untrusted;
    }
    let what = if error.is_connect() {
        "cannot connect to the server"
    } else {
        "the connection to the server broke"
    };
    VaultError::Unreachable { what }
}

/// Whether a certificate was refused. An I/O error holds the error of the handshake and does not give it as its source.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
        || inner.is_some_and(|inner| is_untrusted(inner))
        || error.source().is_some_and(is_untrusted)
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, VaultError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let broken = |_| VaultError::Misconfigured { what: "TLS cannot be set up" };
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(broken)?;
    let config = match ca_file {
        Some(file) => config.with_root_certificates(authorities(file)?),
        None => config
            .with_native_roots()
            .map_err(|source| VaultError::File { what: "the system's certificate authorities", source })?,
    };
    Ok(config.with_no_client_auth())
}

fn authorities(file: &Path) -> Result<RootCertStore, VaultError> {
    let pem = std::fs::read(file)
        .map_err(|source| VaultError::File { what: "the file of certificate authorities", source })?;
    let wrong =
        VaultError::Misconfigured { what: "the file of certificate authorities holds no PEM certificate" };
    let mut store = RootCertStore::empty();
    let certificates: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let Ok(certificates) = certificates else { return Err(wrong) };
    let (added, _) = store.add_parsable_certificates(certificates);
    if added == 0 { Err(wrong) } else { Ok(store) }
}
