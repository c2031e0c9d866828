//! `exec`: a program with the secrets in its environment, and nowhere else.

mod environment;
mod files;
mod select;
mod supervise;

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use secrets_cache::SecretName;

use self::environment::Environment;
use self::files::PrivateFiles;
use self::select::{Collected, Pick};
use super::Options;
use super::failure::Failure;
use super::source::{Opened, SourceUri};
use crate::exit::{CliError, Exit, failures_exit};
use crate::output::{Format, note, print};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only these secrets, each as name, name#field or VARIABLE=name#field; all of the source, or under the prefix, if left
    /// out
    #[arg(long, value_delimiter = ',', value_name = "a,B=b#c")]
    names: Vec<Pick>,
    /// All secrets but these
    #[arg(long, value_delimiter = ',', value_name = "a,b", conflicts_with = "names")]
    except: Vec<SecretName>,
    /// Write this secret to a private file, and its path into NAME_FILE (or, with VARIABLE=name, into that variable); for
    /// binary and large values; may be repeated
    #[arg(long = "file", value_delimiter = ',', value_name = "NAME")]
    files: Vec<Pick>,
    /// Which value counts where the environment has the variable already
    #[arg(long, value_enum, default_value_t)]
    prefer: Prefer,
    /// Look for new values while the program runs, and restart it (or signal it, see --on-change) when there are any
    #[arg(long)]
    watch: bool,
    /// How often to look, such as 30s; 2s for a local store and 30s for others if left out
    #[arg(long, value_name = "TIME", value_parser = interval, requires = "watch")]
    watch_interval: Option<Duration>,
    /// The reaction to a new value. A signal cannot change the environment: it is for programs that read their files again
    #[arg(long, value_enum, default_value_t, requires = "watch")]
    on_change: OnChange,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Which value counts where both the source and the environment have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Prefer {
    /// The secret; a line on standard error names the variable.
    #[default]
    Secrets,
    /// The variables of the environment.
    Environment,
}

/// The treatment of the running program when a secret changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum OnChange {
    /// SIGTERM, after 10 seconds SIGKILL, and a new start.
    #[default]
    Restart,
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

impl Args {
    /// Whether it looks for new values. Credentials under a lease end with this program, so that it always stays.
    fn is_watching(&self, source: &SourceUri) -> bool {
        self.watch || matches!(source, SourceUri::VaultLease(_))
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = envelope_core::duration::parse(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| "must be a time such as 30s or 5m".into())
}

/// Becomes the program: its exit code, its signals and its place in the process table are its own. With `--file` or
/// `--watch` this program stays as its parent.
pub(super) async fn run(args: Args, opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    if args.watch && matches!(options.source, SourceUri::Dotenv(_)) {
        let hint = "leave out --watch and start the program again after a change, or use another source";
        return Err(Failure::usage("a .env file is read once: --watch would see no change of it", hint));
    }
    let collected = match select::collect(&args, opened).await? {
        Ok(collected) => collected,
        Err(failures) => {
            let exit = failures_exit(failures.iter().map(|refused| refused.class));
            let hint = match failures.first().and_then(|refused| refused.hint) {
                Some(hint) if exit == Exit::KeyService => hint,
                _ => "choose secrets with --names or --except, or write one with --file",
            };
            note(&format!("hint:  the program was not started; {hint}"));
            // Standard output is the program's, but this one has none.
            if options.common.format == Format::Json {
                print(&format!("{:#}", serde_json::json!({ "started": false, "failures": failures })))?;
            }
            return Ok(exit);
        }
    };
    let program = Program::find(&args, &options.source)?;
    if args.is_watching(&options.source) || !args.files.is_empty() {
        return supervise::run(&args, &program, collected, opened, options).await;
    }
    let mut command = program.command(&args, &collected, None);
    opened.close().await;
    // The program that replaces this one does not read these variables.
    options.common.finish();
    let error = command.exec();
    Err(program.not_run(&collected, &error))
}

/// The program to run.
struct Program {
    name: OsString,
    /// Found by this program's own `PATH`: a secret of that name does not decide which program runs.
    path: PathBuf,
    /// Where its secrets come from: what opens that is not for the program.
    source: SourceUri,
}

impl Program {
    fn find(args: &Args, source: &SourceUri) -> Result<Self, Failure> {
        let name = args.command.first().ok_or_else(|| CliError::usage("no program is named"))?;
        let path = match name.to_string_lossy().contains('/') {
            true => Some(PathBuf::from(name)),
            false => on_path(name),
        };
        let missing = || {
            let name = name.to_string_lossy();
            Failure::usage(format!("{name} cannot be run: it is not on PATH"), "check the program after `--`")
        };
        Ok(Self { name: name.clone(), path: path.ok_or_else(missing)?, source: source.clone() })
    }

    fn command(&self, args: &Args, collected: &Collected, files: Option<&PrivateFiles>) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(args.command.iter().skip(1));
        let withheld: Vec<String> = environment::withheld(&self.source).collect();
        for name in &withheld {
            command.env_remove(name);
        }
        let environment = Environment::of(collected, files, args.prefer, &withheld);
        environment.overridden.iter().for_each(|line| note(line));
        environment.apply(&mut command);
        command
    }

    fn not_run(&self, collected: &Collected, error: &std::io::Error) -> Failure {
        let name = self.name.to_string_lossy();
        let largest = collected.largest().filter(|_| error.kind() == std::io::ErrorKind::ArgumentListTooLong);
        match largest {
            Some(largest) => Failure::usage(
                format!(
                    "{name} cannot be run: environment and arguments are too large; the largest secret is {largest}"
                ),
                "write large secrets with --file, or leave them out with --except",
            ),
            None => Failure::usage(format!("{name} cannot be run: {error}"), "check the program after `--`"),
        }
    }
}

fn on_path(name: &OsStr) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(is_program)
}

/// How often to look for new values: calls to a service cost money.
fn default_interval(source: &SourceUri) -> Duration {
    match source {
        // A lease is looked at without a call until it is to be renewed.
        SourceUri::Local(_) | SourceUri::VaultLease(_) => Duration::from_secs(2),
        _ => Duration::from_secs(30),
    }
}
