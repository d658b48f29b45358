//! Small questions to a server that works on photos meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two questions, so that asking takes little of what is asked about.
const EVERY: Duration = Duration::from_millis(250);

/// Longest page of metrics that is read.
const MAX_PAGE_BYTES: u64 = 1 << 20;

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build();
    config.into()
}

/// Requests that wait or are computed, as `/metrics` counts them; `None` if it does not say.
#[must_use]
pub fn requests_inside(url: &str) -> Option<u64> {
    let mut response = agent().get(format!("{url}/metrics")).call().ok()?;
    let page = response.body_mut().with_config().limit(MAX_PAGE_BYTES);
    let page = page.read_to_string().ok()?;
    let mut lines = page.lines();
    let count = lines.find_map(|line| line.strip_prefix("dermal_requests_inside "))?;
    count.trim().parse().ok()
}

/// Asks for `/health` until it is stopped, as a platform's health check does.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Option<Duration>>,
}

impl Watch {
    /// Begins at once.
    #[must_use]
    pub fn start(url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let url = format!("{url}/health");
        let thread = std::thread::spawn(move || {
            let agent = agent();
            let mut slowest = None;
            while !stopped.load(Ordering::Relaxed) {
                let since = Instant::now();
                // One that breaks tells of a server that is gone, which shows elsewhere.
                if agent.get(&url).call().is_ok() {
                    slowest = slowest.max(Some(since.elapsed()));
                }
                // Not slept: who stops it does not wait.
                std::thread::park_timeout(EVERY);
            }
            slowest
        });
        Self { stop, thread }
    }

    /// The slowest answer; `None` if there was none.
    #[must_use]
    pub fn stop(self) -> Option<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().ok().flatten()
    }
}
