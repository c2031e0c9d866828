//! Captured log events: each with its level, target, fields and spans.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Makes this the subscriber of this thread.
///
/// While a process has only one, `tracing` asks the thread that first reaches an event whether any subscriber
/// will ever listen to it; a test that runs in parallel would say no, for all threads. So two more are kept
/// that get no events.
pub(crate) fn listen(subscriber: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    static KEPT: OnceLock<[Dispatch; 2]> = OnceLock::new();
    KEPT.get_or_init(|| [(); 2].map(|()| Dispatch::new(tracing_subscriber::registry())));
    tracing::subscriber::set_default(subscriber)
}

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) fields: BTreeMap<String, String>,
    /// The names of the spans that it happened in, the outermost first.
    pub(crate) spans: Vec<&'static str>,
}

impl Heard {
    /// A field, or the empty string where the event does not have it.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// Everything that happens on this thread while it lives, at every level, of every crate.
pub(crate) struct Ear {
    heard: Arc<Mutex<Vec<Heard>>>,
    _listening: DefaultGuard,
}

impl Ear {
    /// Listens to everything.
    pub(crate) fn open() -> Self {
        Self::to(|_| true)
    }

    /// Listens to what passes.
    pub(crate) fn to(passes: impl Fn(&Metadata<'_>) -> bool + Send + Sync + 'static) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let layer = Recorder(heard.clone()).with_filter(FilterFn::new(passes));
        Self { heard, _listening: listen(tracing_subscriber::registry().with(layer)) }
    }

    /// Everything so far.
    pub(crate) fn all(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// The audit events so far; forgets everything, so that the next call returns only new events.
    pub(crate) fn audit(&self) -> Vec<Heard> {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        heard.into_iter().filter(|event| event.target == token_store::audit::TARGET).collect()
    }
}

struct Recorder(Arc<Mutex<Vec<Heard>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let scope = context.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        self.0.lock().unwrap().push(Heard {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            fields: fields.0,
            spans: scope.map(|span| span.name()).collect(),
        });
    }
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}
