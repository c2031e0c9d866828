//! MariaDB, and MySQL in the parts that both have.
//!
//! Comparisons of this database ignore case and trailing spaces, so that a text is always compared byte by byte as well.
//! A statement that writes is followed by a look at the rows in the same transaction, because triggers and settings of
//! the session may change the stored values.

pub(super) mod columns;
pub(super) mod connect;
pub(super) mod errors;
mod filter;
pub(super) mod index;
pub(super) mod leases;
pub(super) mod made;
pub(super) mod obstacles;
pub(super) mod privileges;
pub(super) mod schema;
pub(super) mod select;
mod sql;
pub(super) mod swap;
mod values;
pub(super) mod write;

use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, Row as _, Transaction, ValueRef as _};
use zeroize::Zeroizing;

use super::row::{Cell, NoText};
use crate::error::{DatabaseError, Scope};

pub(super) use connect::{connect, of_pool};
pub(super) use swap::Session;

/// How many transactions of one run write at once. Two would wait for each other's locks on gaps between keys.
pub(super) const WRITERS: usize = 1;

/// A pool of connections.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: sqlx::MySqlPool,
    read_only: bool,
}

/// The parameters of a statement.
type Param<'a> = Option<&'a str>;

impl Connections {
    /// Runs a query; one that must not write is in a transaction that cannot.
    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<MySqlRow>, DatabaseError> {
        if !self.read_only {
            return Ok(bind(sql, params).fetch_all(&self.pool).await?);
        }
        let mut transaction = self.pool.begin_with("START TRANSACTION READ ONLY").await?;
        let rows = bind(sql, params).fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(rows)
    }

    /// Begins a transaction that writes.
    ///
    /// # Errors
    /// Also where the session would store a cut value instead of refusing it: other programs of a shared pool may have
    /// changed its mode.
    async fn begin(&self) -> Result<Transaction<'static, MySql>, DatabaseError> {
        let begin = if self.read_only { "START TRANSACTION READ ONLY" } else { "START TRANSACTION" };
        let mut transaction = self.pool.begin_with(begin).await?;
        check_mode(&mut transaction).await?;
        Ok(transaction)
    }
}

/// Refuses a session that would store other texts than those sent, or would return other texts than those
/// stored.
async fn check_mode(connection: &mut MySqlConnection) -> Result<(), DatabaseError> {
    let sql = "SELECT CAST(@@SESSION.sql_mode AS CHAR), CAST(@@SESSION.character_set_client AS CHAR), \
               CAST(@@SESSION.character_set_results AS CHAR)";
    let session = bind(sql, &[]).fetch_one(connection).await?;
    let setting = |index: usize| text(&session, index).unwrap_or_default();
    match () {
        () if !is_strict(&setting(0)) => Err(unfit_session(
            "sql_mode of the session is not strict, so that values which do not fit would be cut: add \
             STRICT_TRANS_TABLES",
        )),
        () if setting(1) != "utf8mb4" || setting(2) != "utf8mb4" => Err(unfit_session(
            "the session's character set is not utf8mb4, so that characters would be lost: SET NAMES utf8mb4",
        )),
        () => Ok(()),
    }
}

/// Whether the mode makes an error of a value that does not fit, for tables with transactions.
fn is_strict(mode: &str) -> bool {
    mode.split(',').any(|part| matches!(part, "STRICT_TRANS_TABLES" | "STRICT_ALL_TABLES" | "TRADITIONAL"))
}

fn unfit_session(message: &str) -> DatabaseError {
    DatabaseError { message: message.into(), code: None, unreachable: false, scope: Scope::Whole }
}

fn bind(sql: &str, params: &[Param<'_>]) -> sqlx::query::Query<'static, MySql, MySqlArguments> {
    // Only identifiers from the profile, quoted, are ever put into the text; values are bound.
    let query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    params.iter().fold(query, |query, param| query.bind(*param))
}

/// A statement that is prepared for this one execution. The types of the columns of a derived table come from the values
/// of the first execution, and later values that are longer could be cut.
fn bind_once(sql: &str, params: &[Param<'_>]) -> sqlx::query::Query<'static, MySql, MySqlArguments> {
    bind(sql, params).persistent(false)
}

pub(super) async fn close(connections: &Connections) {
    connections.pool.close().await;
}

pub(super) async fn ping(connections: &Connections) -> Result<(), DatabaseError> {
    connections.rows("SELECT '1'", &[]).await.map(drop)
}

/// One column of a row, all of which are asked for as text or bytes.
fn cell(row: &MySqlRow, index: usize) -> Cell {
    match row.try_get_raw(index) {
        Ok(value) if !value.is_null() => {}
        _ => return Ok(None),
    }
    let bytes: Vec<u8> = row.try_get_unchecked(index).map_err(|_| NoText::NotUtf8)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        NoText::NotUtf8
    })?;
    Ok(Some(Zeroizing::new(text)))
}

fn text(row: &MySqlRow, index: usize) -> Option<String> {
    cell(row, index).ok().flatten().map(|text| text.to_string())
}

fn number<T: std::str::FromStr + Default>(row: &MySqlRow, index: usize) -> T {
    text(row, index).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// A condition's value, asked for as text.
fn is_true(row: &MySqlRow, index: usize) -> bool {
    text(row, index).as_deref() == Some("1")
}

/// Quotes an identifier, under every `sql_mode` of the session for double quotes.
fn quote(identifier: &str) -> String {
    format!("`{}`", identifier.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::{is_strict, quote};

    #[test]
    fn only_a_strict_mode_is_strict() {
        assert!(is_strict("PIPES_AS_CONCAT,STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"));
        assert!(is_strict("STRICT_ALL_TABLES"));
        for mode in ["", "NO_ENGINE_SUBSTITUTION", "NOT_STRICT_TRANS_TABLES"] {
            assert!(!is_strict(mode), "{mode}");
        }
    }

    #[test]
    fn an_identifier_stays_one() {
        assert_eq!(quote("a`b"), "`a``b`");
    }
}
