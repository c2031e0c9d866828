//! Answers that may hold secrets: written into a buffer of their exact length, which is wiped.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use zeroize::Zeroizing;

/// The content type of every answer about tokens and secrets.
pub(crate) const JSON: &str = "application/json";

/// An answer in JSON.
pub(crate) struct Reply<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        match wiped_json(&self.0) {
            Some(bytes) => {
                ([(CONTENT_TYPE, JSON), (CACHE_CONTROL, "no-store")], Body::from(bytes)).into_response()
            }
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// JSON in a buffer that never grows, so that no part of it remains in freed memory.
fn wiped_json<T: Serialize>(value: &T) -> Option<Bytes> {
    let mut length = Length::default();
    serde_json::to_writer(&mut length, value).ok()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, value).ok()?;
    Some(Bytes::from_owner(bytes))
}

#[derive(Default)]
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.0 += part.len();
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
