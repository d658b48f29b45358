//! What a heat map's picture takes, known before anything is drawn: from the size in the photo's
//! header and the one that was asked for, as if the photo were noise.

use crate::explain;
use crate::predict::decode::Cost;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Price {
    /// The PNG, from when it is drawn until it is sent. Its base64 is made while it is sent.
    pub png_bytes: u64,
    /// Beside the PNG: the photo, and the smaller one that is drawn on.
    pub drawing_bytes: u64,
}

impl Price {
    /// Of a photo of so many columns and rows, in either order.
    pub(super) fn of(size: [u64; 2], max_side: usize) -> Self {
        let rgb = |[width, height]: [u64; 2]| width.saturating_mul(height).saturating_mul(3);
        let small = explain::shrunk(size, max_side as u64);
        Self {
            png_bytes: explain::most_png_bytes(small.unwrap_or(size)),
            drawing_bytes: rgb(size).saturating_add(small.map_or(0, rgb)),
        }
    }

    pub(super) fn of_photo(cost: &Cost, max_side: usize) -> Self {
        Self::of([cost.width, cost.height], max_side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_is_that_of_noise() {
        let whole = Price::of([4000, 3000], 4096);
        assert_eq!(whole.drawing_bytes, 36_000_000);
        assert!((36_100_000..36_200_000).contains(&whole.png_bytes));
        let usual = Price::of([3000, 4000], 1024);
        assert_eq!(usual.drawing_bytes, 36_000_000 + 768 * 1024 * 3);
        assert!((768 * 1024 * 3..2_400_000).contains(&usual.png_bytes));
        let thin = Price::of([50_000_000, 1], 16);
        assert_eq!(thin.drawing_bytes, 150_000_048);
    }
}
