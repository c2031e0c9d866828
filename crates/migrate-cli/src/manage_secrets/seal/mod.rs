//! `seal-file` and `open-file`: any file, encrypted and authenticated.

mod closed;
mod rotated;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrets_cache::sealed_stream::{self, IsStopped, StreamError, StreamKind};

use super::backup::{check_target, existing};
use super::failure::Failure;
use super::file_key::FileKeys;
use super::{Options, unless_stopped};
use crate::exit::{CliError, Exit};
use crate::input;
use crate::output::{Format, print, printable};
use token_store::migration::StopFlag;
use tokenseal::Settings;

#[derive(clap::Args)]
pub(super) struct OpenArgs {
    /// The file to read
    from: PathBuf,
    /// The file to write
    to: PathBuf,
    /// Replace the file to write if it is there
    #[arg(long)]
    overwrite: bool,
    /// Open a backup, for example to seal it under another master key: without this, a backup is refused
    #[arg(long)]
    as_backup: bool,
}

#[derive(clap::Args)]
pub(super) struct SealArgs {
    /// The file to read
    #[arg(required_unless_present = "watch")]
    from: Option<PathBuf>,
    /// The file to write
    #[arg(required_unless_present = "watch")]
    to: Option<PathBuf>,
    /// Replace the file to write if it is there
    #[arg(long)]
    overwrite: bool,
    /// Seal it as a backup: it is what `open-file` opened from one
    #[arg(long)]
    as_backup: bool,
    /// Seal rotated log files of this directory once no program has them open for writing, and remove the originals
    #[arg(long, value_name = "DIR", conflicts_with_all = ["from", "to", "overwrite", "as_backup"])]
    watch: Option<PathBuf>,
    /// Which names are rotated log files, in place of app.log.1, app.log-20260101 and their like; may be repeated
    #[arg(long = "pattern", value_name = "GLOB", requires = "watch")]
    patterns: Vec<globset::Glob>,
    /// How long a file must have been left alone
    #[arg(long, value_name = "TIME", value_parser = settle, default_value = "10s", requires = "watch")]
    settle: Duration,
    /// Seal what is there, and end
    #[arg(long, requires = "watch")]
    once: bool,
    /// Remove originals even if some programs cannot be seen. Use it only where none of those writes to these files
    #[arg(long, requires = "watch")]
    only_visible_writers: bool,
}

fn settle(text: &str) -> Result<Duration, String> {
    envelope_core::duration::parse(text).ok_or_else(|| "must be a time such as 10s or 5m".into())
}

pub(super) async fn seal_file(
    args: SealArgs,
    settings: &Settings,
    options: &Options,
    stop: &StopFlag,
) -> Result<Exit, Failure> {
    let keys = unless_stopped(stop, FileKeys::open(settings, options)).await?;
    if let Some(directory) = &args.watch {
        return watch::run(directory, &args, &keys, options, stop).await;
    }
    let kind = kind(args.as_backup);
    let (Some(from), Some(to)) = (args.from, args.to) else {
        return Err(CliError::usage("no file is named").into());
    };
    input::check(&from)?;
    check_target(&to, args.overwrite, [from.as_path()])?;
    let key = unless_stopped(stop, keys.for_new(kind)).await?;
    written(from, to, options, stop, move |from, to, is_stopped| {
        sealed_stream::seal_file(&key, kind, from, to, existing(args.overwrite), is_stopped)
    })
    .await
}

pub(super) async fn open_file(
    args: OpenArgs,
    settings: &Settings,
    options: &Options,
    stop: &StopFlag,
) -> Result<Exit, Failure> {
    input::check(&args.from)?;
    check_target(&args.to, args.overwrite, [args.from.as_path()])?;
    let key = async { FileKeys::open(settings, options).await?.of(&args.from).await };
    let key = unless_stopped(stop, key).await?;
    written(args.from, args.to, options, stop, move |from, to, is_stopped| {
        sealed_stream::open_file(&key, kind(args.as_backup), from, to, existing(args.overwrite), is_stopped)
    })
    .await
}

fn kind(is_backup: bool) -> StreamKind {
    if is_backup { StreamKind::Backup } else { StreamKind::File }
}

async fn written(
    from: PathBuf,
    to: PathBuf,
    options: &Options,
    stop: &StopFlag,
    work: impl FnOnce(&Path, &Path, IsStopped<'_>) -> Result<(), StreamError> + Send + 'static,
) -> Result<Exit, Failure> {
    let stop = stop.clone();
    let (from, to) = blocking(move || work(&from, &to, &|| stop.is_set()).map(|()| (from, to))).await?;
    match options.common.format {
        Format::Human => print(&printable(&format!("{} written", to.display())))?,
        Format::Json | Format::Sarif => {
            // A path need not be UTF-8.
            let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
            print(&serde_json::json!({ "from": from, "to": to }).to_string())?;
        }
    }
    Ok(Exit::Done)
}

/// Does work that waits for disks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| CliError::io("the work was cut short")(std::io::Error::other(error)))??)
}
