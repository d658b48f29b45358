//! Small requests to a server while it works on photos.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Pause between two requests, so that they take little time from the server.
const PAUSE: Duration = Duration::from_millis(250);

/// Longest page of metrics that is read.
const MAX_PAGE_BYTES: u64 = 1 << 20;

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .build();
    config.into()
}

/// Requests that wait or are computed, as `/metrics` counts them; `None` if the server does not tell.
#[must_use]
pub fn requests_in_flight(url: &str) -> Option<u64> {
    let mut response = agent().get(format!("{url}/metrics")).call().ok()?;
    let page = response.body_mut().with_config().limit(MAX_PAGE_BYTES);
    let page = page.read_to_string().ok()?;
    let mut lines = page.lines();
    let count = lines.find_map(|line| line.strip_prefix("dermal_requests_inside "))?;
    count.trim().parse().ok()
}

/// Asks for `/health` until it is stopped, as a platform's health check does.
#[derive(Debug)]
pub struct HealthWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Option<Duration>>,
}

impl HealthWatch {
    /// Starts at once.
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
                // An error means that the server is gone, which the caller notices anyway.
                if agent.get(&url).call().is_ok() {
                    slowest = slowest.max(Some(since.elapsed()));
                }
                // Parked and not asleep, so that `stop` does not have to wait.
                std::thread::park_timeout(PAUSE);
            }
            slowest
        });
        Self { stop, thread }
    }

    /// Stops, and returns the time of the slowest answer; `None` if there was none.
    #[must_use]
    pub fn stop(self) -> Option<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().ok().flatten()
    }
}
