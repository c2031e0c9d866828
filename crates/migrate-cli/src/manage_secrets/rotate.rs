//! `rotate`: a new value for a secret, or for one field of a JSON secret.

use secrecy::SecretString;
use secrets_cache::typed;
use secrets_cache::{Secret, SecretName, SecretRef, SecretValue, SourceError, Stage, generate};
use serde::Serialize;

use super::Options;
use super::failure::Failure;
use super::one::{LineBreak, read_value};
use super::source::Opened;
use crate::exit::Exit;
use crate::output::emit;

/// Length of a generated secret.
const GENERATED_LEN: usize = 32;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The secret
    name: SecretName,
    /// Generate a value of N letters and digits; without this, standard input is read, and 32 are generated if it is empty
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(8..=4096))]
    length: Option<u16>,
    /// Change only this field of a JSON secret: a key, or a path such as /db/password
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// Replace a JSON secret by a value that is not a JSON object
    #[arg(long, conflicts_with = "field")]
    whole: bool,
    /// Take standard input byte for byte, with a line break at its end
    #[arg(long, conflicts_with = "length")]
    raw: bool,
}

#[derive(Serialize)]
struct Report {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    version: String,
    created: bool,
    generated: bool,
    /// The value was current before, and there is no new version.
    unchanged: bool,
}

pub(super) async fn run(args: Args, opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    let given = match args.length {
        Some(_) => None,
        None => read_value(LineBreak::of(args.raw)).await?,
    };
    if given.is_none() && args.raw {
        return Err(Failure::usage(
            "standard input is empty",
            "pipe the value in, or leave --raw out to generate one",
        ));
    }
    let generated = given.is_none();
    let length = args.length.map_or(GENERATED_LEN, usize::from);
    let new = given.unwrap_or_else(|| generate::alphanumeric(length).into());
    let stored = match &args.field {
        Some(field) => {
            let before = opened.source.get(&args.name, &Stage::Current).await?;
            let value = with_field(&before, field, &new)?;
            // Only over the version that was read: a change of another field in between would be lost.
            opened.source.rotate_if(&args.name, &value, &before.version).await?
        }
        None => {
            if !args.whole {
                refuse_to_flatten(&args.name, &new, opened).await?;
            }
            opened.source.rotate(&args.name, &new).await?
        }
    };
    let (name, field) = (args.name.to_string(), args.field);
    let report = Report {
        name,
        field,
        version: stored.version,
        created: false,
        generated,
        unchanged: stored.unchanged,
    };
    emit(options.common.format, &report, |report| {
        let how = if generated { format!(", {length} characters generated") } else { String::new() };
        let field = report.field.as_ref().map(|field| format!("#{field}")).unwrap_or_default();
        if report.unchanged {
            return format!(
                "{}{field} already has this value: version {} stays current",
                report.name, report.version
            );
        }
        format!(
            "rotated {}{field}: version {}{how}; the one before is under AWSPREVIOUS",
            report.name, report.version
        )
    })?;
    Ok(Exit::Done)
}

fn with_field(before: &Secret, field: &str, new: &SecretValue) -> Result<SecretValue, Failure> {
    let reference: SecretRef = format!("{}#{field}", before.name).parse().map_err(typed::ReadError::from)?;
    let text = new.expose_text().map(SecretString::from);
    let binary = || Failure::usage("the new value is binary", "a field of a JSON secret is text");
    Ok(typed::with_field(&before.value, &reference, &text.ok_or_else(binary)?)?)
}

/// A plain value instead of a JSON object would remove the other fields for all their readers.
async fn refuse_to_flatten(name: &SecretName, new: &SecretValue, opened: &Opened) -> Result<(), Failure> {
    if typed::is_json_object(new) {
        return Ok(());
    }
    match opened.source.get(name, &Stage::Current).await {
        Ok(before) if typed::is_json_object(&before.value) => Err(Failure::usage(
            format!("{name} is a JSON secret, and the new value is not"),
            "name the field to change with --field, pipe in a whole JSON object, or say --whole",
        )),
        // Without a readable value there is nothing to flatten; whether the secret exists, the rotation finds out.
        Ok(_)
        | Err(SourceError::Expired { .. } | SourceError::NoSuchStage { .. } | SourceError::Sealed { .. }) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
