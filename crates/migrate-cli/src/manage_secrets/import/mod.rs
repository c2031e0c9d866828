//! `import`: the values of a `.env` file into the source, and out of the file only when they are there.

mod plan;
mod report;

use std::path::PathBuf;

use durable_file::{Content, FileError, Links, NewFile, Options as FileOptions, leftovers};
use futures_util::StreamExt as _;
use futures_util::stream;
use secrecy::SecretString;
use secrets_cache::source::dotenv::{self, DotenvFile};
use secrets_cache::{NewSecret, SecretName, SourceError};
use std::io::Write as _;
use token_store::migration::StopFlag;

use self::plan::{Move, Plan};
use self::report::Report;
use super::Options;
use super::failure::Failure;
use super::source::Opened;
use crate::exit::{Exit, chain};
use crate::output::{emit, note};
use tokenseal::Settings;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The .env file
    #[arg(required_unless_present = "from_environment")]
    file: Option<PathBuf>,
    /// Import these environment variables of this process instead of a file
    #[arg(long, value_delimiter = ',', value_name = "A,B", conflicts_with_all = ["file", "strip"])]
    from_environment: Vec<SecretName>,
    /// Only print what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Replace values that are in the source already and differ; without this they stay, and are listed
    #[arg(long)]
    overwrite: bool,
    /// When all values are in the source, take them out of the file, and keep the rest of it to the byte
    #[arg(long)]
    strip: bool,
    /// Move only these settings
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    names: Vec<SecretName>,
    /// Do not move these settings
    #[arg(long, value_delimiter = ',', value_name = "A,B", conflicts_with = "names")]
    except: Vec<SecretName>,
}

pub(super) async fn run(
    args: Args,
    settings: &Settings,
    opened: &Opened,
    options: &Options,
    stop: &StopFlag,
) -> Result<Exit, Failure> {
    let content = match &args.file {
        Some(path) => Some(Content::read(path, Links::Follow, dotenv::MAX_FILE_LEN)?),
        None => None,
    };
    let file = match &content {
        Some(content) => parse(content)?,
        None => DotenvFile::of_settings(variables(&args.from_environment)?),
    };
    let (plan, mut report) = plan::make(&args, settings, opened, options, &file).await?;
    let mut stripped = None;
    if let Some(content) = &content {
        report.warnings.extend(file_warnings(content)?);
        // Prepared before anything is stored: a file that cannot be replaced is found out in time.
        if args.strip && !args.dry_run && report.is_moved() && !plan.moves.is_empty() {
            stripped = Some((prepare(&file, &plan, content)?, content));
        }
    }
    if !args.dry_run {
        store(&plan, opened, options.prefix.as_deref(), stop, &mut report).await;
        if !report.interrupted {
            read_back(&plan, opened, &mut report).await?;
        }
    }
    if let (Some((stripped, content)), true) = (stripped, report.is_moved()) {
        strip(stripped, content, &mut report);
    }
    emit(options.common.format, &report, |report| report.lines(&args.origin()))?;
    say_what_is_left(&args, &report);
    report.hint().iter().for_each(|hint| note(&format!("hint:  {hint}")));
    Ok(report.exit())
}

impl Args {
    /// Whether a setting is one of those to move.
    fn is_chosen(&self, name: &SecretName) -> bool {
        (self.names.is_empty() || self.names.contains(name)) && !self.except.contains(name)
    }

    /// Where the settings come from, for people.
    fn origin(&self) -> String {
        self.file.as_ref().map_or_else(|| "the environment".into(), |file| file.display().to_string())
    }
}

fn parse(content: &Content) -> Result<DotenvFile, Failure> {
    let not_env = |problem: String| {
        Failure::usage(problem, "check the path: the file holds lines of NAME=value, in UTF-8")
    };
    let file = DotenvFile::parse(dotenv::text(content).map_err(|error| not_env(chain(&error)))?);
    match file.unreadable.first() {
        Some(first) if file.entries.is_empty() => {
            Err(not_env(format!("{}: line {}: {}", content.path().display(), first.line, first.doubt)))
        }
        _ => Ok(file),
    }
}

fn variables(names: &[SecretName]) -> Result<Vec<(SecretName, SecretString)>, Failure> {
    let refused = |name: &SecretName, what| {
        Failure::usage(
            format!("the environment variable {name} {what}"),
            "check the names after --from-environment",
        )
    };
    let read = |name: &SecretName| {
        let value = std::env::var_os(name.as_str()).ok_or_else(|| refused(name, "is not set"))?;
        let text = value.into_string().map_err(|_| refused(name, "is not UTF-8 text"))?;
        Ok((name.clone(), SecretString::from(text)))
    };
    names.iter().map(read).collect()
}

/// The facts about the file that the operator should know.
fn file_warnings(content: &Content) -> Result<Vec<String>, FileError> {
    let mut warnings = Vec::new();
    if content.names() > 1 {
        warnings.push(format!(
            "{} has {} hard links: --strip takes the values out of this name only, the others keep them",
            content.path().display(),
            content.names()
        ));
    }
    let left = leftovers(content.path())?;
    warnings.extend(left.iter().map(|path| {
        format!(
            "{} is from an import that was killed or is at work; it can hold secrets: delete it",
            path.display()
        )
    }));
    Ok(warnings)
}

/// Writes the new version of the file next to it.
fn prepare(file: &DotenvFile, plan: &Plan, content: &Content) -> Result<NewFile, Failure> {
    let path = content.path();
    let left = file.without_values(dotenv::text(content)?, |entry| plan.is_moved(entry));
    let mut new = NewFile::begin(path, &FileOptions::replace())?;
    new.write_all(left.as_bytes()).map_err(FileError::io("write a new version of", path))?;
    new.as_file().sync_all().map_err(FileError::io("write a new version of", path))?;
    Ok(new)
}

/// Replaces the file, if it is unchanged since it was read.
fn strip(new: NewFile, before: &Content, report: &mut Report) {
    match new.commit_over(before) {
        Ok(()) => report.stripped = true,
        Err(error) => {
            report.not_stripped = Some(format!("{}; {}", chain(&error), error.hint()));
        }
    }
}

async fn store(plan: &Plan, opened: &Opened, prefix: Option<&str>, stop: &StopFlag, report: &mut Report) {
    let changes: Vec<&Move> = plan.moves.iter().filter(|entry| entry.is_change()).collect();
    if opened.source.is_transactional() {
        return store_together(changes, opened, prefix.unwrap_or_default(), stop, report).await;
    }
    for (at, change) in changes.iter().enumerate() {
        if stop.is_set() {
            report.interrupted = true;
            return changes[at..].iter().for_each(|left| report.forget(left));
        }
        let stored = opened.source.put(&change.secret()).await;
        if let Err(error) = stored {
            report.fail(change, &error);
        }
    }
}

/// A source with transactions takes all or nothing. A setting that another program has stored since the plan was made is
/// reported, and the others are tried again without it.
async fn store_together(
    mut changes: Vec<&Move>,
    opened: &Opened,
    prefix: &str,
    stop: &StopFlag,
    report: &mut Report,
) {
    while let Err(error) = put_all(&changes, opened, stop).await {
        report.interrupted = stop.is_set();
        let conflict = match &error {
            SourceError::Conflict { name } if !report.interrupted => {
                changes.iter().position(|change| format!("{prefix}{}", change.target) == name.as_str())
            }
            _ => None,
        };
        let Some(at) = conflict else {
            report.forget_all();
            if !report.interrupted {
                changes.iter().for_each(|change| report.refuse(&change.name, &error));
            }
            return;
        };
        report.fail(changes.remove(at), &error);
    }
}

async fn put_all(changes: &[&Move], opened: &Opened, stop: &StopFlag) -> Result<u64, SourceError> {
    let secrets = stream::iter(changes).map(|change| match stop.is_set() {
        true => Err(SourceError::Unavailable { operation: "continue after an interrupt", cause: None }),
        false => Ok::<NewSecret, SourceError>(change.secret()),
    });
    opened.source.put_all(secrets.boxed()).await
}

/// Compares the values of the source with those of the file: a value counts as moved only if it comes back.
async fn read_back(plan: &Plan, opened: &Opened, report: &mut Report) -> Result<(), Failure> {
    let failed = report.failed_names();
    let moves: Vec<&Move> = plan.moves.iter().filter(|entry| !failed.contains(entry.name.as_str())).collect();
    let names: Vec<SecretName> = moves.iter().map(|entry| entry.target.clone()).collect();
    for (entry, there) in moves.iter().zip(opened.source.get_many(&names).await?) {
        match there {
            Ok(secret) if secret.holds(&entry.value) => {}
            Ok(_) => report.fail(entry, &SourceError::Conflict { name: entry.target.clone() }),
            Err(error) => report.fail(entry, &error),
        }
    }
    Ok(())
}

fn say_what_is_left(args: &Args, report: &Report) {
    if report.total == 0 || report.stripped || report.dry_run || args.file.is_none() {
        return;
    }
    let way_out = match (args.strip, &report.not_stripped) {
        (_, Some(reason)) => reason,
        (false, _) => "--strip removes them",
        (true, _) => "--strip removes them when every setting above is settled",
    };
    note(&format!("the values are still in {}: {way_out}", args.origin()));
}
