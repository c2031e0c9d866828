//! The HTTP layer between an SDK client and the emulated services, where calls are counted and broken.

use std::io;

use aws_sdk_kms::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde_json::json;

use crate::faults::Faults;

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
    /// Nobody listens at the address.
    Refused,
    /// Something in between answers with this status, and text that is no AWS error.
    Status(u16),
    /// The answer has status 200 and is not what the protocol says.
    Garbage,
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

    fn answer(self) -> Result<HttpResponse, ConnectorError> {
        match self {
            Self::Error { code, status } => {
                let body = json!({ "__type": code, "message": "failed because a test asked for it" });
                Ok(response(status, body.to_string()))
            }
            Self::Refused => {
                Err(ConnectorError::io(Box::new(io::Error::from(io::ErrorKind::ConnectionRefused))))
            }
            Self::Status(status) => Ok(response(status, "<html>upstream trouble</html>".to_owned())),
            Self::Garbage => Ok(response(200, "<html>a captive portal</html>".to_owned())),
        }
    }
}

pub(super) fn faulty_client(inner: SharedHttpClient, faults: Faults<AwsFailure>) -> SharedHttpClient {
    SharedHttpClient::new(FaultyClient { inner, faults })
}

#[derive(Debug)]
struct FaultyClient {
    inner: SharedHttpClient,
    faults: Faults<AwsFailure>,
}

impl HttpClient for FaultyClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(FaultyConnector { inner, faults: self.faults.clone() })
    }
}

#[derive(Debug)]
struct FaultyConnector {
    inner: SharedHttpConnector,
    faults: Faults<AwsFailure>,
}

impl HttpConnector for FaultyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, faults) = (self.inner.clone(), self.faults.clone());
        HttpConnectorFuture::new(async move {
            match faults.pass(&operation(&request)).await {
                Ok(()) => inner.call(request).await,
                Err(failure) => failure.answer(),
            }
        })
    }
}

/// The operation by its name in the AWS JSON protocol: what follows the dot in `TrentService.Decrypt`.
fn operation(request: &HttpRequest) -> String {
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default().to_owned()
}

fn response(status: u16, body: String) -> HttpResponse {
    let status = StatusCode::try_from(status).expect("a test names a valid HTTP status");
    HttpResponse::new(status, SdkBody::from(body))
}
