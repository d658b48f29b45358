//! Numbers that should not come twice, and need not be secret: names of requests and workers, pauses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A random number; from a system that gives none, one made of the time, this process and a count.
pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => without_randomness(),
    }
}

fn without_randomness() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let hash = blake3::Hasher::new()
        .update(&time.map_or(0, |time| time.as_nanos()).to_le_bytes())
        .update(&std::process::id().to_le_bytes())
        .update(&count.to_le_bytes())
        .finalize();
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_repeat_with_or_without_randomness() {
        for source in [random, without_randomness] {
            let all: std::collections::HashSet<u64> = (0..10_000).map(|_| source()).collect();
            assert_eq!(all.len(), 10_000);
            let upper = all.iter().filter(|&&number| number > u64::MAX / 2).count();
            assert!((4500..5500).contains(&upper), "{upper}");
        }
    }
}
