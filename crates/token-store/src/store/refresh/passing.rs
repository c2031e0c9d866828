//! Failures of the database that pass by themselves: it is restarted, or has too many connections.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{DatabaseError, StoreError};

/// The longest pause between two attempts.
const LONGEST: Duration = Duration::from_millis(500);

/// Whether the same statement may succeed as soon as the database is back.
pub(super) fn is_passing(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(error) if comes_back(error))
}

/// PostgreSQL: an administrator or a crash ended the connection, starting up, too many connections. MariaDB and MySQL: too
/// many connections, shutdown, connection ended.
fn comes_back(error: &DatabaseError) -> bool {
    const CODES: [&str; 7] = ["57P01", "57P02", "57P03", "53300", "1040", "1053", "1927"];
    let known = error.code.as_deref().is_some_and(|code| CODES.contains(&code));
    error.unreachable || error.is_transient() || known
}

/// Repeats an operation that fails because the database is unavailable, until a deadline.
pub(super) async fn persist<T, F: Future<Output = Result<T, StoreError>>>(
    until: Instant,
    mut work: impl FnMut() -> F,
) -> Result<T, StoreError> {
    let mut pause = Duration::from_millis(20);
    loop {
        match work().await {
            Err(error) if is_passing(&error) && Instant::now() < until => {}
            done => return done,
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// Between a half and all of a time, so that waiting callers do not retry together.
pub(super) fn jittered(time: Duration) -> Duration {
    time.mul_f64(rand::random_range(0.5..=1.0))
}
