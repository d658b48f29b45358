//! Tests that the tiers' tiles are found; `conv_i8` tests their results.

use super::*;

#[test]
fn blocks_are_whole_tiles() {
    for isa in Isa::available() {
        let tier = Tier::of(isa);
        assert!(tier.block_rows.is_multiple_of(tier.rows()), "{isa}");
        assert!(tier.tiles.iter().all(|t| t.len() == tier.rows()), "{isa}");
    }
}
