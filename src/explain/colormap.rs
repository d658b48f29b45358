//! Colours for intensities. The tables are matplotlib's, 256 RGB triples each, written by
//! `scripts/make_colormaps.py`.

/// A colour map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colormap {
    /// Blue to red through cyan and yellow: the map in most papers.
    #[default]
    Jet,
    /// Jet's order with even steps (Mikhailov 2019).
    Turbo,
    /// Readable without colour vision (Smith and van der Walt 2015).
    Viridis,
}

impl Colormap {
    /// Every map, in the order of the help text.
    pub const ALL: [Self; 3] = [Self::Jet, Self::Turbo, Self::Viridis];

    /// The name on the command line and in matplotlib.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jet => "jet",
            Self::Turbo => "turbo",
            Self::Viridis => "viridis",
        }
    }

    /// The colour of an intensity from 0 to 1, by matplotlib's rule: entry
    /// `min(floor(256 v), 255)`.
    #[must_use]
    pub fn color(self, intensity: f32) -> [u8; 3] {
        let table: &[u8; 768] = match self {
            Self::Jet => include_bytes!("colormaps/jet.rgb"),
            Self::Turbo => include_bytes!("colormaps/turbo.rgb"),
            Self::Viridis => include_bytes!("colormaps/viridis.rgb"),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=255 just before; NaN becomes 0"
        )]
        let entry = (intensity * 256.0).clamp(0.0, 255.0) as usize;
        [table[3 * entry], table[3 * entry + 1], table[3 * entry + 2]]
    }
}
