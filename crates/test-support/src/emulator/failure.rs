//! The ways in which a call to AWS fails.

use serde_json::json;

/// How a call to AWS fails. The constants are the errors that KMS documents; make others with `Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsFailure {
    /// The service answers with an error of this type and HTTP status.
    Error {
        /// The error type, such as `ThrottlingException`.
        code: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// Nothing listens at the address.
    Refused,
    /// Something in between answers with this status, and text that is no AWS error.
    Status(u16),
    /// The answer has status 200 and violates the protocol.
    Garbage,
    /// The connection breaks in the middle of the service's answer.
    Reset,
    /// The service's own answer comes without its end, in a message that is whole otherwise.
    Truncated,
}

impl AwsFailure {
    /// Too many requests.
    pub const THROTTLING: Self = Self::Error { code: "ThrottlingException", status: 400 };
    /// A fault inside KMS.
    pub const INTERNAL: Self = Self::Error { code: "KMSInternalException", status: 500 };
    /// KMS waited in vain for something of its own.
    pub const DEPENDENCY_TIMEOUT: Self = Self::Error { code: "DependencyTimeoutException", status: 500 };
    /// The key is in a state that passes.
    pub const KEY_UNAVAILABLE: Self = Self::Error { code: "KeyUnavailableException", status: 500 };
    /// The caller may not do this.
    pub const ACCESS_DENIED: Self = Self::Error { code: "AccessDeniedException", status: 400 };
    /// The credentials have run out.
    pub const EXPIRED_TOKEN: Self = Self::Error { code: "ExpiredTokenException", status: 400 };
    /// The credentials are not known to AWS.
    pub const UNRECOGNIZED_CLIENT: Self = Self::Error { code: "UnrecognizedClientException", status: 400 };
    /// The key is disabled.
    pub const DISABLED: Self = Self::Error { code: "DisabledException", status: 400 };
    /// The key is pending deletion, or in another state that does not allow the call.
    pub const INVALID_STATE: Self = Self::Error { code: "KMSInvalidStateException", status: 400 };
    /// No such key.
    pub const NOT_FOUND: Self = Self::Error { code: "NotFoundException", status: 400 };
    /// The ciphertext is of another key than the one named.
    pub const INCORRECT_KEY: Self = Self::Error { code: "IncorrectKeyException", status: 400 };
    /// The ciphertext is damaged, or the context differs.
    pub const INVALID_CIPHERTEXT: Self = Self::Error { code: "InvalidCiphertextException", status: 400 };

    /// The answer, as status and body; none where the connection breaks or the service answers itself.
    pub(crate) fn answer(self) -> Option<(u16, String)> {
        match self {
            Self::Error { code, status } => {
                let body = json!({ "__type": code, "message": "failed because a test asked for it" });
                Some((status, body.to_string()))
            }
            Self::Status(status) => Some((status, "<html>upstream trouble</html>".to_owned())),
            Self::Garbage => Some((200, "<html>a captive portal</html>".to_owned())),
            Self::Refused | Self::Reset | Self::Truncated => None,
        }
    }
}

/// The operation by its name in the AWS JSON protocol: what follows the dot in `TrentService.Decrypt`, which is the
/// header `X-Amz-Target`.
pub(crate) fn operation(target: Option<&str>) -> &str {
    target.unwrap_or_default().rsplit('.').next().unwrap_or_default()
}

/// Little enough that all that is secret in the answer is still there, and enough that it is no JSON any more.
pub(crate) fn without_end(body: &[u8]) -> &[u8] {
    &body[..body.len().saturating_sub(2)]
}
