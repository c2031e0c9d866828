//! A real PostgreSQL server, shared by the tests of a process, with a database of its own for each test.
//!
//! The server is the first of these that there is:
//!
//! 1. `TOKENSEAL_TEST_POSTGRES_URL`, which `cargo xtask test` sets to the server that it started;
//! 2. `DATABASE_URL`, if it is a `postgres://` one: its user must be allowed to create databases;
//! 3. a container, where a container engine answers and has a PostgreSQL image (see [`docker`]);
//! 4. the machine's own PostgreSQL programs;
//! 5. PostgreSQL from a Python wheel, if an earlier `cargo xtask test` installed it.
//!
//! `TOKENSEAL_TEST_POSTGRES` set to `container`, `local` or `wheel` allows only that one of the last three.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::docker::{self, PostgresContainer};
use crate::leash::Leash;
use crate::parts::{self, Effort, Unavailable};

mod local;
mod wheel;

pub(crate) use local::{bin_dir, initdb_for_image};

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

static SERVER: OnceCell<Result<Server, Unavailable>> = OnceCell::const_new();
static NEXT_DATABASE: AtomicU32 = AtomicU32::new(0);

/// A running server.
#[derive(Debug)]
pub struct Server {
    admin_url: String,
    how: String,
    _kept: Kept,
}

/// What has to live as long as the server. Never read: dropping it stops the server.
#[derive(Debug)]
#[expect(dead_code, reason = "held for their Drop")]
pub(crate) enum Kept {
    Elsewhere,
    Process(Leash),
    Container(Box<PostgresContainer>),
}

impl Server {
    /// Finds or starts a server.
    ///
    /// # Errors
    /// None of the ways worked; the text says why for each.
    pub async fn find(effort: Effort) -> Result<Self, Unavailable> {
        if let Some(announced) = parts::announced("TOKENSEAL_TEST_POSTGRES_URL") {
            return Self::existing(announced?, "TOKENSEAL_TEST_POSTGRES_URL").await;
        }
        if let Some(url) = database_url() {
            return Self::existing(url, "DATABASE_URL").await;
        }
        Self::start(effort).await
    }

    /// The address of the database that is there from the start, for a user who may create others.
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// In words, what kind of server this is.
    pub fn how(&self) -> &str {
        &self.how
    }

    /// Creates a database, named after the hint.
    ///
    /// # Panics
    /// The server refuses.
    pub async fn database(&self, hint: &str) -> TestDatabase {
        TestDatabase::create(&self.admin_url, hint).await
    }

    async fn existing(url: String, source: &str) -> Result<Self, Unavailable> {
        PgConnection::connect(&url).await.map_err(|error| {
            Unavailable::while_doing(&format!("the server of {source} does not answer"), error)
        })?;
        Ok(Self { admin_url: url, how: source.to_owned(), _kept: Kept::Elsewhere })
    }

    async fn start(effort: Effort) -> Result<Self, Unavailable> {
        let only = std::env::var("TOKENSEAL_TEST_POSTGRES").unwrap_or_default();
        let wanted = |route: &str| only.is_empty() || only == route;
        let mut reasons = Vec::new();
        if wanted("container") {
            match Self::in_container(effort).await {
                Ok(server) => return Ok(server),
                Err(reason) => reasons.push(format!("container: {reason}")),
            }
        }
        if wanted("local") {
            match local::start_installed().await {
                Ok(server) => return Ok(server),
                Err(reason) => reasons.push(format!("local programs: {reason}")),
            }
        }
        if wanted("wheel") {
            match wheel::start(effort).await {
                Ok(server) => return Ok(server),
                Err(reason) => reasons.push(format!("wheel: {reason}")),
            }
        }
        Err(Unavailable::new(format!("no PostgreSQL ({})", reasons.join("; "))))
    }

    async fn in_container(effort: Effort) -> Result<Self, Unavailable> {
        let engine = docker::Engine::find(effort).await?;
        let container = engine.postgres().await?;
        Ok(Self {
            admin_url: container.admin_url().to_owned(),
            how: format!("container of {}, {}", engine.image(), engine.version()),
            _kept: Kept::Container(Box::new(container)),
        })
    }
}

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

/// The server that the tests of this process share.
///
/// # Errors
/// There is none, and none can be started here.
pub async fn server() -> Result<&'static Server, Unavailable> {
    SERVER.get_or_init(|| Server::find(Effort::UseWhatIsThere)).await.as_ref().map_err(Clone::clone)
}

/// A fresh database, named after the hint, on the shared server.
///
/// # Errors
/// There is no server, and none can be started here.
///
/// # Panics
/// The server refuses to create a database.
pub async fn try_database(hint: &str) -> Result<TestDatabase, Unavailable> {
    Ok(server().await?.database(hint).await)
}

/// A fresh database, named after the hint, on the shared server.
///
/// # Panics
/// There is no server. A test that should be skipped then says [`part!(postgres)`](crate::part) instead.
pub async fn database(hint: &str) -> TestDatabase {
    try_database(hint).await.unwrap_or_else(|reason| panic!("{reason}"))
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

fn database_url() -> Option<String> {
    std::env::var("DATABASE_URL")
        .ok()
        .filter(|url| url.starts_with("postgres://") || url.starts_with("postgresql://"))
}

async fn execute(url: &str, statement: String) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}

/// A name that no other test of any process has, now or earlier, on a server that may be shared.
fn fresh_name(hint: &str) -> String {
    let words: String = hint
        .rsplit("::")
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .take(24)
        .collect();
    let number = NEXT_DATABASE.fetch_add(1, Ordering::Relaxed);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    format!("t_{words}_{:x}_{time:x}_{number}", std::process::id())
}

fn with_database(url: &str, name: &str) -> String {
    let (address, parameters) = match url.split_once('?') {
        Some((address, parameters)) => (address, Cow::from(format!("?{parameters}"))),
        None => (url, Cow::from("")),
    };
    let authority_start = address.find("://").map_or(0, |scheme| scheme + 3);
    let authority_end =
        address[authority_start..].find('/').map_or(address.len(), |slash| authority_start + slash);
    format!("{}/{name}{parameters}", &address[..authority_end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_replaces_the_one_in_an_address_of_any_shape() {
        for (url, expected) in [
            ("postgres://u:p@h:1/postgres", "postgres://u:p@h:1/t"),
            ("postgres://u@h/a?sslmode=disable", "postgres://u@h/t?sslmode=disable"),
            ("postgresql://h", "postgresql://h/t"),
        ] {
            assert_eq!(with_database(url, "t"), expected);
        }
    }

    #[test]
    fn database_names_are_plain_identifiers_that_never_repeat() {
        let long = "it::migration::A token refreshed — meanwhile, between read and write, survives";
        let (one, two) = (fresh_name(long), fresh_name(long));
        assert_ne!(one, two);
        assert!(one.len() < 63 && one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{one}");
    }
}
