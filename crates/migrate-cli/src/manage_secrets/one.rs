//! `get`, `set` and `delete`: one secret.

use std::io::IsTerminal as _;
use std::time::Duration;

use base64::Engine as _;
use secrecy::SecretString;
use secrets_cache::secret::RotationPolicy;
use secrets_cache::typed;
use secrets_cache::{NewSecret, Secret, SecretName, SecretRef, SecretValue, Stage};
use serde::Serialize;
use time::OffsetDateTime;

use super::Options;
use super::failure::Failure;
use super::metadata::{show_time, tag};
use super::source::Opened;
use crate::exit::Exit;
use crate::output::{Format, emit, print, print_value, write_bytes};
use crate::stdin::{read_secret, without_line_break};

#[derive(clap::Args)]
pub(super) struct GetArgs {
    /// The secret, or a field of a JSON secret: name#field
    name: SecretRef,
    /// Print the value itself
    #[arg(long)]
    reveal: bool,
    /// Write the value itself, byte for byte and without a line break, so that `set --raw` can read it again
    #[arg(long, conflicts_with = "reveal")]
    raw: bool,
    /// AWSCURRENT, AWSPREVIOUS, AWSPENDING or a label of your own
    #[arg(long, default_value = "AWSCURRENT", value_name = "S")]
    version_stage: String,
}

#[derive(clap::Args)]
pub(super) struct SetArgs {
    /// The secret; its value is read from standard input, without the line break at its end
    name: SecretName,
    /// Expire the secret after N days
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    ttl_days: Option<u32>,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "k=v", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// How often it wants a new value, such as 30d or every=30d,grace=12h
    #[arg(long, value_name = "P")]
    rotation_policy: Option<RotationPolicy>,
    /// Take standard input byte for byte, with a line break at its end
    #[arg(long)]
    raw: bool,
}

#[derive(clap::Args)]
pub(super) struct DeleteArgs {
    /// The secret
    name: SecretName,
}

#[derive(Serialize)]
struct GetReport {
    name: String,
    version: String,
    stages: Vec<String>,
    created: Option<String>,
    expires: Option<String>,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

#[derive(Serialize)]
struct StoredReport {
    name: String,
    version: String,
    created: bool,
    /// The value was current before, and there is no new version.
    unchanged: bool,
}

pub(super) async fn get(args: GetArgs, opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    if args.raw && options.common.format != Format::Human {
        return Err(Failure::usage("--raw writes the value alone", "leave --format out, or use --reveal"));
    }
    let stage = Stage::from(args.version_stage.as_str());
    let secret = opened.source.get(args.name.name(), &stage).await?;
    if args.raw {
        return write_raw(&args.name, &secret, opened, options);
    }
    let (mut value, mut value_base64) = (None, None);
    if args.reveal || args.name.field().is_some() {
        let shown = match secret.value.is_binary() && args.name.field().is_none() {
            true => None,
            false => Some(typed::interpret::<SecretString>(&secret, &args.name)?),
        };
        if args.reveal {
            record_reveal(&secret, opened, options)?;
            value = shown.map(|text| secrecy::ExposeSecret::expose_secret(&text).to_owned());
            value_base64 = value.is_none().then(|| base64(&secret.value));
        }
    }
    let report = GetReport {
        name: secret.name.to_string(),
        version: secret.version.clone(),
        stages: secret.stages.iter().map(ToString::to_string).collect(),
        created: secret.created.map(show_time),
        expires: secret.expires.map(show_time),
        source: secret.source.to_string(),
        value,
        value_base64,
    };
    if let (Format::Human, Some(value)) = (options.common.format, &report.value) {
        print_value(value)?;
        return Ok(Exit::Done);
    }
    emit(options.common.format, &report, |report| {
        match (&report.value, &report.value_base64) {
            (Some(value), _) => value.clone(),
            // Without the mark, the text would pass for the value.
            (None, Some(base64)) => format!("base64:{base64}"),
            (None, None) => format!(
                "{}: version {} under {}, from {}; --reveal prints it",
                report.name,
                report.version,
                report.stages.join(", "),
                report.source
            ),
        }
    })?;
    Ok(Exit::Done)
}

/// Binary values too come out as they are: nothing marks them, and `set --raw` stores the same bytes again.
fn write_raw(name: &SecretRef, secret: &Secret, opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    let field = match name.field() {
        Some(_) => Some(typed::interpret::<SecretString>(secret, name)?),
        None => None,
    };
    record_reveal(secret, opened, options)?;
    match &field {
        Some(text) => write_bytes(secrecy::ExposeSecret::expose_secret(text).as_bytes())?,
        None => write_bytes(secret.value.expose_bytes())?,
    }
    Ok(Exit::Done)
}

fn record_reveal(secret: &Secret, opened: &Opened, options: &Options) -> Result<(), Failure> {
    let (name, version) = (secret.name.to_string(), secret.version.as_str());
    let fields = [("actor", &*opened.actor), ("secret", &*name), ("version", version)];
    Ok(options.common.record_reveal("secret_revealed", &fields)?)
}

pub(super) async fn set(args: SetArgs, opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    let value = read_value(LineBreak::of(args.raw)).await?.ok_or_else(|| {
        Failure::usage(
            "standard input is empty",
            "pipe the value in: echo -n \"$VALUE\" | manage-secrets set NAME",
        )
    })?;
    let mut secret = NewSecret::new(args.name, value);
    secret.tags = args.tags.into_iter().collect();
    secret.rotation = args.rotation_policy;
    let lifetime = args.ttl_days.map(|days| Duration::from_secs(u64::from(days) * 24 * 60 * 60));
    secret.expires = lifetime.map(|lifetime| OffsetDateTime::now_utc() + lifetime);
    let stored = opened.source.put(&secret).await?;
    let (version, created, unchanged) = (stored.version, stored.created, stored.unchanged);
    let report = StoredReport { name: secret.name.to_string(), version, created, unchanged };
    emit(options.common.format, &report, |report| {
        let (name, version) = (&report.name, &report.version);
        match (report.created, report.unchanged) {
            (_, true) => format!("{name} already has this value: version {version} stays current"),
            (true, _) => format!("stored {name}: version {version}"),
            _ => format!("stored as a new version of {name}: version {version}"),
        }
    })?;
    Ok(Exit::Done)
}

pub(super) async fn delete(args: DeleteArgs, opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    opened.source.delete(&args.name).await?;
    let name = args.name.to_string();
    match options.common.format {
        Format::Human => print(&format!("deleted {name}"))?,
        _ => print(&serde_json::json!({ "name": name, "deleted": true }).to_string())?,
    }
    Ok(Exit::Done)
}

/// The treatment of a line break at the end of standard input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LineBreak {
    /// `echo` has put it there, and it is no part of the value.
    Removed,
    /// It is a part of the value.
    Kept,
}

impl LineBreak {
    pub(super) fn of(raw: bool) -> Self {
        if raw { Self::Kept } else { Self::Removed }
    }
}

/// Reads standard input to its end; none if it is empty or a terminal.
pub(super) async fn read_value(line_break: LineBreak) -> Result<Option<SecretValue>, Failure> {
    if std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let bytes = read_secret().await?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Ok(Some(SecretValue::binary(bytes.to_vec())));
    };
    let text = if line_break == LineBreak::Kept { text } else { without_line_break(text) };
    Ok((!text.is_empty()).then(|| SecretValue::text(SecretString::from(text))))
}

fn base64(value: &SecretValue) -> String {
    base64::engine::general_purpose::STANDARD.encode(value.expose_bytes())
}
