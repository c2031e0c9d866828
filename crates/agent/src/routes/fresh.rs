//! Tokens that are valid for long enough: the agent runs the refresh grant.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;

use super::tokens::read;
use crate::agent::Agent;
use crate::body::Input;
use crate::caller::Caller;
use crate::error::{ApiError, Failure};
use crate::model::{FreshRequest, Row};
use crate::policy::Action;
use crate::reply::Reply;

/// Reads a row whose access token is valid for so many seconds. Where it is not, the agent has it refreshed, once among all
/// callers, agents and replicas.
#[utoipa::path(
    post, path = "/v1/tokens/fresh", request_body = FreshRequest,
    params(("X-Tokenseal" = String, Header, description = "Always 1", pattern = "^1$")),
    responses(
        (status = 200, body = Row),
        (status = 400, description = "Malformed", body = Failure),
        (status = 401, description = "No or wrong header or token", body = Failure),
        (status = 403, description = "The policy", body = Failure),
        (status = 404, description = "No such row, or the profile does not say how the table is refreshed", body = Failure),
        (status = 408, description = "The body is too slow", body = Failure),
        (status = 409, description = "Only the user can help: needs_consent", body = Failure),
        (status = 413, description = "The body is over 2 MiB", body = Failure),
        (status = 422, description = "A value does not open", body = Failure),
        (status = 429, description = "Too many requests at once", body = Failure),
        (status = 503, description = "The provider, the key service or the database is away", body = Failure),
    )
)]
pub(crate) async fn fresh(
    State(agent): State<Agent>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<FreshRequest>,
) -> Result<Reply<Row>, ApiError> {
    let FreshRequest { table, row, owner, valid_for } = request;
    let target = agent.target(&caller, Action::Fresh, table.as_deref(), row, owner)?;
    let tokenseal = agent.tokenseal().clone().with_store(target.store.clone());
    tokenseal.fresh(&target.key, Duration::from_secs(valid_for.into())).await?;
    read(&target, None).await
}
