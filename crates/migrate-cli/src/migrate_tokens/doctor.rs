//! `doctor`: checks everything that the other commands need, and says what to do about what is wrong.

use envelope_core::{EncryptionContext, ErrorClass, KeyError, KeyProvider};
use serde::Serialize;
use token_store::{Database, TokenCipher, TokenStore};

use super::Options;
use crate::exit::{CliError, Exit, chain};
use crate::output::emit;
use crate::services::{Access, database, key_service};
use crate::settings::{Settings, VARIABLES};

#[derive(Serialize)]
struct Report {
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
    hint: Option<String>,
    /// The exit code if this is the first check that failed.
    #[serde(skip)]
    exit: Exit,
}

/// Runs every check that can be run; a failed one does not hide the next.
pub(super) async fn run(settings: Result<Settings, CliError>, options: Options) -> Result<Exit, CliError> {
    let mut report = Report { checks: Vec::new() };
    match settings {
        Err(error) => report.fail("configuration", error),
        Ok(settings) => {
            report.pass("configuration", configured(&settings));
            report.database(&settings).await;
            report.key_service(&settings, &options).await;
        }
    }
    let exit = report.checks.iter().find(|check| !check.ok).map_or(Exit::Done, |check| check.exit);
    emit(options.format, &report, lines)?;
    Ok(exit)
}

/// Which variables are set; values only of those that hold no secret.
fn configured(settings: &Settings) -> String {
    let set = VARIABLES.iter().filter_map(|variable| {
        let value = std::env::var(variable.name).ok().filter(|value| !value.trim().is_empty())?;
        Some(if variable.secret { variable.name.to_owned() } else { format!("{}={value}", variable.name) })
    });
    let set: Vec<String> = set.collect();
    format!("profile {:?}, {:?}; set: {}", settings.profile.name, settings.environment, set.join(", "))
}

impl Report {
    fn pass(&mut self, name: &'static str, detail: impl Into<String>) {
        self.checks.push(Check { name, ok: true, detail: detail.into(), hint: None, exit: Exit::Done });
    }

    fn fail(&mut self, name: &'static str, error: impl Into<CliError>) {
        let error = error.into();
        let (detail, hint, exit) = (chain(&error), error.hint(), error.exit());
        self.checks.push(Check { name, ok: false, detail, hint, exit });
    }

    async fn database(&mut self, settings: &Settings) {
        let database = match database(settings, Access::ReadOnly).await {
            Ok(database) => database,
            Err(error) => return self.fail("database", error),
        };
        match database.ping().await {
            Ok(()) => self.pass("database", "answers"),
            Err(error) => return self.fail("database", error),
        }
        self.schema(settings, database).await;
    }

    async fn schema(&mut self, settings: &Settings, database: Database) {
        match TokenStore::open(database, settings.profile.clone(), TokenCipher::new()).await {
            Ok(store) => {
                let rows =
                    store.count_rows().await.map_or_else(|error| chain(&error), |rows| rows.to_string());
                let absent = match store.absent_tables() {
                    [] => String::new(),
                    names => format!("; not here: {}", names.join(", ")),
                };
                self.pass("schema", format!("the profile's tables are as needed, {rows} rows{absent}"));
            }
            Err(error) => self.fail("schema", error),
        }
    }

    async fn key_service(&mut self, settings: &Settings, options: &Options) {
        match key_service(settings, None, &options.telemetry).await {
            Ok(Some(service)) => self.provider(service.calls.as_ref(), settings).await,
            Ok(None) if settings.direct_key.is_some() => {
                self.pass("key service", "KMS_KEY_ID is not set: tokens are written in direct AES");
            }
            Ok(None) => {
                let error = CliError::usage_with_hint(
                    "KMS_KEY_ID is not set, and so is ENCRYPTION_KEY: tokens are written in plaintext",
                    "set KMS_KEY_ID to an AWS KMS key or to keyring:<file>",
                );
                self.fail("key service", error);
            }
            Err(error) => self.fail("key service", error),
        }
    }

    /// One step after the other, as each needs the one before.
    async fn provider(&mut self, provider: &dyn KeyProvider, settings: &Settings) {
        match provider.describe().await {
            Ok(key) => self.pass("key service: describe", format!("{} key {}", key.backend, key.key_id)),
            Err(error) => return self.fail("key service: describe", error),
        }
        let base = settings.profile.base_context();
        let pairs: Vec<(&str, &str)> =
            base.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // A pair that real rows have too, so that a policy that lists the allowed names lets it through.
        let context = EncryptionContext::new(pairs.iter().copied().chain([("table", "doctor")]));
        let other = EncryptionContext::new(pairs.iter().copied().chain([("table", "not-the-doctor")]));
        let (Ok(context), Ok(other)) = (context, other) else {
            return self.fail("key service: context", CliError::usage("ENCRYPTION_CONTEXT makes no context"));
        };
        let generated = match provider.generate(&context).await {
            Ok(generated) => generated,
            Err(error) => return self.fail("key service: generate", error),
        };
        self.pass("key service: generate", "makes a data key");
        match provider.unwrap(&generated.wrapped, &context).await {
            Ok(key) if key.expose_secret() == generated.key.0.expose_secret() => {
                self.pass("key service: unwrap", "unwraps it to the same key");
            }
            Ok(_) => self.fail("key service: unwrap", broken("unwraps a data key to another one")),
            Err(error) => return self.fail("key service: unwrap", error),
        }
        match provider.unwrap(&generated.wrapped, &other).await {
            Err(error) if error.class() == ErrorClass::ContextMismatchOrCorrupt => {
                self.pass("key service: wrong context", "is refused");
            }
            Err(error) => self.fail("key service: wrong context", error),
            Ok(_) => self
                .fail("key service: wrong context", broken("opens under a context it was not wrapped under")),
        }
    }
}

fn broken(what: &'static str) -> KeyError {
    KeyError::new(ErrorClass::InvalidRequest, what)
        .with_hint("do not use this key service: it does not protect anything")
}

fn lines(report: &Report) -> String {
    let mut lines = Vec::new();
    for check in &report.checks {
        lines.push(format!("{}  {}: {}", if check.ok { "ok  " } else { "FAIL" }, check.name, check.detail));
        lines.extend(check.hint.iter().map(|hint| format!("      {hint}")));
    }
    lines.join("\n")
}
