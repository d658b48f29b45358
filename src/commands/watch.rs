//! Shows the progress of a long library call, as progress bars and warnings.

use crate::evaluate::pass::Event;
use crate::report::{self, Progress};

/// Shows events. Dropping it removes its bar from the screen.
#[derive(Default)]
pub(super) struct Watcher {
    bar: Option<(String, Progress)>,
}

impl Watcher {
    pub(super) fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Progress { task, done, total } => {
                if self.bar.as_ref().is_none_or(|(shown, _)| shown != task) {
                    self.bar = Some((task.to_owned(), Progress::items(task)));
                }
                if let Some((_, bar)) = &mut self.bar {
                    bar.set(done, total);
                }
            }
            Event::LeftOut { photo } => self.warn(&format!("left out {photo}"), None),
            Event::NoColumn { name } => self.warn(
                &format!("the table has no column `{}`", report::printable(name)),
                Some("every photo gets the mapping's `missing` for it"),
            ),
        }
    }

    fn warn(&self, message: &str, hint: Option<&str>) {
        match &self.bar {
            Some((_, bar)) => bar.suspend(|| report::warn(message, hint)),
            None => report::warn(message, hint),
        }
    }
}
