//! Single cells of a caller's own statements, opened and sealed in batches: one bad item spoils no other.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::stream::{self, StreamExt as _};
use tokenseal::envelope_core::format::{Format, detect};
use tokenseal::secrecy::ExposeSecret as _;
use tokenseal::token_store::StoredText;
use tokenseal::token_store::profile::Unmarked;

use crate::agent::Agent;
use crate::body::{Input, Part};
use crate::caller::Caller;
use crate::error::{ApiError, Failure};
use crate::model::{
    OpenItem, OpenReply, OpenRequest, OpenedItem, SealItem, SealReply, SealRequest, SealedItem, Shown,
};
use crate::policy::Action;
use crate::reply::Reply;

/// The most items of a batch.
const MAX_ITEMS: usize = 5000;
/// Items of a batch that are in progress at once.
const AT_ONCE: usize = 32;

/// Opens stored texts, each for its cell.
#[utoipa::path(
    post, path = "/v1/open", request_body = OpenRequest,
    params(("X-Tokenseal" = String, Header, description = "Always 1", pattern = "^1$")),
    responses(
        (status = 200, body = OpenReply),
        (status = 400, description = "Malformed", body = Failure),
        (status = 401, description = "No or wrong header or token", body = Failure),
        (status = 403, description = "The policy", body = Failure),
        (status = 408, description = "The body is too slow", body = Failure),
        (status = 413, description = "The body is over 2 MiB", body = Failure),
        (status = 429, description = "Too many requests at once", body = Failure),
        (status = 503, description = "The key service is away, and no item could be opened without it", body = Failure),
    )
)]
pub(crate) async fn open(
    State(agent): State<Agent>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<OpenRequest>,
) -> Result<Reply<OpenReply>, ApiError> {
    let items = batch(request.items, |item| open_one(&agent, &caller, item)).await?;
    let shown = |item: Result<Shown, ApiError>| match item {
        Ok(value) => OpenedItem::Opened { value },
        Err(error) => OpenedItem::Failed { error: error.into_details() },
    };
    Ok(Reply(OpenReply { items: items.into_iter().map(shown).collect() }))
}

/// Seals values, each for its cell.
#[utoipa::path(
    post, path = "/v1/seal", request_body = SealRequest,
    params(("X-Tokenseal" = String, Header, description = "Always 1", pattern = "^1$")),
    responses(
        (status = 200, body = SealReply),
        (status = 400, description = "Malformed", body = Failure),
        (status = 401, description = "No or wrong header or token", body = Failure),
        (status = 403, description = "The policy", body = Failure),
        (status = 408, description = "The body is too slow", body = Failure),
        (status = 413, description = "The body is over 2 MiB", body = Failure),
        (status = 429, description = "Too many requests at once", body = Failure),
        (status = 503, description = "The key service is away, and no item could be sealed", body = Failure),
    )
)]
pub(crate) async fn seal(
    State(agent): State<Agent>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<SealRequest>,
) -> Result<Reply<SealReply>, ApiError> {
    let items = batch(request.items, |item| seal_one(&agent, &caller, item)).await?;
    let shown = |item| match item {
        Ok(sealed) => sealed,
        Err(error) => SealedItem::Failed { error: ApiError::into_details(error) },
    };
    Ok(Reply(SealReply { items: items.into_iter().map(shown).collect() }))
}

/// An outage that meets every item is the answer to the whole; so is a table that the policy withholds from all of them.
async fn batch<I, T, F: Future<Output = Result<T, ApiError>>>(
    items: Vec<I>,
    one: impl Fn(I) -> F,
) -> Result<Vec<Result<T, ApiError>>, ApiError> {
    if items.len() > MAX_ITEMS {
        return Err(ApiError::malformed(format!("more than {MAX_ITEMS} items")));
    }
    let mut done: Vec<Result<T, ApiError>> = stream::iter(items).map(one).buffered(AT_ONCE).collect().await;
    let met_all = |status| done.iter().all(|item| item.as_ref().is_err_and(|error| error.status() == status));
    // Of items that fail differently, none answers for the others.
    if !done.is_empty() && [StatusCode::SERVICE_UNAVAILABLE, StatusCode::FORBIDDEN].into_iter().any(met_all) {
        done.swap_remove(0)?;
    }
    Ok(done)
}

async fn open_one(agent: &Agent, caller: &Caller, item: Part<OpenItem>) -> Result<Shown, ApiError> {
    let OpenItem { table, column, row, owner, version, text } = item.parsed()?;
    let target = agent.target(caller, Action::Open, Some(&table), row, owner)?;
    let text = text.0.expose_secret();
    if version.is_some_and(|version| !(0..=2).contains(&version)) {
        return Err(ApiError::does_not_open());
    }
    let version = match (&target.table.version, version) {
        (Some(_), version) => version.or_else(|| is_envelope(text).then_some(2)),
        (None, Some(version)) if !fits(version, text, target.store.profile().unmarked) => {
            return Err(ApiError::does_not_open());
        }
        (None, _) => None,
    };
    let stored = StoredText::marked(text, version, None);
    Ok(Shown(target.store.open_text(&target.key, &column, stored).await?))
}

/// An envelope identifies itself; the form of every other text is known only from its row.
fn is_envelope(text: &str) -> bool {
    matches!(detect(text), Ok(Format::KmsEnvelope | Format::BoundEnvelope))
}

/// Whether a version that the caller gives for a table without version columns matches the text: such a text
/// is otherwise known by its mark alone, and a ciphertext that lost its mark would be returned as a
/// plaintext.
fn fits(version: i64, text: &str, unmarked: Unmarked) -> bool {
    match version {
        _ if text.is_empty() => true,
        0 => !is_envelope(text),
        1 => match detect(text) {
            Ok(Format::KmsEnvelope | Format::BoundEnvelope) => false,
            // Without the version, such a text is a plaintext or no value at all: also one that begins with `kms:`.
            Ok(Format::Plaintext) | Err(_) => unmarked == Unmarked::DirectAes,
            Ok(_) => true,
        },
        _ => is_envelope(text),
    }
}

async fn seal_one(agent: &Agent, caller: &Caller, item: Part<SealItem>) -> Result<SealedItem, ApiError> {
    let SealItem { table, column, row, owner, value, .. } = item.parsed()?;
    let target = agent.target(caller, Action::Seal, Some(&table), row, owner)?;
    let sealed = target.store.seal_text(&target.key, &column, &value.0).await?;
    Ok(SealedItem::Sealed {
        text: sealed.text,
        encryption_key_id: sealed.encryption_key_id,
        encryption_version: sealed.encryption_version,
        encryption_method: sealed.encryption_method,
    })
}
