//! That the tiers' tiles are found; what they compute is tested in `conv_i8`.

use super::*;

#[test]
fn blocks_are_whole_tiles() {
    for isa in Isa::available() {
        let tier = Tier::of(isa);
        assert!(tier.block_rows.is_multiple_of(tier.rows()), "{isa}");
        assert!(tier.tiles.iter().all(|t| t.len() == tier.rows()), "{isa}");
    }
}
