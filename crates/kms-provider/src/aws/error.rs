//! Failed calls to AWS KMS: their class, and a hint for each.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use envelope_core::KeyError;
use envelope_core::provider::ErrorClass;

use crate::redact::shown;

/// The calls that are made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    GenerateDataKey,
    Decrypt,
    ReEncrypt,
    DescribeKey,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GenerateDataKey => "GenerateDataKey",
            Self::Decrypt => "Decrypt",
            Self::ReEncrypt => "ReEncrypt",
            Self::DescribeKey => "DescribeKey",
        }
    }

    fn actions(self) -> &'static str {
        match self {
            Self::GenerateDataKey => "kms:GenerateDataKey",
            Self::Decrypt => "kms:Decrypt",
            Self::ReEncrypt => "kms:ReEncryptFrom on the old key and kms:ReEncryptTo on the new one",
            Self::DescribeKey => "kms:DescribeKey (in a statement without encryption-context conditions)",
        }
    }
}

/// Turns a failed call on a key into an error that says what to do. Nothing of the SDK's error is kept but a few words:
/// it may hold the raw answer, and the answer a plaintext key.
pub(super) fn map_error<E>(operation: Operation, key: &str, error: SdkError<E, HttpResponse>) -> KeyError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match &error {
        SdkError::ServiceError(context) => {
            let (code, message) = (context.err().code(), context.err().message());
            let status = context.raw().status().as_u16();
            match class_of(code, status) {
                Some(class) => KeyError::new(class, what_failed(class, operation, key))
                    .with_hint(hint(class, operation, code))
                    .with_source(Answer::new(code, status, message)),
                None => not_an_answer(operation),
            }
        }
        SdkError::TimeoutError(_) => no_answer(ErrorClass::Timeout, operation, &error),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            no_answer(ErrorClass::Timeout, operation, &error)
        }
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => match credentials_error(&error) {
            Some(cause) => no_credentials(Some(cause)).with_source(NoCall::of_credentials(cause)),
            None if matches!(error, SdkError::DispatchFailure(_)) => {
                no_answer(ErrorClass::Unavailable, operation, &error)
            }
            None => not_sent(operation),
        },
        // The raw answer may hold a plaintext key, so not even the parser's message about it is kept.
        SdkError::ResponseError(_) => broken_off(operation),
        _ => not_an_answer(operation),
    }
}

/// An answer that began and could not be read to its end: what cannot be parsed comes as a `ServiceError`.
fn broken_off(operation: Operation) -> KeyError {
    let what = format!("the connection to AWS KMS broke in the middle of the answer to {}", operation.name());
    KeyError::new(ErrorClass::Unavailable, what)
        .with_hint("check for parts of the network path that may cut connections (VPC endpoint, NAT, proxy)")
}

/// An answer without a field that AWS KMS always sends, or one that cannot be read.
pub(super) fn not_an_answer(operation: Operation) -> KeyError {
    let what = format!("the answer to {} is not one of AWS KMS", operation.name());
    KeyError::new(ErrorClass::Unavailable, what).with_hint(
        "something else may be answering: check AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS and proxies",
    )
}

/// No credentials, as far as this machine knows before any call.
pub(super) fn no_credentials(cause: Option<&CredentialsError>) -> KeyError {
    let class = match cause {
        // The source of credentials was asked and failed: that may pass.
        Some(CredentialsError::ProviderTimedOut(_)) => ErrorClass::Timeout,
        Some(CredentialsError::ProviderError(_)) => ErrorClass::Unavailable,
        _ => ErrorClass::Misconfigured,
    };
    KeyError::new(class, "failed to get AWS credentials").with_hint(
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this workload a role \
         (IRSA, EKS Pod Identity, ECS task role, instance profile)",
    )
}

fn not_sent(operation: Operation) -> KeyError {
    KeyError::new(ErrorClass::Misconfigured, format!("{} could not be sent to AWS KMS", operation.name()))
        .with_hint("set AWS_REGION, and check AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_KMS if they are set")
}

/// Error codes: `API_GenerateDataKey`, `API_Decrypt`, `API_ReEncrypt`, `API_DescribeKey` and `CommonErrors` of the AWS KMS
/// API reference; the throttling codes are those that the SDK retries. `None` if the answer is not from AWS
/// KMS.
fn class_of(code: Option<&str>, status: u16) -> Option<ErrorClass> {
    Some(match code.unwrap_or_default() {
        "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "OptInRequired" => ErrorClass::Denied,
        code if is_about_caller(code) => ErrorClass::Denied,
        "NotFoundException" => ErrorClass::NotFound,
        "DisabledException" => ErrorClass::Disabled,
        "KMSInvalidStateException" => ErrorClass::PendingDeletion,
        "InvalidCiphertextException" => ErrorClass::ContextMismatchOrCorrupt,
        "IncorrectKeyException" => ErrorClass::WrongKey,
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "LimitExceededException"
        | "RequestLimitExceeded"
        | "SlowDown" => ErrorClass::Throttled,
        "DependencyTimeoutException" | "RequestTimeout" | "RequestTimeoutException" => ErrorClass::Timeout,
        "KMSInternalException"
        | "KeyUnavailableException"
        | "InternalFailure"
        | "InternalError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => ErrorClass::Unavailable,
        _ if status == 429 => ErrorClass::Throttled,
        _ if status == 408 || status == 504 => ErrorClass::Timeout,
        _ if status >= 500 => ErrorClass::Unavailable,
        // A proxy's or a firewall's answer: AWS KMS gives every refusal a code.
        "" if status == 401 || status == 403 => ErrorClass::Denied,
        "" => return None,
        // ValidationException, InvalidKeyUsageException, InvalidGrantTokenException, InvalidArnException and the like.
        _ => ErrorClass::InvalidRequest,
    })
}

/// Codes about the caller's identity, rather than about its permissions.
fn is_about_caller(code: &str) -> bool {
    matches!(
        code,
        "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "RequestExpired"
    )
}

fn what_failed(class: ErrorClass, operation: Operation, key: &str) -> String {
    let (name, key) = (operation.name(), shown(key));
    match class {
        ErrorClass::Denied => format!("AWS KMS denied {name} with key {key}"),
        ErrorClass::NotFound => format!("AWS KMS has no key {key} in this Region and account"),
        ErrorClass::Disabled => format!("AWS KMS key {key} is disabled"),
        ErrorClass::PendingDeletion => format!("AWS KMS key {key} is pending deletion, or not usable yet"),
        ErrorClass::Throttled => format!("AWS KMS throttled {name}"),
        ErrorClass::ContextMismatchOrCorrupt => {
            "AWS KMS does not open it: another context, or damaged".into()
        }
        ErrorClass::WrongKey => format!("it was wrapped under another AWS KMS key than {key}"),
        ErrorClass::InvalidRequest => format!("AWS KMS refused the request {name} with key {key}"),
        _ => format!("AWS KMS could not do {name}"),
    }
}

fn hint(class: ErrorClass, operation: Operation, code: Option<&str>) -> String {
    match class {
        ErrorClass::Denied if code.is_some_and(is_about_caller) => {
            "the AWS credentials are not accepted: renew them, and check AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN, \
             AWS_PROFILE and this machine's clock"
                .into()
        }
        ErrorClass::Denied => format!(
            "allow this identity {} in IAM and in the key policy; their conditions must hold, the ones on the \
             encryption context included",
            operation.actions(),
        ),
        ErrorClass::NotFound => "check {key}, AWS_REGION and the account that the credentials belong to".into(),
        ErrorClass::Disabled => "enable the key (kms:EnableKey), or set {key} to another one".into(),
        ErrorClass::PendingDeletion => {
            "cancel the deletion now (kms:CancelKeyDeletion): once it is done, nothing under the key ever opens".into()
        }
        ErrorClass::Throttled => {
            "lower the rate of calls, cache data keys, or raise the Region's request quota for cryptographic operations"
                .into()
        }
        ErrorClass::ContextMismatchOrCorrupt => {
            "present the encryption context it was wrapped under ({context} and the row's identity); \
             if that is right, the bytes are damaged"
                .into()
        }
        ErrorClass::WrongKey => "add the key that wrapped it to {allowed keys}, if it is yours".into(),
        ErrorClass::InvalidRequest => "{key} must name a symmetric key for ENCRYPT_DECRYPT".into(),
        _ => "try again; the AWS Health Dashboard shows outages in the Region".into(),
    }
}

fn no_answer(class: ErrorClass, operation: Operation, error: &(dyn Error + 'static)) -> KeyError {
    let what = match class {
        ErrorClass::Timeout => format!("AWS KMS did not answer {} in time", operation.name()),
        _ => format!("AWS KMS could not be reached for {}", operation.name()),
    };
    KeyError::new(class, what)
        .with_hint(
            "check AWS_REGION, AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_KMS, name resolution, and the network \
             path to the service (VPC endpoint, NAT, proxy)",
        )
        .with_source(NoCall::of_connection(error))
}

fn credentials_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CredentialsError> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The message of AWS KMS, account ids shortened.
#[derive(Debug, thiserror::Error)]
#[error("{code} (HTTP {status}): {message}")]
struct Answer {
    code: String,
    status: u16,
    message: String,
}

impl Answer {
    fn new(code: Option<&str>, status: u16, message: Option<&str>) -> Self {
        Self {
            code: shown(code.unwrap_or("no error code")),
            status,
            message: shorten_accounts(message.unwrap_or("no message")),
        }
    }
}

/// Why no call was made or answered.
///
/// Nothing of the SDK's text is kept: that of a failed dispatch can hold the whole request, and that of a provider of
/// credentials the request that it made itself.
#[derive(Debug, thiserror::Error)]
enum NoCall {
    #[error("the connection failed ({0})")]
    Connection(std::io::ErrorKind),
    #[error("the request was not answered")]
    Unknown,
    #[error("the provider of credentials found none")]
    NotLoaded,
    #[error("the provider of credentials took too long")]
    Slow,
    #[error("the configuration of the provider of credentials is not valid")]
    Configuration,
    #[error("the provider of credentials failed")]
    Provider,
}

impl NoCall {
    fn of_connection(error: &(dyn Error + 'static)) -> Self {
        let kinds = causes(error)
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .map(std::io::Error::kind);
        kinds.last().map_or(Self::Unknown, Self::Connection)
    }

    fn of_credentials(error: &CredentialsError) -> Self {
        match error {
            CredentialsError::CredentialsNotLoaded(_) => Self::NotLoaded,
            CredentialsError::ProviderTimedOut(_) => Self::Slow,
            CredentialsError::InvalidConfiguration(_) => Self::Configuration,
            _ => Self::Provider,
        }
    }
}

/// Shortens every run of twelve digits, which is what an AWS account id looks like, to its last four; and bounds the whole.
fn shorten_accounts(text: &str) -> String {
    const MAX: usize = 600;
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[start..].bytes().take_while(u8::is_ascii_digit).count();
        out.push_str(&rest[..start]);
        let run = &rest[start..start + digits];
        out.push_str(if digits == 12 { "…" } else { "" });
        out.push_str(if digits == 12 { &run[8..] } else { run });
        rest = &rest[start + digits..];
    }
    out.push_str(rest);
    out.chars().take(MAX).collect()
}
