//! Real servers, emulators, fault injection and vectors for the tests of this workspace.
//!
//! Nothing here is published, and nothing but `tests/` may depend on it. A test that needs a real server says
//! so in its first line:
//!
//! ```no_run
//! # async fn a_migration_survives() {
//! let database = test_support::part!(postgres);
//! println!("{}", database.url());
//! # }
//! ```
//!
//! Where the part cannot run, the test ends there, and is recorded as not run: see [`parts`].
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a failing helper has to fail the test that called it"
)]
#![expect(clippy::print_stderr, reason = "a test that did not run says so where people look")]

pub mod availability;
pub mod docker;
pub mod emf;
pub mod emulator;
pub mod faults;
pub mod http;
pub mod mariadb;
pub mod moto;
pub mod oauth;
pub mod openbao;
pub mod parts;
pub mod postgres;
pub mod prometheus;
pub mod proxy;
pub mod servers;
pub mod sql;
pub mod vectors;

mod database_name;
mod leash;
mod paths;
mod process;
mod unprivileged;
mod wheel;

pub use availability::Unavailable;

/// Gets a part that a test needs, or ends the test as "not run" where this machine does not have it.
///
/// - `part!(postgres)` is a fresh [`postgres::TestDatabase`];
/// - `part!(mariadb)` is a fresh [`mariadb::TestDatabase`];
/// - `part!(docker)` is a [`docker::Engine`];
/// - `part!(moto)` is a [`moto::Moto`];
/// - `part!(openbao)` is an [`openbao::OpenBao`];
/// - `part!(prometheus)` is a [`prometheus::Program`];
/// - `part!(root)` and `part!(core_dumps)` are `()`: abilities of the process, or of the machine.
///
/// A test that returns something names it: `part!(postgres, Ok(()))`.
#[macro_export]
macro_rules! part {
    ($part:ident) => {
        $crate::part!($part, ())
    };
    ($part:ident, $otherwise:expr) => {{
        fn here() {}
        let test = $crate::parts::test_name(env!("CARGO_PKG_NAME"), &here);
        match $crate::parts::settle(stringify!($part), &test, $crate::parts::$part(&test).await) {
            Some(handle) => handle,
            None => return $otherwise,
        }
    }};
}

/// Runs one body on PostgreSQL and on SQLite, as two tests named after the promise. The body gets a [`sql::Sql`].
#[macro_export]
macro_rules! on_postgresql_and_sqlite {
    ($(async fn $name:ident($db:ident) $body:block)+) => {
        $(mod $name {
            #[allow(unused_imports, reason = "not every body needs what its module imports")]
            use super::*;

            async fn holds($db: $crate::sql::Sql) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                holds($crate::sql::Sql::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql() {
                let database = $crate::part!(postgres);
                holds($crate::sql::Sql::postgres(database).await).await;
            }
        })+
    };
}
