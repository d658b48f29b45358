//! Resident memory of this process, and of a child.
//!
//! Source: proc_pid_status(5). `ru_maxrss` is not used: on Linux it can start at the parent's size.

use std::fs;

/// Largest resident set since the process started, in bytes (`VmHWM`).
#[must_use]
pub fn peak_rss_bytes() -> Option<u64> {
    field_bytes(&status()?, "VmHWM")
}

/// Resident set now, in bytes (`VmRSS`). Pages of mapped weights that were touched count.
#[must_use]
pub fn rss_bytes() -> Option<u64> {
    field_bytes(&status()?, "VmRSS")
}

/// Resident anonymous memory now, in bytes (`RssAnon`): what cannot be reclaimed without swap.
#[must_use]
pub fn anonymous_rss_bytes() -> Option<u64> {
    field_bytes(&status()?, "RssAnon")
}

/// Address space now, in bytes (`VmSize`): mapped files and reserved memory count, used or not.
#[must_use]
pub fn virtual_bytes() -> Option<u64> {
    field_bytes(&status()?, "VmSize")
}

/// The counters of another process, of the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Largest resident set since its start or [`reset_peak`] (`VmHWM`).
    pub peak_rss_bytes: u64,
    /// Resident anonymous memory now (`RssAnon`).
    pub anonymous_bytes: u64,
    /// Resident pages of files now (`RssFile`, and `RssShmem`: those of files in a `tmpfs`).
    pub file_bytes: u64,
}

impl Counters {
    /// The counters of process `id`; `None` if it is gone or `/proc` is hidden.
    #[must_use]
    pub fn of(id: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        Some(Self {
            peak_rss_bytes: field_bytes(&status, "VmHWM")?,
            anonymous_bytes: field_bytes(&status, "RssAnon")?,
            file_bytes: field_bytes(&status, "RssFile")? + field_bytes(&status, "RssShmem")?,
        })
    }

    /// Largest anonymous memory: the peak less the pages of files, which only become more as long
    /// as no limit takes them back.
    #[must_use]
    pub fn peak_anonymous_bytes(&self) -> u64 {
        let peak = self.peak_rss_bytes.saturating_sub(self.file_bytes);
        peak.max(self.anonymous_bytes)
    }
}

/// Makes the peak of process `id` start again from what it uses now: 5 in `clear_refs`, see
/// proc_pid_clear_refs(5).
///
/// # Errors
/// If the kernel has no such file, or the process is another user's.
pub fn reset_peak(id: u32) -> std::io::Result<()> {
    use std::io::Write;
    let path = format!("/proc/{id}/clear_refs");
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(b"5")
}

fn status() -> Option<String> {
    fs::read_to_string("/proc/self/status").ok()
}

/// A `name:   123 kB` line. The kernel's kB are 1024 bytes.
fn field_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tdermal\nVmPeak:\t  300 kB\nVmHWM:\t   12345 kB\nVmRSS:\t9000 kB\n";

    #[test]
    fn fields_are_found_by_their_whole_name() {
        assert_eq!(field_bytes(STATUS, "VmHWM"), Some(12_345 * 1024));
        assert_eq!(field_bytes(STATUS, "VmRSS"), Some(9000 * 1024));
        assert_eq!(field_bytes(STATUS, "Vm"), None);
        assert_eq!(field_bytes(STATUS, "RssAnon"), None);
        assert_eq!(field_bytes("VmHWM:\tmany kB\n", "VmHWM"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn counters_of_a_process_are_those_of_its_own_status() {
        let counters = Counters::of(std::process::id()).unwrap();
        assert!(counters.peak_rss_bytes >= counters.anonymous_bytes);
        assert!(counters.file_bytes > 0);
        assert!(Counters::of(u32::MAX).is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn touching_memory_raises_both_counters() {
        const BYTES: usize = 64 << 20;
        let before = rss_bytes().unwrap();
        // The optimizer must not see that one byte of it would do.
        let touched = std::hint::black_box(vec![1u8; BYTES]);
        let during = rss_bytes().unwrap();
        // Other tests of this process allocate and free at the same time: half is left to them.
        assert!(during >= before + BYTES as u64 / 2, "{before} to {during}");
        assert!(peak_rss_bytes().unwrap() >= BYTES as u64);
        assert_eq!(touched[BYTES / 2], 1);
    }
}
