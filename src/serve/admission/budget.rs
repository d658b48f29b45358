//! How a server splits its memory budget. The program itself and the cache come first; the rest is
//! shared by uploads that wait and the one photo that is decoded.

use super::{HeatMapCost, least_upload_budget};
use crate::serve::question::DEFAULT_MAX_SIDE;

/// Assumed for the picture of a heat map of the usual size ([`DEFAULT_MAX_SIDE`]), with room to spare.
/// Each real one reserves its [`HeatMapCost`].
pub(in crate::serve) const TYPICAL_PICTURE_BYTES: u64 = 4 << 20;

/// What the program itself takes while a model of some 20 MB is mapped: 45 MB were measured, the rest
/// is room to spare.
pub(in crate::serve) const BASE_BYTES: u64 = 64 << 20;

/// Least that decoding must be allowed: a photo of two megapixels.
pub(in crate::serve) const MIN_DECODE_BYTES: u64 = 8 << 20;

/// The parts of the budget that requests may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) struct MemorySplit {
    /// For bodies that wait and pictures that are sent.
    pub uploads: u64,
    /// For the one photo that is decoded and drawn on.
    pub decode: u64,
}

/// The settings of a server that decide how much memory it sets aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySettings {
    /// Bytes of answers that the cache keeps.
    pub cache_bytes: u64,
    /// Largest body of a request.
    pub max_upload_bytes: u64,
    /// Requests that may wait while one is computed.
    pub queue: u64,
    /// Jobs that are kept.
    pub max_jobs: u64,
}

/// Requests that a server should be able to admit at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedRequests {
    /// How many.
    pub count: u64,
    /// Bytes of each one's body.
    pub body_bytes: u64,
    /// Columns and rows of the photo, if each gets a heat map of the usual size.
    pub heat_maps: Option<[u64; 2]>,
    /// Bytes that decoding one photo takes, its pixels included.
    pub decode_bytes: u64,
}

impl ExpectedRequests {
    /// What the heat map of each takes.
    fn heat_map_cost(&self) -> HeatMapCost {
        let nothing = HeatMapCost {
            png_bytes: 0,
            drawing_bytes: 0,
        };
        self.heat_maps
            .map_or(nothing, |size| HeatMapCost::of(size, DEFAULT_MAX_SIDE))
    }
}

impl MemorySplit {
    /// Splits a budget. The error is the smallest budget with which the server would start.
    pub(in crate::serve) fn of(budget_bytes: u64, settings: &MemorySettings) -> Result<Self, u64> {
        // Half of what the program and the cache leave is for uploads that wait. The other half is
        // for the photo that is decoded; a large PNG takes most.
        let spare = budget_bytes
            .saturating_sub(BASE_BYTES)
            .saturating_sub(settings.cache_bytes);
        let uploads = settings.max_uploads().min(spare / 2);
        let decode = spare - uploads;
        if uploads < settings.max_upload_bytes || decode < MIN_DECODE_BYTES {
            return Err(BASE_BYTES
                + settings.cache_bytes
                + (settings.max_upload_bytes + TYPICAL_PICTURE_BYTES)
                    .max(MIN_DECODE_BYTES + TYPICAL_PICTURE_BYTES)
                    * 2);
        }
        Ok(Self { uploads, decode })
    }
}

impl MemorySettings {
    /// What all uploads together can take at most.
    fn max_uploads(&self) -> u64 {
        (self.max_upload_bytes + TYPICAL_PICTURE_BYTES)
            .saturating_mul(self.queue + 1 + self.max_jobs)
    }
}

/// The smallest budget with which a server of these settings starts and admits all `requests`.
#[must_use]
pub fn least_budget(settings: &MemorySettings, requests: &ExpectedRequests) -> u64 {
    let cost = requests.heat_map_cost();
    // Reservations are rounded up to a kibibyte.
    let all = |bytes: u64| bytes.saturating_add(1024).saturating_mul(requests.count);
    let pictures = requests.heat_maps.map_or(0, |_| all(cost.png_bytes));
    let uploads =
        least_upload_budget(all(requests.body_bytes), pictures).max(settings.max_upload_bytes);
    let decode = requests
        .decode_bytes
        .max(cost.drawing_bytes)
        .max(MIN_DECODE_BYTES);
    let most = settings.max_uploads();
    let spare = if decode <= most {
        uploads.max(decode).saturating_mul(2)
    } else {
        decode.saturating_add(most)
    };
    spare.saturating_add(BASE_BYTES + settings.cache_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: MemorySettings = MemorySettings {
        cache_bytes: 4_000_000,
        max_upload_bytes: 10_000_000,
        queue: 16,
        max_jobs: 16,
    };

    /// Whether a budget is enough, by the split that the server makes.
    fn admits(budget: u64, requests: &ExpectedRequests) -> bool {
        let cost = requests.heat_map_cost();
        MemorySplit::of(budget, &SETTINGS).is_ok_and(|split| {
            let bodies = requests.body_bytes * requests.count;
            split.uploads >= least_upload_budget(bodies, cost.png_bytes * requests.count)
                && split.decode >= requests.decode_bytes.max(cost.drawing_bytes)
        })
    }

    #[test]
    fn the_least_budget_is_enough_and_hardly_less_would_be() {
        for (count, body_bytes, decode_bytes) in [
            (1, 1, 1_000_000),
            (4, 4_200_000, 36_400_000),
            (1, 100_000, 150_000_000),
            (16, 9_000_000, 6_000_000),
            (4, 1_000_000, 1_000_000_000),
        ] {
            for heat_maps in [None, Some([4000, 3000])] {
                let requests = ExpectedRequests {
                    count,
                    body_bytes,
                    heat_maps,
                    decode_bytes,
                };
                let least = least_budget(&SETTINGS, &requests);
                assert!(admits(least, &requests), "{requests:?}: {least}");
                assert!(
                    !admits(least * 95 / 100, &requests),
                    "{requests:?}: {least}"
                );
            }
        }
        assert_eq!(
            MemorySplit::of(1, &SETTINGS),
            Err((64 << 20) + 4_000_000 + 2 * (10_000_000 + TYPICAL_PICTURE_BYTES))
        );
    }
}
