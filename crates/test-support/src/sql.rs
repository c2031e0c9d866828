//! A SQLite file, a PostgreSQL or a MariaDB database with one small interface, for what a test does next to the program.
//!
//! Nothing here goes through the code under test: rows are put in and read back as any other program would.

mod definitions;

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Row, SqlSafeStr};
use tempfile::TempDir;

use crate::mariadb;
use crate::postgres::TestDatabase;

/// A row as text, column by column.
pub type TextRow = Vec<Option<String>>;

/// A database that exists for one test.
#[derive(Debug)]
pub struct Sql {
    url: String,
    pool: Pool,
}

#[derive(Debug)]
enum Pool {
    Sqlite(sqlx::SqlitePool, #[expect(dead_code, reason = "held for its Drop")] TempDir),
    Postgres(sqlx::PgPool, #[expect(dead_code, reason = "held for its Drop")] TestDatabase),
    MariaDb(sqlx::MySqlPool, mariadb::TestDatabase),
}

impl Sql {
    // Pools without timeouts have no maintenance task, which in sqlx 0.9 may spin for ever and hold up the runtime's end.

    /// A new SQLite file in a directory of its own.
    ///
    /// # Panics
    /// The directory or the file cannot be made.
    pub async fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory for a database");
        let path = directory.path().join("tokens.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .busy_timeout(std::time::Duration::from_secs(30));
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options);
        Self {
            url: format!("sqlite://{}", path.display()),
            pool: Pool::Sqlite(pool.await.expect("a new SQLite file"), directory),
        }
    }

    /// A PostgreSQL database, from [`part!(postgres)`](crate::part).
    ///
    /// # Panics
    /// It does not answer.
    pub async fn postgres(database: TestDatabase) -> Self {
        let pool =
            sqlx::postgres::PgPoolOptions::new().max_connections(2).idle_timeout(None).max_lifetime(None);
        let pool = pool.connect(database.url()).await.expect("the database answers");
        Self { url: database.url().to_owned(), pool: Pool::Postgres(pool, database) }
    }

    /// A MariaDB database, from [`part!(mariadb)`](crate::part).
    ///
    /// # Panics
    /// It does not answer.
    pub async fn mariadb(database: mariadb::TestDatabase) -> Self {
        let pool = sqlx::mysql::MySqlPoolOptions::new()
            .max_connections(2)
            .idle_timeout(None)
            .max_lifetime(None)
            // Quotes, backslashes and assignments as the other databases take them.
            .after_connect(|connection, _| {
                let sql = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES,NO_BACKSLASH_ESCAPES,SIMULTANEOUS_ASSIGNMENT')";
                Box::pin(async move { sqlx::Executor::execute(connection, sql).await.map(drop) })
            });
        let pool = pool.connect(database.url()).await.expect("the database answers");
        Self { url: database.url().to_owned(), pool: Pool::MariaDb(pool, database) }
    }

    /// Its address, for `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        matches!(self.pool, Pool::Postgres(..))
    }

    /// Whether it is MariaDB.
    pub fn is_mariadb(&self) -> bool {
        matches!(self.pool, Pool::MariaDb(..))
    }

    /// One text for PostgreSQL and another for SQLite.
    pub fn either<'a>(&self, postgres: &'a str, sqlite: &'a str) -> &'a str {
        if self.is_postgres() { postgres } else { sqlite }
    }

    /// The SQLite file.
    ///
    /// # Panics
    /// It is PostgreSQL.
    pub fn file(&self) -> PathBuf {
        Path::new(self.url.strip_prefix("sqlite://").expect("a SQLite file")).to_owned()
    }

    /// Runs a statement whose parameters `$1`, `$2`, … are text.
    ///
    /// # Panics
    /// The database refuses it.
    pub async fn run(&self, sql: &str, params: &[Option<&str>]) -> u64 {
        let done = match &self.pool {
            Pool::Sqlite(pool, _) => {
                let query = params
                    .iter()
                    .fold(sqlx::query(safe(sql)), |query, text| query.bind(text.map(ToOwned::to_owned)));
                query.execute(pool).await.map(|done| done.rows_affected())
            }
            Pool::Postgres(pool, _) => {
                let query = params
                    .iter()
                    .fold(sqlx::query(safe(sql)), |query, text| query.bind(text.map(ToOwned::to_owned)));
                query.execute(pool).await.map(|done| done.rows_affected())
            }
            Pool::MariaDb(pool, _) => {
                let (sql, order) = question_marks(sql);
                let query = order.iter().fold(sqlx::query(safe(&sql)), |query, at| {
                    query.bind(params[*at].map(ToOwned::to_owned))
                });
                query.execute(pool).await.map(|done| done.rows_affected())
            }
        };
        done.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs statements without parameters.
    ///
    /// # Panics
    /// The database refuses one.
    pub async fn execute(&self, sql: &str) {
        let done = match &self.pool {
            Pool::Sqlite(pool, _) => sqlx::raw_sql(safe(sql)).execute(pool).await.map(drop),
            Pool::Postgres(pool, _) => sqlx::raw_sql(safe(sql)).execute(pool).await.map(drop),
            Pool::MariaDb(pool, _) => {
                sqlx::raw_sql(safe(&definitions::adapted(sql))).execute(pool).await.map(drop)
            }
        };
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Inserts one row; a column may be written `name::type`, for a cast that PostgreSQL needs.
    ///
    /// # Panics
    /// The database refuses it.
    pub async fn insert(&self, table: &str, cells: &[(&str, Option<&str>)]) {
        let (mut names, mut places) = (Vec::new(), Vec::new());
        for (index, (column, _)) in cells.iter().enumerate() {
            let (name, kind) = column.split_once("::").unwrap_or((column, "text"));
            names.push(name);
            places.push(if self.is_postgres() {
                format!("${}::text::{kind}", index + 1)
            } else {
                format!("${}", index + 1)
            });
        }
        let sql = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "));
        let values: Vec<Option<&str>> = cells.iter().map(|(_, value)| *value).collect();
        self.run(&sql, &values).await;
    }

    /// Reads these columns of every row, as text and in the order of all of them.
    ///
    /// # Panics
    /// The database refuses.
    pub async fn table(&self, table: &str, columns: &[&str]) -> Vec<TextRow> {
        let text = if self.is_mariadb() { "char" } else { "text" };
        let cast: Vec<String> = columns.iter().map(|column| format!("CAST({column} AS {text})")).collect();
        let order: Vec<String> = (1..=columns.len()).map(|n| n.to_string()).collect();
        let sql = format!("SELECT {} FROM {table} ORDER BY {}", cast.join(", "), order.join(", "));
        self.rows(&sql).await
    }

    /// Runs a query all of whose columns are text.
    ///
    /// # Panics
    /// The database refuses it.
    pub async fn rows(&self, sql: &str) -> Vec<TextRow> {
        let rows: sqlx::Result<Vec<TextRow>> = match &self.pool {
            Pool::Sqlite(pool, _) => sqlx::query(safe(sql)).fetch_all(pool).await.and_then(|rows| {
                let row = |row: &sqlx::sqlite::SqliteRow| (0..row.len()).map(|at| row.try_get(at)).collect();
                rows.iter().map(row).collect()
            }),
            Pool::Postgres(pool, _) => sqlx::query(safe(sql)).fetch_all(pool).await.and_then(|rows| {
                let row = |row: &sqlx::postgres::PgRow| (0..row.len()).map(|at| row.try_get(at)).collect();
                rows.iter().map(row).collect()
            }),
            Pool::MariaDb(pool, _) => sqlx::query(safe(&sql.replace(" AS text)", " AS char)")))
                .fetch_all(pool)
                .await
                .and_then(|rows| {
                    let row =
                        |row: &sqlx::mysql::MySqlRow| (0..row.len()).map(|at| row.try_get(at)).collect();
                    rows.iter().map(row).collect()
                }),
        };
        rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Everything that shows whether a table was written to: on SQLite the bytes of the file, on PostgreSQL every
    /// row with the number of the transaction that wrote it, on MariaDB every row.
    ///
    /// # Panics
    /// The file or the table cannot be read.
    pub async fn fingerprint(&self, table: &str) -> Vec<String> {
        match &self.pool {
            Pool::Sqlite(..) => {
                let bytes = std::fs::read(self.file()).expect("the SQLite file");
                vec![bytes.iter().map(|byte| format!("{byte:02x}")).collect()]
            }
            Pool::Postgres(..) => {
                let sql = format!("SELECT concat(xmin, ' ', t) FROM {table} t ORDER BY 1");
                self.rows(&sql).await.into_iter().flatten().flatten().collect()
            }
            Pool::MariaDb(_, database) => {
                let columns = format!(
                    "SELECT CAST(column_name AS char) FROM information_schema.columns \
                     WHERE table_schema = '{}' AND table_name = '{table}' ORDER BY ordinal_position",
                    database.name()
                );
                let columns: Vec<String> =
                    self.rows(&columns).await.into_iter().flatten().flatten().collect();
                let sql = format!(
                    "SELECT CAST(JSON_ARRAY({}) AS char) FROM {table} ORDER BY 1",
                    columns.join(", ")
                );
                self.rows(&sql).await.into_iter().flatten().flatten().collect()
            }
        }
    }
}

/// A statement with `?` for each `$n`, and which parameter each of them is, counted from 0.
fn question_marks(sql: &str) -> (String, Vec<usize>) {
    let mut parts = sql.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    let mut order = Vec::new();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        match part[..digits].parse::<usize>() {
            Ok(number) => {
                order.push(number - 1);
                out.push('?');
            }
            Err(_) => out.push('$'),
        }
        out.push_str(&part[digits..]);
    }
    (out, order)
}

fn safe(sql: &str) -> impl SqlSafeStr + use<> {
    AssertSqlSafe(sql.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_parameters_become_question_marks_in_the_order_of_their_use() {
        let (sql, order) = question_marks("UPDATE t SET a = $2, b = '$' WHERE id = $1 OR c = $2");
        assert_eq!(sql, "UPDATE t SET a = ?, b = '$' WHERE id = ? OR c = ?");
        assert_eq!(order, [1, 0, 1]);
    }
}
