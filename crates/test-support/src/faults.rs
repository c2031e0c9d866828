//! Faults on demand, and the count of calls, for anything that replaces a key service.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

mod provider;

pub use provider::FaultyProvider;

/// The treatment of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<F> {
    /// It fails, without reaching its target.
    Fail(F),
    /// It never returns.
    Hang,
    /// It waits until [`Faults::heal`], and then goes through.
    Hold,
    /// It goes through after this time.
    Delay(Duration),
}

/// A switchboard that calls pass through: it counts them, and does to them what a test asked for.
///
/// Clones share one state, so that a test keeps a handle to the state it has passed on.
pub struct Faults<F> {
    shared: Arc<Shared<F>>,
}

struct Shared<F> {
    state: Mutex<State<F>>,
    /// Changes at every call.
    called: watch::Sender<()>,
    /// Changes when all faults are removed.
    healed: watch::Sender<()>,
    /// Changes with the rules.
    ruled: watch::Sender<()>,
}

struct State<F> {
    calls: BTreeMap<String, u64>,
    rules: Vec<Rule<F>>,
}

struct Rule<F> {
    operation: Option<String>,
    /// How many more calls it is for; all of them if `None`.
    remaining: Option<u64>,
    fault: Fault<F>,
}

impl<F: Copy> Faults<F> {
    /// A switchboard on which everything works.
    #[expect(clippy::new_without_default, reason = "a default would hide that nothing is broken yet")]
    pub fn new() -> Self {
        let state = State { calls: BTreeMap::new(), rules: Vec::new() };
        let shared = Shared {
            state: Mutex::new(state),
            called: watch::Sender::new(()),
            healed: watch::Sender::new(()),
            ruled: watch::Sender::new(()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Breaks every call from now on.
    pub fn always(&self, fault: Fault<F>) {
        self.add(Rule { operation: None, remaining: None, fault });
    }

    /// Breaks every call of one operation from now on.
    pub fn always_for(&self, operation: &str, fault: Fault<F>) {
        self.add(Rule { operation: Some(operation.to_owned()), remaining: None, fault });
    }

    /// Breaks the next calls, this many.
    pub fn next(&self, count: u64, fault: Fault<F>) {
        self.add(Rule { operation: None, remaining: Some(count), fault });
    }

    /// Breaks the next calls of one operation, this many.
    pub fn next_for(&self, operation: &str, count: u64, fault: Fault<F>) {
        self.add(Rule { operation: Some(operation.to_owned()), remaining: Some(count), fault });
    }

    /// Breaks every call from now on, and in no other way any more: no call goes through in between.
    pub fn instead(&self, fault: Fault<F>) {
        self.lock().rules = vec![Rule { operation: None, remaining: None, fault }];
        self.shared.ruled.send_replace(());
    }

    /// Makes everything work again, and lets held calls through. Hanging ones stay where they are.
    pub fn heal(&self) {
        self.lock().rules.clear();
        self.shared.healed.send_replace(());
        self.shared.ruled.send_replace(());
    }

    /// How often an operation was called, broken calls included.
    pub fn calls(&self, operation: &str) -> u64 {
        self.lock().calls.get(operation).copied().unwrap_or(0)
    }

    /// How often anything was called, broken calls included.
    pub fn total_calls(&self) -> u64 {
        self.lock().calls.values().sum()
    }

    /// Starts counting from zero.
    pub fn reset_calls(&self) {
        self.lock().calls.clear();
    }

    /// Waits until an operation has been called at least this often.
    ///
    /// # Panics
    /// That takes more than 30 seconds.
    pub async fn wait_for_calls(&self, operation: &str, count: u64) {
        let mut called = self.shared.called.subscribe();
        let enough = called.wait_for(|()| self.calls(operation) >= count);
        if tokio::time::timeout(Duration::from_secs(30), enough).await.is_err() {
            panic!("waited for call {count} of {operation}, saw {}", self.calls(operation));
        }
    }

    /// Counts a call and applies its fault; `Ok` lets it through.
    pub(crate) async fn pass(&self, operation: &str) -> Result<(), F> {
        let (fault, mut healed) = {
            let mut state = self.lock();
            *state.calls.entry(operation.to_owned()).or_default() += 1;
            // Subscribed under the same lock, so that no removal is missed.
            (state.take_fault(operation), self.shared.healed.subscribe())
        };
        self.shared.called.send_replace(());
        match fault {
            None => Ok(()),
            Some(Fault::Fail(failure)) => Err(failure),
            Some(Fault::Hang) => pending().await,
            Some(Fault::Hold) => {
                let _ = healed.changed().await;
                Ok(())
            }
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
        }
    }

    /// Waits until this holds of the fault that calls of every operation meet.
    pub(crate) async fn wait_for_rule(&self, mut holds: impl FnMut(Option<Fault<F>>) -> bool) {
        let mut ruled = self.shared.ruled.subscribe();
        // The sender lives as long as this handle.
        let _ = ruled.wait_for(|()| holds(self.everywhere())).await;
    }

    /// The fault that calls of every operation meet for now.
    pub(crate) fn everywhere(&self) -> Option<Fault<F>> {
        let state = self.lock();
        let first = state.rules.first()?;
        (first.operation.is_none() && first.remaining.is_none()).then_some(first.fault)
    }

    fn add(&self, rule: Rule<F>) {
        self.lock().rules.push(rule);
        self.shared.ruled.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State<F>> {
        self.shared.state.lock().expect("no test panics while it holds this lock")
    }
}

impl<F: Copy> State<F> {
    /// The oldest rule that applies, used up by one.
    fn take_fault(&mut self, operation: &str) -> Option<Fault<F>> {
        let applies = |rule: &Rule<F>| rule.operation.as_deref().is_none_or(|name| name == operation);
        let index = self.rules.iter().position(applies)?;
        let rule = &mut self.rules[index];
        let fault = rule.fault;
        if let Some(remaining) = &mut rule.remaining {
            *remaining -= 1;
            if *remaining == 0 {
                self.rules.remove(index);
            }
        }
        Some(fault)
    }
}

impl<F> Clone for Faults<F> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<F> fmt::Debug for Faults<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rules_apply_in_order_and_only_to_their_operation() {
        let faults = Faults::new();
        faults.next_for("a", 2, Fault::Fail(1));
        faults.next(1, Fault::Fail(2));
        assert_eq!(faults.pass("b").await, Err(2));
        assert_eq!(faults.pass("b").await, Ok(()));
        assert_eq!(faults.pass("a").await, Err(1));
        assert_eq!(faults.pass("a").await, Err(1));
        assert_eq!(faults.pass("a").await, Ok(()));
        assert_eq!((faults.calls("a"), faults.calls("b"), faults.total_calls()), (3, 2, 5));
    }

    #[tokio::test]
    async fn held_calls_go_through_once_healed() {
        let faults: Faults<()> = Faults::new();
        faults.always(Fault::Hold);
        let held = tokio::spawn({
            let faults = faults.clone();
            async move { faults.pass("a").await }
        });
        faults.wait_for_calls("a", 1).await;
        assert!(!held.is_finished());
        faults.heal();
        assert_eq!(held.await.expect("the call ends"), Ok(()));
    }
}
