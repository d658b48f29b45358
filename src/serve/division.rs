//! How a server divides its budget of memory: between uploads that wait and the photo that is
//! decoded, after what the program itself takes.

use super::admission::purse_for;
use super::ask::MAX_SIDE;
use super::picture::Price;

/// Reckoned for the picture of a heat map of the usual size ([`MAX_SIDE`]), and spare. What one really
/// gets is its [`Price`].
pub(super) const PICTURE_BYTES: u64 = 4 << 20;

/// What the program itself takes, with a model of some 20 MB mapped: measured 45 MB, and spare.
pub(super) const BASE_BYTES: u64 = 64 << 20;

/// Least that decoding must be allowed: a photo of two megapixels.
pub(super) const LEAST_DECODE_BYTES: u64 = 8 << 20;

/// The parts of a budget that requests may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Division {
    /// Bodies that wait, and pictures that are sent.
    pub uploads: u64,
    /// The one photo that is decoded and drawn on.
    pub decode: u64,
}

/// What a server sets aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Answers that are kept.
    pub cache_bytes: u64,
    /// Largest body of a request.
    pub max_upload_bytes: u64,
    /// Requests that may wait while one is computed.
    pub queue: u64,
    /// Jobs that are kept.
    pub max_jobs: u64,
}

/// Requests that a server is to admit at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guests {
    /// How many.
    pub count: u64,
    /// Bytes of each one's body.
    pub body_bytes: u64,
    /// Columns and rows of the photo, if each gets a heat map of the usual size.
    pub heat_maps: Option<[u64; 2]>,
    /// What decoding one photo takes, pixels included.
    pub decode_bytes: u64,
}

impl Guests {
    /// What the heat map of each takes.
    fn price(&self) -> Price {
        let nothing = Price {
            png_bytes: 0,
            drawing_bytes: 0,
        };
        self.heat_maps
            .map_or(nothing, |size| Price::of(size, MAX_SIDE))
    }
}

impl Division {
    /// Of a budget; the error is the budget that the server would need to start at all.
    pub(super) fn of(budget_bytes: u64, claims: &Claims) -> Result<Self, u64> {
        // Half of what the program leaves is for uploads that wait, half for the one photo that is
        // decoded, of which a large PNG takes most.
        let spare = budget_bytes
            .saturating_sub(BASE_BYTES)
            .saturating_sub(claims.cache_bytes);
        let uploads = claims.most_uploads().min(spare / 2);
        let decode = spare - uploads;
        if uploads < claims.max_upload_bytes || decode < LEAST_DECODE_BYTES {
            return Err(BASE_BYTES
                + claims.cache_bytes
                + (claims.max_upload_bytes + PICTURE_BYTES)
                    .max(LEAST_DECODE_BYTES + PICTURE_BYTES)
                    * 2);
        }
        Ok(Self { uploads, decode })
    }
}

impl Claims {
    /// What uploads can take at the very most.
    fn most_uploads(&self) -> u64 {
        (self.max_upload_bytes + PICTURE_BYTES).saturating_mul(self.queue + 1 + self.max_jobs)
    }
}

/// The smallest budget with which a server of such claims starts and lets all `guests` in.
#[must_use]
pub fn least_budget(claims: &Claims, guests: &Guests) -> u64 {
    let price = guests.price();
    // Leases are in units of a kibibyte.
    let all = |bytes: u64| bytes.saturating_add(1024).saturating_mul(guests.count);
    let pictures = guests.heat_maps.map_or(0, |_| all(price.png_bytes));
    let uploads = purse_for(all(guests.body_bytes), pictures).max(claims.max_upload_bytes);
    let decode = guests
        .decode_bytes
        .max(price.drawing_bytes)
        .max(LEAST_DECODE_BYTES);
    let most = claims.most_uploads();
    let spare = if decode <= most {
        uploads.max(decode).saturating_mul(2)
    } else {
        decode.saturating_add(most)
    };
    spare.saturating_add(BASE_BYTES + claims.cache_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: Claims = Claims {
        cache_bytes: 4_000_000,
        max_upload_bytes: 10_000_000,
        queue: 16,
        max_jobs: 16,
    };

    /// Whether a budget is enough, asked of the division itself.
    fn admits(budget: u64, guests: &Guests) -> bool {
        let price = guests.price();
        Division::of(budget, &CLAIMS).is_ok_and(|division| {
            let bodies = guests.body_bytes * guests.count;
            division.uploads >= purse_for(bodies, price.png_bytes * guests.count)
                && division.decode >= guests.decode_bytes.max(price.drawing_bytes)
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
                let guests = Guests {
                    count,
                    body_bytes,
                    heat_maps,
                    decode_bytes,
                };
                let least = least_budget(&CLAIMS, &guests);
                assert!(admits(least, &guests), "{guests:?}: {least}");
                assert!(!admits(least * 95 / 100, &guests), "{guests:?}: {least}");
            }
        }
        assert_eq!(
            Division::of(1, &CLAIMS),
            Err((64 << 20) + 4_000_000 + 2 * (10_000_000 + PICTURE_BYTES))
        );
    }
}
