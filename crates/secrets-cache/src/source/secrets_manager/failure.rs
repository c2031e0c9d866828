//! From the SDK's errors to ours, without taking along an answer that could hold a value.

use std::error::Error as _;
use std::sync::Arc;

use aws_sdk_secretsmanager::error::ConnectorError;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::RequestId;

use crate::error::{Cause, SourceError};
use crate::name::SecretName;
use crate::secret::Stage;

/// The request that failed.
pub(super) struct Asked<'a> {
    pub(super) operation: &'static str,
    pub(super) name: &'a SecretName,
    pub(super) stage: Option<&'a Stage>,
}

/// The service's own words: its error code, message and request id.
///
/// The SDK's error is not kept as a cause: its `Debug` prints the whole HTTP answer.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message} (request {request_id})")]
struct ServiceFailure {
    code: String,
    message: String,
    request_id: String,
}

/// A failure before any answer came.
///
/// Nothing of the SDK's error is kept but its kind: the text of a failed dispatch can hold the whole request, and that
/// can hold a value.
#[derive(Debug, thiserror::Error)]
enum ConnectionFailure {
    #[error("the connection failed ({0})")]
    Connection(std::io::ErrorKind),
    #[error("the connection failed")]
    Io,
    #[error("the request cannot be sent to this endpoint")]
    Request,
    #[error("no request could be sent, for example for lack of credentials")]
    Other,
}

impl ConnectionFailure {
    fn of(connector: &ConnectorError) -> Self {
        let causes = std::iter::successors(connector.source(), |&error| error.source());
        let kinds =
            causes.filter_map(|error| error.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
        match kinds.last() {
            Some(kind) => Self::Connection(kind),
            None if connector.is_io() => Self::Io,
            None if connector.is_user() => Self::Request,
            None => Self::Other,
        }
    }
}

/// A request for one secret failed.
pub(super) fn of<E, R>(asked: &Asked<'_>, error: SdkError<E, R>) -> SourceError
where
    SdkError<E, R>: RequestId,
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    map(asked.operation, Some(asked), error, true)
}

/// A request that carried a value failed: the service's message could quote it, so it is left out.
pub(super) fn of_write<E, R>(asked: &Asked<'_>, error: SdkError<E, R>) -> SourceError
where
    SdkError<E, R>: RequestId,
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    map(asked.operation, Some(asked), error, false)
}

/// A request for no secret in particular failed.
pub(super) fn of_many<E, R>(operation: &'static str, error: SdkError<E, R>) -> SourceError
where
    SdkError<E, R>: RequestId,
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    map(operation, None, error, true)
}

/// One name in a batch failed.
pub(super) fn of_entry(asked: &Asked<'_>, code: Option<String>, message: Option<String>) -> SourceError {
    let code = code.unwrap_or_else(|| "unknown".into());
    let message = message.unwrap_or_default();
    classify(
        asked.operation,
        Some(asked),
        ServiceFailure { code, message, request_id: "in a batch".into() },
        true,
    )
}

fn map<E, R>(
    operation: &'static str,
    asked: Option<&Asked<'_>>,
    error: SdkError<E, R>,
    keep_message: bool,
) -> SourceError
where
    SdkError<E, R>: RequestId,
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let request_id = error.request_id().unwrap_or("unknown").to_owned();
    match &error {
        SdkError::TimeoutError(_) => SourceError::Timeout { operation },
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(connector) if connector.is_timeout() => SourceError::Timeout { operation },
            Some(connector) => {
                let cause = ConnectionFailure::of(connector);
                SourceError::Unavailable { operation, cause: Some(Arc::new(cause)) }
            }
            None => SourceError::Unavailable { operation, cause: None },
        },
        SdkError::ConstructionFailure(_) => SourceError::Invalid { operation, cause: None },
        SdkError::ServiceError(service) => {
            let error = service.err();
            let code = error.code().unwrap_or("unknown").to_owned();
            let message = error.message().unwrap_or_default().to_owned();
            let failure = ServiceFailure { code, message, request_id };
            classify(operation, asked, failure, keep_message)
        }
        // An answer that could not be read: it may hold a value, so nothing of it is kept.
        _ => SourceError::Unavailable { operation, cause: None },
    }
}

fn classify(
    operation: &'static str,
    asked: Option<&Asked<'_>>,
    mut failure: ServiceFailure,
    keep_message: bool,
) -> SourceError {
    let code = std::mem::take(&mut failure.code);
    let message = failure.message.to_ascii_lowercase();
    if !keep_message {
        failure.message = "message withheld".into();
    }
    failure.code.clone_from(&code);
    let cause: Option<Cause> = Some(Arc::new(failure));
    match (code.as_str(), asked) {
        ("ResourceNotFoundException", Some(asked)) => not_found(asked, &message),
        ("ResourceExistsException", Some(asked)) => SourceError::Conflict { name: asked.name.clone() },
        ("InvalidRequestException" | "InvalidParameterException", Some(asked))
            if message.contains("replica") =>
        {
            SourceError::Replicated { name: asked.name.clone() }
        }
        ("InvalidRequestException", Some(asked)) if message.contains("delet") => {
            SourceError::PendingDeletion { name: asked.name.clone() }
        }
        (
            "AccessDeniedException"
            | "AccessDenied"
            | "DecryptionFailure"
            | "EncryptionFailure"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "NotAuthorized"
            | "OptInRequired"
            | "UnrecognizedClientException",
            _,
        ) => SourceError::Denied { operation, cause },
        (
            "ThrottlingException"
            | "Throttling"
            | "ThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "SlowDown",
            _,
        ) => SourceError::Throttled { operation, cause },
        (
            "InternalServiceError"
            | "InternalFailure"
            | "InternalServerError"
            | "ServiceUnavailable"
            | "unknown",
            _,
        ) => SourceError::Unavailable { operation, cause },
        ("RequestTimeout" | "RequestTimeoutException", _) => SourceError::Timeout { operation },
        _ => SourceError::Invalid { operation, cause },
    }
}

fn not_found(asked: &Asked<'_>, message: &str) -> SourceError {
    // The service has one code for a missing secret and a missing version; only its message distinguishes them.
    match asked.stage {
        // A secret that was created without a value has no current version.
        Some(stage) if message.contains("staging label") || message.contains("secret value") => {
            SourceError::NoSuchStage { name: asked.name.clone(), stage: stage.clone() }
        }
        _ => SourceError::NotFound { name: asked.name.clone() },
    }
}
