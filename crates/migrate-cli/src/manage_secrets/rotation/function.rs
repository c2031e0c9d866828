//! `rotation-function`: the runtime protocol of AWS Lambda around the steps.
//!
//! The runtime asks for an event, and posts the outcome: `GET …/runtime/invocation/next`, then
//! `POST …/runtime/invocation/<request id>/response` or `…/error` (AWS Lambda Developer Guide, "Using the Lambda runtime API
//! for custom runtimes"). It listens on the loopback interface of the function.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::error::RotationError;
use super::event::MAX_LEN;

/// Names the address of the runtime.
pub(super) const ADDRESS: &str = "AWS_LAMBDA_RUNTIME_API";
const API: &str = "/2018-06-01/runtime";
const REQUEST_ID: &str = "lambda-runtime-aws-request-id";

/// The runtime of the function that this process is the program of.
pub(super) struct Runtime {
    address: String,
}

/// An event that needs an answer.
pub(super) struct Invocation {
    id: String,
    pub(super) event: Bytes,
}

impl Runtime {
    pub(super) fn new(address: String) -> Self {
        Self { address }
    }

    /// Waits for an event. The function may be asleep for hours meanwhile, so there is no limit.
    pub(super) async fn next(&self) -> Result<Invocation, RotationError> {
        const NEXT: RotationError = RotationError::Runtime("get an event");
        let mut connection = self.connect().await?;
        let request = self.request(Method::GET, "/invocation/next", Bytes::new())?;
        let answer = connection.send_request(request).await.map_err(|_| NEXT)?;
        let id = answer.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(ToOwned::to_owned);
        // It becomes a part of a path.
        let id = id.filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        let is_event = answer.status() == StatusCode::OK;
        let event = Limited::new(answer.into_body(), MAX_LEN).collect().await.map_err(|_| NEXT)?.to_bytes();
        match (id, is_event) {
            (Some(id), true) => Ok(Invocation { id, event }),
            _ => Err(NEXT),
        }
    }

    /// Reports that the step is taken.
    pub(super) async fn succeed(&self, invocation: &Invocation) -> Result<(), RotationError> {
        self.post(&format!("/invocation/{}/response", invocation.id), Bytes::from_static(b"null")).await
    }

    /// Reports that the step is not taken: the service repeats it.
    pub(super) async fn fail(
        &self,
        invocation: &Invocation,
        class: &str,
        message: &str,
    ) -> Result<(), RotationError> {
        let error = serde_json::json!({ "errorType": class, "errorMessage": message }).to_string();
        self.post(&format!("/invocation/{}/error", invocation.id), error.into()).await
    }

    async fn post(&self, path: &str, body: Bytes) -> Result<(), RotationError> {
        const POST: RotationError = RotationError::Runtime("report an outcome");
        let mut connection = self.connect().await?;
        let answer = connection.send_request(self.request(Method::POST, path, body)?).await;
        match answer.map_err(|_| POST)?.status() {
            StatusCode::ACCEPTED | StatusCode::OK => Ok(()),
            _ => Err(POST),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, RotationError> {
        let request = Request::builder().method(method).uri(format!("{API}{path}"));
        let request = request.header("host", &self.address).header("content-type", "application/json");
        request.body(Full::new(body)).map_err(|_| RotationError::Runtime("make a request"))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, RotationError> {
        const CONNECT: RotationError = RotationError::Runtime("connect");
        let stream = TcpStream::connect(&self.address).await.map_err(|_| CONNECT)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| CONNECT)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
