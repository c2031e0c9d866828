//! Rows that hold a sealed value, found by the blind index over its column.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use tokenseal::token_store::TokenRow;
use tokenseal::token_store::profile::Table;

use crate::agent::Agent;
use crate::body::Input;
use crate::caller::Caller;
use crate::error::{ApiError, Failure};
use crate::model::{FindRequest, FoundReply};
use crate::policy::{Action, Scope};
use crate::reply::Reply;

/// Finds the rows that hold a value, by their keys. Each caller has a limited number of look-ups per second, because an
/// answer says whether a value is there.
#[utoipa::path(
    post, path = "/v1/tokens/find", request_body = FindRequest,
    params(("X-Tokenseal" = String, Header, description = "Always 1", pattern = "^1$")),
    responses(
        (status = 200, body = FoundReply),
        (status = 400, description = "Malformed, or the column has no blind index", body = Failure),
        (status = 401, description = "No or wrong header or token", body = Failure),
        (status = 403, description = "The policy", body = Failure),
        (status = 408, description = "The body is too slow", body = Failure),
        (status = 409, description = "The index keys were changed during every attempt", body = Failure),
        (status = 413, description = "The body is over 2 MiB", body = Failure),
        (status = 422, description = "A row with this index does not open, or too many rows have it", body = Failure),
        (status = 429, description = "Too many look-ups of this caller, or too many requests at once", body = Failure),
        (status = 503, description = "The key service or the database is away", body = Failure),
    )
)]
pub(crate) async fn find(
    State(agent): State<Agent>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<FindRequest>,
) -> Result<Reply<FoundReply>, ApiError> {
    let FindRequest { table, column, value } = request;
    let (table, scope) = agent.table(&caller, Action::Find, table.as_deref())?;
    if !agent.searches().admits(&caller) {
        agent.refused(&caller, Action::Find.label(), "too_many");
        return Err(ApiError::too_many_searches());
    }
    let (name, value) = (Some(table.name.as_str()), value.0);
    let found = match scope {
        Scope::Owners(owners) => {
            let store = agent.bound_store().ok_or_else(ApiError::internal)?.clone();
            store.with_actor(caller.to_string()).find_owned(name, &column, &value, &owners).await?
        }
        Scope::Every | Scope::None => {
            let store = agent.store().clone().with_actor(caller.to_string());
            store.find(name, &column, &value).await?
        }
    };
    let rows = found.into_iter().map(|row| key_of(table, row, &column));
    Ok(Reply(FoundReply { rows: rows.collect::<Result<_, _>>()? }))
}

/// The key of a row that was compared. The row of a value that does not open was not compared: its owner is
/// unknown.
fn key_of(table: &Table, mut row: TokenRow, column: &str) -> Result<BTreeMap<String, String>, ApiError> {
    row.take(column)?;
    Ok(table.key.iter().cloned().zip(row.key().iter().cloned()).collect())
}
