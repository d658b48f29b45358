//! What hosting platforms grant: dated facts from one data file (`platforms.yaml`).
//!
//! Every number has a level of confidence, and a profile older than [`STALE_DAYS`] says so. A fact
//! that nobody found is absent, and no rule decides by it.

use serde::{Deserialize, Serialize};

use super::calendar::Date;
use crate::hint::{Arguments, Hint, named};
use crate::text as suggest;

/// Age in days from which a profile should be checked again.
pub const STALE_DAYS: i64 = 180;

static DATA: &str = include_str!("platforms.yaml");

/// How far a number can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The vendor's own dated page.
    High,
    /// The vendor, undated or second hand.
    Medium,
    /// No primary page was read.
    Low,
}

/// A number and its level of confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// The number, in the unit of the field's name.
    #[serde(rename = "is")]
    pub value: f64,
    /// How far to trust the number.
    pub confidence: Confidence,
}

/// What a platform grants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// Its name for `--platform`.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Date of the copy that was read, `YYYY-MM-DD`, or `undated`.
    pub checked: String,
    /// The page that was read.
    pub source: String,
    /// Memory, in 1,000,000 bytes.
    pub ram_mb: Fact,
    /// CPU time, as a number of CPUs.
    pub cpu: Fact,
    /// Disk, in 1,000,000 bytes.
    pub disk_mb: Option<Fact>,
    /// Dollars a month.
    pub usd: Fact,
    /// Seconds that a request may take.
    pub request_s: Option<Fact>,
    /// Seconds after which a health check fails.
    pub health_s: Option<Fact>,
    /// Seconds until a started service must listen.
    pub start_s: Option<Fact>,
    /// Seconds between SIGTERM and SIGKILL, unless set otherwise.
    pub grace_s: Option<Fact>,
    /// Seconds without requests after which the platform puts the service to sleep.
    pub sleeps_after_s: Option<Fact>,
    /// Seconds that waking it takes, without the program's own start.
    pub wakes_in_s: Option<Fact>,
    /// Largest request, in 1,000,000 bytes.
    pub upload_mb: Option<Fact>,
    /// Milliseconds that the platform's network adds.
    pub added_latency_ms: Option<Fact>,
    /// Share of the time that the platform can be reached, if it is known to be low.
    pub uptime_percent: Option<Fact>,
    /// Whether the platform runs servers of your own.
    #[serde(default = "yes")]
    pub runs_servers: bool,
    /// Whether using it opens a private network to the outside.
    #[serde(default)]
    pub exposes_home: bool,
    /// Other limits and surprises.
    #[serde(default)]
    pub notes: Vec<String>,
}

fn yes() -> bool {
    true
}

impl Fact {
    /// What a project states about its own host.
    #[must_use]
    pub fn stated(value: f64) -> Self {
        Self {
            value,
            confidence: Confidence::High,
        }
    }
}

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// No profile has the name.
    #[error("there is no platform `{0}`")]
    Unknown(String),
    /// The data that is compiled in cannot be read, which is a bug.
    #[error("the platform profiles are damaged: {0}")]
    Data(String),
}

impl Hint for PlatformError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown_platform",
            Self::Data(_) => "platform_data",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Unknown(name) => {
                let names: Vec<String> = all()
                    .unwrap_or_default()
                    .into_iter()
                    .map(|platform| platform.name)
                    .collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                format!(
                    "{}; `--platform list` shows what each grants",
                    suggest::suggest(name, &names)
                )
            }
            Self::Data(_) => "this is a bug: please report it".to_owned(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Unknown(name) => named!(name),
            Self::Data(problem) => named!(problem),
        }
    }
}

/// All profiles, in the order of the file.
///
/// # Errors
/// [`PlatformError::Data`], which a test excludes.
pub fn all() -> Result<Vec<Platform>, PlatformError> {
    serde_yaml::from_str(DATA).map_err(|error| PlatformError::Data(error.to_string()))
}

/// The profile with this name.
///
/// # Errors
/// [`PlatformError::Unknown`], whose hint has the nearest name.
pub fn find(name: &str) -> Result<Platform, PlatformError> {
    let found = all()?.into_iter().find(|platform| platform.name == name);
    found.ok_or_else(|| PlatformError::Unknown(suggest::shorten(name)))
}

impl Platform {
    /// A host without a profile. Only these facts about it are known. It is never stale.
    #[must_use]
    pub fn own(ram_mb: f64, cpu: f64) -> Self {
        Self {
            name: "own".to_owned(),
            title: "your own host".to_owned(),
            checked: String::new(),
            source: "dermal.yaml".to_owned(),
            ram_mb: Fact::stated(ram_mb),
            cpu: Fact::stated(cpu),
            disk_mb: None,
            usd: Fact::stated(0.0),
            request_s: None,
            health_s: None,
            start_s: None,
            grace_s: None,
            sleeps_after_s: None,
            wakes_in_s: None,
            upload_mb: None,
            added_latency_ms: None,
            uptime_percent: None,
            runs_servers: true,
            exposes_home: false,
            notes: Vec::new(),
        }
    }

    /// Memory in bytes.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a test holds all profiles between 100 MB and 1 TB"
    )]
    pub fn ram_bytes(&self) -> u64 {
        (self.ram_mb.value * 1e6) as u64
    }

    /// Disk in bytes.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and a cast saturates"
    )]
    pub fn disk_bytes(&self) -> Option<u64> {
        self.disk_mb.map(|disk| (disk.value * 1e6) as u64)
    }

    /// Days since the copy was read; `None` if it had no date.
    #[must_use]
    pub fn age_days(&self, today: Date) -> Option<i64> {
        Some(today.days() - Date::parse(&self.checked)?.days())
    }

    /// Whether the profile should be checked again. A project's own host has no date and is never
    /// stale.
    #[must_use]
    pub fn is_stale(&self, today: Date) -> bool {
        let is_stated = self.checked.is_empty();
        !is_stated && self.age_days(today).is_none_or(|age| age > STALE_DAYS)
    }

    /// Why it [is stale](Self::is_stale).
    #[must_use]
    pub fn age_in_words(&self) -> String {
        if Date::parse(&self.checked).is_some() {
            format!(
                "the profile of {} is from {}, over {STALE_DAYS} days old",
                self.title, self.checked
            )
        } else {
            format!("the profile of {} is from an undated page", self.title)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_reads_and_is_plausible() {
        let all = all().unwrap();
        assert!(all.len() >= 14);
        for platform in &all {
            let name = &platform.name;
            assert!(
                (100e6..1e12).contains(&(platform.ram_mb.value * 1e6)),
                "{name}"
            );
            assert!((0.05..=64.0).contains(&platform.cpu.value), "{name}");
            assert!((0.0..1000.0).contains(&platform.usd.value), "{name}");
            let dated = Date::parse(&platform.checked).is_some();
            assert!(dated || platform.checked == "undated", "{name}");
            assert!(platform.source.len() > 10, "{name}");
            let twins = all.iter().filter(|other| other.name == *name);
            assert_eq!(twins.count(), 1, "{name}");
        }
    }

    #[test]
    fn what_surprised_the_first_app_stands_in_the_data() {
        let free = find("render-free").unwrap();
        let starter = find("render-starter").unwrap();
        assert_eq!(free.ram_bytes(), 512_000_000);
        assert_eq!(starter.ram_bytes(), free.ram_bytes());
        assert_eq!(free.cpu.value, 0.1);
        assert_eq!(free.health_s.unwrap().value, 5.0);
        assert_eq!(find("railway-free").unwrap().grace_s.unwrap().value, 0.0);
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_one() {
        let error = find("render-fre").unwrap_err();
        assert_eq!(error.kind(), "unknown_platform");
        assert!(
            error.hint().contains("did you mean `render-free`?"),
            "{}",
            error.hint()
        );
    }

    #[test]
    fn old_profiles_are_stale() {
        let free = find("render-free").unwrap();
        let day = |text| Date::parse(text).unwrap();
        assert_eq!(free.age_days(day("2026-11-21")), Some(95));
        assert!(!free.is_stale(day("2027-02-14")));
        assert!(free.is_stale(day("2027-02-15")));
        let undated = find("koyeb-free").unwrap();
        assert!(undated.is_stale(day("2026-11-21")));
        assert!(undated.age_in_words().contains("undated"));
        assert!(!Platform::own(512.0, 1.0).is_stale(day("2026-11-21")));
    }
}
