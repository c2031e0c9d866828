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

use sqlx::{Connection, PgConnection};
use tokio::sync::OnceCell;

use crate::availability::{Effort, Unavailable, announced};
use crate::docker::{self, PostgresContainer};
use crate::leash::Leash;

pub(crate) mod database;
pub(crate) mod local;
mod restartable;
mod wheel;

pub use database::TestDatabase;
use local::LocalServer;
pub use restartable::Restartable;

static SERVER: OnceCell<Result<Server, Unavailable>> = OnceCell::const_new();
/// A running server.
#[derive(Debug)]
pub struct Server {
    admin_url: String,
    how: String,
    _kept: Kept,
}

/// Lives as long as the server. Never read: dropping it stops the server.
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
        if let Some(url) = announced("TOKENSEAL_TEST_POSTGRES_URL") {
            return Self::existing(url?, "TOKENSEAL_TEST_POSTGRES_URL").await;
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

    /// The kind of server, for reports.
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
                Ok(server) => return Ok(server.into()),
                Err(reason) => reasons.push(format!("local programs: {reason}")),
            }
        }
        if wanted("wheel") {
            match wheel::start(effort).await {
                Ok(server) => return Ok(server.into()),
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

impl From<LocalServer> for Server {
    fn from(local: LocalServer) -> Self {
        Self { admin_url: local.admin_url, how: local.how, _kept: Kept::Process(local.leash) }
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

fn database_url() -> Option<String> {
    std::env::var("DATABASE_URL")
        .ok()
        .filter(|url| url.starts_with("postgres://") || url.starts_with("postgresql://"))
}
