//! `doctor`: checks all prerequisites of the other commands, and reports how to fix each problem.

use envelope_core::{EncryptionContext, ErrorClass, KeyError, KeyProvider};
use token_store::migration::StopFlag;
use token_store::privileges::{self, Privileges};
use token_store::schema;
use token_store::verify::verify;
use token_store::{TokenCipher, TokenStore, WriteFormat};

use super::{Options, connect, findings};
use crate::checks::Report;
use crate::exit::{CliError, Exit, chain};
use tokenseal::Settings;
use tokenseal::database::{self, Access};
use tokenseal::key_service::{KeyService, Load};
use tokenseal::settings::{SettingsError, set_variables};

/// Runs every check that can be run; a failed one does not hide the next.
pub(super) async fn run(
    settings: Result<Settings, SettingsError>,
    options: Options,
) -> Result<Exit, CliError> {
    let mut report = Report::of_tables();
    match settings {
        Err(error) => report.fail("configuration", &CliError::from(error)),
        Ok(settings) => {
            report.pass("configuration", configured(&settings));
            check_database(&mut report, &settings).await;
            check_key_service(&mut report, &settings, &options).await;
            if report.is_well() {
                check_sample(&mut report, settings, &options).await;
            }
        }
    }
    report.print(options.format)
}

/// Which variables are set; values only of those that hold no secret.
fn configured(settings: &Settings) -> String {
    let set = set_variables().join(", ");
    format!("profile {:?}, {:?}; set: {set}", settings.profile.name, settings.environment)
}

async fn check_database(report: &mut Report, settings: &Settings) {
    let database = match database::open(settings, Access::ReadOnly).await {
        Ok(database) => database,
        Err(error) => return report.fail("database", &CliError::from(error)),
    };
    match database.ping().await {
        Ok(()) => report.pass("database", "answers"),
        Err(error) => return report.fail("database", &CliError::from(error)),
    }
    match TokenStore::open(database, settings.profile.clone(), TokenCipher::new()).await {
        Ok(store) => {
            report.pass("schema", fitting(&store).await);
            check_tables(report, &store).await;
        }
        Err(error) => report.fail("schema", &CliError::from(error)),
    }
    check_permissions(report, settings).await;
}

/// The obstacles to sealing the tables' columns.
async fn check_tables(report: &mut Report, store: &TokenStore) {
    const NAME: &str = "tables";
    match token_store::findings::findings(store, WriteFormat::KmsEnvelope).await {
        Ok(found) => {
            match findings::refusal(&found) {
                Some(error) => report.fail(NAME, &error),
                None if found.is_empty() => report.pass(NAME, "no obstacles to sealing"),
                None => report.pass(NAME, findings::lines(&found).join("; ")),
            }
            report.findings = Some(found);
        }
        Err(error) => report.fail(NAME, &CliError::from(error)),
    }
}

async fn fitting(store: &TokenStore) -> String {
    let rows = store.count_rows().await.map_or_else(|error| chain(&error), |rows| rows.to_string());
    let absent = match store.absent_tables() {
        [] => String::new(),
        names => format!("; not here: {}", names.join(", ")),
    };
    format!("the profile's tables are as needed, {rows} rows{absent}")
}

/// On a connection that may write, unlike the others: whether it really may is the question.
async fn check_permissions(report: &mut Report, settings: &Settings) {
    const NAME: &str = "database: permissions";
    let checked = async {
        let database = database::open(settings, Access::ReadWrite).await?;
        let tables = privileges::check(&database, &settings.profile).await?;
        let lacks_columns =
            schema::check(&database, &settings.profile).await.is_ok_and(|schema| !schema.pending.is_empty());
        Ok((tables, lacks_columns))
    };
    let (tables, lacks_columns) = match checked.await {
        Ok(checked) => checked,
        Err(error) => return report.fail(NAME, &unwritable(error)),
    };
    for table in &tables {
        match forbidden(table, lacks_columns) {
            Some(error) => report.fail(NAME, &error),
            None => report.pass(NAME, allowed(table)),
        }
    }
}

/// A SQLite file that cannot be written fails on its own.
fn unwritable(error: CliError) -> CliError {
    match error {
        CliError::Store(error) => CliError::Forbidden {
            problem: chain(&error),
            hint: "the SQLite file and its directory, where the journal goes, must be writable and have room"
                .into(),
        },
        error => error,
    }
}

fn forbidden(table: &Privileges, lacks_columns: bool) -> Option<CliError> {
    let Privileges { table: name, user, .. } = table;
    let needed = [(table.select, "SELECT"), (table.update, "UPDATE")];
    let missing: Vec<&str> = needed.iter().filter(|(has, _)| !has).map(|(_, privilege)| *privilege).collect();
    let (problem, hint) = match () {
        () if !missing.is_empty() => {
            let missing = missing.join(", ");
            (
                format!("{user} may not {missing} on {name}"),
                format!("GRANT {missing} ON \"{name}\" TO \"{user}\"; as the owner of the table"),
            )
        }
        () if !table.lacking.is_empty() => lacking(table),
        () if table.read_only => (
            format!("transactions of {user} are read-only"),
            "connect to the primary server, or see default_transaction_read_only of the user".into(),
        ),
        () if lacks_columns && !table.alter => (
            format!("{name} lacks columns, and {user} may not add them"),
            "run `migrate-tokens schema` once as the owner of the table".into(),
        ),
        () => return None,
    };
    Some(CliError::Forbidden { problem, hint })
}

/// All privileges that are missing on the tables that the library keeps, in one message.
fn lacking(table: &Privileges) -> (String, String) {
    let Privileges { table: name, user, lacking, .. } = table;
    let each = lacking.iter().map(|own| format!("{} on {}", own.privileges.join(", "), own.table));
    let grants = lacking
        .iter()
        .map(|own| format!("GRANT {} ON \"{}\" TO \"{user}\";", own.privileges.join(", "), own.table));
    (
        format!("{user} may not {}, which {name} needs", each.collect::<Vec<_>>().join(" and ")),
        format!("{} as the owner of the table", grants.collect::<Vec<_>>().join(" ")),
    )
}

fn allowed(table: &Privileges) -> String {
    let mut detail = match table.user.as_str() {
        "" => format!("{} can be read and written", table.table),
        user => format!("{user} may SELECT and UPDATE {}", table.table),
    };
    if !table.insert {
        detail.push_str(", but not INSERT, which `put` needs for a new row");
    }
    if table.hides_rows {
        detail.push_str("; row-level security is active: rows that it hides are neither counted nor moved");
    }
    detail
}

/// Opens a few rows: a table or column that was renamed shows only here.
async fn check_sample(report: &mut Report, settings: Settings, options: &Options) {
    const NAME: &str = "sample";
    const ROWS: usize = 20;
    let opened = async {
        let services = connect(settings, Access::ReadOnly, Load::Few, options).await?;
        Ok::<_, CliError>(verify(services.store(), Some(ROWS), &StopFlag::default(), |_| {}).await?)
    };
    match opened.await {
        Ok(sample) if sample.failed == 0 => {
            report.pass(NAME, format!("{} values of {} rows open", sample.ok, sample.rows));
        }
        Ok(sample) => {
            let problem = format!("{} of {} values of a sample do not open", sample.failed, sample.checked);
            let suspects_address =
                sample.failures.iter().any(|failure| failure.class == "context_mismatch_or_corrupt");
            let hint = match suspects_address {
                true => {
                    "they may be bound to another name or key: if the table or a column was renamed, set bound_as or \
                     bound_columns in the profile; if rows got another key or owner, run `migrate-tokens relocate`; \
                     else check ENCRYPTION_CONTEXT"
                }
                false => "`migrate-tokens verify` names every such value",
            };
            report.fail(NAME, &CliError::Unopened { problem, hint: hint.into() });
        }
        Err(error) => report.fail(NAME, &error),
    }
}

async fn check_key_service(report: &mut Report, settings: &Settings, options: &Options) {
    match KeyService::open(settings, Load::Few, &options.telemetry).await {
        Ok(Some(service)) => {
            name_caller(report, settings).await;
            check_service(report, &service, settings).await;
        }
        Ok(None) if settings.direct_key.is_some() => {
            report.pass("key service", "KMS_KEY_ID is not set: tokens are written in direct AES");
        }
        Ok(None) => {
            let error = CliError::usage_with_hint(
                "KMS_KEY_ID is not set, and so is ENCRYPTION_KEY: tokens are written in plaintext",
                "set KMS_KEY_ID to an AWS KMS key or to keyring:<file>",
            );
            report.fail("key service", &error);
        }
        Err(error) => report.fail("key service", &CliError::from(error)),
    }
}

/// The identity that the following steps use: in a pod it is often not the intended role. If it is unknown,
/// no check fails.
#[cfg(feature = "aws")]
async fn name_caller(report: &mut Report, settings: &Settings) {
    let detail = match tokenseal::key_service::caller(settings).await {
        Some(Ok(arn)) => arn,
        Some(Err(error)) => format!("not known: {error}"),
        None => return,
    };
    report.pass("key service: caller", detail);
}

#[cfg(not(feature = "aws"))]
async fn name_caller(_report: &mut Report, _settings: &Settings) {}

/// Of several Regions each is checked by itself: together they would hide that one is down.
async fn check_service(report: &mut Report, service: &KeyService, settings: &Settings) {
    let Some(regions) = &service.regions else {
        return check_provider(report, "key service", service.calls.as_ref(), settings).await;
    };
    for region in regions.regions() {
        let name = format!("key service in {}", region.name());
        check_provider(report, &name, region.provider().as_ref(), settings).await;
    }
}

/// Every step that can be tried, since each needs a permission of its own: one that is denied does not hide the next.
async fn check_provider(report: &mut Report, service: &str, provider: &dyn KeyProvider, settings: &Settings) {
    let step = |name: &str| format!("{service}: {name}");
    let fail =
        |report: &mut Report, name: &str, error: KeyError| report.fail(step(name), &CliError::from(error));
    match provider.describe().await {
        Ok(key) => report.pass(step("describe"), format!("{} key {}", key.backend, key.key_id)),
        Err(error) => fail(report, "describe", error),
    }
    let base = settings.profile.base_context();
    let context = |table| {
        let pairs = base.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // A pair that real rows have too, so that a policy that lists the allowed names lets it through.
        EncryptionContext::new(pairs.chain([("table", table)]))
    };
    let (Ok(right), Ok(wrong)) = (context("doctor"), context("not-the-doctor")) else {
        return report.fail(step("context"), &CliError::usage("ENCRYPTION_CONTEXT makes no context"));
    };
    let generated = match provider.generate(&right).await {
        Ok(generated) => generated,
        Err(error) => {
            let class = error.class();
            fail(report, "generate", error);
            return fail(report, "unwrap", untried(class));
        }
    };
    report.pass(step("generate"), "makes a data key");
    match provider.unwrap(&generated.wrapped, &right).await {
        Ok(key) if key.expose_secret() == generated.key.0.expose_secret() => {
            report.pass(step("unwrap"), "unwraps it to the same key");
        }
        Ok(_) => fail(report, "unwrap", broken("unwraps a data key to another one")),
        Err(error) => fail(report, "unwrap", error),
    }
    match provider.unwrap(&generated.wrapped, &wrong).await {
        Err(error) if error.class() == ErrorClass::ContextMismatchOrCorrupt => {
            report.pass(step("wrong context"), "is refused");
        }
        Err(error) => fail(report, "wrong context", error),
        Ok(_) => fail(report, "wrong context", broken("opens under a context it was not wrapped under")),
    }
}

fn untried(class: ErrorClass) -> KeyError {
    KeyError::new(class, "was not tried, because no data key was made")
        .with_hint("`migrate-tokens verify --sample 1` opens a stored value instead")
}

fn broken(what: &'static str) -> KeyError {
    KeyError::new(ErrorClass::InvalidRequest, what)
        .with_hint("do not use this key service: it does not protect anything")
}
