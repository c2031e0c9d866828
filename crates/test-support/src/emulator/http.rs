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

use super::AwsFailure;
use super::failure::{operation, without_end};
use crate::faults::Faults;

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
            match faults.pass(operation(request.headers().get("x-amz-target"))).await {
                Ok(()) => inner.call(request).await,
                Err(AwsFailure::Truncated) => inner.call(request).await.map(truncated),
                Err(failure) => answer(failure),
            }
        })
    }
}

fn answer(failure: AwsFailure) -> Result<HttpResponse, ConnectorError> {
    match failure.answer() {
        Some((status, body)) => Ok(response(status, body.into_bytes())),
        None if failure == AwsFailure::Refused => Err(broken(io::ErrorKind::ConnectionRefused)),
        None => Err(broken(io::ErrorKind::ConnectionReset)),
    }
}

fn broken(kind: io::ErrorKind) -> ConnectorError {
    ConnectorError::io(Box::new(io::Error::from(kind)))
}

fn truncated(whole: HttpResponse) -> HttpResponse {
    let body = whole.body().bytes().expect("the emulator answers from memory");
    response(whole.status().as_u16(), without_end(body).to_vec())
}

fn response(status: u16, body: Vec<u8>) -> HttpResponse {
    let status = StatusCode::try_from(status).expect("a test names a valid HTTP status");
    HttpResponse::new(status, SdkBody::from(body))
}
