//! How much memory a heat map's picture takes, known before anything is drawn. It follows from the
//! size in the photo's header and the size that the client asked for; the photo is assumed to be noise,
//! which compresses worst.

use crate::explain;
use crate::predict::decode::Cost;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) struct HeatMapCost {
    /// The PNG, which lives until it is sent. Its base64 is made while it is sent.
    pub png_bytes: u64,
    /// Besides the PNG, while it is drawn: the photo, and the smaller copy that is drawn on.
    pub drawing_bytes: u64,
}

impl HeatMapCost {
    /// The cost for a photo of `size` columns and rows, in either order.
    pub(in crate::serve) fn of(size: [u64; 2], max_side: usize) -> Self {
        let rgb = |[width, height]: [u64; 2]| width.saturating_mul(height).saturating_mul(3);
        let small = explain::shrunk(size, max_side as u64);
        Self {
            png_bytes: explain::most_png_bytes(small.unwrap_or(size)),
            drawing_bytes: rgb(size).saturating_add(small.map_or(0, rgb)),
        }
    }

    pub(in crate::serve) fn of_photo(cost: &Cost, max_side: usize) -> Self {
        Self::of([cost.width, cost.height], max_side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_that_of_noise() {
        let whole = HeatMapCost::of([4000, 3000], 4096);
        assert_eq!(whole.drawing_bytes, 36_000_000);
        assert!((36_100_000..36_200_000).contains(&whole.png_bytes));
        let usual = HeatMapCost::of([3000, 4000], 1024);
        assert_eq!(usual.drawing_bytes, 36_000_000 + 768 * 1024 * 3);
        assert!((768 * 1024 * 3..2_400_000).contains(&usual.png_bytes));
        let thin = HeatMapCost::of([50_000_000, 1], 16);
        assert_eq!(thin.drawing_bytes, 150_000_048);
    }
}
