//! The obstacles in a table, as the commands report them, and the rows that a command works on.

use token_store::error::StoreError;
use token_store::findings::{Finding, Kind, Severity};
use token_store::{TokenStore, WriteFormat};
use tokenseal::Tokenseal;

use crate::exit::CliError;
use crate::output::note;

/// Which rows a command looks at.
#[derive(clap::Args)]
pub(super) struct Where {
    /// Only rows with this value in this column; may be given several times, and then all must hold
    #[arg(long = "where", value_name = "COLUMN=VALUE", value_parser = condition)]
    conditions: Vec<(String, String)>,
    /// Only this table; all of the profile if left out
    #[arg(long)]
    table: Option<String>,
}

impl Where {
    /// The same connection, whose walks visit these rows only.
    pub(super) async fn narrow(&self, services: Tokenseal) -> Result<Tokenseal, CliError> {
        let store = self.apply(services.store().clone()).await?;
        Ok(services.with_store(store))
    }

    /// The same store, whose walks visit these rows only.
    pub(super) async fn apply(&self, store: TokenStore) -> Result<TokenStore, CliError> {
        let store = match &self.table {
            Some(table) => store.clone().only_table(table).map_err(|_| no_table(table, &store))?,
            None => store,
        };
        let narrowed = store.clone().only_where(&self.conditions).await;
        if let Ok(narrowed) = &narrowed
            && !self.conditions.is_empty()
            && narrowed.count_rows().await? == 0
            && store.count_rows().await? > 0
        {
            note("no row fulfils --where");
        }
        match narrowed {
            Err(StoreError::NoColumns { table, columns, .. }) => Err(CliError::usage_with_hint(
                format!("--where: table {table:?} has no column {}", columns.join(", ")),
                "name a column that every table of the profile has, or one table with --table",
            )),
            store => Ok(store?),
        }
    }
}

fn no_table(table: &str, store: &TokenStore) -> CliError {
    let names = store.profile().tables.iter().map(|table| table.name.as_str());
    let there: Vec<&str> =
        names.filter(|name| !store.absent_tables().iter().any(|gone| gone == name)).collect();
    CliError::usage_with_hint(
        format!("--table: {table:?} is no table of the profile that the database has"),
        format!("one of {}", there.join(", ")),
    )
}

pub(super) fn condition(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((column, value)) if !column.is_empty() => Ok((column.into(), value.into())),
        _ => Err("expected column=value".into()),
    }
}

/// The obstacles to moving the store's tables; warnings also go to standard error.
pub(super) async fn ask(store: &TokenStore, to: WriteFormat) -> Result<Vec<Finding>, CliError> {
    let mut findings = token_store::findings::findings(store, to).await?;
    // The types in a profile are for clients; a migration asks the database.
    let for_clients = |finding: &&mut Finding| finding.kind == Kind::KeyType;
    findings.iter_mut().filter(for_clients).for_each(|finding| finding.severity = Severity::Warn);
    if refusal(&findings).is_none() {
        lines(&findings).iter().for_each(|line| note(line));
    }
    Ok(findings)
}

/// The error of the refused findings, if there are any.
pub(super) fn refusal(findings: &[Finding]) -> Option<CliError> {
    let refused: Vec<&Finding> =
        findings.iter().filter(|finding| finding.severity == Severity::Refuse).collect();
    let first = refused.first()?;
    let problems: Vec<String> = refused.iter().map(|finding| finding.summary()).collect();
    let problem = format!("tables are not suitable: {}", problems.join("; "));
    Some(CliError::Forbidden { problem, hint: first.hint.clone() })
}

/// One line for each finding.
pub(super) fn lines(findings: &[Finding]) -> Vec<String> {
    let line = |finding: &Finding| {
        let severity = if finding.severity == Severity::Refuse { "refused" } else { "warning" };
        format!("{severity}  {}: {}", finding.summary(), finding.hint)
    };
    findings.iter().map(line).collect()
}
