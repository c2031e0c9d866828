//! The latency of before a rollout, in a file.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::exit::CliError;
use crate::input;
use crate::output::note;

/// The file's one object.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Baseline {
    /// The mean time to open a data key, in seconds.
    mean_seconds: f64,
}

impl Baseline {
    /// The earlier latency; `None` where the file does not exist: then it is written for the comparison of
    /// the next run.
    pub(super) fn read_or_write(file: &Path, now: Option<f64>) -> Result<Option<f64>, CliError> {
        match std::fs::read_to_string(file) {
            Ok(text) => {
                let baseline =
                    serde_json::from_str::<Self>(&text).ok().filter(|found| found.mean_seconds > 0.0);
                let found = baseline.ok_or_else(|| {
                    CliError::usage_with_hint(
                        format!("baseline file {} holds no latency", file.display()),
                        "delete it, and run `gate` once before the rollout to write it",
                    )
                });
                Ok(Some(found?.mean_seconds))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let Some(mean_seconds) = now else { return Ok(None) };
                let text = serde_json::json!(Self { mean_seconds }).to_string();
                std::fs::write(file, text)
                    .map_err(CliError::io(format!("baseline file {} cannot be written", file.display())))?;
                note(&format!(
                    "baseline written to {}: run the command again during the rollout",
                    file.display()
                ));
                Ok(None)
            }
            Err(error) => Err(input::unreadable(file, &error)),
        }
    }
}
