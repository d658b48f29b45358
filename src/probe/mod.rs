//! Finds out over HTTP whether a deployed server is healthy.
//!
//! In: [`ProbeOptions`]. Out: [`Facts`], what was seen, and [`Facts::findings`], what it means. The
//! server is `dermal serve`, or one with the same paths; a path that it does not have (`/memory`) is left
//! out.
//!
//! Not here: printing, exit codes (`commands`).

mod findings;
mod uploads;
mod watch;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::hint::{Arguments, Hint, named};

pub use findings::{Finding, Percentiles};
pub use uploads::{SimultaneousUploads, UploadResult};
pub use watch::{HealthWatch, requests_in_flight};

/// Longest answer that is read: enough for a heat map of 4096 pixels as base64.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Longest wait for one answer, once the server is ready.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// How often a server that is not ready is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How often its memory is read during the soak.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// During the soak one photo in this many asks for a heat map.
const HEAT_MAP_EVERY: usize = 10;

/// During the soak several photos are sent at once this often.
const BURST_EVERY: Duration = Duration::from_secs(30);

/// What to send, and how long to wait.
#[derive(Clone, Debug)]
pub struct ProbeOptions {
    /// The server, without a trailing slash.
    pub url: String,
    /// Photo files, at least one.
    pub photos: Vec<Vec<u8>>,
    /// How many photos to send one after the other, and then several at once.
    pub requests: usize,
    /// How many to send at once.
    pub parallel: usize,
    /// How long to go on after that, the soak.
    pub soak: Option<Duration>,
    /// Photos a second during the soak.
    pub rps: f64,
    /// How long the server may take to become ready.
    pub patience: Duration,
    /// How much memory may grow, in bytes an hour.
    pub max_growth: u64,
    /// Sent as `Authorization: Bearer`.
    pub api_key: Option<String>,
}

/// Why a server could not be probed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It does not answer at all.
    #[error("`{url}` does not answer")]
    Silent {
        /// The address.
        url: String,
        /// The error of the last attempt.
        source: Box<ureq::Error>,
    },
    /// The folder with photos cannot be read.
    #[error("cannot read folder `{}`", path.display())]
    Folder {
        /// The folder that was asked for.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// There is no photo to send.
    #[error("there are no photos to send")]
    NoPhotos,
    /// The URL is not one.
    #[error("`{0}` is not the URL of a server")]
    Url(String),
}

impl Hint for ProbeError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Silent { .. } => "silent",
            Self::Folder { .. } => "folder",
            Self::NoPhotos => "no_photos",
            Self::Url(_) => "url",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Silent { .. } => {
                "check the URL and the platform's log; `--patience` waits longer for a server that \
                 has to wake up"
            }
            Self::Folder { .. } => "give the path of a folder with photos, or leave `--images` out",
            Self::NoPhotos => "give a folder with JPEG files, or leave `--images` out",
            Self::Url(_) => "write https://host or http://host:port",
        }
        .to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Silent { url, .. } | Self::Url(url) => named!(url),
            Self::Folder { path, .. } => named!(path),
            Self::NoPhotos => named!(),
        }
    }
}

/// The memory counters of the server; `None` for one that it does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerMemory {
    /// Resident now.
    pub rss_bytes: Option<u64>,
    /// Largest resident memory since its start.
    pub peak_rss_bytes: Option<u64>,
    /// Its limit.
    pub limit_bytes: Option<u64>,
}

/// What became of a series of photos.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Series {
    /// Answered with 200.
    pub answered: usize,
    /// Told to come back later (429).
    pub busy: usize,
    /// Failed in any other way.
    pub failed: usize,
    /// Requests that got any answer.
    #[serde(skip)]
    heard: usize,
    /// The first few failures.
    pub failures: Vec<String>,
    /// Latencies of the answered ones, in milliseconds.
    pub latency_ms: Percentiles,
    #[serde(skip)]
    times: Vec<f64>,
}

/// What became of the request for a heat map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeatMap {
    /// A picture came.
    Present,
    /// Heat maps are switched off on the server.
    SwitchedOff,
    /// None came, for this reason.
    Missing(String),
}

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The server.
    pub url: String,
    /// Seconds until it was ready, the cold start included.
    pub ready_after_s: f64,
    /// Whether it became ready at all.
    pub ready: bool,
    /// Before the photos.
    pub memory_before: ServerMemory,
    /// After the photos.
    pub memory_after: ServerMemory,
    /// Photos one after the other.
    pub sequential: Series,
    /// Photos several at a time.
    pub parallel: Series,
    /// The heat map.
    pub heat_map: HeatMap,
    /// The soak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
    /// How many answers each side counted; `None` if the server does not tell.
    pub ledger: Option<AnswerCounts>,
}

/// Answers to requests for predictions, as both sides count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AnswerCounts {
    /// Answers that the probe got.
    pub client: u64,
    /// Answers that the server counted. It counts more if it has other clients.
    pub server: u64,
}

/// What was seen during the soak.
#[derive(Clone, Debug, Serialize)]
pub struct Soak {
    /// How long it took.
    pub minutes: f64,
    /// The photos.
    pub series: Series,
    /// Resident memory in bytes at each minute of the soak.
    pub rss_bytes: Vec<(f64, u64)>,
    /// Growth over the last four fifths, by least squares; `None` if there are too few samples.
    pub growth_bytes_per_hour: Option<f64>,
}

struct Client<'a> {
    agent: ureq::Agent,
    options: &'a ProbeOptions,
    /// Counts requests, so that each sends the next photo.
    sent: AtomicUsize,
}

/// Probes a server. `progress` is called with what is being done.
///
/// # Errors
/// [`ProbeError`] if the server never answers. Bad answers are not errors; they are in the facts.
pub fn run(options: &ProbeOptions, progress: &mut dyn FnMut(&str)) -> Result<Facts, ProbeError> {
    if options.photos.is_empty() {
        return Err(ProbeError::NoPhotos);
    }
    if !options.url.starts_with("http://") && !options.url.starts_with("https://") {
        return Err(ProbeError::Url(options.url.clone()));
    }
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_TIMEOUT))
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
    // One more for the heat map.
    let sent = heard as u64 + 1;
    let counted = counted_before.zip(client.counted());
    let ledger = counted.map(|(before, after)| AnswerCounts {
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
            // The model should answer, and not the cache.
            .header("cache-control", "no-cache");
        if let Some(key) = &self.options.api_key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(&photo[..])?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES);
        Ok((status, body.read_to_vec()?))
    }

    /// Waits until the server is ready; false if that takes too long. A server without `/readyz` counts as
    /// ready once it answers.
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
            std::thread::sleep(ASK_AGAIN);
        }
    }

    fn memory(&self) -> ServerMemory {
        let document = match self.get("/memory") {
            Ok((200, body)) => serde_json::from_slice(&body).unwrap_or(Value::Null),
            _ => Value::Null,
        };
        let bytes = |name: &str| document[name].as_u64();
        ServerMemory {
            rss_bytes: bytes("rss_bytes"),
            peak_rss_bytes: bytes("peak_rss_bytes"),
            limit_bytes: bytes("limit_bytes"),
        }
    }

    /// How many requests for predictions the server has answered so far, if it tells.
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
                    Some(_) => HeatMap::Missing("it is not a PNG".to_owned()),
                    None => HeatMap::Missing("the answer has no heat map".to_owned()),
                }
            }
            Ok((501, _)) => HeatMap::SwitchedOff,
            Ok((status, body)) => HeatMap::Missing(format!("status {status}: {}", said(&body))),
            Err(error) => HeatMap::Missing(error.to_string()),
        }
    }

    /// Sends photos at a steady rate, some with heat maps and from time to time several at once, and reads
    /// the memory.
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
                            // If the server was slower than the rate, the probe does not catch up.
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
            growth_bytes_per_hour: findings::growth_per_hour(&rss_bytes),
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
        serde_json::from_slice(body).map_err(|error| format!("the answer is not JSON: {error}"))?;
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

/// The beginning of a server's error message.
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
    fn answers_without_probabilities_are_refused() {
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
