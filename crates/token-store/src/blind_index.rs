//! Blind indexes: sealed values that can still be found, and that the database can still keep unique.
//!
//! Each column has a key of its own, made by the key service and stored wrapped in `tokenseal_index_keys`. While it is
//! rotated there are two: new indexes are written under the active one, look-ups compare with both. Which one is active is
//! decided in the transaction of each write, so that no index is written under a key that is gone.

mod check;
mod held;
mod keys;
mod rewrap;
mod rotate;
mod wrapped;

pub(crate) use check::{IndexProblem, check_index};
pub(crate) use held::{Draft, HeldKeys, LayoutKeys};
pub(crate) use keys::Make;
pub(crate) use rewrap::rewrap_keys;
pub use rotate::{IndexColumn, RotateReport, rotate};
pub(crate) use rotate::{ReindexGoal, plan_reindex};
