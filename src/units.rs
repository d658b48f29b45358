//! Bytes, durations and counts in the forms that people read. JSON has plain numbers instead.

use std::fmt;

/// A number of bytes, shown in binary units: `82.4 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64;
        let mut unit = "";
        for next in ["KiB", "MiB", "GiB", "TiB"] {
            // Below 1023.95 the number still rounds to at most 1023.9.
            if !unit.is_empty() && value < 1023.95 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        f.pad(&format!("{value:.1} {unit}"))
    }
}

/// A duration in milliseconds, shown with three or four digits: `0.421 ms`, `31.2 ms`, `2.31 s`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Millis(pub f64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        f.pad(&match ms {
            _ if ms < 1.0 => format!("{ms:.3} ms"),
            _ if ms < 10.0 => format!("{ms:.2} ms"),
            _ if ms < 1000.0 => format!("{ms:.1} ms"),
            _ if ms < 60_000.0 => format!("{:.2} s", ms / 1000.0),
            _ => format!("{:.1} min", ms / 60_000.0),
        })
    }
}

/// A count, shown with a decimal prefix from ten thousand up: `8412`, `20.9 M`, `8.35 G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 10_000 {
            return f.pad(&self.0.to_string());
        }
        let mut value = self.0 as f64;
        let mut prefix = "";
        for next in ["k", "M", "G", "T"] {
            if !prefix.is_empty() && value < 999.5 {
                break;
            }
            value /= 1000.0;
            prefix = next;
        }
        let digits = if value < 9.995 {
            2
        } else {
            usize::from(value < 99.95)
        };
        f.pad(&format!("{value:.digits$} {prefix}"))
    }
}

/// Reads a number of pixels: `12MP` (millions of pixels) or a plain number. `None` if it is
/// neither, or not at least 1 and under 10^12.
#[must_use]
pub fn parse_pixels(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, factor) = match lower.strip_suffix("mp") {
        Some(number) => (number.trim_end(), 1e6),
        None => (lower.as_str(), 1.0),
    };
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let pixels = number.parse::<f64>().ok()? * factor;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 1e12"
    )]
    (1.0..1e12).contains(&pixels).then_some(pixels as u64)
}

/// A size in the forms that people write: `512MB`, `1.5GiB`, `1000000`. `None` for anything else,
/// for sizes below a byte, and for a petabyte or more.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 1e15"
    )]
    (1.0..1e15).contains(&bytes).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_binary() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (86_401_536, "82.4 MiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn sizes_are_read_and_refused() {
        for (text, bytes) in [
            ("512MB", Some(512_000_000)),
            ("512 mb", Some(512_000_000)),
            ("1.5GiB", Some(1_610_612_736)),
            ("7", Some(7)),
            ("512 bananas", None),
            ("0", None),
            ("-1MB", None),
            ("10000000GB", None),
            ("", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn durations_keep_about_three_digits() {
        for (ms, text) in [
            (0.0, "0.000 ms"),
            (0.4213, "0.421 ms"),
            (3.456, "3.46 ms"),
            (31.24, "31.2 ms"),
            (2314.0, "2.31 s"),
            (90_000.0, "1.5 min"),
        ] {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }

    #[test]
    fn counts_are_decimal() {
        for (count, text) in [
            (9999, "9999"),
            (10_000, "10.0 k"),
            (999_499, "999 k"),
            (999_500, "1.00 M"),
            (20_861_480, "20.9 M"),
            (8_352_000_000, "8.35 G"),
        ] {
            assert_eq!(Count(count).to_string(), text);
        }
    }

    #[test]
    fn columns_can_be_aligned() {
        assert_eq!(format!("{:>9}", Bytes(5)), "      5 B");
    }
}
