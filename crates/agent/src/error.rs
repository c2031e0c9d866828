//! Errors: what a caller is answered, and why the agent does not start.

mod refresh;

use std::borrow::Cow;
use std::fmt;

use axum::http::StatusCode;
use axum::http::header::{CONNECTION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokenseal::envelope_core::error::{OpenError, SealError};
use tokenseal::envelope_core::{ErrorClass, KeyError};
use tokenseal::secrets_cache::SourceError;
use tokenseal::secrets_cache::typed::ReadError;
use tokenseal::token_store::error::{CorrelationId, SealFailure};
use tokenseal::token_store::{ErrorKind, StoreError};
use tokenseal::{ConnectError, SettingsError, hints};
use utoipa::ToSchema;

use crate::reply::Reply;

/// The class of a value that does not open: a wrong row, a wrong key and damage are one answer.
const DOES_NOT_OPEN: &str = "context_mismatch_or_corrupt";
/// After how many seconds a request that met an outage may be sent again: the time of the circuit's first
/// probes.
const RETRY_OUTAGE: u32 = 2;
/// After how many seconds a request that found too many others may be sent again.
const RETRY_BUSY: u32 = 1;

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    details: Box<Details>,
    needs_consent: bool,
    expires: Option<String>,
    retry_after: Option<u32>,
}

/// The answer to a request that was not carried out.
#[derive(Serialize, ToSchema)]
pub(crate) struct Failure {
    /// The cause of the failure.
    error: Details,
    /// True where only the user can help: the provider's consent has ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    needs_consent: bool,
    /// When the lease of another holder ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

/// The cause of a failure.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Details {
    /// The label of this kind of failure; `docs/agent.md` lists them.
    class: Cow<'static, str>,
    /// The failure in words, without any value.
    message: Cow<'static, str>,
    /// A way to fix it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<Cow<'static, str>>,
    /// The id of this failure in the log and the audit trail.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    /// For an item of a batch: the status that a request about this item alone has.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

impl ApiError {
    pub(crate) fn new(
        status: StatusCode,
        class: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (class, message) = (class.into(), message.into());
        let details = Details { class, message, hint: None, correlation_id: None, status: None };
        Self { status, details: Box::new(details), needs_consent: false, expires: None, retry_after: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.details.hint = Some(hint.into());
        self
    }

    fn retried_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    fn called(mut self, id: Option<CorrelationId>) -> Self {
        self.details.correlation_id = id.map(|id| id.to_string());
        self
    }

    /// The request itself is wrong.
    pub(crate) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    /// The caller did not authenticate.
    pub(crate) fn unauthorized(message: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// The policy does not let the caller do it.
    pub(crate) fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "policy", message)
            .with_hint("AGENT_POLICY says which caller may do what: docs/agent.md")
    }

    /// There is no such row, or not for this caller: both are one answer.
    pub(crate) fn no_row() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such row")
    }

    /// More requests are being worked on than may be.
    pub(crate) fn too_many() -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many", "too many requests at once");
        error.retried_after(RETRY_BUSY)
    }

    /// The caller has looked up more values than it may for now.
    pub(crate) fn too_many_searches() -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many", "too many look-ups of values");
        error.retried_after(RETRY_BUSY)
    }

    /// A failure that no caller can fix.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the agent failed")
            .with_hint("the agent's log has the cause")
    }

    /// An outage, which ends by itself.
    fn away(class: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, class, message).retried_after(RETRY_OUTAGE)
    }

    /// A failure that only the user can fix, by signing in again.
    fn consent() -> Self {
        let message = "only the user can renew the token, by signing in again";
        Self { needs_consent: true, ..Self::new(StatusCode::CONFLICT, "needs_consent", message) }
    }

    /// A wrong row, a wrong key and damage are one answer.
    pub(crate) fn does_not_open() -> Self {
        let message = "value does not open: wrong key, wrong encryption context, or damaged";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, DOES_NOT_OPEN, message)
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn class(&self) -> &str {
        &self.details.class
    }

    /// For one item of a batch, with its status.
    pub(crate) fn into_details(self) -> Details {
        Details { status: Some(self.status.as_u16()), ..*self.details }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, details, needs_consent, expires, retry_after } = self;
        let mut response = Reply(Failure { error: *details, needs_consent, expires }).into_response();
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // The rest of the request would be read as the next one.
            StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let id = error.correlation_id();
        let mapped = match &error {
            StoreError::Open { source, .. } | StoreError::KeptToken { source, .. } => of_open(source),
            StoreError::Seal { source, .. } => of_seal(source),
            StoreError::Database(refused) if refused.is_about_rows() => {
                Self::malformed("the database refuses a value of the row")
            }
            StoreError::NotRefreshed { .. } => {
                let message = "the profile does not say how the table is refreshed";
                Self::new(StatusCode::NOT_FOUND, "not_refreshed", message)
            }
            StoreError::NoColumns { .. } => Self::malformed("the table has no such plain column"),
            StoreError::IndexKey { source, .. } => of_open(source),
            StoreError::TooManyFound { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "too_many_found",
                "too many rows share the index of this value",
            )
            .with_hint("more `bits` in the profile's index: docs/pii.md"),
            other => of_kind(other),
        };
        if mapped.status.is_server_error() {
            tracing::warn!(error = tokenseal::error::chain(&error), class = error.class(), "request failed");
        }
        mapped.called(id)
    }
}

fn of_kind(error: &StoreError) -> ApiError {
    match error.kind() {
        ErrorKind::Invalid => ApiError::malformed(error.to_string()),
        ErrorKind::NotFound => ApiError::no_row(),
        ErrorKind::Conflict => {
            let message = "others changed the row at the same time";
            ApiError::new(StatusCode::CONFLICT, "conflict", message)
                .with_hint("read the row again and repeat")
        }
        ErrorKind::Unopenable => {
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, error.class(), error.to_string())
        }
        ErrorKind::Unavailable => ApiError::away(error.class(), "database does not answer"),
        _ => ApiError::internal(),
    }
}

/// A wrong row, a wrong key and damage give one answer. A value that the configuration refuses gives another, because an
/// operator has to see it.
fn of_open(error: &OpenError) -> ApiError {
    let refused = |hint: &'static str| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, error.class(), error.to_string()).with_hint(hint)
    };
    match error {
        OpenError::Key(key) => of_key(key),
        OpenError::MissingKey { needed, .. } => {
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, error.class(), error.to_string())
                .with_hint(format!("configure the agent with {}", hints::variable(*needed)))
        }
        OpenError::UnboundRefused | OpenError::BelowFloor { .. } | OpenError::PlaintextRefused => {
            refused("`migrate-tokens migrate` moves such values; see docs/configuration.md")
        }
        OpenError::SourceRefused { .. } | OpenError::UnlabelledRefused | OpenError::DevelopmentToken => {
            refused("docs/configuration.md says which values are read")
        }
        _ => ApiError::does_not_open(),
    }
}

fn of_key(error: &KeyError) -> ApiError {
    let class = error.class();
    if !class.is_outage() {
        return ApiError::does_not_open();
    }
    let away = ApiError::away(class.label(), "key service does not answer, or refuses");
    match hints::of_key(error) {
        Some(hint) => away.with_hint(hint),
        None => away,
    }
}

fn of_seal(failure: &SealFailure) -> ApiError {
    match failure {
        SealFailure::Envelope(SealError::Key(error)) => match of_key(error) {
            // No value was opened: the key service refuses the request.
            error if error.status == StatusCode::UNPROCESSABLE_ENTITY => {
                ApiError::malformed("the key service refuses to seal for this row")
            }
            error => error,
        },
        SealFailure::Envelope(SealError::TooLong { .. } | SealError::Context(_)) | SealFailure::NoUser => {
            ApiError::malformed(failure.to_string())
        }
        _ => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, failure.class(), failure.to_string())
            .with_hint("configure the agent so that it can seal: docs/configuration.md"),
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Source(error) => error.into(),
            ReadError::NoField { .. } => {
                Self::new(StatusCode::NOT_FOUND, "not_found", "the secret has no such field")
            }
            ReadError::Name(_) => Self::malformed("not a reference to a secret"),
            _ => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "not_text", "the secret is not text"),
        }
    }
}

impl From<SourceError> for ApiError {
    fn from(error: SourceError) -> Self {
        let class = error.class();
        let mapped = match &error {
            SourceError::Name(_) | SourceError::Invalid { .. } => Self::malformed("not a name of a secret"),
            SourceError::NotFound { .. }
            | SourceError::NoSuchStage { .. }
            | SourceError::Expired { .. }
            | SourceError::PendingDeletion { .. } => {
                Self::new(StatusCode::NOT_FOUND, class, "there is no such secret, or no longer")
            }
            SourceError::Sealed { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, class, "the stored secret does not open")
            }
            SourceError::Unsupported { .. } => Self::malformed("the source of secrets has no stages"),
            SourceError::Conflict { .. } => Self::new(StatusCode::CONFLICT, class, "the secret was changed"),
            _ => Self::away(class, "the source of secrets does not answer, or refuses"),
        };
        let mapped = mapped.called(error.correlation_id());
        match error.hint() {
            Some(hint) => mapped.with_hint(hint),
            None => mapped,
        }
    }
}

/// Why the agent does not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is wrong, or the database, the key service or the secrets failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The process itself failed.
    #[error("{what}")]
    Io {
        /// The action that failed.
        what: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl StartError {
    /// The code that the program ends with: 2 for the configuration, 5 for the key service or the secrets, 6 for the
    /// database, 1 for anything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Connect(ConnectError::Settings(_) | ConnectError::Keyring(_)) => 2,
            Self::Connect(ConnectError::Key(error)) if error.class() == ErrorClass::Misconfigured => 2,
            Self::Connect(ConnectError::Key(_) | ConnectError::Secrets(_)) => 5,
            Self::Connect(ConnectError::Store(_)) => 6,
            Self::Connect(_) | Self::Io { .. } => 1,
        }
    }

    /// A way to fix it.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Connect(ConnectError::Settings(error)) => Some(Cow::from(&*error.hint)),
            Self::Connect(ConnectError::Keyring(error)) => Some(hints::of_keyring(error).into()),
            Self::Connect(ConnectError::Key(error)) => hints::of_key(error).map(Cow::from),
            Self::Connect(ConnectError::Secrets(error)) => error.hint().map(Cow::from),
            Self::Connect(ConnectError::Store(error)) => hints::of_store(error).map(Cow::from),
            Self::Connect(_) | Self::Io { .. } => None,
        }
    }
}

impl From<SettingsError> for StartError {
    fn from(error: SettingsError) -> Self {
        Self::Connect(error.into())
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Connect(error.into())
    }
}

/// One line for an operator.
pub(crate) fn shown(error: &StartError) -> impl fmt::Display {
    tokenseal::error::chain(error)
}
