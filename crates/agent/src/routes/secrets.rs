//! Secrets, read through the cache.

use axum::Extension;
use axum::extract::State;
use tokenseal::secrecy::SecretString;
use tokenseal::secrets_cache::typed::interpret;
use tokenseal::secrets_cache::{SecretName, SecretRef, SecretsCache, Stage};

use crate::agent::Agent;
use crate::audit;
use crate::body::Input;
use crate::caller::Caller;
use crate::error::{ApiError, Failure};
use crate::model::{SecretReply, SecretRequest, Shown};
use crate::policy::Action;
use crate::reply::Reply;

/// The longest label of a stage, in bytes: AWS Secrets Manager's limit (`VersionStage` in the `GetSecretValue` reference).
const MAX_STAGE_LEN: usize = 256;

/// Reads a secret, or a field of one.
#[utoipa::path(
    post, path = "/v1/secrets/get", request_body = SecretRequest,
    params(("X-Tokenseal" = String, Header, description = "Always 1", pattern = "^1$")),
    responses(
        (status = 200, body = SecretReply),
        (status = 400, description = "Malformed", body = Failure),
        (status = 401, description = "No or wrong header or token", body = Failure),
        (status = 403, description = "The policy", body = Failure),
        (status = 404, description = "No such secret", body = Failure),
        (status = 408, description = "The body is too slow", body = Failure),
        (status = 413, description = "The body is over 2 MiB", body = Failure),
        (status = 422, description = "The secret does not open, or is not text", body = Failure),
        (status = 429, description = "Too many requests at once", body = Failure),
        (status = 503, description = "The source of secrets is away", body = Failure),
    )
)]
pub(crate) async fn get(
    State(agent): State<Agent>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<SecretRequest>,
) -> Result<Reply<SecretReply>, ApiError> {
    let not_a_name = || ApiError::malformed("not a reference to a secret: name, or name#field");
    // The policy refuses an invalid name as well, so this answer does not show which names exist.
    let reference = request.name.parse::<SecretRef>();
    let secrets = agent.tokenseal().secrets().ok_or_else(ApiError::internal)?;
    let own = |name: &SecretName| secrets.cache().own_name(name);
    let is_allowed = match &reference {
        Ok(reference) => agent.policy().allows_secret(&caller, reference, own),
        Err(_) => agent.policy().allows_any_secret(&caller),
    };
    if !is_allowed {
        agent.refused(&caller, Action::Secret.label(), "policy");
        return Err(ApiError::forbidden("the policy does not allow the caller to read this secret"));
    }
    let reference = reference.map_err(|_| not_a_name())?;
    if agent.is_own_setting(reference.name()) || agent.is_own_setting(&own(reference.name())) {
        agent.refused(&caller, Action::Secret.label(), "policy");
        return Err(ApiError::forbidden("a setting of the agent itself is for no caller"));
    }
    let reply = read(secrets.cache(), &reference, request.stage.as_deref()).await?;
    audit::secret_read(&caller, &request.name, &reply.version);
    Ok(Reply(reply))
}

async fn read(
    cache: &SecretsCache,
    reference: &SecretRef,
    stage: Option<&str>,
) -> Result<SecretReply, ApiError> {
    let secret = match stage.map(stage_of).transpose()? {
        None | Some(Stage::Current) => cache.get(reference.name().as_str()).await?,
        Some(stage) => cache.get_stage(reference.name().as_str(), &stage).await?,
    };
    let value: SecretString = interpret(&secret, reference)?;
    Ok(SecretReply { value: Shown(value), version: secret.version.clone(), from: secret.source.to_string() })
}

fn stage_of(label: &str) -> Result<Stage, ApiError> {
    if label.is_empty() || label.len() > MAX_STAGE_LEN || label.chars().any(char::is_control) {
        return Err(ApiError::malformed("not a label of a stage, such as AWSPREVIOUS"));
    }
    Ok(Stage::from(label))
}
