//! Requests over HTTP, as a client from outside makes them.

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Sends a GET request to an address.
///
/// # Errors
/// A text that says why there is no answer.
pub async fn get(url: &str) -> Result<Answer, String> {
    send("GET", url).await
}

/// Posts nothing to an address.
///
/// # Errors
/// A text that says why there is no answer.
pub async fn post(url: &str) -> Result<Answer, String> {
    send("POST", url).await
}

/// Sends JSON to an address, with these headers; `Value::Null` sends no body.
///
/// # Errors
/// A text that says why there is no answer.
pub async fn send_json(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Result<Answer, String> {
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    request(method, url, headers, body).await
}

/// Posts a form to an address.
///
/// # Errors
/// A text that says why there is no answer.
pub async fn post_form(url: &str, fields: &[(&str, &str)]) -> Result<Answer, String> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    request("POST", url, &headers, body.into()).await
}

async fn send(method: &str, url: &str) -> Result<Answer, String> {
    request(method, url, &[], Bytes::new()).await
}

async fn request(method: &str, url: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer, String> {
    let request = Request::builder().method(method).uri(url);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request.body(Full::new(body)).map_err(told)?).await.map_err(told)?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.map_err(told)?.to_bytes();
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

fn told(error: impl std::error::Error) -> String {
    error.to_string()
}
