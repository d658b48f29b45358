//! Findings for people, programs and code review: a table, JSON, JUnit, GitHub annotations, SARIF
//! 2.1.0, Markdown.

use std::path::Path;

use crate::commands::Result;
use serde::Serialize;
use serde_json::json;

use crate::cli::FindingFormat;
use crate::readiness::project::Resources;
use crate::readiness::rules::{self, Finding, Rule, Severity};
use crate::report::{self, SCHEMA_VERSION};

/// The content of a report.
pub(super) struct Subject<'a> {
    pub(super) folder: &'a Path,
    pub(super) platform: Option<&'a str>,
    pub(super) resources: Option<&'a Resources>,
    pub(super) findings: &'a [Finding],
}

pub(super) fn print(subject: &Subject<'_>, format: FindingFormat) -> Result<()> {
    let text = match format {
        FindingFormat::Human => human(subject),
        FindingFormat::Json => return Ok(report::print_json(&document(subject))?),
        FindingFormat::Junit => junit(subject.findings),
        FindingFormat::Github => github(subject.findings),
        FindingFormat::Sarif => return Ok(report::print_json(&sarif(subject.findings))?),
        FindingFormat::Markdown => markdown(subject),
    };
    Ok(report::print(text)?)
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings
        .iter()
        .filter(|f| f.rule.severity == severity)
        .count()
}

fn place(finding: &Finding) -> String {
    match finding.line {
        Some(line) => format!("{}:{line}", finding.file),
        None => finding.file.clone(),
    }
}

fn summary(findings: &[Finding]) -> String {
    let [errors, warnings, notes] =
        [Severity::Error, Severity::Warning, Severity::Note].map(|s| count(findings, s));
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}: {}, {}, {}",
        if errors == 0 { "ready" } else { "not ready" },
        counted(errors, "error"),
        counted(warnings, "warning"),
        counted(notes, "note")
    )
}

fn resources_text(subject: &Subject<'_>) -> Option<String> {
    let resources = subject.resources?;
    Some(format!(
        "{}: {} ({:.0} MB at the worst moment), a photo takes {:.1} s, start {:.1} s",
        subject.platform.unwrap_or("this platform"),
        resources.verdict.name(),
        resources.peak_bytes as f64 / 1e6,
        resources.latency_ms / 1e3,
        resources.cold_start_ms / 1e3
    ))
}

fn human(subject: &Subject<'_>) -> String {
    let mut text = String::new();
    for finding in subject.findings {
        let rule = finding.rule;
        text += &format!(
            "{}: {} [{}]\n  {}\n  why: {}\n  fix: {}\n\n",
            place(finding),
            rule.severity.name(),
            rule.id,
            finding.what,
            rule.why,
            rule.fix
        );
    }
    if let Some(resources) = resources_text(subject) {
        text += &format!("{resources}\n");
    }
    text += &summary(subject.findings);
    text.push('\n');
    report::printable(&text)
}

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    project: String,
    ready: bool,
    platform: Option<&'a str>,
    estimate: Option<Numbers>,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct Numbers {
    verdict: crate::readiness::verdict::Verdict,
    peak_bytes: u64,
    must_fit_bytes: u64,
    latency_ms: f64,
    cold_start_ms: f64,
    drain_ms: Option<f64>,
    health_ms: Option<f64>,
    disk_bytes: u64,
    proved: Option<bool>,
}

fn document<'a>(subject: &Subject<'a>) -> Document<'a> {
    Document {
        schema_version: SCHEMA_VERSION,
        project: subject.folder.display().to_string(),
        ready: count(subject.findings, Severity::Error) == 0,
        platform: subject.platform,
        estimate: subject.resources.map(|r| Numbers {
            verdict: r.verdict,
            peak_bytes: r.peak_bytes,
            must_fit_bytes: r.must_fit_bytes,
            latency_ms: r.latency_ms,
            cold_start_ms: r.cold_start_ms,
            drain_ms: r.drain_ms,
            health_ms: r.health_ms,
            disk_bytes: r.disk_bytes,
            proved: r.proved,
        }),
        findings: subject.findings,
    }
}

/// JUnit as CI servers read it: each rule is a test case, and only errors are failures.
fn junit(findings: &[Finding]) -> String {
    let failed = |rule: &&&'static Rule| {
        rule.severity == Severity::Error && findings.iter().any(|f| f.rule == **rule)
    };
    let failures = rules::ALL.iter().filter(failed).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"dermal check\" \
         tests=\"{}\" failures=\"{failures}\">\n",
        rules::ALL.len()
    );
    for rule in rules::ALL {
        text += &format!(
            "  <testcase classname=\"dermal.check\" name=\"{}\"",
            rule.id
        );
        let mine: Vec<&Finding> = findings.iter().filter(|f| f.rule == *rule).collect();
        if mine.is_empty() {
            text += "/>\n";
            continue;
        }
        let lines: Vec<String> = mine
            .iter()
            .map(|f| format!("{}: {}", place(f), f.what))
            .collect();
        let lines = lines.join("\n");
        text += ">\n";
        text += &if rule.severity == Severity::Error {
            format!(
                "    <failure message=\"{}\">{}</failure>\n",
                xml(rule.why),
                xml(&format!("{lines}\nfix: {}", rule.fix))
            )
        } else {
            format!("    <system-out>{}</system-out>\n", xml(&lines))
        };
        text += "  </testcase>\n";
    }
    text + "</testsuite>\n"
}

fn xml(text: &str) -> String {
    report::printable(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Workflow commands of GitHub Actions: annotations on the lines of a pull request.
fn github(findings: &[Finding]) -> String {
    let data = |text: &str| {
        text.replace('%', "%25")
            .replace('\r', "%0D")
            .replace('\n', "%0A")
    };
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut text = String::new();
    for finding in findings {
        let command = match finding.rule.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let line = finding.line.map_or(String::new(), |l| format!(",line={l}"));
        let message = format!(
            "{}. {}. Fix: {}",
            finding.what, finding.rule.why, finding.rule.fix
        );
        text += &format!(
            "::{command} file={}{line},title={}::{}\n",
            property(&finding.file),
            property(finding.rule.id),
            data(&message)
        );
    }
    text + &summary(findings) + "\n"
}

/// SARIF 2.1.0 (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/>), which code hosts show.
fn sarif(findings: &[Finding]) -> serde_json::Value {
    let level = |severity| match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let rules: Vec<_> = rules::ALL
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": {"text": rule.why},
                "help": {"text": rule.fix},
                "defaultConfiguration": {"level": level(rule.severity)},
            })
        })
        .collect();
    let results: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "ruleId": finding.rule.id,
                "level": level(finding.rule.severity),
                "message": {"text": format!("{}: {}", finding.what, finding.rule.why)},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": finding.file},
                    "region": {"startLine": finding.line.unwrap_or(1)},
                }}],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "dermal check",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
        }],
    })
}

fn markdown(subject: &Subject<'_>) -> String {
    let cell = |text: &str| {
        report::printable(text)
            .replace('|', "\\|")
            .replace('\n', " ")
    };
    let mut text = format!("**{}**\n", summary(subject.findings));
    if let Some(resources) = resources_text(subject) {
        text += &format!("\n{resources}\n");
    }
    if !subject.findings.is_empty() {
        text += "\n| | rule | where | what | fix |\n|---|---|---|---|---|\n";
    }
    for finding in subject.findings {
        text += &format!(
            "| {} | `{}` | `{}` | {} | {} |\n",
            finding.rule.severity.name(),
            finding.rule.id,
            cell(&place(finding)),
            cell(&finding.what),
            cell(finding.rule.fix)
        );
    }
    text
}
