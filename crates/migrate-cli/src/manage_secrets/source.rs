//! Where the secrets are: `--source`, opened.

use std::sync::Arc;

use secrets_cache::SecretSource;
use secrets_cache::local::LocalStore;
use secrets_cache::metrics::Metrics;
use tokenseal::key_service::{KeyService, Load};
use tokenseal::secrets::OpenSource;
use tokenseal::{Settings, Telemetry};

pub(super) use secrets_cache::source::SourceUri;
pub(super) use tokenseal::secrets::IfMissing;

use super::Options;
use super::failure::Failure;

/// A source that is open: audited, counted, and kept to the prefix.
pub(super) struct Opened {
    pub(super) source: Arc<dyn SecretSource>,
    pub(super) metrics: Arc<Metrics>,
    open: OpenSource,
    /// The name in audit events.
    pub(super) actor: String,
}

impl Opened {
    pub(super) async fn open(
        settings: &Settings,
        options: &Options,
        if_missing: IfMissing,
    ) -> Result<Self, Failure> {
        let telemetry = &options.common.telemetry;
        let (uri, prefix) = (Some(&options.source), options.prefix.as_deref());
        let actor = options.common.actor(settings);
        let open = OpenSource::open(uri, prefix, &actor, if_missing, settings, telemetry).await?;
        if settings.audit_log.is_some() {
            // Its metrics are not those of the source.
            let keys = KeyService::open(settings, Load::Few, &Telemetry::default()).await?;
            let (target, base) = (settings.audit_log.as_ref(), settings.profile.base_context());
            let provider = keys.as_ref().map(|keys| &keys.provider);
            options.common.audit.start(target, &actor, provider, &base).await?;
        }
        telemetry.print_emf(settings);
        Ok(Self { source: open.source.clone(), metrics: open.metrics.clone(), open, actor })
    }

    /// The local store, for a command that only it has.
    pub(super) fn local(&self) -> Result<&LocalStore, Failure> {
        self.local_if_any().ok_or_else(|| {
            Failure::usage("this command is for a local store", "add --source local:<file.db>")
        })
    }

    /// Closes a local store, so that all of it is in its one file.
    pub(super) async fn close(&self) {
        self.open.close().await;
    }

    pub(super) fn local_if_any(&self) -> Option<&LocalStore> {
        self.open.local.as_ref()
    }
}
