//! `status`: how the tokens are stored.

use token_store::TokenStore;
use token_store::status::{Status, status};

use super::Options;
use crate::exit::{CliError, Exit};
use crate::output::{emit, table};
use crate::services::{Access, database};
use crate::settings::Settings;

pub(super) async fn run(settings: Settings, options: Options) -> Result<Exit, CliError> {
    let database = database(&settings, Access::ReadOnly).await?;
    // Counting needs no key: the cipher stays empty.
    let store = TokenStore::open(database, settings.profile, token_store::TokenCipher::new()).await?;
    emit(options.format, &status(&store).await?, lines)?;
    Ok(Exit::Done)
}

pub(super) fn lines(status: &Status) -> String {
    let mut rows = table(&["table", "version", "method", "key", "rows"]);
    for group in &status.groups {
        rows.add_row([
            group.table.clone(),
            group.encryption_version.map_or("-".into(), |version| version.to_string()),
            group.encryption_method.clone().unwrap_or_else(|| "-".into()),
            group.encryption_key_id.clone().unwrap_or_else(|| "-".into()),
            group.count.to_string(),
        ]);
    }
    format!("{rows}\n\n{} rows, {} not under the key service", status.total, status.pending)
}
