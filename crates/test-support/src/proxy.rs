//! A network that breaks on demand: an HTTP proxy on a loopback port, in front of an emulator of AWS.
//!
//! ```no_run
//! # async fn an_outage_is_survived() {
//! use test_support::emulator::AwsFailure;
//! use test_support::faults::Fault;
//! use test_support::proxy::Proxy;
//!
//! let moto = test_support::part!(moto);
//! let proxy = Proxy::start(moto.endpoint());
//! proxy.faults().always(Fault::Fail(AwsFailure::Refused));
//! // … use clients made from `proxy.sdk_config("us-east-1")` …
//! proxy.faults().heal();
//! # }
//! ```
//!
//! Faults are the ones of the in-process [`emulator`](crate::emulator), on the same kind of switchboard.
//! Here, however, they happen to sockets:
//!
//! - `Refused` for every call closes the port and every connection, so that the system itself refuses; it takes a
//!   moment ([`Proxy::settled`]), and such calls are not counted, because nothing is there to count them. For one operation,
//!   or for some calls, the connection is reset before an answer.
//! - `Reset` resets the connection after half of the answer.
//! - `Hang` takes the request and never answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use aws_config::SdkConfig;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use self::relay::Relay;
use crate::emulator::AwsFailure;
use crate::faults::{Fault, Faults};
use crate::moto;

mod relay;

/// The fault that closes the port, if it is for every call.
const REFUSED: Fault<AwsFailure> = Fault::Fail(AwsFailure::Refused);

/// A running proxy; it ends, with every connection, when this is dropped.
///
/// It lives in a thread and on a clock of its own: a test's tasks can be counted without it, and its delays are real
/// where a test has paused the time.
#[derive(Debug)]
pub struct Proxy {
    endpoint: String,
    faults: Faults<AwsFailure>,
    listens: watch::Receiver<bool>,
    _end: oneshot::Sender<()>,
}

impl Proxy {
    /// Starts in front of a server, `http://host:port`; nothing is broken yet.
    ///
    /// # Panics
    /// This machine gives out no loopback port, or no thread.
    pub fn start(upstream: &str) -> Self {
        Self::with(Relay::new(upstream, Faults::new()))
    }

    /// The same, but only requests to one Region meet its faults and are counted: the emulator keeps the Regions apart
    /// by their signatures. `Refused` for every call closes the port to all, so use another fault here.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_for_region(upstream: &str, region: &str) -> Self {
        Self::with(Relay::new(upstream, Faults::new()).in_region(region))
    }

    fn with(relay: Relay) -> Self {
        let faults = relay.faults().clone();
        let reserved = bound(0);
        let address = reserved.local_addr().expect("a bound socket has an address");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime of its own");
        // Before the thread runs, so that a call made right away is accepted.
        let listener = {
            let _in_runtime = runtime.enter();
            listening(address)
        };
        let (end, ended) = oneshot::channel();
        let (open, listens) = watch::channel(true);
        thread::spawn(move || {
            let _reserved = reserved;
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, address, &open, relay) => {}
                    _ = ended => {}
                }
            });
        });
        Self { endpoint: format!("http://{address}"), faults, listens, _end: end }
    }

    /// Its address, for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The switchboard, to break calls and to count them. Operations are named as AWS names them.
    pub fn faults(&self) -> &Faults<AwsFailure> {
        &self.faults
    }

    /// Waits until the port is open or closed as the switchboard says; every other fault is there at once.
    pub async fn settled(&self) {
        let as_told = |listens: &bool| *listens == (self.faults.everywhere() != Some(REFUSED));
        let _ = self.listens.clone().wait_for(as_told).await;
    }

    /// A configuration for the AWS SDK's clients, with credentials that are as good as any.
    pub fn sdk_config(&self, region: &str) -> SdkConfig {
        moto::sdk_config(&self.endpoint, region)
    }
}

/// Listens, except while every connection must be refused.
async fn serve(mut listener: TcpListener, address: SocketAddr, open: &watch::Sender<bool>, relay: Relay) {
    loop {
        tokio::select! {
            () = accept(listener, &relay) => {}
            // Drops the listener and all connections.
            () = relay.faults().wait_for_rule(|fault| fault == Some(REFUSED)) => {}
        }
        open.send_replace(false);
        relay.faults().wait_for_rule(|fault| fault != Some(REFUSED)).await;
        listener = listening(address);
        open.send_replace(true);
    }
}

async fn accept(listener: TcpListener, relay: &Relay) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, relay.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, relay: Relay) {
    // Whenever this side ends a connection, it is to look broken: a reset, and no orderly end.
    let _ = stream.set_zero_linger();
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| relay.clone().call(request));
    // An error is the test's fault, as requested, or a client that disconnected.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn listening(address: SocketAddr) -> TcpListener {
    bound(address.port()).listen(1024).expect("the port is reserved")
}

/// A socket that has a port and does not listen: connecting to it is refused, and no other program gets the port.
fn bound(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    // A second socket may listen at the port that the first one keeps.
    socket.set_reuseaddr(true).expect("an option that every system has");
    socket.bind((Ipv4Addr::LOCALHOST, port).into()).expect("a loopback port");
    socket
}
