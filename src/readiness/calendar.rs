//! Dates, to tell how old a fact is.

use std::time::{SystemTime, UNIX_EPOCH};

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    days: i64,
}

impl Date {
    /// `YYYY-MM-DD`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut number = |len: usize| -> Option<i64> {
            let part = parts.next().filter(|part| part.len() == len)?;
            part.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
            part.parse().ok()
        };
        let (year, month, day) = (number(4)?, number(2)?, number(2)?);
        let fits = (1..=12).contains(&month) && (1..=31).contains(&day);
        if parts.next().is_some() || !fits {
            return None;
        }
        // Days from civil (Howard Hinnant, "chrono-compatible low-level date algorithms"): years
        // begin in March, so that leap days come last.
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Some(Self {
            days: era * 146_097 + day_of_era - 719_468,
        })
    }

    /// The day of a time, in UTC.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Self {
            days: i64::try_from(seconds / 86_400).unwrap_or(i64::MAX),
        }
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn days(self) -> i64 {
        self.days
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted() {
        for (text, days) in [
            ("1970-01-01", Some(0)),
            ("1970-03-01", Some(59)),
            ("2000-02-29", Some(11_016)),
            ("2026-11-21", Some(20_778)),
            ("2026-13-01", None),
            ("2026-1-01", None),
            ("2026-01-01-", None),
            ("+026-01-01", None),
            ("", None),
        ] {
            assert_eq!(Date::parse(text).map(Date::days), days, "{text}");
        }
        let at = |s| Date::of(UNIX_EPOCH + std::time::Duration::from_secs(s)).days();
        assert_eq!(at(20_778 * 86_400 + 86_399), 20_778);
    }
}
