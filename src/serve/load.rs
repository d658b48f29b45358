//! Whether more requests come than can be answered, and what may still wait then.
//!
//! A burst is no overload: it fills the queue and drains. When more and more come than are answered
//! ([`WINDOWS`]), a queue would only make everybody late, so that then a request is let in only if
//! it will wait no longer than some times of one answer, and one that has waited longer when its
//! turn comes is sent away instead of computed (in the manner of CoDel, RFC 8289: it is the time in
//! the queue that is controlled, not its length). Clients that each wait for their answer before
//! they ask again never look like overload while they are fewer than [`BURST`]: so many may be
//! unanswered at any time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Requests that may be unanswered without that being overload: a burst, or so many clients.
const BURST: usize = 20;

/// Arrivals that are looked back upon: ten times too many are seen in the time of four answers, a
/// fifth too many in that of some hundred.
const WINDOWS: [usize; 2] = [36, 140];

/// Overload that is so long ago is over.
const MEMORY: Duration = Duration::from_secs(5);

/// Share of the newest time in the mean time of an answer.
const NEWEST_SHARE: f64 = 0.2;

/// How a question waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Somebody waits, and is better told to come back than kept waiting.
    Client,
    /// It is fetched later.
    Job,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Load {
    /// When requests came, and how many had been answered then; the newest last.
    arrivals: Mutex<VecDeque<(Instant, i64)>>,
    answered: AtomicI64,
    inside: Arc<AtomicUsize>,
    /// Mean seconds of an answer lately.
    mean_seconds: Mutex<f64>,
    /// Times of one answer that a request may wait while there is overload.
    most_wait: f64,
}

/// A question that waits for the model or is computed. Leaves when dropped.
#[derive(Debug)]
pub(super) struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Load {
    pub(super) fn new(most_wait: f64) -> Self {
        Self {
            arrivals: Mutex::default(),
            answered: AtomicI64::new(0),
            inside: Arc::default(),
            mean_seconds: Mutex::new(0.0),
            most_wait,
        }
    }

    /// A request came, whether it is let in or not.
    pub(super) fn arrived(&self, now: Instant) {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if arrivals.len() >= WINDOWS[1] {
            arrivals.pop_front();
        }
        arrivals.push_back((now, self.answered.load(Ordering::Relaxed)));
    }

    /// A request that was let in is over, whatever its answer.
    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that was let in is sent away after all, and will be over without an answer.
    pub(super) fn sent_away(&self) {
        self.answered.fetch_sub(1, Ordering::Relaxed);
    }

    /// A question goes to the model.
    pub(super) fn enter(&self) -> Inside {
        self.inside.fetch_add(1, Ordering::AcqRel);
        Inside(Arc::clone(&self.inside))
    }

    /// Whether more come than are answered.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        WINDOWS.into_iter().any(|window| {
            let first = arrivals.len().checked_sub(window);
            let first = first.and_then(|at| arrivals.get(at));
            first.is_some_and(|&(when, before)| {
                let meanwhile = answered - before;
                meanwhile < i64::try_from(window - BURST).unwrap_or(i64::MAX)
                    && now.duration_since(when) < MEMORY.max(self.mean() * 32)
            })
        })
    }

    /// Whether a request that comes now would wait too long.
    pub(super) fn would_wait(&self, now: Instant) -> bool {
        // Both in times of one answer.
        self.inside.load(Ordering::Acquire) as f64 > self.most_wait && self.is_over(now)
    }

    /// Whether a request whose turn has come has waited too long.
    pub(super) fn has_waited(&self, since: Instant, now: Instant) -> bool {
        let most = self.mean_seconds() * self.most_wait;
        most > 0.0 && now.duration_since(since).as_secs_f64() > most && self.is_over(now)
    }

    /// One answer took so long.
    pub(super) fn took(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let mut mean = self
            .mean_seconds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *mean = if *mean == 0.0 {
            seconds
        } else {
            *mean + (seconds - *mean) * NEWEST_SHARE
        };
    }

    /// Mean seconds that one answer took lately; 0 before the first.
    pub(super) fn mean_seconds(&self) -> f64 {
        let mean = self.mean_seconds.lock();
        *mean.unwrap_or_else(PoisonError::into_inner)
    }

    fn mean(&self) -> Duration {
        Duration::try_from_secs_f64(self.mean_seconds()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Duration = Duration::from_millis(20);

    fn load() -> Load {
        let load = Load::new(1.0);
        load.took(ANSWER);
        load
    }

    /// So many arrivals for each answer, for so many answers.
    fn offer(load: &Load, mut now: Instant, each: f64, answers: u32) -> Instant {
        let mut owed = 0.0;
        for _ in 0..answers {
            owed += each;
            while owed >= 1.0 {
                load.arrived(now);
                owed -= 1.0;
            }
            now += ANSWER;
            load.answered();
        }
        now
    }

    #[test]
    fn bursts_and_patient_clients_are_no_overload() {
        let load = load();
        let mut now = Instant::now();
        for _ in 0..BURST {
            load.arrived(now);
        }
        assert!(!load.is_over(now));
        // Each comes back when it has its answer, for ever.
        for _ in 0..1000 {
            now += ANSWER;
            load.answered();
            load.arrived(now);
            assert!(!load.is_over(now));
        }
        assert!(!load.would_wait(now) && !load.has_waited(now, now + ANSWER * 17));
    }

    #[test]
    fn overload_is_seen_soon_and_forgotten() {
        let load = load();
        let start = Instant::now();
        let now = offer(&load, start, 10.0, 4);
        assert!(load.is_over(now), "ten times too many");
        let places: Vec<_> = (0..2).map(|_| load.enter()).collect();
        assert!(
            load.would_wait(now),
            "two are inside: one would wait for both"
        );
        assert!(load.has_waited(now, now + ANSWER * 2));
        assert!(!load.has_waited(now, now + ANSWER));
        drop(places);
        assert!(!load.would_wait(now));
        assert!(!load.is_over(now + MEMORY + Duration::from_secs(1)));
        // As many as are answered.
        let now = offer(&load, now, 1.0, 40);
        assert!(!load.is_over(offer(&load, now, 1.0, 120)));

        let slowly = super::tests::load();
        let now = offer(&slowly, start, 1.3, 60);
        assert!(!slowly.is_over(now));
        assert!(
            slowly.is_over(offer(&slowly, now, 1.3, 60)),
            "a third too many"
        );
    }
}
