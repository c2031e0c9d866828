//! Single flight: callers who want the same thing at the same time share one call.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use envelope_core::KeyError;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

/// The calls that are under way, by purpose.
///
/// Every waiting caller holds the call itself and can drive it on. So a cancelled caller delays no other and
/// costs no second call, a call without any waiting caller is dropped, and neither leaves anything.
pub(crate) struct SingleFlight<K, V> {
    board: Arc<Mutex<Board<K, V>>>,
}

type Outcome<V> = Result<V, KeyError>;
type Call<V> = BoxFuture<'static, Outcome<V>>;

struct Board<K, V> {
    flights: HashMap<K, (u64, WeakShared<Call<V>>)>,
    departed: u64,
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self { board: Arc::new(Mutex::new(Board { flights: HashMap::new(), departed: 0 })) }
    }

    /// Waits for the call under way for `key`, or for a new one.
    ///
    /// `landed` looks for a result that arrived since the caller last looked; `call` must store its result where
    /// `landed` finds it before it ends. An error is returned to all waiting callers, and is not remembered.
    pub(crate) async fn join<F>(
        &self,
        key: K,
        landed: impl FnOnce() -> Option<V>,
        call: impl FnOnce() -> F,
    ) -> Outcome<V>
    where
        F: Future<Output = Outcome<V>> + Send + 'static,
    {
        let flight = match self.board_or_start(key, landed, call) {
            Ok(value) => return Ok(value),
            Err(flight) => flight,
        };
        flight.await
    }

    fn board_or_start<F>(
        &self,
        key: K,
        landed: impl FnOnce() -> Option<V>,
        call: impl FnOnce() -> F,
    ) -> Result<V, Shared<Call<V>>>
    where
        F: Future<Output = Outcome<V>> + Send + 'static,
    {
        let mut board = lock(&self.board);
        if let Some(flight) = board.flights.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return Err(flight);
        }
        // A call that ended between the caller's look and the lock has left its result, and no flight.
        if let Some(value) = landed() {
            return Ok(value);
        }
        board.departed += 1;
        let number = board.departed;
        let landing = Landing { board: self.board.clone(), key: key.clone(), number };
        let call = call();
        let flight = async move {
            let _landing = landing;
            call.await
        }
        .boxed()
        .shared();
        if let Some(weak) = flight.downgrade() {
            board.flights.insert(key, (number, weak));
        }
        Err(flight)
    }
}

/// Takes a flight off the board when its call has ended or was dropped.
struct Landing<K: Eq + Hash, V> {
    board: Arc<Mutex<Board<K, V>>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut board = lock(&self.board);
        // Another caller may have started the next flight for the same key already.
        if board.flights.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            board.flights.remove(&self.key);
        }
    }
}

fn lock<K, V>(board: &Mutex<Board<K, V>>) -> std::sync::MutexGuard<'_, Board<K, V>> {
    // The board holds no half-made state: a panic elsewhere does not make it wrong.
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
