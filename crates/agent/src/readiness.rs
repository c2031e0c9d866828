//! Readiness, from a stored state: a probe calls neither the database nor the key service.

use std::time::Duration;

use tokenseal::Telemetry;
use tokenseal::telemetry::Ready;
use tokio::sync::watch;

/// How often the database and the key service are asked.
const EVERY: Duration = Duration::from_secs(5);

/// The last state. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Serving(Ready),
    Stopping,
}

impl Readiness {
    pub(crate) fn new() -> Self {
        Self { state: watch::Sender::new(State::Serving(Ready::Starting)) }
    }

    /// Asks for ever.
    pub(crate) async fn keep(self, telemetry: Telemetry) {
        loop {
            self.ask(&telemetry).await;
            tokio::time::sleep(EVERY).await;
        }
    }

    pub(crate) async fn ask(&self, telemetry: &Telemetry) {
        let ready = telemetry.ready().await;
        self.state.send_if_modified(|state| match state {
            State::Serving(last) => {
                let changed = *last != ready;
                *last = ready;
                changed
            }
            State::Stopping => false,
        });
    }

    pub(crate) fn stop(&self) {
        self.state.send_replace(State::Stopping);
    }

    /// Whether requests can be served, and a line for the probe.
    pub(crate) fn now(&self) -> (bool, &'static str) {
        match *self.state.borrow() {
            State::Serving(ready) => (ready == Ready::Yes, ready.message()),
            State::Stopping => (false, "stopping"),
        }
    }
}
