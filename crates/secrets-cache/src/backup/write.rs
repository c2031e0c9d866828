//! Writing a backup.

use std::io::{BufWriter, Write};
use std::path::Path;

use durable_file::NewFile;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{BackupError, blocking, record};
use crate::name::SecretName;
use crate::sealed_stream::{
    self, Existing, IsStopped, StreamError, StreamKey, StreamKind, StreamWriter, go_on,
};
use crate::secret::{SecretMetadata, Stage};
use crate::source::{ListRequest, SecretSource};

/// Secrets fetched together.
const PAGE: usize = 200;

/// The contents of a backup.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Written {
    /// Secrets in it.
    pub secrets: u64,
    /// Versions in it.
    pub versions: u64,
    /// Secrets that the source did not give out, and the class of the failure.
    pub left_out: Vec<(SecretName, &'static str)>,
    /// Secrets that are in it without the previous version that they have, and the class of the failure.
    pub without_previous: Vec<(SecretName, &'static str)>,
}

pub(super) async fn write(
    source: &dyn SecretSource,
    key: StreamKey,
    path: &Path,
    existing: Existing,
    is_stopped: IsStopped<'_>,
) -> Result<Written, BackupError> {
    // A line at a time goes to a thread that may block; a few may wait, so memory stays bounded.
    let (lines, received) = mpsc::channel(16);
    let path = path.to_owned();
    let file = tokio::spawn(blocking(move || write_file(&key, &path, existing, received)));
    let gathered = gather(source, &lines, is_stopped).await;
    if gathered.is_ok() {
        // Without this mark the file is not finished.
        let _ = lines.send(None).await;
    }
    drop(lines);
    let written = file.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()));
    // If the file failed, gathering has only seen that the receiver is gone.
    match (written, gathered) {
        (Err(error), Ok(_)) => Err(error),
        (Err(error), Err(BackupError::Content)) => Err(error),
        (_, gathered) => gathered,
    }
}

type Lines = mpsc::Sender<Option<Zeroizing<Vec<u8>>>>;

fn write_file(
    key: &StreamKey,
    path: &Path,
    existing: Existing,
    mut lines: mpsc::Receiver<Option<Zeroizing<Vec<u8>>>>,
) -> Result<(), BackupError> {
    let target = NewFile::begin(path, &sealed_stream::options(existing)).map_err(StreamError::from)?;
    let mut stream = StreamWriter::new(BufWriter::new(target), key, StreamKind::Backup)?;
    while let Some(line) = lines.blocking_recv() {
        match line {
            Some(line) => stream.write_all(&line)?,
            None => {
                return Ok(sealed_stream::commit(stream.finish()?)?);
            }
        }
    }
    Ok(())
}

async fn gather(
    source: &dyn SecretSource,
    lines: &Lines,
    is_stopped: IsStopped<'_>,
) -> Result<Written, BackupError> {
    let mut written = Written::default();
    send(lines, record::first()?).await?;
    let mut request = ListRequest::default().with_limit(PAGE);
    loop {
        go_on(is_stopped)?;
        let page = source.list(&request).await?;
        gather_page(source, &page.secrets, lines, &mut written, is_stopped).await?;
        match page.next {
            Some(next) => request = request.after(Some(next)),
            None => break,
        }
    }
    send(lines, record::last(written.versions)?).await?;
    Ok(written)
}

async fn gather_page(
    source: &dyn SecretSource,
    page: &[SecretMetadata],
    lines: &Lines,
    written: &mut Written,
    is_stopped: IsStopped<'_>,
) -> Result<(), BackupError> {
    let names: Vec<SecretName> = page.iter().map(|secret| secret.name.clone()).collect();
    for (known, current) in page.iter().zip(source.get_many(&names).await?) {
        go_on(is_stopped)?;
        let current = match current {
            Ok(current) => current,
            Err(error) if error.is_outage() => return Err(error.into()),
            Err(error) => {
                written.left_out.push((known.name.clone(), error.class()));
                continue;
            }
        };
        if known.version(&Stage::Previous).is_some() {
            match source.get(&known.name, &Stage::Previous).await {
                Ok(previous) => {
                    send(lines, record::line(&previous, &Stage::Previous, known)?).await?;
                    written.versions += 1;
                }
                // Its time was over before it was asked for.
                Err(error) if error.is_not_found() => {}
                Err(error) if error.is_outage() => return Err(error.into()),
                Err(error) => written.without_previous.push((known.name.clone(), error.class())),
            }
        }
        send(lines, record::line(&current, &Stage::Current, known)?).await?;
        written.versions += 1;
        written.secrets += 1;
    }
    Ok(())
}

async fn send(lines: &Lines, line: Zeroizing<Vec<u8>>) -> Result<(), BackupError> {
    lines.send(Some(line)).await.map_err(|_| BackupError::Content)
}
