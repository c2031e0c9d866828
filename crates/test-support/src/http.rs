//! Requests over HTTP, as anybody from outside would make them.

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Asks for what is at an address.
///
/// # Errors
/// Nobody answers, in words.
pub async fn get(url: &str) -> Result<Answer, String> {
    send("GET", url).await
}

/// Posts nothing to an address.
///
/// # Errors
/// Nobody answers, in words.
pub async fn post(url: &str) -> Result<Answer, String> {
    send("POST", url).await
}

async fn send(method: &str, url: &str) -> Result<Answer, String> {
    let request = Request::builder().method(method).uri(url).body(Empty::<Bytes>::new());
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request.map_err(told)?).await.map_err(told)?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.map_err(told)?.to_bytes();
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

fn told(error: impl std::error::Error) -> String {
    error.to_string()
}
