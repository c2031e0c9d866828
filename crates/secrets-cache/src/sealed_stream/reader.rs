//! Opening a stream.

use std::io::{self, Read};

use aead_stream::StreamPrimitive;
use envelope_core::DataKey;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::header::take;
use super::{CHUNK_LEN, COMMITMENT_LEN, Header, Opens, SALT_LEN, Stream, StreamError, TAG_LEN, derive};

/// Opens a sealed stream.
///
/// Every chunk is authenticated before a byte of it is handed out, but only the end shows that nothing is missing:
/// the content is authentic once [`next_chunk`](Self::next_chunk) has returned none.
pub struct StreamReader<R: Read> {
    inner: R,
    stream: Stream,
    header: Header,
    number: u32,
    sealed: Zeroizing<Vec<u8>>,
    /// The bytes that were read after the current chunk: if there are none, the chunk is the last.
    ahead: Vec<u8>,
    /// The opened chunk and how much of it [`Read`] has handed out.
    opened: usize,
    is_done: bool,
}

impl<R: Read> StreamReader<R> {
    /// Begins to open a stream, if it is one that `opens` accepts.
    ///
    /// # Errors
    /// [`StreamError::NotSealed`], [`StreamError::UnknownVersion`], [`StreamError::OtherKind`],
    /// [`StreamError::Unlabelled`], [`StreamError::WrongKey`], [`StreamError::Truncated`] or [`StreamError::Io`].
    pub fn new(mut inner: R, key: &DataKey, opens: Opens) -> Result<Self, StreamError> {
        let header = Header::read(&mut inner)?;
        opens.check(header.kind())?;
        let (salt, commitment): ([u8; SALT_LEN], [u8; COMMITMENT_LEN]) =
            (take(&mut inner)?, take(&mut inner)?);
        let (stream, expected) = derive(key, &header, &salt)?;
        if !bool::from(commitment.ct_eq(&expected)) {
            return Err(StreamError::WrongKey);
        }
        let sealed = Zeroizing::new(Vec::with_capacity(CHUNK_LEN + TAG_LEN));
        Ok(Self { inner, stream, header, number: 0, sealed, ahead: Vec::new(), opened: 0, is_done: false })
    }

    /// The label of the stream.
    #[must_use]
    pub fn label(&self) -> &str {
        self.header.label()
    }

    /// The next chunk of plaintext; none after the last, and only then is the stream complete.
    ///
    /// # Errors
    /// [`StreamError::Damaged`], [`StreamError::Truncated`] or [`StreamError::Io`].
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>, StreamError> {
        if self.is_done {
            return Ok(None);
        }
        self.opened = 0;
        self.fill()?;
        let is_last = self.ahead.is_empty();
        if self.sealed.len() < TAG_LEN {
            return Err(StreamError::Truncated);
        }
        let opened = self.stream.decrypt_in_place(self.number, is_last, &[], &mut *self.sealed);
        if opened.is_err() {
            return Err(self.failure(is_last));
        }
        self.is_done = is_last;
        if !is_last {
            self.number = self.number.checked_add(1).ok_or(StreamError::Damaged)?;
        }
        Ok(Some(&self.sealed))
    }

    /// Reads a whole sealed chunk, and one byte more if there is one.
    fn fill(&mut self) -> Result<(), StreamError> {
        self.sealed.zeroize();
        self.sealed.reserve_exact(CHUNK_LEN + TAG_LEN);
        self.sealed.append(&mut self.ahead);
        let missing = CHUNK_LEN + TAG_LEN - self.sealed.len();
        self.inner.by_ref().take(missing as u64).read_to_end(&mut self.sealed)?;
        if self.sealed.len() == CHUNK_LEN + TAG_LEN {
            self.inner.by_ref().take(1).read_to_end(&mut self.ahead)?;
        }
        Ok(())
    }

    /// A chunk that would open if it were not the last is whole, and so are those before it: the rest is missing.
    fn failure(&mut self, is_last: bool) -> StreamError {
        let opens = |reader: &mut Self| {
            reader.stream.decrypt_in_place(reader.number, false, &[], &mut *reader.sealed).is_ok()
        };
        let error = if is_last && opens(self) { StreamError::Truncated } else { StreamError::Damaged };
        self.sealed.zeroize();
        error
    }
}

impl<R: Read> Read for StreamReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.opened == self.sealed.len() {
            if self.next_chunk().map_err(into_io)?.is_none() {
                return Ok(0);
            }
            if !self.sealed.is_empty() {
                break;
            }
        }
        let rest = &self.sealed[self.opened..];
        let taken = rest.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&rest[..taken]);
        self.opened += taken;
        Ok(taken)
    }
}

fn into_io(error: StreamError) -> io::Error {
    match error {
        StreamError::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
