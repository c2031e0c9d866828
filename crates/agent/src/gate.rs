//! Checks on every request before any work: host, header, token, policy, body, and the limit of requests at
//! once.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::agent::Agent;
use crate::body::Received;
use crate::caller::{Caller, Peer};
use crate::error::ApiError;
use crate::routes::operation;
use crate::serve::Connection;

/// The header without which nothing is done: a browser, or a program that is talked into a request, cannot send it.
const HEADER: &str = "x-tokenseal";

/// Over TCP a request names a loopback host: a name that an attacker points at this machine is not one.
pub(crate) async fn host(State(agent): State<Agent>, request: Request, next: Next) -> Response {
    let peer = peer(&request);
    if peer == Peer::Tcp && !is_loopback(request.headers()) {
        agent.refused(&peer, operation(request.uri().path()), "host");
        return ApiError::unauthorized("Host must be a loopback address").into_response();
    }
    next.run(request).await
}

/// Lets a request through with its caller and its whole body, or refuses it.
pub(crate) async fn gate(State(agent): State<Agent>, request: Request, next: Next) -> Response {
    let operation = operation(request.uri().path());
    let caller = match caller(&agent, &request) {
        Ok(caller) => caller,
        Err((reason, error)) => return refuse(&agent, &peer(&request), operation, reason, error),
    };
    if !agent.policy().knows(&caller) {
        let error = ApiError::forbidden("the policy allows the caller nothing");
        return refuse(&agent, &caller, operation, "policy", error);
    }
    let (mut parts, body) = request.into_parts();
    let received = match Received::read(&parts.headers, body, agent.room()).await {
        Ok(received) => received,
        Err(reason) => return refuse(&agent, &caller, operation, reason.label(), reason.into()),
    };
    let began = Instant::now();
    let place = match agent.begin() {
        Ok(place) => place,
        Err(error) => return refuse(&agent, &caller, operation, "too_many", error),
    };
    parts.extensions.insert(received);
    parts.extensions.insert(caller);
    let work = next.run(Request::from_parts(parts, Body::empty()));
    // In a task of its own, which continues if the client disconnects: a write is done, or not begun.
    let working = tokio::spawn(async move {
        let response = work.await;
        drop(place);
        response
    });
    let response = working.await.unwrap_or_else(|_| ApiError::internal().into_response());
    agent.metrics().answered(operation, response.status(), began.elapsed());
    response
}

fn refuse(
    agent: &Agent,
    actor: &dyn std::fmt::Display,
    operation: &'static str,
    reason: &'static str,
    error: ApiError,
) -> Response {
    agent.refused(actor, operation, reason);
    tracing::debug!(%actor, operation, reason, class = error.class(), status = error.status().as_u16(), "refused");
    error.into_response()
}

fn peer(request: &Request) -> Peer {
    request.extensions().get::<Connection>().map_or(Peer::Tcp, |connection| connection.peer)
}

/// The caller, or the reason why it is unknown.
fn caller(agent: &Agent, request: &Request) -> Result<Caller, (&'static str, ApiError)> {
    let headers = request.headers();
    if headers.get(HEADER).is_none_or(|value| value != "1") {
        return Err(("header", ApiError::unauthorized("the header X-Tokenseal: 1 is missing")));
    }
    let peer = peer(request);
    let shown = bearer(headers).map_err(|error| ("token", error))?;
    let token = match shown {
        Some(token) => {
            let wrong = || ("token", ApiError::unauthorized("the token is not one of AGENT_TOKEN_FILE"));
            Some(agent.tokens().and_then(|tokens| tokens.holder(token)).ok_or_else(wrong)?)
        }
        None if peer == Peer::Tcp => {
            return Err(("token", ApiError::unauthorized("a token is needed: Authorization: Bearer …")));
        }
        // On the socket the kernel identifies the caller.
        None => None,
    };
    Ok(Caller { peer, token })
}

/// The token that a caller shows. A header that shows none is refused: the caller meant to show one.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, ApiError> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let parts = value.as_bytes().split_at_checked("Bearer ".len());
    let token = parts.filter(|(scheme, token)| scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty());
    match (token, all.next()) {
        (Some((_, token)), None) => Ok(Some(token)),
        _ => Err(ApiError::unauthorized("Authorization must be given once, as Bearer and a token")),
    }
}

/// RFC 9110, section 7.2: host and port. Exactly one header, so that no program between reads a different
/// one.
fn is_loopback(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(HOST).iter();
    let (Some(host), None) = (all.next().and_then(|host| host.to_str().ok()), all.next()) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "127.0.0.1" | "[::1]") || name.eq_ignore_ascii_case("localhost")
}

/// A path that leads nowhere.
pub(crate) async fn no_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_route", "there is no such route")
        .with_hint("GET /v1/openapi.json lists the routes")
}

/// A route that is called with another method than its own.
pub(crate) async fn no_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method", "the route has another method")
        .with_hint("GET /v1/openapi.json lists the routes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_host_is_one() {
        for (host, expected) in [
            ("127.0.0.1", true),
            ("127.0.0.1:8080", true),
            ("LocalHost:1", true),
            ("[::1]:80", true),
            ("[::1]", true),
            ("example.org", false),
            ("127.0.0.1.example.org", false),
            ("localhost.example.org:80", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            if let Ok(value) = host.parse() {
                headers.insert(HOST, value);
            }
            assert_eq!(is_loopback(&headers), expected, "{host}");
        }
        assert!(!is_loopback(&HeaderMap::new()));
    }
}
