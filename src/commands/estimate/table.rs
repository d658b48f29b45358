//! The report of `dermal estimate` for people.

use crate::commands::Result;

use crate::estimate::{Advice, EstimateReport, LimitReport};
use crate::memory::estimate::{Backing, State};
use crate::prove::{Confinement, Drain, Proof, StateOutcome};
use crate::readiness::calendar::Date;
use crate::readiness::platforms::{self, Confidence, Fact, Platform};
use crate::report::{self, Align, Table};
use crate::units::Millis;

/// Bytes as platforms count them: `118.3 MB` is 118,300,000.
fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

pub(super) fn print(report: &EstimateReport, proof: Option<&Proof>) -> Result<()> {
    let load = &report.facts.load;
    let photo = &report.facts.photo;
    let mut fields = Table::fields();
    fields.row(["model", &report.model]);
    fields.row([
        "load",
        &format!(
            "{} photos at once, at most {:.1} megapixels each; heat maps {}; {} thread{}",
            load.photos_at_once,
            photo.pixels() as f64 / 1e6,
            if load.gradcam { "on" } else { "off" },
            load.threads,
            if load.threads == 1 { "" } else { "s" }
        ),
    ]);
    if let Some(limit) = &report.limit {
        fields.row(["limit", &format!("{} ({})", mb(limit.bytes), limit.from)]);
    }
    fields.row([
        "disk",
        &format!(
            "{} (program {}, model {})",
            mb(report.disk_bytes.program + report.disk_bytes.model),
            mb(report.disk_bytes.program),
            mb(report.disk_bytes.model)
        ),
    ]);
    report::print(fields.to_string())?;
    report::print(format!("\n{}", states(report)))?;
    let worst = report.states.iter().max_by_key(|s| s.charged_bytes);
    if let Some(worst) = worst {
        report::print(format!(
            "\n{} photos, {}\n{}",
            worst.state.photos,
            worst.state.moment.name(),
            terms(&worst.state)
        ))?;
    }
    if let Some(limit) = &report.limit {
        report::print(verdict(limit))?;
    }
    report::print(latency(report))?;
    report::print(format!("\n{}", what_if(report)))?;
    if let Some(proof) = proof {
        report::print(proved(proof, report.platform.as_ref()))?;
    }
    Ok(())
}

fn states(report: &EstimateReport) -> Table {
    let mut table = Table::new(&[
        ("state", Align::Left),
        ("must fit", Align::Right),
        ("reclaimable", Align::Right),
        ("resident", Align::Right),
        ("with the kernel's", Align::Right),
    ]);
    for record in &report.states {
        table.row([
            &name(&record.state),
            &mb(record.anonymous_bytes),
            &mb(record.resident_bytes - record.anonymous_bytes),
            &mb(record.resident_bytes),
            &mb(record.charged_bytes),
        ]);
    }
    table
}

fn name(state: &State) -> String {
    if state.photos > 1 {
        let maps = if state.gradcam { " with Grad-CAM" } else { "" };
        format!("{} {}{maps}", state.photos, state.moment.name())
    } else {
        state.moment.name().to_owned()
    }
}

fn terms(state: &State) -> Table {
    let mut table = Table::new(&[
        ("term", Align::Left),
        ("bytes", Align::Right),
        ("", Align::Left),
    ]);
    for term in &state.terms {
        let backing = match term.backing {
            Backing::Anonymous => "must fit",
            Backing::Reclaimable => "reclaimable",
            Backing::Kernel => "must fit, the kernel's",
        };
        table.row([term.name, &mb(term.bytes), backing]);
    }
    table
}

fn verdict(limit: &LimitReport) -> String {
    format!(
        "\nverdict: {}; margin {:+.1} MB ({:+.1} %)\n  fits: all of it, weights included, is at \
         most {:.0} % of the limit\n  does not fit: what must fit is more than {:.0} %, or the \
         server turns this load away\n    (it reserves memory before it decodes, and admits this \
         load from {} on)\n  tight: between the two\n",
        limit.verdict.name(),
        limit.margin_bytes as f64 / 1e6,
        limit.margin_percent,
        limit.fits_up_to * 100.0,
        limit.does_not_fit_from * 100.0,
        mb(limit.admission_bytes)
    )
}

fn latency(report: &EstimateReport) -> String {
    let latency = &report.latency_ms;
    let mut text = format!(
        "\none photo takes {} here, cold start {}\n",
        Millis(latency.here),
        Millis(latency.cold_start_here)
    );
    if let (Some(there), Some(share), Some(cold)) =
        (latency.there, latency.cpu_share, latency.cold_start_there)
    {
        text += &format!(
            "at {share} CPU it takes {}, cold start {} (if that CPU is as fast as this one)\n",
            Millis(there),
            Millis(cold)
        );
    }
    text
}

fn what_if(report: &EstimateReport) -> Table {
    let mut table = Table::new(&[
        ("what if", Align::Left),
        ("peak", Align::Right),
        ("must fit", Align::Right),
        ("", Align::Left),
    ]);
    for row in &report.what_if {
        let about = if row.about { "about " } else { "" };
        table.row([
            row.change.as_str(),
            &format!("{about}{}", mb(row.peak_bytes)),
            &mb(row.must_fit_bytes),
            row.verdict.map_or("", |verdict| verdict.name()),
        ]);
    }
    table
}

fn proved(proof: &Proof, platform: Option<&Platform>) -> String {
    let place = match &proof.confinement {
        Confinement::Cgroup { version } => format!("a cgroup (version {version}), no swap"),
        Confinement::AddressSpace { because } => {
            format!("RLIMIT_AS, which also counts what is only reserved ({because})")
        }
        Confinement::None => "no limit".to_owned(),
    };
    let limit = proof
        .limit_bytes
        .map_or(String::new(), |bytes| format!(", {} of memory", mb(bytes)));
    let share = proof
        .cpu_share
        .map_or(String::new(), |share| format!(", {share} CPU"));
    let mut table = Table::new(&[
        ("proof: estimated / measured", Align::Left),
        ("peak, MB", Align::Right),
        ("must fit, MB", Align::Right),
        ("error", Align::Right),
        ("photos", Align::Right),
        ("time, s", Align::Right),
        ("", Align::Left),
    ]);
    let megabytes = |predicted: u64, measured: Option<u64>| {
        let measured =
            measured.map_or("?".to_owned(), |bytes| format!("{:.1}", bytes as f64 / 1e6));
        format!("{:.1} / {measured}", predicted as f64 / 1e6)
    };
    let seconds = |predicted_ms: Option<f64>, ms: f64| {
        let predicted = predicted_ms.map_or("?".to_owned(), |ms| format!("{:.2}", ms / 1e3));
        format!("{predicted} / {:.2}", ms / 1e3)
    };
    for row in &proof.rows {
        let outcome = match row.outcome {
            StateOutcome::Survived => "survived",
            StateOutcome::Killed => "killed by the kernel",
            StateOutcome::Refused => "refused",
            StateOutcome::NoAnswer => "no answer",
        };
        let state = if row.photos > 1 {
            format!("{} {}", row.photos, row.moment.name())
        } else {
            row.moment.name().to_owned()
        };
        table.row([
            &state,
            &megabytes(row.predicted_bytes, row.measured_bytes),
            &megabytes(row.predicted_anonymous_bytes, row.measured_anonymous_bytes),
            &row.error_percent
                .map_or(String::new(), |error| format!("{error:+.1} %")),
            &row.requests.to_string(),
            &seconds(row.predicted_wall_ms, row.wall_ms),
            outcome,
        ]);
    }
    let mut text = format!(
        "\nproved in {place}{limit}{share}; {}\n\n{table}",
        proof.load
    );
    if let Some(message) = proof.rows.last().and_then(|row| row.message.as_ref()) {
        text += &format!("  {}\n", report::printable(message));
    }
    let kills = proof.oom_kills.map(|kills| format!("OOM kills: {kills}"));
    let peak = proof.peak_charged_bytes.map(|bytes| {
        format!(
            "most charged, page cache of program and model included: {}",
            mb(bytes)
        )
    });
    let cold = proof
        .cold_start_ms
        .map(|ms| format!("cold start: {}", Millis(ms)));
    let worst = proof
        .worst_moment
        .map(|moment| format!("worst moment: {}", moment.name()));
    let parts: Vec<String> = [worst, kills, peak, cold].into_iter().flatten().collect();
    text += &format!("\n{}\n", parts.join("; "));
    if let Some(because) = &proof.shared_pages_because {
        text += &format!(
            "most charged is not known: pages of program and model may count for others ({})\n",
            report::printable(because)
        );
    }
    let given =
        |fact: Option<Fact>| fact.map_or(String::new(), |f| format!(" (limit {} s)", f.value));
    if let Some(ms) = proof.health_ms {
        let given = given(platform.and_then(|p| p.health_s));
        text += &format!("health check meanwhile: {} at most{given}\n", Millis(ms));
    }
    if let Some(drain) = &proof.drain {
        let Drain {
            photos,
            answered,
            ms,
            exit_code,
        } = *drain;
        let exit = exit_code.map_or("killed".to_owned(), |code| format!("exit {code}"));
        let given = given(platform.and_then(|p| p.grace_s));
        text += &format!(
            "SIGTERM with {photos} in work: {answered} answered, {exit} after {}{given}\n",
            Millis(ms)
        );
    }
    text
}

pub(super) fn advice(document: &Advice) -> Result<()> {
    let platforms = platforms::all()?;
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
            "choose {} with the file {}: the cheapest choice without an objection\n",
            choice.platform,
            if choice.is_present_file() {
                choice.file.clone()
            } else {
                format!("made by `dermal {}`", choice.file)
            }
        ),
        None => "there is an objection to every choice\n".to_owned(),
    };
    Ok(report::print(format!(
        "{}\n{table}\n{answer}",
        document.model
    ))?)
}

/// A number, with `?` if nobody read a primary page for it.
fn fact(fact: Fact) -> String {
    match fact.confidence {
        Confidence::Low => format!("{}?", fact.value),
        _ => fact.value.to_string(),
    }
}

pub(super) fn list_platforms(all: &[Platform], today: Date) -> Result<()> {
    let mut table = Table::new(&[
        ("platform", Align::Left),
        ("RAM MB", Align::Right),
        ("CPU", Align::Right),
        ("$/month", Align::Right),
        ("request s", Align::Right),
        ("health s", Align::Right),
        ("grace s", Align::Right),
        ("sleeps s", Align::Right),
        ("checked", Align::Left),
    ]);
    let some = |f: Option<Fact>| f.map_or(String::new(), fact);
    for platform in all {
        let stale = if platform.is_stale(today) {
            " (old)"
        } else {
            ""
        };
        table.row([
            platform.name.as_str(),
            &fact(platform.ram_mb),
            &fact(platform.cpu),
            &fact(platform.usd),
            &some(platform.request_s),
            &some(platform.health_s),
            &some(platform.grace_s),
            &some(platform.sleeps_after_s),
            &format!("{}{stale}", platform.checked),
        ]);
    }
    Ok(report::print(format!(
        "{table}\n`?`: no primary page was read. `--json` has the sources, other limits and surprises.\n"
    ))?)
}
