//! A database for one test, on a server that this project may have started.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::{Instant, sleep};

use crate::availability::Unavailable;
use crate::database_name::{fresh_name, with_database};

/// The name of the user and of nothing else: every connection comes from this machine, and needs no password.
pub(crate) const USER: &str = "tokenseal";

/// Durability off, because the data is thrown away; and room for tests with a hundred readers.
pub(crate) const SETTINGS: [&str; 6] = [
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "max_connections=300",
    "shared_buffers=64MB",
    "jit=off",
];

const READY_LIMIT: Duration = Duration::from_secs(60);

/// A database that exists for one test.
#[derive(Debug)]
pub struct TestDatabase {
    admin_url: String,
    name: String,
    url: String,
}

impl TestDatabase {
    /// Creates a database on the server with this address, for a user who may do so.
    ///
    /// # Panics
    /// The server refuses, or does not answer.
    pub async fn create(admin_url: &str, hint: &str) -> Self {
        let name = fresh_name(hint);
        execute(admin_url, format!("CREATE DATABASE {name}"))
            .await
            .unwrap_or_else(|error| panic!("cannot create the test database {name}: {error}"));
        let url = with_database(admin_url, &name);
        Self { admin_url: admin_url.to_owned(), name, url }
    }

    /// Its `postgres://` address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let url = self.admin_url.clone();
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A thread, because a drop cannot wait inside the test's own runtime. Best effort: the server may be gone.
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let limit = Duration::from_secs(5);
            let _ = runtime.block_on(async { tokio::time::timeout(limit, execute(&url, statement)).await });
            Ok::<_, std::io::Error>(())
        })
        .join();
    }
}

/// Waits until a server that has just been started answers.
pub(crate) async fn wait_until_ready(
    url: &str,
    mut check_alive: impl FnMut() -> Result<(), Unavailable>,
) -> Result<(), Unavailable> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        check_alive()?;
        match PgConnection::connect(url).await {
            Ok(connection) => {
                return connection.close().await.map_err(|error| Unavailable::new(error.to_string()));
            }
            Err(error) if Instant::now() > deadline => {
                return Err(Unavailable::while_doing("the server started but does not answer", error));
            }
            Err(_) => sleep(Duration::from_millis(25)).await,
        }
    }
}

/// The address of a server on a loopback port that this project started. Without TLS, since none is set up.
pub(crate) fn loopback_url(port: u16) -> String {
    format!("postgres://{USER}@127.0.0.1:{port}/postgres?sslmode=disable")
}

async fn execute(url: &str, statement: String) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}
