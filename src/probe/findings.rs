//! Judges the facts about a server.

use serde::Serialize;

use super::{AnswerCounts, Facts, HeatMap, ProbeOptions, Series, ServerMemory};

/// Share of its limit that a server's peak memory may reach. Above it, it will be killed sooner or later.
const MAX_MEMORY_SHARE: f64 = 0.9;

/// Shortest soak, in minutes, whose growth is judged: at first, pages of weights still become resident.
const MIN_MINUTES: f64 = 5.0;

/// Fewest samples from which a growth is computed.
const MIN_SAMPLES: usize = 5;

/// Percentiles of latencies by nearest rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half are faster.
    pub p50: Option<f64>,
    /// 95 of 100 are faster.
    pub p95: Option<f64>,
    /// 99 of 100 are faster.
    pub p99: Option<f64>,
    /// The slowest.
    pub max: Option<f64>,
}

impl Percentiles {
    /// Computes them; sorts `times`.
    #[must_use]
    pub fn of(times: &mut [f64]) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied()
        };
        Self {
            p50: at(50),
            p95: at(95),
            p99: at(99),
            max: times.last().copied(),
        }
    }
}

/// One check and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// Whether it is healthy.
    pub healthy: bool,
    /// What was seen.
    pub detail: String,
}

/// The growth of samples `(minutes, bytes)` in bytes an hour, by least squares over the last four fifths.
pub(super) fn growth_per_hour(samples: &[(f64, u64)]) -> Option<f64> {
    let rest = &samples[samples.len() / 5..];
    if rest.len() < MIN_SAMPLES {
        return None;
    }
    let n = rest.len() as f64;
    let mean_x = rest.iter().map(|s| s.0).sum::<f64>() / n;
    let mean_y = rest.iter().map(|s| s.1 as f64).sum::<f64>() / n;
    let covariance: f64 = rest
        .iter()
        .map(|s| (s.0 - mean_x) * (s.1 as f64 - mean_y))
        .sum();
    let variance: f64 = rest.iter().map(|s| (s.0 - mean_x).powi(2)).sum();
    (variance > 0.0).then(|| covariance / variance * 60.0)
}

impl Facts {
    /// Judges each fact. The server is healthy if every finding is.
    #[must_use]
    pub fn findings(&self, options: &ProbeOptions) -> Vec<Finding> {
        let mut findings = vec![
            Finding {
                check: "ready",
                healthy: self.ready,
                detail: if self.ready {
                    format!("after {:.1} s", self.ready_after_s)
                } else {
                    format!("not within {:.0} s", self.ready_after_s)
                },
            },
            series("photos one by one", &self.sequential),
            series("photos at once", &self.parallel),
            Finding {
                check: "heat map",
                healthy: !matches!(self.heat_map, HeatMap::Missing(_)),
                detail: match &self.heat_map {
                    HeatMap::Present => "present".to_owned(),
                    HeatMap::SwitchedOff => "switched off".to_owned(),
                    HeatMap::Missing(why) => why.clone(),
                },
            },
        ];
        findings.extend(memory(self.memory_before, self.memory_after));
        findings.extend(self.ledger.map(counts));
        if let Some(soak) = &self.soak {
            findings.push(series("photos for long", &soak.series));
            let growth = soak
                .growth_bytes_per_hour
                .filter(|_| soak.minutes >= MIN_MINUTES);
            if let Some(growth) = growth {
                findings.push(Finding {
                    check: "memory growth",
                    healthy: growth <= options.max_growth as f64,
                    detail: format!("{:+.2} MB an hour", growth / 1e6),
                });
            }
        }
        findings
    }
}

fn series(check: &'static str, series: &Series) -> Finding {
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.0}"));
    let times = series.latency_ms;
    let mut detail = format!(
        "{} answered, {} told to come back, {} failed; {} / {} / {} ms (p50 / p95 / p99)",
        series.answered,
        series.busy,
        series.failed,
        ms(times.p50),
        ms(times.p95),
        ms(times.p99),
    );
    if let Some(first) = series.failures.first() {
        detail.push_str(&format!("; first: {first}"));
    }
    Finding {
        check,
        healthy: series.failed == 0 && series.answered > 0,
        detail,
    }
}

/// A server that counts more answers has other clients; one that counts fewer has lost some.
fn counts(AnswerCounts { client, server }: AnswerCounts) -> Finding {
    let detail = match server.checked_sub(client) {
        Some(0) => format!("client and server count {client} answers"),
        Some(more) => format!("the server counts {server} answers, {more} to other clients"),
        None => format!("the server counts {server} answers, the client got {client}"),
    };
    Finding {
        check: "ledgers",
        healthy: server >= client,
        detail,
    }
}

fn memory(before: ServerMemory, after: ServerMemory) -> Option<Finding> {
    let (rss, limit) = (after.rss_bytes?, after.limit_bytes?);
    let most = after.peak_rss_bytes.unwrap_or(rss);
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let was = before.rss_bytes.map_or(String::new(), |before| {
        format!("{:.1} MB before, ", mb(before))
    });
    Some(Finding {
        check: "memory",
        healthy: most as f64 <= limit as f64 * MAX_MEMORY_SHARE,
        detail: format!(
            "{was}{:.1} MB after, {:.1} MB at most, limit {:.1} MB",
            mb(rss),
            mb(most),
            mb(limit)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let p = Percentiles::of(&mut times);
        assert_eq!(
            (p.p50, p.p95, p.p99, p.max),
            (Some(50.0), Some(95.0), Some(99.0), Some(100.0))
        );
        assert_eq!(Percentiles::of(&mut [7.0]).p99, Some(7.0));
        assert_eq!(Percentiles::of(&mut []), Percentiles::default());
    }

    #[test]
    fn growth_leaves_the_first_fifth_out() {
        // 1000 bytes a minute, after a start that grows much faster.
        let at = |i: u32| {
            let start = if i < 4 { 0 } else { 1_000_000 };
            (f64::from(i), start + u64::from(i) * 1000)
        };
        let samples: Vec<(f64, u64)> = (0..20).map(at).collect();
        let growth = growth_per_hour(&samples).unwrap();
        assert!((growth - 60_000.0).abs() < 1e-3, "{growth}");
        assert_eq!(growth_per_hour(&samples[..5]), None);
    }

    #[test]
    fn memory_near_its_limit_is_not_healthy() {
        let with = |peak: u64| ServerMemory {
            rss_bytes: Some(50),
            peak_rss_bytes: Some(peak),
            limit_bytes: Some(100),
        };
        assert!(memory(ServerMemory::default(), with(90)).unwrap().healthy);
        assert!(!memory(with(1), with(91)).unwrap().healthy);
        assert_eq!(memory(with(1), ServerMemory::default()), None);
    }
}
