//! `list`, `status`, `reseal` and `clean-up`: what a source holds, without values.

use std::time::Duration;

use envelope_core::correlation::CorrelationId;
use secrets_cache::inventory::Inventory;
use secrets_cache::secret::{SecretMetadata, Stage};
use secrets_cache::source::{ListRequest, list_all};
use serde::Serialize;
use time::OffsetDateTime;
use tokenseal::Settings;

use super::Options;
use super::failure::Failure;
use super::metadata::{show_time, tag};
use super::source::{Opened, SourceUri};
use crate::exit::Exit;
use crate::output::{emit, note, printable, table};

#[derive(clap::Args)]
pub(super) struct ListArgs {
    /// Only secrets with this tag; may be repeated
    #[arg(long = "tag", value_name = "k=v", value_parser = tag)]
    tags: Vec<(String, String)>,
}

#[derive(clap::Args)]
pub(super) struct CleanUpArgs {
    /// Keep what expired less than so many days ago
    #[arg(long, default_value_t = 7, value_name = "N")]
    retention_days: u32,
}

#[derive(Serialize)]
struct ListReport {
    secrets: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    versions: Vec<Version>,
    created: Option<String>,
    changed: Option<String>,
    expires: Option<String>,
    expired: bool,
    /// Whether the source authenticates all of this.
    authentic: bool,
    rotate_by: Option<String>,
    due: bool,
    rotation_state: RotationState,
    rotation_policy: Option<String>,
    tags: std::collections::BTreeMap<String, String>,
}

/// How a secret is with its rotation.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum RotationState {
    /// It has no date of the next rotation.
    Unscheduled,
    Current,
    /// A new version is pending: a rotation has begun and is not finished.
    Pending,
    Due,
}

impl RotationState {
    fn of(secret: &SecretMetadata, now: OffsetDateTime) -> Self {
        let pending = secret.version(&Stage::Pending);
        // Secrets Manager leaves the label on the version that it made current.
        let is_pending = pending.is_some_and(|version| !version.stages.contains(&Stage::Current));
        match (is_pending, secret.rotate_by) {
            (true, _) => Self::Pending,
            (false, None) => Self::Unscheduled,
            (false, Some(_)) if secret.is_due(now) => Self::Due,
            (false, Some(_)) => Self::Current,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Unscheduled => "",
            Self::Current => "current",
            Self::Pending => "pending",
            Self::Due => "due",
        }
    }
}

#[derive(Serialize)]
struct Version {
    version: String,
    stages: Vec<String>,
    created: Option<String>,
}

#[derive(Serialize)]
struct StatusReport {
    source: String,
    /// Whether a local store was made; other sources always are there.
    initialized: bool,
    master_key_present: bool,
    data_keys: Vec<DataKeyReport>,
    secrets: u64,
    versions: u64,
    expired: u64,
    due: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cleaned_up: Option<u64>,
    /// Whether values without a purpose and secrets without a seal are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    resealed: Option<bool>,
    /// Whether an older copy of the file would be noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    notices_older_copies: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    untrusted: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct DataKeyReport {
    id: String,
    active: bool,
}

#[derive(Serialize)]
struct Key {
    key_id: String,
    active: bool,
    versions: u64,
}

#[derive(Serialize)]
struct ResealReport {
    key_id: String,
    resealed: u64,
    changed: u64,
    complete: bool,
    failures: Vec<Failed>,
}

#[derive(Serialize)]
struct Failed {
    name: String,
    version: String,
    class: &'static str,
    correlation_id: CorrelationId,
}

#[derive(Serialize)]
struct CleanUpReport {
    secrets: Vec<String>,
    versions: u64,
}

pub(super) async fn list(args: ListArgs, opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    let mut request = ListRequest::default();
    request.tags = args.tags.into_iter().collect();
    let mut secrets = list_all(&*opened.source, &request).await?;
    secrets.sort_by(|a, b| a.name.cmp(&b.name));
    let now = OffsetDateTime::now_utc();
    let report = ListReport { secrets: secrets.into_iter().map(|secret| row(secret, now)).collect() };
    emit(options.common.format, &report, |report| {
        let mut rows = table(&["name", "versions", "created", "expires", "expired", "rotation", "tags"]);
        for secret in &report.secrets {
            let tags: Vec<String> =
                secret.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
            rows.add_row([
                printable(&secret.name),
                secret.versions.len().to_string(),
                secret.created.clone().unwrap_or_default(),
                secret.expires.clone().unwrap_or_default(),
                if secret.expired { "yes".into() } else { String::new() },
                secret.rotation_state.label().into(),
                printable(&tags.join(" ")),
            ]);
        }
        rows.to_string()
    })?;
    Ok(Exit::Done)
}

pub(super) async fn status(settings: &Settings, opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    let inventory = Inventory::take(&*opened.source).await?;
    opened.metrics.observe(&inventory);
    let mut report = StatusReport {
        source: options.source.to_string(),
        initialized: opened.local_if_any().is_some() || !matches!(options.source, SourceUri::Local(_)),
        master_key_present: settings.master_key.is_some(),
        data_keys: Vec::new(),
        secrets: inventory.secrets,
        versions: inventory.versions,
        expired: inventory.expired,
        due: inventory.due,
        cleaned_up: None,
        resealed: None,
        notices_older_copies: None,
        untrusted: None,
        keys: Vec::new(),
    };
    if let Some(store) = opened.local_if_any() {
        let status = store.status().await?;
        report.cleaned_up = Some(status.cleaned_up);
        report.resealed = Some(status.complete);
        report.notices_older_copies = Some(status.notices_older_copies);
        report.untrusted = status.untrusted.map(|why| why.to_string());
        let key = |key: secrets_cache::local::KeyUse| Key {
            key_id: key.key_id,
            active: key.active,
            versions: key.versions,
        };
        report.data_keys = status
            .keys
            .iter()
            .map(|key| DataKeyReport { id: key.key_id.clone(), active: key.active })
            .collect();
        report.keys = status.keys.into_iter().map(key).collect();
    }
    emit(options.common.format, &report, |report| {
        let mut lines = vec![format!(
            "{}: {} secrets, {} versions, {} expired, {} due for rotation",
            report.source, report.secrets, report.versions, report.expired, report.due
        )];
        lines.extend(report.keys.iter().map(|key| {
            let active = if key.active { ", active" } else { "; `manage-secrets reseal` moves them" };
            format!("data key {}: {} versions{active}", key.key_id, key.versions)
        }));
        lines.extend(trust_lines(report));
        lines.join("\n")
    })?;
    Ok(Exit::Done)
}

/// The parts of a local store's status other than numbers.
fn trust_lines(report: &StatusReport) -> impl Iterator<Item = String> {
    let untrusted = report
        .untrusted
        .as_ref()
        .map(|why| format!("not trusted: {why}; `manage-secrets accept-restore` accepts it"));
    let open = (report.resealed == Some(false)).then(|| {
        "values without a purpose and metadata without a seal are accepted: `manage-secrets reseal` ends that".into()
    });
    let blind = (report.notices_older_copies == Some(false))
        .then(|| "an older copy of the file would not be noticed: the keyring is read-only, or has not been written yet".into());
    untrusted.into_iter().chain(open).chain(blind)
}

pub(super) async fn accept_restore(opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    opened.local()?.accept_restore().await?;
    emit(options.common.format, &serde_json::json!({ "accepted": true }), |_| {
        "accepted as it is; run `manage-secrets reseal` next".into()
    })?;
    Ok(Exit::Done)
}

pub(super) async fn reseal(opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    let silent = options.common.no_progress;
    let done = opened.local()?.reseal(|report| {
        if !silent {
            note(&format!("re-sealed: {}", report.resealed));
        }
    });
    let done = done.await?;
    let failed = |failure: secrets_cache::local::ResealFailure| Failed {
        name: failure.name,
        version: failure.version,
        class: failure.class,
        correlation_id: failure.correlation_id,
    };
    let report = ResealReport {
        key_id: done.key_id,
        resealed: done.resealed,
        changed: done.changed,
        complete: done.complete,
        failures: done.failed.into_iter().map(failed).collect(),
    };
    emit(options.common.format, &report, |report| {
        let mut lines = vec![format!("{} versions re-sealed under {}", report.resealed, report.key_id)];
        let failed = |Failed { name, version, class, correlation_id }: &Failed| {
            format!("failed: {name} version {version}: {class}, correlation id {correlation_id}")
        };
        lines.extend(report.failures.iter().map(failed));
        if report.complete {
            lines.push("complete: values without a purpose are refused from now on, in token tables under this keyring too".into());
        }
        lines.join("\n")
    })?;
    Ok(if report.failures.is_empty() { Exit::Done } else { Exit::Partial })
}

pub(super) async fn clean_up(args: CleanUpArgs, opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    let retention = Duration::from_secs(u64::from(args.retention_days) * 24 * 60 * 60);
    let removed = opened.local()?.clean_up(retention).await?;
    let report = CleanUpReport {
        secrets: removed.secrets.iter().map(ToString::to_string).collect(),
        versions: removed.versions,
    };
    emit(options.common.format, &report, |report| {
        format!("removed {} expired secrets and {} previous versions", report.secrets.len(), report.versions)
    })?;
    Ok(Exit::Done)
}

fn row(secret: SecretMetadata, now: OffsetDateTime) -> Row {
    let version = |version: &secrets_cache::secret::VersionMetadata| Version {
        version: version.version.clone(),
        stages: version.stages.iter().map(ToString::to_string).collect(),
        created: version.created.map(show_time),
    };
    Row {
        authentic: secret.is_authentic,
        expired: secret.is_expired(now),
        due: secret.is_due(now),
        rotation_state: RotationState::of(&secret, now),
        name: secret.name.to_string(),
        versions: secret.versions.iter().map(version).collect(),
        created: secret.created.map(show_time),
        changed: secret.changed.map(show_time),
        expires: secret.expires.map(show_time),
        rotate_by: secret.rotate_by.map(show_time),
        rotation_policy: secret.rotation.map(|policy| policy.to_string()),
        tags: secret.tags,
    }
}
