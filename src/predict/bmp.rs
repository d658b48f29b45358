//! 16-bit BMP as Pillow reads it.
//!
//! Samples of 5 and 6 bits become 8 by `v * 255 / 31` and `v * 255 / 63`. Pillow cuts the fraction
//! off; the `image` crate rounds, which gives up to one level more.

/// Bits of R, G and B of a 16-bit bitmap whose layout Pillow reads; `None` for other layouts.
pub(super) fn sixteen_bit_layout(file: &[u8]) -> Option<[u32; 3]> {
    const INFO_HEADER: u32 = 40;
    const UNCOMPRESSED: u32 = 0;
    const BITFIELDS: u32 = 3;
    let word = |at: usize| {
        let bytes = file.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let header = word(14)?;
    let bits = file.get(28..)?.first_chunk()?;
    if header < INFO_HEADER || u16::from_le_bytes(*bits) != 16 {
        return None;
    }
    match word(30)? {
        UNCOMPRESSED => Some([5, 5, 5]),
        BITFIELDS => match [word(54)?, word(58)?, word(62)?] {
            [0x7C00, 0x03E0, 0x001F] => Some([5, 5, 5]),
            [0xF800, 0x07E0, 0x001F] => Some([5, 6, 5]),
            _ => None,
        },
        _ => None,
    }
}

/// Replaces samples that were rounded by samples that are cut off, in pixels of R G B.
pub(super) fn cut_fractions(pixels: &mut [u8], bits: [u32; 3]) {
    let tables = bits.map(|bits| {
        let most = (1_u32 << bits) - 1;
        let mut table = [0_u8; 256];
        for (rounded, cut) in (0_u32..).zip(&mut table) {
            // Rounding again recovers the sample as it is stored.
            let stored = (rounded * most + 127) / 255;
            *cut = (stored * 255 / most).to_le_bytes()[0];
        }
        table
    });
    for pixel in pixels.as_chunks_mut::<3>().0 {
        for (sample, table) in pixel.iter_mut().zip(&tables) {
            *sample = table[usize::from(*sample)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_cut_as_pillow_cuts_it() {
        for bits in [5, 6] {
            let most = (1_u32 << bits) - 1;
            for stored in 0..=most {
                let rounded = (f64::from(stored) * 255.0 / f64::from(most)).round();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "at most 255"
                )]
                let mut pixel = [rounded as u8; 3];
                cut_fractions(&mut pixel, [bits; 3]);
                assert_eq!(
                    u32::from(pixel[0]),
                    stored * 255 / most,
                    "{stored} of {bits}"
                );
            }
        }
    }
}
