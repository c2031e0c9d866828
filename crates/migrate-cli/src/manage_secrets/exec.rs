//! `exec`: a program with the secrets in its environment, and nowhere else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use secrets_cache::source::{ListRequest, list_all};
use secrets_cache::{Secret, SecretName, SourceError};

use super::Options;
use super::failure::Failure;
use super::import::failed;
use super::source::Opened;
use crate::exit::{CliError, Exit, chain};
use crate::output::{Format, note, print};

/// What opens the store is no business of the program that is run.
const WITHHELD: [&str; 3] = ["KMS_MASTER_KEY", "ENCRYPTION_KEY", "TOKEN_ENCRYPTION_KEY"];

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only these secrets; all of the source's, or under the prefix, if left out
    #[arg(long, value_delimiter = ',', value_name = "a,b")]
    names: Vec<SecretName>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Becomes the program: its exit code, its signals and its place in the process table are its own.
pub(super) async fn run(args: Args, opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    let (program, arguments) =
        args.command.split_first().ok_or_else(|| CliError::usage("no program is named"))?;
    let is_asked_for = !args.names.is_empty();
    let names = match is_asked_for {
        true => args.names,
        false => {
            let all = list_all(&*opened.source, &ListRequest::default()).await?;
            all.into_iter().map(|secret| secret.name).collect()
        }
    };
    let mut variables: BTreeMap<String, Secret> = BTreeMap::new();
    let mut failures = Vec::new();
    for (name, answer) in names.iter().zip(opened.source.get_many(&names).await?) {
        match answer {
            Ok(secret) => {
                if let Some(other) = variables.insert(variable(name), secret) {
                    let problem = format!("{} and {name} make the same variable", other.name);
                    return Err(Failure::usage(problem, "choose with --names"));
                }
            }
            Err(error @ SourceError::Expired { .. }) if !is_asked_for => note(&format!("left out: {error}")),
            Err(error) => {
                note(&format!("failed: {}", chain(&error)));
                failures.push(failed(name.to_string(), &error));
            }
        }
    }
    if !failures.is_empty() {
        note("hint:  the program was not started; name the secrets that it needs with --names");
        // Standard output is the program's, but this one has none.
        if options.common.format == Format::Json {
            print(&format!("{:#}", serde_json::json!({ "started": false, "failures": failures })))?;
        }
        return Ok(Exit::Partial);
    }
    let mut command = Command::new(program);
    command.args(arguments);
    for name in WITHHELD {
        command.env_remove(name);
    }
    for (variable, secret) in &variables {
        let text = secret.value.expose_text().filter(|text| !text.contains('\0'));
        let unfit = || Failure::usage(format!("{} is no text", secret.name), "leave it out with --names");
        command.env(variable, text.ok_or_else(unfit)?);
    }
    opened.close().await;
    // What the program that this one becomes does not know.
    options.common.finish();
    let error = command.exec();
    let program = program.to_string_lossy();
    Err(Failure::usage(format!("{program} cannot be run: {error}"), "check the program behind `--`"))
}

/// The name as a variable: `db/password` is `DB_PASSWORD`, and `DATABASE_URL` is itself.
fn variable(name: &SecretName) -> String {
    let is_variable = |text: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !text.starts_with(|c: char| c.is_ascii_digit())
    };
    if is_variable(name.as_str()) {
        return name.to_string();
    }
    let made: String = name
        .as_str()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    if is_variable(&made) { made } else { format!("_{made}") }
}
