//! Rows: read, written and deleted by their key.

use std::collections::HashSet;

use axum::Extension;
use axum::extract::State;
use tokenseal::token_store::profile::Table;
use tokenseal::token_store::{NewToken, StoreError};

use crate::agent::Agent;
use crate::body::Input;
use crate::caller::Caller;
use crate::error::{ApiError, Failure};
use crate::model::{DeleteRequest, DeletedReply, GetRequest, PutRequest, Row, Shown, WrittenReply};
use crate::policy::Action;
use crate::reply::Reply;
use crate::rows::Target;

/// Reads a row and opens its tokens, in every stored form.
#[utoipa::path(
    post, path = "/v1/tokens/get", request_body = GetRequest,
    params(("X-Tokenseal" = String, Header, description = "Always 1", pattern = "^1$")),
    responses(
        (status = 200, body = Row),
        (status = 400, description = "Malformed", body = Failure),
        (status = 401, description = "No or wrong header or token", body = Failure),
        (status = 403, description = "The policy", body = Failure),
        (status = 404, description = "No such row", body = Failure),
        (status = 408, description = "The body is too slow", body = Failure),
        (status = 413, description = "The body is over 2 MiB", body = Failure),
        (status = 422, description = "A value does not open", body = Failure),
        (status = 429, description = "Too many requests at once", body = Failure),
        (status = 503, description = "The key service or the database is away", body = Failure),
    )
)]
pub(crate) async fn get(
    State(agent): State<Agent>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<GetRequest>,
) -> Result<Reply<Row>, ApiError> {
    let GetRequest { table, row, owner, columns } = request;
    let target = agent.target(&caller, Action::Get, table.as_deref(), row, owner)?;
    read(&target, columns).await
}

/// Reads a row and opens these tokens of it; all of them, if none are named.
pub(super) async fn read(target: &Target, columns: Option<Vec<String>>) -> Result<Reply<Row>, ApiError> {
    let mut columns = columns.unwrap_or_else(|| target.table.tokens.clone());
    // A column that is named twice is one column: it is opened once, and taken out of the row once.
    let mut named = HashSet::new();
    columns.retain(|column| named.insert(column.clone()));
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut row = target.store.get_columns(&target.key, &names).await?;
    let opened = columns.iter().map(|column| {
        let token = row.take(column)?.map(Shown);
        Ok((column.clone(), token))
    });
    let tokens = opened.collect::<Result<_, StoreError>>()?;
    let plain = target.table.plain.iter();
    Ok(Reply(Row {
        tokens,
        plain: plain.map(|column| (column.clone(), row.plain(column).map(ToOwned::to_owned))).collect(),
        encryption_version: row.encryption_version(),
        encryption_method: row.encryption_method().map(ToOwned::to_owned),
        encryption_key_id: row.encryption_key_id().map(ToOwned::to_owned),
        revision: row.revision().to_string(),
    }))
}

/// Writes tokens into a row, with compare-and-swap; a row that does not exist is made.
#[utoipa::path(
    post, path = "/v1/tokens/put", request_body = PutRequest,
    params(("X-Tokenseal" = String, Header, description = "Always 1", pattern = "^1$")),
    responses(
        (status = 200, body = WrittenReply),
        (status = 400, description = "Malformed", body = Failure),
        (status = 401, description = "No or wrong header or token", body = Failure),
        (status = 403, description = "The policy", body = Failure),
        (status = 404, description = "The row belongs to another owner", body = Failure),
        (status = 408, description = "The body is too slow", body = Failure),
        (status = 409, description = "Others changed the row", body = Failure),
        (status = 413, description = "The body is over 2 MiB", body = Failure),
        (status = 422, description = "A value that stays does not open", body = Failure),
        (status = 429, description = "Too many requests at once", body = Failure),
        (status = 503, description = "The key service or the database is away; nothing was written", body = Failure),
    )
)]
pub(crate) async fn put(
    State(agent): State<Agent>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<PutRequest>,
) -> Result<Reply<WrittenReply>, ApiError> {
    let PutRequest { table, row, owner, tokens, plain, if_revision, lease } = request;
    let target = agent.target(&caller, Action::Put, table.as_deref(), row, owner)?;
    // The policy speaks of the owner that the request names: a plain value must not make the row another's.
    let Table { key, owner, .. } = &target.table;
    if plain.0.iter().any(|(column, _)| key.contains(column) || owner.contains(column)) {
        return Err(ApiError::malformed("plain names a key or owner column, which belongs in row or owner"));
    }
    let tokens = tokens
        .0
        .into_iter()
        .fold(NewToken::new(), |new, (column, value)| new.column(column, value.map(|secret| secret.0)));
    let new = plain.0.into_iter().fold(tokens, |new, (column, value)| match value.0 {
        Some(value) => new.plain(column, value),
        None => new.plain_null(column),
    });
    let new = match if_revision {
        Some(revision) => new.if_revision(revision),
        None => new,
    };
    let written = match lease {
        Some(lease) => target.store.put_leased(&target.key, &lease, new).await?,
        None => match target.store.put(&target.key, new).await {
            Ok(written) => written,
            // For a caller that may see only some owners' rows, another owner's row does not exist.
            Err(StoreError::KeyNotStorable { .. }) if target.is_narrowed || target.is_of_another().await => {
                return Err(ApiError::no_row());
            }
            Err(error) => return Err(error.into()),
        },
    };
    let revision = written.revision().to_string();
    Ok(Reply(WrittenReply {
        written: written.encryption_method.unwrap_or_else(|| "plaintext".into()),
        revision,
    }))
}

/// Deletes a row.
#[utoipa::path(
    post, path = "/v1/tokens/delete", request_body = DeleteRequest,
    params(("X-Tokenseal" = String, Header, description = "Always 1", pattern = "^1$")),
    responses(
        (status = 200, body = DeletedReply),
        (status = 400, description = "Malformed", body = Failure),
        (status = 401, description = "No or wrong header or token", body = Failure),
        (status = 403, description = "The policy", body = Failure),
        (status = 404, description = "No such row", body = Failure),
        (status = 408, description = "The body is too slow", body = Failure),
        (status = 409, description = "Others changed the row", body = Failure),
        (status = 413, description = "The body is over 2 MiB", body = Failure),
        (status = 429, description = "Too many requests at once", body = Failure),
        (status = 503, description = "The database is away", body = Failure),
    )
)]
pub(crate) async fn delete(
    State(agent): State<Agent>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<DeleteRequest>,
) -> Result<Reply<DeletedReply>, ApiError> {
    let DeleteRequest { table, row, owner, if_revision } = request;
    let target = agent.target(&caller, Action::Delete, table.as_deref(), row, owner)?;
    let deleted = match if_revision {
        Some(revision) => target.store.delete_if_revision(&target.key, &revision.into()).await?,
        None => target.store.delete(&target.key).await?,
    };
    match deleted {
        true => Ok(Reply(DeletedReply { deleted: true })),
        false => Err(ApiError::no_row()),
    }
}
