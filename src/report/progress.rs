//! Progress bars: on stderr, on a terminal, and only for work that takes a while.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is done sooner than this shows no bar.
const PATIENCE: Duration = Duration::from_millis(400);

/// The progress of one task. Dropping it removes it from the screen.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    shown: bool,
}

impl Progress {
    /// Progress in bytes.
    #[must_use]
    pub fn bytes(task: &str) -> Self {
        Self::new(task, "{binary_bytes}/{binary_total_bytes}")
    }

    /// Progress in items, such as photos.
    #[must_use]
    pub fn items(task: &str) -> Self {
        Self::new(task, "{pos}/{len}, {eta} left")
    }

    fn new(task: &str, numbers: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let template = format!("{{prefix}} {{bar:30}} {numbers}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("█▌ "));
        }
        bar.set_prefix(task.to_owned());
        Self {
            bar,
            started: Instant::now(),
            shown: false,
        }
    }

    /// Shows that `done` of `total` is done.
    pub fn set(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        if !self.shown && self.started.elapsed() > PATIENCE {
            // indicatif draws nothing unless stderr is a terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.shown = true;
        }
        self.bar.set_position(done);
    }

    /// Runs `print` with the bar hidden, so that lines do not mix.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
