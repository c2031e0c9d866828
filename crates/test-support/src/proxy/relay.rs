//! The proxy's treatment of a request: it passes it on, or breaks it.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::emulator::AwsFailure;
use crate::emulator::failure::{operation, without_end};
use crate::faults::Faults;

/// Time for the first half of an answer to leave before the connection breaks.
const HALF_WAY: Duration = Duration::from_millis(10);

#[derive(Clone)]
pub(super) struct Relay {
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    faults: Faults<AwsFailure>,
    region: Option<String>,
}

/// Makes the server drop the connection as it is.
#[derive(Debug)]
pub(super) struct BreakOff;

type Body = UnsyncBoxBody<Bytes, BreakOff>;

impl Relay {
    pub(super) fn new(upstream: &str, faults: Faults<AwsFailure>) -> Self {
        // The emulator ends each connection after its answer.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { upstream: upstream.to_owned(), client, faults, region: None }
    }

    pub(super) fn in_region(self, region: &str) -> Self {
        Self { region: Some(region.to_owned()), ..self }
    }

    pub(super) fn faults(&self) -> &Faults<AwsFailure> {
        &self.faults
    }

    pub(super) async fn call(self, request: Request<Incoming>) -> Result<Response<Body>, BreakOff> {
        if self.region.as_ref().is_some_and(|region| !is_signed_for(&request, region)) {
            return Ok(self.forward(request).await.map(whole));
        }
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        let Err(failure) = self.faults.pass(operation(target)).await else {
            return Ok(self.forward(request).await.map(whole));
        };
        match failure {
            AwsFailure::Reset => Ok(self.forward(request).await.map(half)),
            AwsFailure::Truncated => {
                let answer = self.forward(request).await;
                Ok(sized(answer.map(|body| body.slice_ref(without_end(&body)))).map(whole))
            }
            _ => failure.answer().map(|(status, body)| made_up(status, body).map(whole)).ok_or(BreakOff),
        }
    }

    /// The server's own answer.
    async fn forward(&self, request: Request<Incoming>) -> Response<Bytes> {
        match self.ask(request).await {
            Ok(answer) => sized(answer),
            Err(error) => {
                made_up(502, format!("{} does not answer through the proxy: {error}", self.upstream))
            }
        }
    }

    async fn ask(&self, request: Request<Incoming>) -> Result<Response<Bytes>, Box<dyn std::error::Error>> {
        let (mut head, body) = request.into_parts();
        head.uri = format!("{}{}", self.upstream, head.uri).parse()?;
        head.headers.remove(CONNECTION);
        let request = Request::from_parts(head, Full::new(body.collect().await?.to_bytes()));
        let (mut head, body) = self.client.request(request).await?.into_parts();
        // About that connection, and not this one.
        head.headers.remove(CONNECTION);
        head.headers.remove(TRANSFER_ENCODING);
        head.version = hyper::Version::HTTP_11;
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

/// Whether the credential scope names the Region: `Credential=<id>/<date>/<region>/<service>/aws4_request` (AWS
/// Signature Version 4).
fn is_signed_for(request: &Request<Incoming>, region: &str) -> bool {
    let signed = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    signed.is_some_and(|signed| signed.split('/').nth(2) == Some(region))
}

fn made_up(status: u16, body: String) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a test names a valid HTTP status");
    sized(answer)
}

/// With the length that the body has now.
fn sized(mut answer: Response<Bytes>) -> Response<Bytes> {
    let length = HeaderValue::from(answer.body().len());
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    answer
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// Half of the announced length, and then the end of the connection.
fn half(body: Bytes) -> Body {
    let first = body.slice(..body.len() / 2);
    let end = stream::once(async {
        tokio::time::sleep(HALF_WAY).await;
        Err(BreakOff)
    });
    StreamBody::new(stream::iter([Ok(Frame::data(first))]).chain(end)).boxed_unsync()
}

impl std::fmt::Display for BreakOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is broken off because a test asked for it")
    }
}

impl std::error::Error for BreakOff {}
