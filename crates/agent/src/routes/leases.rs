//! The right to spend a refresh token, for services that run the grant themselves.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;

use crate::agent::Agent;
use crate::body::Input;
use crate::caller::Caller;
use crate::error::{ApiError, Failure};
use crate::model::{LeaseReply, LeaseRequest, ReleaseReply, ReleaseRequest, rfc3339};
use crate::policy::Action;
use crate::reply::Reply;

/// Takes the right to spend a row's refresh token, for a service that runs the grant itself.
#[utoipa::path(
    post, path = "/v1/tokens/lease", request_body = LeaseRequest,
    params(("X-Tokenseal" = String, Header, description = "Always 1", pattern = "^1$")),
    responses(
        (status = 200, body = LeaseReply),
        (status = 400, description = "Malformed", body = Failure),
        (status = 401, description = "No or wrong header or token", body = Failure),
        (status = 403, description = "The policy", body = Failure),
        (status = 404, description = "No such row, or the profile does not say how the table is refreshed", body = Failure),
        (status = 408, description = "The body is too slow", body = Failure),
        (status = 409, description = "Only the user can help, or others changed the row", body = Failure),
        (status = 413, description = "The body is over 2 MiB", body = Failure),
        (status = 422, description = "The refresh token does not open", body = Failure),
        (status = 423, description = "Another holder has it until expires", body = Failure),
        (status = 429, description = "Too many requests at once", body = Failure),
        (status = 503, description = "The key service or the database is away", body = Failure),
    )
)]
pub(crate) async fn lease(
    State(agent): State<Agent>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<LeaseRequest>,
) -> Result<Reply<LeaseReply>, ApiError> {
    let LeaseRequest { table, row, owner, seconds } = request;
    if seconds == 0 || seconds > 3600 {
        return Err(ApiError::malformed("seconds must be from 1 to 3600"));
    }
    let target = agent.target(&caller, Action::Lease, table.as_deref(), row, owner)?;
    let lease = target.store.lease(&target.key, Duration::from_secs(seconds.into())).await?;
    Ok(Reply(LeaseReply { lease: lease.as_str().to_owned(), expires: rfc3339(lease.expires_at()) }))
}

/// Gives a lease back whose refresh token was not spent.
#[utoipa::path(
    post, path = "/v1/tokens/release", request_body = ReleaseRequest,
    params(("X-Tokenseal" = String, Header, description = "Always 1", pattern = "^1$")),
    responses(
        (status = 200, body = ReleaseReply),
        (status = 400, description = "Malformed", body = Failure),
        (status = 401, description = "No or wrong header or token", body = Failure),
        (status = 403, description = "The policy", body = Failure),
        (status = 404, description = "No such row, or the profile does not say how the table is refreshed", body = Failure),
        (status = 408, description = "The body is too slow", body = Failure),
        (status = 409, description = "Others changed the row", body = Failure),
        (status = 413, description = "The body is over 2 MiB", body = Failure),
        (status = 429, description = "Too many requests at once", body = Failure),
        (status = 503, description = "The database is away", body = Failure),
    )
)]
pub(crate) async fn release(
    State(agent): State<Agent>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<ReleaseRequest>,
) -> Result<Reply<ReleaseReply>, ApiError> {
    let ReleaseRequest { table, row, owner, lease } = request;
    let target = agent.target(&caller, Action::Lease, table.as_deref(), row, owner)?;
    Ok(Reply(ReleaseReply { released: target.store.release(&target.key, &lease).await? }))
}
