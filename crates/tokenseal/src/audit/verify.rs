//! Checks a trail that was written to a file.

use std::collections::HashMap;
use std::io::{self, BufRead, Read as _};
use std::sync::Arc;

use envelope_core::{ErrorClass, KeyError, KeyProvider, WrappedDataKey};
use serde::Serialize;

use super::chain::Chain;
use super::line::Read;
use super::{CHAIN_STARTED, chain_context};

/// The longest line that is read, in bytes.
const MAX_LINE_LEN: u64 = 1 << 20;

/// The outcome of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditReport {
    /// Lines that were read, the broken one included.
    pub lines: u64,
    /// Whether every line is as it was written, in its place, and none is missing in between.
    pub ok: bool,
    /// The first line that is not, from 1.
    pub broken_at: Option<u64>,
    /// The problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<&'static str>,
    /// Chains that were begun: one for each start of a process.
    pub chains: u64,
    /// Chains without a key: they show mistakes, and no forgery.
    pub unkeyed: u64,
    /// The last line of the last chain, as `--head` takes it.
    pub head: Option<String>,
}

/// Why a trail could not be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The file could not be read.
    #[error("audit trail cannot be read")]
    Io(#[from] io::Error),
    /// The key service did not give the key of a chain.
    #[error("key service failed")]
    Key(#[from] KeyError),
    /// The lines have a key, and no key service is configured.
    #[error("audit trail has a key, and no key service is configured")]
    NoKeyService,
}

/// Reads a trail to its end, or to the first line that is not as it was written. With `head`, the line that it names
/// must be there: that shows lines that were cut off at the end.
///
/// # Errors
/// [`AuditError`] where the file or the key service does not answer.
pub async fn verify(
    mut file: impl BufRead,
    head: Option<&str>,
    keys: Option<&Arc<dyn KeyProvider>>,
    base_context: &[(String, String)],
) -> Result<AuditReport, AuditError> {
    let mut report = AuditReport::default();
    let mut chains = Chains { keys, base_context, open: HashMap::new() };
    let mut is_head_seen = false;
    loop {
        let mut bytes = Vec::new();
        file.by_ref().take(MAX_LINE_LEN).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            break;
        }
        report.lines += 1;
        match chains.check(&bytes, &mut report).await? {
            Ok(shown) => {
                is_head_seen |= head.is_some_and(|head| names(head.trim(), &shown));
                report.head = Some(shown);
            }
            Err(problem) => {
                return Ok(AuditReport { broken_at: Some(report.lines), problem: Some(problem), ..report });
            }
        }
    }
    if head.is_some() && !is_head_seen {
        let (broken_at, problem) = (Some(report.lines + 1), Some("the line that the head names is missing"));
        return Ok(AuditReport { broken_at, problem, ..report });
    }
    Ok(AuditReport { ok: true, ..report })
}

/// A head is named whole, or by its MAC alone.
fn names(head: &str, shown: &str) -> bool {
    head == shown || shown.rsplit_once(':').is_some_and(|(_, mac)| mac == head)
}

struct Chains<'a> {
    keys: Option<&'a Arc<dyn KeyProvider>>,
    base_context: &'a [(String, String)],
    open: HashMap<String, Chain>,
}

impl Chains<'_> {
    /// Checks one line. The inner result is the line as a head, or its problem.
    async fn check(
        &mut self,
        bytes: &[u8],
        report: &mut AuditReport,
    ) -> Result<Result<String, &'static str>, AuditError> {
        let Some(bytes) = bytes.strip_suffix(b"\n") else { return Ok(Err("the line is not whole")) };
        let line = std::str::from_utf8(bytes).ok().and_then(Read::parse);
        let Some(line) = line else { return Ok(Err("not a line of an audit trail")) };
        let (Some(id), Some(number)) = (line.text("chain"), line.number()) else {
            return Ok(Err("the line names no place in a chain"));
        };
        if number == 0 {
            if line.text("event") != Some(CHAIN_STARTED) || self.open.contains_key(id) {
                return Ok(Err("the chain begins twice, or without its first line"));
            }
            match self.begin(id, &line, report).await? {
                Some(chain) => self.open.insert(id.to_owned(), chain),
                None => return Ok(Err("the chain's key does not open")),
            };
        }
        let Some(chain) = self.open.get_mut(id) else { return Ok(Err("the chain's first line is missing")) };
        if chain.next() != number {
            return Ok(Err("a line of the chain is missing, or is given twice"));
        }
        // Not in constant time: the operator who runs this has the file and the key.
        if chain.add(line.covered) != line.mac {
            return Ok(Err("the line was changed"));
        }
        Ok(Ok(super::head(id, number, &line.mac)))
    }

    /// `None` where the key does not open, which is what a forged first line comes to.
    async fn begin(
        &self,
        id: &str,
        line: &Read<'_>,
        report: &mut AuditReport,
    ) -> Result<Option<Chain>, AuditError> {
        report.chains += 1;
        let Some(wrapped) = line.text("wrapped_key") else {
            report.unkeyed += 1;
            // Where a key service is configured, a chain without a key is one that any program could have written.
            return Ok(self.keys.is_none().then(|| Chain::new(id, None)));
        };
        let keys = self.keys.ok_or(AuditError::NoKeyService)?;
        let bytes = hex::decode(wrapped).ok();
        // The bytes say which key wrapped them; a claim next to them would add nothing.
        let wrapped = bytes.and_then(|bytes| WrappedDataKey::new(bytes, None).ok());
        let (Some(wrapped), Some(context)) = (wrapped, chain_context(self.base_context, id)) else {
            return Ok(None);
        };
        match keys.unwrap(&wrapped, &context).await {
            Ok(key) => Ok(Some(Chain::new(id, Some(&*key)))),
            Err(error) => match error.class() {
                ErrorClass::ContextMismatchOrCorrupt | ErrorClass::WrongKey | ErrorClass::InvalidRequest => {
                    Ok(None)
                }
                _ => Err(error.into()),
            },
        }
    }
}
