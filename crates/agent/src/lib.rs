//! The agent: a service's neighbour that opens, seals and keeps its tokens over a Unix socket, for any language.
//!
//! `docs/agent.md` has its routes, its policy and how it is run.

mod agent;
pub mod audit;
mod body;
mod caller;
mod cli;
mod document;
mod error;
mod files;
mod gate;
mod listen;
mod metrics;
mod model;
mod named;
mod policy;
mod readiness;
mod reply;
mod routes;
mod rows;
mod searches;
mod serve;
mod tokens;

pub use agent::{Agent, Config};
pub use cli::{command, run};
pub use error::StartError;
pub use listen::Listener;
pub use policy::Policy;
pub use routes::openapi;
pub use tokens::Tokens;
