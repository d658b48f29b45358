//! Is a deployed server healthy: asked over HTTP, from outside.
//!
//! In: [`Options`]. Out: [`Facts`], what was seen, and [`Facts::findings`], what it means. The server
//! is `dermal serve`, or one with the same paths; what it does not offer (`/memory`) is left out.
//!
//! Not here: printing, exit codes (`commands`).

mod burst;
mod verdict;
mod watch;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

pub use burst::{Burst, Reply};
pub use verdict::{Finding, Percentiles};
pub use watch::{Watch, requests_inside};

/// Longest answer that is read: a heat map of 4096 pixels as base64.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Longest wait for one answer, once the server is awake.
const ANSWER_PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks at a server that is not ready, and at its memory.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// While it goes on, one photo in so many asks for a heat map.
const HEAT_MAP_EVERY: usize = 10;

/// While it goes on, so often several photos come at once.
const BURST_EVERY: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server, without a trailing slash.
    pub url: String,
    /// Photo files, at least one.
    pub photos: Vec<Vec<u8>>,
    /// Requests one after the other, and as many again at once.
    pub requests: usize,
    /// Requests at once.
    pub parallel: usize,
    /// How long to go on after that.
    pub soak: Option<Duration>,
    /// Requests a second while it goes on.
    pub rps: f64,
    /// How long the first answer may take.
    pub patience: Duration,
    /// Bytes an hour that memory may grow.
    pub max_growth: u64,
    /// Shown as `Authorization: Bearer`.
    pub api_key: Option<String>,
}

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It does not answer at all.
    #[error("`{url}` does not answer")]
    Silent {
        /// The address.
        url: String,
        /// What the last try said.
        source: Box<ureq::Error>,
    },
    /// There is nothing to send.
    #[error("there are no photos to send")]
    NoPhotos,
    /// The address is none.
    #[error("`{0}` is no address of a server")]
    Url(String),
}

impl ProbeError {
    /// A stable name of the kind of error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Silent { .. } => "silent",
            Self::NoPhotos => "no_photos",
            Self::Url(_) => "url",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Silent { .. } => {
                "check the address and the platform's log; `--patience` waits longer for a server \
                 that sleeps"
            }
            Self::NoPhotos => "give a folder with JPEG files, or leave `--images` out",
            Self::Url(_) => "write https://host or http://host:port",
        }
    }
}

/// The server's own counters; absent ones are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident now.
    pub rss_bytes: Option<u64>,
    /// Resident at most.
    pub peak_rss_bytes: Option<u64>,
    /// What it may use.
    pub limit_bytes: Option<u64>,
}

/// Answers to a series of photos.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Series {
    /// Answered with 200.
    pub answered: usize,
    /// Told to come back (429).
    pub busy: usize,
    /// Anything else; the first few say what.
    pub failed: usize,
    /// Requests that the server answered, whatever it said.
    #[serde(skip)]
    heard: usize,
    /// What went wrong first.
    pub failures: Vec<String>,
    /// Milliseconds of those answered.
    pub latency_ms: Percentiles,
    #[serde(skip)]
    times: Vec<f64>,
}

/// What became of a heat map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeatMap {
    /// A picture came.
    Present,
    /// The server makes none.
    SwitchedOff,
    /// It should have come.
    Missing(String),
}

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The server.
    pub url: String,
    /// Seconds until it was ready: the cold start, if it slept.
    pub ready_after_s: f64,
    /// Whether it became ready at all.
    pub ready: bool,
    /// Before the photos.
    pub memory_before: Memory,
    /// After them.
    pub memory_after: Memory,
    /// Photos one after the other.
    pub sequential: Series,
    /// Photos at once.
    pub parallel: Series,
    /// The heat map.
    pub heat_map: HeatMap,
    /// Photos while it went on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
    /// What the server counted meanwhile beside what was sent; `None` if it does not say.
    pub ledger: Option<Ledger>,
}

/// Requests for predictions that were answered, counted on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Answers that came here.
    pub client: u64,
    /// Answers that the server counted; more than here if it has other clients.
    pub server: u64,
}

/// What was seen while it went on.
#[derive(Clone, Debug, Serialize)]
pub struct Soak {
    /// How long.
    pub minutes: f64,
    /// The photos.
    pub series: Series,
    /// Resident bytes by minutes.
    pub rss_bytes: Vec<(f64, u64)>,
    /// Growth over the last four fifths, least squares; `None` for too few samples.
    pub growth_bytes_per_hour: Option<f64>,
}

struct Client<'a> {
    agent: ureq::Agent,
    options: &'a Options,
    /// Numbers requests, so that photos take turns.
    sent: AtomicUsize,
}

/// Asks a server. `progress` is called with what is being done.
///
/// # Errors
/// [`ProbeError`] if it never answers. What it answers is in the facts, however bad.
pub fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Facts, ProbeError> {
    if options.photos.is_empty() {
        return Err(ProbeError::NoPhotos);
    }
    if !options.url.starts_with("http://") && !options.url.starts_with("https://") {
        return Err(ProbeError::Url(options.url.clone()));
    }
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_PATIENCE))
        .build();
    let client = Client {
        agent: config.into(),
        options,
        sent: AtomicUsize::new(0),
    };
    progress("waiting until it is ready");
    let started = Instant::now();
    let ready = client.wait_until_ready()?;
    let ready_after_s = started.elapsed().as_secs_f64();
    let memory_before = client.memory();
    let counted_before = client.counted();
    progress("one photo after the other");
    let sequential = client.series(options.requests, 1);
    progress("several photos at once");
    let parallel = client.series(options.requests.max(options.parallel), options.parallel);
    progress("a heat map");
    let heat_map = client.heat_map();
    let maps = heat_map == HeatMap::Present;
    let soak = (options.soak).map(|duration| client.soak(duration, maps, progress));
    let heard = [&sequential, &parallel].map(|series| series.heard);
    let heard = heard.iter().sum::<usize>() + soak.as_ref().map_or(0, |soak| soak.series.heard);
    // And the heat map.
    let sent = heard as u64 + 1;
    let counted = counted_before.zip(client.counted());
    let ledger = counted.map(|(before, after)| Ledger {
        client: sent,
        server: after.saturating_sub(before),
    });
    Ok(Facts {
        url: options.url.clone(),
        ready_after_s,
        ready,
        memory_before,
        memory_after: client.memory(),
        sequential,
        parallel,
        heat_map,
        soak,
        ledger,
    })
}

impl Client<'_> {
    /// Status and body of an answer.
    fn get(&self, path: &str) -> Result<(u16, Vec<u8>), ureq::Error> {
        let mut response = self
            .agent
            .get(format!("{}{path}", self.options.url))
            .call()?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES);
        Ok((status, body.read_to_vec()?))
    }

    fn post(&self, path: &str) -> Result<(u16, Vec<u8>), ureq::Error> {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let photos = &self.options.photos;
        let photo = &photos[number % photos.len()];
        let mut request = self
            .agent
            .post(format!("{}{path}", self.options.url))
            .header("content-type", "application/octet-stream")
            // It is the model that is asked, not the memory of its answers.
            .header("cache-control", "no-cache");
        if let Some(key) = &self.options.api_key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(&photo[..])?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES);
        Ok((status, body.read_to_vec()?))
    }

    /// Whether the server became ready. One without `/readyz` is taken to be ready when it answers.
    fn wait_until_ready(&self) -> Result<bool, ProbeError> {
        let started = Instant::now();
        loop {
            let last = match self.get("/readyz") {
                Ok((200 | 404, _)) => return Ok(true),
                Ok(_) => None,
                Err(error) => Some(error),
            };
            if started.elapsed() >= self.options.patience {
                return match last {
                    None => Ok(false),
                    Some(source) => Err(ProbeError::Silent {
                        url: self.options.url.clone(),
                        source: Box::new(source),
                    }),
                };
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn memory(&self) -> Memory {
        let document = match self.get("/memory") {
            Ok((200, body)) => serde_json::from_slice(&body).unwrap_or(Value::Null),
            _ => Value::Null,
        };
        let bytes = |name: &str| document[name].as_u64();
        Memory {
            rss_bytes: bytes("rss_bytes"),
            peak_rss_bytes: bytes("peak_rss_bytes"),
            limit_bytes: bytes("limit_bytes"),
        }
    }

    /// Requests for predictions that the server has answered so far, if it says.
    fn counted(&self) -> Option<u64> {
        let (200, body) = self.get("/metrics").ok()? else {
            return None;
        };
        let text = String::from_utf8(body).ok()?;
        let lines = text.lines();
        let ours = lines.filter(|l| l.starts_with("dermal_requests_total{route=\"/predict\""));
        Some(
            ours.filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
                .sum(),
        )
    }

    /// Sends `count` photos, `at_once` at a time.
    fn series(&self, count: usize, at_once: usize) -> Series {
        let series = Mutex::new(Series::default());
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    while next.fetch_add(1, Ordering::Relaxed) < count {
                        self.one("/predict", &series);
                    }
                });
            }
        });
        finish(series)
    }

    fn one(&self, path: &str, series: &Mutex<Series>) {
        let started = Instant::now();
        let answer = self.post(path);
        let ms = started.elapsed().as_secs_f64() * 1e3;
        let mut series = lock(series);
        series.heard += usize::from(answer.is_ok());
        match answer {
            Ok((200, body)) => match check_answer(&body) {
                Ok(()) => {
                    series.answered += 1;
                    series.times.push(ms);
                }
                Err(why) => series.fail(why),
            },
            Ok((429, _)) => series.busy += 1,
            Ok((status, body)) => series.fail(format!("status {status}: {}", said(&body))),
            Err(error) => series.fail(error.to_string()),
        }
    }

    fn heat_map(&self) -> HeatMap {
        match self.post("/predict?gradcam=1") {
            Ok((200, body)) => {
                let document: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
                match document["gradcam"]["png_base64"].as_str() {
                    // The first bytes of every PNG file.
                    Some(png) if png.starts_with("iVBORw0KGgo") => HeatMap::Present,
                    Some(_) => HeatMap::Missing("it is no PNG".to_owned()),
                    None => HeatMap::Missing("the answer has none".to_owned()),
                }
            }
            Ok((501, _)) => HeatMap::SwitchedOff,
            Ok((status, body)) => HeatMap::Missing(format!("status {status}: {}", said(&body))),
            Err(error) => HeatMap::Missing(error.to_string()),
        }
    }

    /// Sends photos at a rate, some with heat maps and now and then several at once, and watches the
    /// memory.
    fn soak(&self, duration: Duration, maps: bool, progress: &mut dyn FnMut(&str)) -> Soak {
        let started = Instant::now();
        let series = Mutex::new(Series::default());
        let mut rss_bytes = Vec::new();
        let period = Duration::from_secs_f64(1.0 / self.options.rps);
        let next = Mutex::new(started);
        let minutes = || started.elapsed().as_secs_f64() / 60.0;
        let count = AtomicUsize::new(0);
        let one = || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let with_map = maps && number.is_multiple_of(HEAT_MAP_EVERY);
            let path = if with_map {
                "/predict?gradcam=1"
            } else {
                "/predict"
            };
            self.one(path, &series);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut burst = started + BURST_EVERY;
                while burst < started + duration {
                    std::thread::sleep(burst.saturating_duration_since(Instant::now()));
                    std::thread::scope(|scope| {
                        for _ in 0..self.options.parallel {
                            scope.spawn(one);
                        }
                    });
                    burst += BURST_EVERY;
                }
            });
            for _ in 0..self.options.parallel {
                scope.spawn(|| {
                    loop {
                        let due = {
                            let mut next = lock(&next);
                            // A server that is slower than the rate is not hurried afterwards.
                            *next = (*next + period).max(started);
                            *next
                        };
                        if due >= started + duration {
                            return;
                        }
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        one();
                    }
                });
            }
            while started.elapsed() < duration {
                if let Some(rss) = self.memory().rss_bytes {
                    rss_bytes.push((minutes(), rss));
                }
                progress(&format!("{:.1} minutes of photos", minutes()));
                let left = duration.saturating_sub(started.elapsed());
                std::thread::sleep(SAMPLE_EVERY.min(left));
            }
        });
        Soak {
            minutes: minutes(),
            series: finish(series),
            growth_bytes_per_hour: verdict::growth_per_hour(&rss_bytes),
            rss_bytes,
        }
    }
}

impl Series {
    fn fail(&mut self, why: String) {
        self.failed += 1;
        if self.failures.len() < 5 {
            self.failures.push(why);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn finish(series: Mutex<Series>) -> Series {
    let mut series = series
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    series.latency_ms = Percentiles::of(&mut series.times);
    series
}

/// Whether an answer has classes with probabilities.
fn check_answer(body: &[u8]) -> Result<(), String> {
    let document: Value =
        serde_json::from_slice(body).map_err(|error| format!("the answer is no JSON: {error}"))?;
    let classes = document["predictions"].as_array();
    let fine = classes.is_some_and(|classes| {
        let probability = |class: &Value| class["probability"].as_f64();
        !classes.is_empty()
            && classes
                .iter()
                .all(|c| probability(c).is_some_and(|p| (0.0..=1.0).contains(&p)))
    });
    if fine {
        Ok(())
    } else {
        Err("the answer has no `predictions` with probabilities".to_owned())
    }
}

/// The start of what a server said about an error.
fn said(body: &[u8]) -> String {
    let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let text = match document["error"]["message"].as_str() {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    crate::text::shorten(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_without_probabilities_are_none() {
        for (body, fine) in [
            (r#"{"predictions":[{"class":"a","probability":0.5}]}"#, true),
            (
                r#"{"predictions":[{"class":"a","probability":1.5}]}"#,
                false,
            ),
            (r#"{"predictions":[]}"#, false),
            ("<html>", false),
        ] {
            assert_eq!(check_answer(body.as_bytes()).is_ok(), fine, "{body}");
        }
        assert_eq!(said(br#"{"error":{"message":"no"}}"#), "no");
    }
}
