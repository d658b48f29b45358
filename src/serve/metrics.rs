//! Metrics for Prometheus, in its text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Written by hand: the usual exporter brings a second server and thirty crates.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histogram's buckets, in seconds: from a cache hit to a starved CPU.
const EDGES: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

#[derive(Clone, Debug, Default)]
struct Times {
    buckets: [u64; EDGES.len()],
    count: u64,
    seconds: f64,
}

/// Counts of what happened since the start.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    times: Mutex<BTreeMap<&'static str, Times>>,
    pub photos: AtomicU64,
    pub heat_maps: AtomicU64,
    pub heat_maps_shed: AtomicU64,
    pub cache_hits: AtomicU64,
    pub cache_misses: AtomicU64,
    pub client_gone: AtomicU64,
    pub connections: AtomicU64,
    pub connections_evicted: AtomicU64,
    pub reloads: AtomicU64,
}

/// A value at this moment.
pub(super) struct Gauge {
    pub name: &'static str,
    pub help: &'static str,
    /// `None` if it cannot be read; then it is left out.
    pub value: Option<f64>,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Metrics {
    /// Counts a response.
    pub(super) fn request(&self, route: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route.to_owned(), status)).or_default() += 1;
    }

    /// Records how long a stage took.
    pub(super) fn time(&self, stage: &'static str, took: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.entry(stage).or_default();
        let seconds = took.as_secs_f64();
        times.count += 1;
        times.seconds += seconds;
        for (bucket, edge) in times.buckets.iter_mut().zip(EDGES) {
            *bucket += u64::from(seconds <= edge);
        }
    }

    /// The page that Prometheus reads. `lookups` are those of the cache: level, result, count.
    pub(super) fn text(&self, gauges: &[Gauge], lookups: &[(&str, &str, u64)]) -> String {
        let mut out = String::new();
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        let name = "dermal_requests_total";
        head(&mut out, name, "counter", "Responses by route and status.");
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for ((route, status), count) in requests.iter() {
            let _ = writeln!(
                out,
                "{name}{{route=\"{route}\",status=\"{status}\"}} {count}"
            );
        }
        let counters = [
            ("photos", &self.photos, "Photos classified."),
            ("heat_maps", &self.heat_maps, "Heat maps drawn."),
            (
                "heat_maps_shed",
                &self.heat_maps_shed,
                "Heat maps that were left out because the server was busy.",
            ),
            ("cache_hits", &self.cache_hits, "Answers from the cache."),
            (
                "cache_misses",
                &self.cache_misses,
                "Answers that were computed.",
            ),
            (
                "client_gone",
                &self.client_gone,
                "Requests whose client left before the answer.",
            ),
            ("connections", &self.connections, "Accepted connections."),
            (
                "connections_evicted",
                &self.connections_evicted,
                "Idle connections closed to make room.",
            ),
            (
                "model_reloads",
                &self.reloads,
                "Times that the model was loaded again.",
            ),
        ];
        for (name, counter, help) in counters {
            let name = format!("dermal_{name}_total");
            head(&mut out, &name, "counter", help);
            let _ = writeln!(out, "{name} {}", counter.load(Ordering::Relaxed));
        }
        let name = "dermal_cache_lookups_total";
        let help = "Cache lookups by level (memory or Redis, by file or by pixels).";
        head(&mut out, name, "counter", help);
        for (level, result, count) in lookups {
            let _ = writeln!(
                out,
                "{name}{{level=\"{level}\",result=\"{result}\"}} {count}"
            );
        }
        let name = "dermal_stage_seconds";
        head(
            &mut out,
            name,
            "histogram",
            "Time of each stage of a request.",
        );
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        for (stage, times) in times.iter() {
            for (count, edge) in times.buckets.iter().zip(EDGES) {
                let _ = writeln!(
                    out,
                    "{name}_bucket{{stage=\"{stage}\",le=\"{edge}\"}} {count}"
                );
            }
            let (n, sum) = (times.count, times.seconds);
            let _ = writeln!(
                out,
                "{name}_bucket{{stage=\"{stage}\",le=\"+Inf\"}} {n}\n\
                 {name}_sum{{stage=\"{stage}\"}} {sum}\n{name}_count{{stage=\"{stage}\"}} {n}"
            );
        }
        for gauge in gauges {
            if let Some(value) = gauge.value {
                head(&mut out, gauge.name, "gauge", gauge.help);
                let _ = writeln!(out, "{} {value}", gauge.name);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_counts_what_happened() {
        let metrics = Metrics::default();
        metrics.request("/predict", 200);
        metrics.request("/predict", 200);
        metrics.request("/predict", 429);
        metrics.time("decode", Duration::from_millis(3));
        metrics.time("decode", Duration::from_millis(30));
        count(&metrics.photos);
        let gauge = |name, value| Gauge {
            name,
            help: "h",
            value,
        };
        let gauges = [gauge("a", Some(1.5)), gauge("b", None)];
        let page = metrics.text(&gauges, &[("memory_file", "hit", 7)]);
        for line in [
            "dermal_requests_total{route=\"/predict\",status=\"200\"} 2",
            "dermal_requests_total{route=\"/predict\",status=\"429\"} 1",
            "dermal_photos_total 1",
            "dermal_stage_seconds_bucket{stage=\"decode\",le=\"0.0025\"} 0",
            "dermal_stage_seconds_bucket{stage=\"decode\",le=\"0.005\"} 1",
            "dermal_stage_seconds_bucket{stage=\"decode\",le=\"0.05\"} 2",
            "dermal_stage_seconds_bucket{stage=\"decode\",le=\"+Inf\"} 2",
            "dermal_cache_lookups_total{level=\"memory_file\",result=\"hit\"} 7",
            "dermal_stage_seconds_count{stage=\"decode\"} 2",
            "# TYPE a gauge",
            "a 1.5",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
        assert!(!page.contains("\nb "));
    }
}
