//! `dermal estimate --advise`: which platform and which file, cheapest first, and why each cheaper
//! choice fails.

use anyhow::Result;
use serde::Serialize;

use super::table::{fact, mb};
use super::{Subject, deployment, what_if};
use crate::cli::EstimateArgs;
use crate::commands::Outcome;
use crate::memory::estimate::Facts;
use crate::readiness::calendar::Date;
use crate::readiness::platforms::{self, Platform};
use crate::readiness::verdict::Verdict;
use crate::report::{self, Align, SCHEMA_VERSION, Table};
use crate::units::Millis;

/// Longest answer that somebody waits for, in milliseconds: ten seconds keep attention (Nielsen,
/// "Response times: the 3 important limits").
const PATIENCE_MS: f64 = 10_000.0;

/// Share of the time below which a service is not one.
const UPTIME_PERCENT: f64 = 99.0;

#[derive(Serialize)]
struct Document {
    schema_version: u32,
    model: String,
    /// Cheapest first.
    choices: Vec<Choice>,
    /// Index of the first choice without a reason against it.
    chosen: Option<usize>,
}

#[derive(Serialize)]
struct Choice {
    platform: String,
    file: String,
    usd_per_month: f64,
    peak_bytes: u64,
    limit_bytes: u64,
    verdict: Verdict,
    latency_ms: f64,
    uptime_percent: Option<f64>,
    sleeps: bool,
    exposes_home: bool,
    /// Why not; empty where nothing is against it.
    against: Vec<String>,
}

pub(super) fn run(args: &EstimateArgs, subject: &Subject, today: Date) -> Result<Outcome> {
    let mut files = vec![("as it is".to_owned(), subject.facts)];
    files.extend(what_if::halves_and_bytes(&subject.model, &subject.facts));
    let mut platforms = platforms::all()?;
    platforms.sort_by(|a, b| a.usd.value.total_cmp(&b.usd.value));
    let mut choices = Vec::new();
    for platform in &platforms {
        // The file as it is costs no accuracy: the smaller ones come in only where it has no
        // room.
        for (name, facts) in &files {
            let choice = Choice::new(platform, name, facts, subject, today);
            let fits = choice.verdict == Verdict::Fits;
            choices.push(choice);
            if fits {
                break;
            }
        }
    }
    let chosen = choices.iter().position(|choice| choice.against.is_empty());
    let document = Document {
        schema_version: SCHEMA_VERSION,
        model: subject.name.clone(),
        choices,
        chosen,
    };
    if args.json {
        report::print_json(&document)?;
    } else {
        print(&document, &platforms)?;
    }
    Ok(if chosen.is_some() {
        Outcome::Yes
    } else {
        Outcome::No
    })
}

impl Choice {
    fn new(platform: &Platform, file: &str, facts: &Facts, subject: &Subject, today: Date) -> Self {
        let demand = deployment::demand(facts);
        let limit_bytes = platform.ram_bytes();
        let verdict = Verdict::of(&demand, limit_bytes);
        let latency_ms = subject.latency(Some(platform)).there.unwrap_or(f64::NAN);
        let mut against = Vec::new();
        if !platform.runs_servers {
            against.push("no program of one's own may listen there".to_owned());
        }
        match verdict {
            Verdict::Fits => {}
            Verdict::Tight => against.push(format!(
                "tight: {} of {}",
                mb(demand.all_bytes),
                mb(limit_bytes)
            )),
            Verdict::DoesNotFit => against.push(format!(
                "does not fit: {} of {}",
                mb(demand.least_bytes()),
                mb(limit_bytes)
            )),
        }
        let patience = platform
            .request_s
            .map_or(PATIENCE_MS, |s| PATIENCE_MS.min(s.value * 1e3));
        if latency_ms > patience {
            against.push(format!(
                "a photo takes {} at {} CPU",
                Millis(latency_ms),
                platform.cpu.value
            ));
        }
        let uptime = platform.uptime_percent.map(|p| p.value);
        if uptime.is_some_and(|percent| percent < UPTIME_PERCENT) {
            against.push("it is often not there".to_owned());
        }
        if platform.exposes_home {
            against.push("it opens a private network to strangers".to_owned());
        }
        if platform.is_stale(today) {
            against.push(format!(
                "its facts are old ({}): check them",
                platform.checked
            ));
        }
        Self {
            platform: platform.name.clone(),
            file: file.to_owned(),
            usd_per_month: platform.usd.value,
            peak_bytes: demand.all_bytes,
            limit_bytes,
            verdict,
            latency_ms,
            uptime_percent: uptime,
            sleeps: platform.sleeps_after_s.is_some(),
            exposes_home: platform.exposes_home,
            against,
        }
    }
}

fn print(document: &Document, platforms: &[Platform]) -> Result<()> {
    let mut table = Table::new(&[
        ("platform", Align::Left),
        ("file", Align::Left),
        ("$/month", Align::Right),
        ("peak", Align::Right),
        ("photo", Align::Right),
        ("uptime", Align::Left),
        ("security", Align::Left),
        ("against it", Align::Left),
    ]);
    for choice in &document.choices {
        let platform = platforms.iter().find(|p| p.name == choice.platform);
        let uptime = match choice.uptime_percent {
            Some(percent) => format!("under {percent} %"),
            None if choice.sleeps => "sleeps when idle".to_owned(),
            None => "always on".to_owned(),
        };
        table.row([
            choice.platform.as_str(),
            &choice.file,
            &platform.map_or(String::new(), |p| fact(p.usd)),
            &mb(choice.peak_bytes),
            &Millis(choice.latency_ms).to_string(),
            &uptime,
            if choice.exposes_home {
                "opens your home"
            } else {
                "isolated"
            },
            &choice.against.join("; "),
        ]);
    }
    let answer = match document.chosen.and_then(|i| document.choices.get(i)) {
        Some(choice) => format!(
            "choose {} with the file {}: the cheapest with nothing against it\n",
            choice.platform,
            if choice.file == "as it is" {
                "as it is".to_owned()
            } else {
                format!("made by `dermal {}`", choice.file)
            }
        ),
        None => "nothing fits without a reason against it\n".to_owned(),
    };
    Ok(report::print(format!(
        "{}\n{table}\n{answer}",
        document.model
    ))?)
}
