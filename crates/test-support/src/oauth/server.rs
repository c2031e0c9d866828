//! The provider's token endpoint over HTTP.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Provider;

/// How the endpoint answers.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// How long an answer takes.
    pub latency: Duration,
    /// Every n-th answer is slow; none, if 0.
    pub slow_every: u64,
    /// How long a slow answer takes.
    pub slow: Duration,
    /// The `expires_in` of the tokens, in seconds.
    pub lifetime: u64,
    /// The answer instead, with this status.
    pub instead: Option<(u16, String)>,
}

impl Default for Behaviour {
    /// At once, with tokens that live for an hour.
    fn default() -> Self {
        Self { latency: Duration::ZERO, slow_every: 0, slow: Duration::ZERO, lifetime: 3600, instead: None }
    }
}

/// A running token endpoint. It ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    provider: Provider,
    behaviour: Mutex<Behaviour>,
    requests: AtomicU64,
    /// The header `Authorization` and the body of the last request.
    last: Mutex<(Option<String>, String)>,
}

impl Server {
    /// Serves a provider on a loopback port.
    ///
    /// # Panics
    /// There is no port.
    pub async fn start(provider: Provider, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let (behaviour, last) = (Mutex::new(behaviour), Mutex::default());
        let shared = Arc::new(Shared { provider, behaviour, requests: AtomicU64::new(0), last });
        let task = tokio::spawn(serve(listener, shared.clone()));
        Self { address, shared, task }
    }

    /// The address of the token endpoint.
    pub fn token_url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Answers otherwise from now on.
    ///
    /// # Panics
    /// Another test has panicked.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().expect("no test panics while it holds this lock") = behaviour;
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// The header `Authorization` and the body of the last request.
    ///
    /// # Panics
    /// Another test has panicked.
    pub fn last_request(&self) -> (Option<String>, String) {
        self.shared.last.lock().expect("no test panics while it holds this lock").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(answer(&shared, request).await) }
            });
            // A client that disconnects is no error of the server.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let behaviour = shared.behaviour.lock().expect("no test panics while it holds this lock").clone();
    let number = shared.requests.fetch_add(1, Ordering::SeqCst) + 1;
    let authorization = request.headers().get("authorization");
    let authorization = authorization.and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    let token = url::form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "refresh_token");
    // The token is spent when the request arrives, however long its answer takes.
    let pair = match (&behaviour.instead, token) {
        (None, Some((_, token))) => shared.provider.exchange(&token),
        _ => None,
    };
    *shared.last.lock().expect("no test panics while it holds this lock") = (authorization, body);
    let is_slow = behaviour.slow_every > 0 && number.is_multiple_of(behaviour.slow_every);
    tokio::time::sleep(if is_slow { behaviour.slow } else { behaviour.latency }).await;
    match (behaviour.instead, pair) {
        (Some((status, body)), _) => response(status, body),
        (None, Some(pair)) => {
            let (access, refresh) = (pair.access, pair.refresh);
            let lifetime = behaviour.lifetime;
            let body: Value = json!({
                "access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": lifetime
            });
            response(200, body.to_string())
        }
        (None, None) => response(400, json!({ "error": "invalid_grant" }).to_string()),
    }
}

fn response(status: u16, body: String) -> Response<Full<Bytes>> {
    let builder = Response::builder().status(status).header("content-type", "application/json");
    let builder = if status / 100 == 3 { builder.header("location", "/elsewhere") } else { builder };
    builder.body(Full::new(body.into())).expect("a status and a body are a response")
}
