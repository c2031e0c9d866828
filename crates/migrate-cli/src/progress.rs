//! Progress on standard error: a bar on a terminal, plain lines otherwise.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::note;

/// The minimum time between two lines of a log.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Draws the progress of a run.
pub(crate) struct Progress {
    verb: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
    done: u64,
    told: Option<u64>,
    silent: bool,
}

impl Progress {
    pub(crate) fn new(verb: &'static str, total: u64, silent: bool) -> Self {
        let bar = (!silent && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            #[expect(clippy::expect_used, reason = "the template is a constant")]
            let style =
                ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} tokens, {per_sec}, {eta} left")
                    .expect("the template is valid")
                    .progress_chars("=> ");
            bar.set_style(style);
            bar.set_message(verb);
            bar
        });
        Self { verb, total, bar, last_line: None, done: 0, told: None, silent }
    }

    pub(crate) fn update(&mut self, done: u64) {
        self.done = done;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.line();
        }
    }

    pub(crate) fn finish(mut self) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => self.line(),
        }
    }

    fn line(&mut self) {
        self.last_line = Some(Instant::now());
        if !self.silent && self.told.replace(self.done) != Some(self.done) {
            note(&format!("{} {}/{} tokens", self.verb, self.done, self.total));
        }
    }
}
