//! Audit events of the agent: refused requests, and secrets that it handed out. The store records work on
//! tokens, under the caller's name.

use std::fmt;

use tokenseal::token_store::audit::TARGET;

/// A request was refused before anything was done; `outcome` is the reason.
pub const AGENT_REFUSED: &str = "agent_refused";
/// A secret was handed to a caller; the events of the source say where it came from.
pub const AGENT_SECRET_READ: &str = "agent_secret_read";
/// The agent began to serve.
pub const AGENT_STARTED: &str = "agent_started";
/// The agent ended; `outcome` is `ok`, or `cut_off` where requests were not finished.
pub const AGENT_STOPPED: &str = "agent_stopped";

/// A request was refused.
pub(crate) fn refused(actor: &dyn fmt::Display, operation: &str, outcome: &str) {
    tracing::warn!(target: TARGET, event = AGENT_REFUSED, actor = %actor, operation, outcome);
}

/// A secret was handed out.
pub(crate) fn secret_read(actor: &dyn fmt::Display, secret: &str, version: &str) {
    tracing::info!(target: TARGET, event = AGENT_SECRET_READ, actor = %actor, secret, version, outcome = "ok");
}

/// The agent began to serve.
pub(crate) fn started(actor: &str, address: &str) {
    tracing::info!(target: TARGET, event = AGENT_STARTED, actor, address, outcome = "ok");
}

/// The agent ended.
pub(crate) fn stopped(actor: &str, outcome: &str) {
    tracing::info!(target: TARGET, event = AGENT_STOPPED, actor, outcome);
}
