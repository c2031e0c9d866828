//! Sealing a stream.

use std::io::{self, Write};

use aead_stream::StreamPrimitive;
use envelope_core::random;
use zeroize::Zeroizing;

use super::{CHUNK_LEN, Header, SALT_LEN, Stream, StreamError, StreamKey, StreamKind, TAG_LEN, derive};

/// Seals the bytes that are written to it. A stream that is not [finished](Self::finish) does not open.
pub struct StreamWriter<W: Write> {
    inner: W,
    stream: Stream,
    number: u32,
    chunk: Zeroizing<Vec<u8>>,
}

impl<W: Write> StreamWriter<W> {
    /// Begins a stream of a kind.
    ///
    /// # Errors
    /// [`StreamError::TooLong`] for the key's label, [`StreamError::Io`].
    pub fn new(mut inner: W, key: &StreamKey, kind: StreamKind) -> Result<Self, StreamError> {
        let header = Header::new(kind, key);
        let salt: [u8; SALT_LEN] = random::bytes();
        let (stream, commitment) = derive(key.key(), &header, &salt)?;
        inner.write_all(&header.bytes()?)?;
        inner.write_all(&salt)?;
        inner.write_all(&commitment)?;
        // Room for the tag as well, so that growing leaves no plaintext.
        Ok(Self { inner, stream, number: 0, chunk: Zeroizing::new(Vec::with_capacity(CHUNK_LEN + TAG_LEN)) })
    }

    /// Writes the last chunk, and returns the inner writer.
    ///
    /// # Errors
    /// [`StreamError::Io`].
    pub fn finish(mut self) -> Result<W, StreamError> {
        self.write_chunk(true)?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn write_chunk(&mut self, is_last: bool) -> Result<(), StreamError> {
        let sealed = self.stream.encrypt_in_place(self.number, is_last, &[], &mut *self.chunk);
        sealed.map_err(|_| StreamError::TooLong)?;
        self.inner.write_all(&self.chunk)?;
        self.chunk.clear();
        if !is_last {
            self.number = self.number.checked_add(1).ok_or(StreamError::TooLong)?;
        }
        Ok(())
    }
}

impl<W: Write> Write for StreamWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk is written only when more follows: the last one is marked as such.
        if self.chunk.len() == CHUNK_LEN && !bytes.is_empty() {
            self.write_chunk(false).map_err(into_io)?;
        }
        let taken = bytes.len().min(CHUNK_LEN - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Passes on the sealed chunks. The current chunk stays: a short chunk would be the last.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn into_io(error: StreamError) -> io::Error {
    match error {
        StreamError::Io(error) => error,
        error => io::Error::other(error),
    }
}
