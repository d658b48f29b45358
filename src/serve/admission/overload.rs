//! Notices overload: more requests come than can be answered. Also says which requests may still wait
//! then.
//!
//! A short burst is not overload: it fills the queue, and the queue drains. When arrivals outnumber
//! answers for longer ([`WINDOWS`]), a full queue would only make every answer late. Then a request is
//! admitted only if it will wait no longer than a few answers take, and one that has waited longer
//! when its turn comes is turned away and not computed. This follows CoDel (RFC 8289), which controls
//! the time in the queue and not its length. Clients that each wait for their answer before they ask
//! again do not count as overload while there are fewer than [`BURST`] of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Up to this many unanswered requests are not overload: a burst, or as many patient clients.
const BURST: usize = 20;

/// How many of the newest arrivals are compared with the answers given since. The short window notices
/// ten times too many requests within four answers, the long one a fifth too many within a hundred.
const WINDOWS: [usize; 2] = [36, 140];

/// Arrivals that are older than this no longer count.
const FORGET_AFTER: Duration = Duration::from_secs(5);

/// Weight of the newest answer in the running mean of answer times.
const NEWEST_SHARE: f64 = 0.2;

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Caller {
    /// A client that keeps its connection open: better told to come back than kept waiting for long.
    Client,
    /// A job, whose answer is fetched later.
    Job,
}

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::serve) struct OverloadDetector {
    /// When each request came, and how many had been answered by then; the newest last.
    arrivals: Mutex<VecDeque<(Instant, i64)>>,
    answered: AtomicI64,
    in_flight: Arc<AtomicUsize>,
    /// Running mean of the seconds that an answer takes.
    mean_seconds: Mutex<f64>,
    /// How long a request may wait during overload, in answer times.
    max_wait: f64,
}

/// Counts a question that waits for the model or is computed, until it is dropped.
#[derive(Debug)]
pub(in crate::serve) struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl OverloadDetector {
    pub(in crate::serve) fn new(max_wait: f64) -> Self {
        Self {
            arrivals: Mutex::default(),
            answered: AtomicI64::new(0),
            in_flight: Arc::default(),
            mean_seconds: Mutex::new(0.0),
            max_wait,
        }
    }

    /// Records that a request came, whether it is admitted or not.
    pub(in crate::serve) fn arrived(&self, now: Instant) {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if arrivals.len() >= WINDOWS[1] {
            arrivals.pop_front();
        }
        arrivals.push_back((now, self.answered.load(Ordering::Relaxed)));
    }

    /// Records that an admitted request is over, whatever its answer.
    pub(in crate::serve) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back one `answered`: an admitted request is turned away, and ends without an answer.
    pub(in crate::serve) fn turned_away(&self) {
        self.answered.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a question that goes to the model.
    pub(in crate::serve) fn track(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(&self.in_flight))
    }

    /// Whether more requests come than are answered.
    pub(in crate::serve) fn is_overloaded(&self, now: Instant) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        WINDOWS.into_iter().any(|window| {
            let first = arrivals.len().checked_sub(window);
            let first = first.and_then(|at| arrivals.get(at));
            first.is_some_and(|&(when, before)| {
                let meanwhile = answered - before;
                meanwhile < i64::try_from(window - BURST).unwrap_or(i64::MAX)
                    && now.duration_since(when) < FORGET_AFTER.max(self.mean() * 32)
            })
        })
    }

    /// Whether there is overload and a request that comes now would wait too long.
    pub(in crate::serve) fn would_wait_too_long(&self, now: Instant) -> bool {
        // One answer at a time: the number in front is the wait in answer times.
        self.in_flight.load(Ordering::Acquire) as f64 > self.max_wait && self.is_overloaded(now)
    }

    /// Whether there is overload and a request whose turn has come has waited too long.
    pub(in crate::serve) fn has_waited_too_long(&self, since: Instant, now: Instant) -> bool {
        let most = self.mean_seconds() * self.max_wait;
        most > 0.0 && now.duration_since(since).as_secs_f64() > most && self.is_overloaded(now)
    }

    /// Records how long one answer took.
    pub(in crate::serve) fn record(&self, time: Duration) {
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

    /// Running mean of the seconds that an answer takes; 0 before the first.
    pub(in crate::serve) fn mean_seconds(&self) -> f64 {
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

    fn detector() -> OverloadDetector {
        let detector = OverloadDetector::new(1.0);
        detector.record(ANSWER);
        detector
    }

    /// `each` arrivals for every answer, until `answers` answers are given.
    fn offer(detector: &OverloadDetector, mut now: Instant, each: f64, answers: u32) -> Instant {
        let mut owed = 0.0;
        for _ in 0..answers {
            owed += each;
            while owed >= 1.0 {
                detector.arrived(now);
                owed -= 1.0;
            }
            now += ANSWER;
            detector.answered();
        }
        now
    }

    #[test]
    fn bursts_and_patient_clients_are_no_overload() {
        let detector = detector();
        let mut now = Instant::now();
        for _ in 0..BURST {
            detector.arrived(now);
        }
        assert!(!detector.is_overloaded(now));
        // Each comes back when it has its answer, for ever.
        for _ in 0..1000 {
            now += ANSWER;
            detector.answered();
            detector.arrived(now);
            assert!(!detector.is_overloaded(now));
        }
        assert!(
            !detector.would_wait_too_long(now)
                && !detector.has_waited_too_long(now, now + ANSWER * 17)
        );
    }

    #[test]
    fn overload_is_seen_soon_and_forgotten() {
        let detector = detector();
        let start = Instant::now();
        let now = offer(&detector, start, 10.0, 4);
        assert!(detector.is_overloaded(now), "ten times too many");
        let places: Vec<_> = (0..2).map(|_| detector.track()).collect();
        assert!(
            detector.would_wait_too_long(now),
            "two are inside: one would wait for both"
        );
        assert!(detector.has_waited_too_long(now, now + ANSWER * 2));
        assert!(!detector.has_waited_too_long(now, now + ANSWER));
        drop(places);
        assert!(!detector.would_wait_too_long(now));
        assert!(!detector.is_overloaded(now + FORGET_AFTER + Duration::from_secs(1)));
        // As many as are answered.
        let now = offer(&detector, now, 1.0, 40);
        assert!(!detector.is_overloaded(offer(&detector, now, 1.0, 120)));

        let slowly = super::tests::detector();
        let now = offer(&slowly, start, 1.3, 60);
        assert!(!slowly.is_overloaded(now));
        assert!(
            slowly.is_overloaded(offer(&slowly, now, 1.3, 60)),
            "a third too many"
        );
    }
}
