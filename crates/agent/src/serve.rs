//! Connections: how many there may be, how long a client may take, and how they end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;

use crate::agent::Agent;
use crate::caller::Peer;
use crate::files;
use crate::listen::{Listener, Stream};
use crate::routes;

/// The most connections; others wait in the queue of the socket.
pub(crate) const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take for the head of a request, and a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// The longest head of a request, in bytes.
const MAX_HEAD_LEN: usize = 16 * 1024;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;
/// How long the end waits for current requests: longer than a refresh grant may take, which must not be cut
/// off.
const DRAIN_WITHIN: Duration = Duration::from_secs(25);
/// How long the end waits for requests that have begun to arrive, and for answers to be taken.
const GRACE: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted, for example because the process has no file
/// descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection, as the requests on it know it.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    has_asked: Arc<AtomicBool>,
}

/// Serves until `shutdown` ends, and then what has begun. Returns whether all of it was finished.
pub(crate) async fn serve(agent: &Agent, listener: Listener, shutdown: impl Future<Output = ()>) -> bool {
    let router = routes::router(agent);
    let (graceful, mut connections) = (GracefulShutdown::new(), JoinSet::new());
    let places = Arc::new(Semaphore::new(files::connections(MAX_CONNECTIONS)));
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&listener, &places) => match accepted {
                Ok((stream, peer, place)) => {
                    connections.spawn(connection(agent.clone(), router.clone(), stream, peer, graceful.watcher(), place));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    sleep(PAUSE).await;
                }
            },
        }
    }
    agent.readiness().stop();
    drop(listener);
    let finished = timeout(DRAIN_WITHIN, drain(agent, graceful)).await.is_ok();
    connections.shutdown().await;
    finished
}

async fn accept(
    listener: &Listener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(Stream, Peer, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// Idle connections end at once, others after their request. A connection that sends nothing more does not
/// delay the end.
async fn drain(agent: &Agent, graceful: GracefulShutdown) {
    let mut ended = pin!(graceful.shutdown());
    let idle = async {
        sleep(GRACE).await;
        agent.idle().await;
    };
    tokio::select! { () = &mut ended => return, () = idle => {} }
    let _ = timeout(GRACE, ended).await;
}

async fn connection(
    agent: Agent,
    router: Router,
    stream: Stream,
    peer: Peer,
    watcher: Watcher,
    _place: OwnedSemaphorePermit,
) {
    let _connected = agent.metrics().connected();
    match stream {
        Stream::Unix(stream) => exchange(agent, router, stream, peer, watcher).await,
        Stream::Tcp(stream) => exchange(agent, router, stream, peer, watcher).await,
    }
}

async fn exchange(
    agent: Agent,
    router: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    watcher: Watcher,
) {
    let connection = Connection { peer, has_asked: Arc::default() };
    let service = service_fn(|mut request: Request<Incoming>| {
        connection.has_asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(connection.clone());
        router.clone().oneshot(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD_LEN)
        .max_headers(MAX_HEADERS);
    let ended = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await;
    // An idle connection ends by a time limit too, and a client may go away: that is worth a record only before its first
    // request.
    if let Err(error) = ended
        && (error.is_parse() || !connection.has_asked.load(Ordering::Relaxed))
    {
        agent.refused(&peer, "connect", reason(&error));
    }
}

fn reason(error: &hyper::Error) -> &'static str {
    match error {
        error if error.is_timeout() => "header_too_slow",
        error if error.is_parse_too_large() => "header_too_long",
        error if error.is_parse() => "not_http",
        _ => "broken_off",
    }
}
