//! Bodies of requests: bounded in size and time, wiped, and parsed without repeating any part of them.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::ApiError;

/// The longest body, in bytes.
pub(crate) const MAX_BODY_LEN: usize = 2 << 20;
/// Most bytes of a longer body that are read and discarded: most clients read the answer only after sending
/// all.
const MAX_DISCARDED: usize = 16 << 20;
/// How long a client may take for its body.
pub(crate) const BODY_WITHIN: Duration = Duration::from_secs(10);
/// The unit in which memory for bodies is reserved, in bytes.
const UNIT: usize = 4096;
/// All bodies together, in bytes.
const MAX_BODIES_LEN: usize = 64 << 20;

/// The hint for a misshapen request.
const DOCUMENT: &str = "GET /v1/openapi.json describes the body of each request";

/// Memory for all bodies that are being read or worked on. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    units: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        Self { units: Arc::new(Semaphore::new(MAX_BODIES_LEN / UNIT)) }
    }
}

/// A body that was read. It is wiped when the last part of the request drops it.
#[derive(Clone)]
pub(crate) struct Received(Arc<Content>);

#[derive(Default)]
struct Content {
    bytes: Zeroizing<Vec<u8>>,
    room: Option<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotRead {
    TooLong,
    TooSlow,
    BrokenOff,
    NoRoom,
}

impl NotRead {
    /// The label in audit events and metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::TooLong => "body_too_long",
            Self::TooSlow => "body_too_slow",
            Self::BrokenOff => "broken_off",
            Self::NoRoom => "too_many",
        }
    }
}

impl From<NotRead> for ApiError {
    fn from(reason: NotRead) -> Self {
        match reason {
            NotRead::TooLong => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, reason.label(), "body is over 2 MiB")
            }
            NotRead::TooSlow => {
                Self::new(StatusCode::REQUEST_TIMEOUT, reason.label(), "body did not arrive within 10 s")
            }
            NotRead::BrokenOff => Self::new(StatusCode::BAD_REQUEST, reason.label(), "body broke off"),
            NotRead::NoRoom => Self::too_many(),
        }
    }
}

impl Received {
    /// Reads a whole body.
    pub(crate) async fn read(headers: &HeaderMap, body: Body, room: &Room) -> Result<Self, NotRead> {
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let reading = async {
            match length {
                Some(length) if length > MAX_BODY_LEN => {
                    discard(body, 0).await;
                    Err(NotRead::TooLong)
                }
                _ => collect(body, length.unwrap_or_default(), room).await,
            }
        };
        let content = timeout(BODY_WITHIN, reading).await.unwrap_or(match length {
            Some(length) if length > MAX_BODY_LEN => Err(NotRead::TooLong),
            _ => Err(NotRead::TooSlow),
        })?;
        Ok(Self(Arc::new(content)))
    }

    fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }
}

async fn collect(mut body: Body, length: usize, room: &Room) -> Result<Content, NotRead> {
    let mut content = Content::default();
    content.bytes.reserve_exact(length.min(UNIT));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| NotRead::BrokenOff)?.into_data() else { continue };
        if content.bytes.len() + data.len() > MAX_BODY_LEN {
            discard(body, content.bytes.len() + data.len()).await;
            return Err(NotRead::TooLong);
        }
        content.add(&data, room)?;
    }
    if content.bytes.len() < length { Err(NotRead::BrokenOff) } else { Ok(content) }
}

impl Content {
    /// Memory is taken as bytes arrive, and not as they are announced: slow clients hold little.
    fn add(&mut self, data: &Bytes, room: &Room) -> Result<(), NotRead> {
        let needed = self.bytes.len() + data.len();
        if needed > self.bytes.capacity() {
            let capacity = needed.next_power_of_two().max(UNIT);
            self.take_room(capacity, room)?;
            // Not by `reserve`, which would leave the old buffer in freed memory.
            let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn take_room(&mut self, capacity: usize, room: &Room) -> Result<(), NotRead> {
        let held = self.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from((capacity / UNIT).saturating_sub(held)).unwrap_or(u32::MAX);
        let taken = room.units.clone().try_acquire_many_owned(more).map_err(|_| NotRead::NoRoom)?;
        match &mut self.room {
            Some(room) => room.merge(taken),
            None => self.room = Some(taken),
        }
        Ok(())
    }
}

async fn discard(mut body: Body, already: usize) {
    let mut seen = already;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > MAX_DISCARDED {
            return;
        }
    }
}

/// One item of a batch, parsed by itself so that a misshapen one spoils no other. It is read from the request's own memory:
/// only the parts that the type takes over are copied.
pub(crate) struct Part<T>(Option<T>);

impl<'de, T: DeserializeOwned> serde::Deserialize<'de> for Part<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(text.get()).ok()))
    }
}

impl<T> Part<T> {
    /// The item, if it has the shape that is expected.
    pub(crate) fn parsed(self) -> Result<T, ApiError> {
        let error = || ApiError::malformed("item has another shape than expected").with_hint(DOCUMENT);
        self.0.ok_or_else(error)
    }
}

/// A request's body as a type. A parser's message is not repeated: it may quote a value.
pub(crate) struct Input<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Input<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let received = parts.extensions.remove::<Received>().ok_or_else(ApiError::internal)?;
        serde_json::from_slice(received.bytes()).map(Self).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            let message = match error.classify() {
                serde_json::error::Category::Data => {
                    format!("body has another shape than expected, at {place}")
                }
                _ => format!("body is not JSON, at {place}"),
            };
            ApiError::malformed(message).with_hint(DOCUMENT)
        })
    }
}

/// Text of a request that may be secret. It is wiped, and never shown.
pub(crate) struct SecretText(pub(crate) tokenseal::secrecy::SecretString);

impl<'de> serde::Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        // A secret takes over a buffer of its exact length. A longer buffer would be copied, and the original not wiped.
        let secret = Self(text.as_str().into());
        text.zeroize();
        Ok(secret)
    }
}
