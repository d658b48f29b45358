//! Which signs a picture shows, drawn for its class.
//!
//! Lengths are in half short sides of the picture: it spans -1..1 on its short side.

use super::noise::Dice;

/// The lesion. Amounts are 0 when a sign is absent and about 1 when it is plain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lesion {
    pub(crate) centre: [f32; 2],
    pub(crate) radius: f32,
    /// Short over long axis.
    pub(crate) aspect: f32,
    pub(crate) angle: f32,
    /// Further ellipses joined to the first: offset in radii, and relative radius.
    pub(crate) lobes: Vec<[f32; 3]>,
    /// Amplitude and frequency of the border's noise.
    pub(crate) ragged: f32,
    pub(crate) ragged_frequency: f32,
    /// Width of the border in radii.
    pub(crate) edge: f32,

    /// Absorption added inside: brown and red pigment.
    pub(crate) melanin: f32,
    pub(crate) blood: f32,
    /// Share of waxy yellow, and of milky white.
    pub(crate) waxy: f32,
    pub(crate) milky: f32,
    /// Unevenness of the brown.
    pub(crate) blotches: f32,
    /// Dark patch off the centre; symmetric darkening of the centre.
    pub(crate) dark_patch: f32,
    pub(crate) dark_centre: f32,
    /// Tan and red areas side by side.
    pub(crate) colours: f32,

    pub(crate) network: f32,
    pub(crate) network_period: f32,
    pub(crate) network_chaos: f32,
    /// Keeps the network to the rim.
    pub(crate) network_rim: bool,
    pub(crate) streaks: f32,
    pub(crate) globules: u32,
    pub(crate) globules_at_rim: bool,
    pub(crate) dots: u32,
    pub(crate) veil: f32,
    pub(crate) regression: f32,

    pub(crate) lacunae: f32,
    pub(crate) lacunae_period: f32,
    pub(crate) purple: f32,

    pub(crate) milia: u32,
    pub(crate) comedones: u32,
    pub(crate) fissures: f32,

    pub(crate) scar: f32,
    pub(crate) scar_radius: f32,
    pub(crate) scar_offset: [f32; 2],

    pub(crate) vessels: u32,
    pub(crate) nests: u32,
    pub(crate) ulcer: f32,

    pub(crate) follicles: f32,
    pub(crate) scale: f32,
    pub(crate) dotted_vessels: u32,
    /// Freckled, sun-damaged skin around.
    pub(crate) freckles: f32,
}

/// Skin, light and camera.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scene {
    pub(crate) skin_melanin: f32,
    pub(crate) skin_blood: f32,
    pub(crate) mottle: f32,
    pub(crate) skin_lines: f32,
    pub(crate) freckles: f32,
    /// Direction and strength of the light's fall.
    pub(crate) light: [f32; 2],
    pub(crate) vignette: f32,
    /// Radius of the bright field when its black surround shows.
    pub(crate) field: Option<f32>,
    pub(crate) balance: [f32; 3],
    pub(crate) exposure: f32,
    pub(crate) contrast: f32,
    pub(crate) hairs: u32,
    pub(crate) stubble: u32,
    pub(crate) hair_dark: f32,
    pub(crate) bubbles: u32,
    pub(crate) glints: u32,
    pub(crate) ruler: bool,
    pub(crate) ink: bool,
    pub(crate) blur: f32,
    pub(crate) grain: f32,
}

/// How far a case is from its textbook picture: most are plain, some are faint.
fn plainness(dice: &mut Dice) -> f32 {
    if dice.chance(0.17) {
        dice.range(0.25, 0.6)
    } else {
        dice.range(0.7, 1.0)
    }
}

fn when(dice: &mut Dice, probability: f32, low: f32, high: f32) -> f32 {
    let value = dice.range(low, high);
    if dice.chance(probability) { value } else { 0.0 }
}

fn count_when(dice: &mut Dice, probability: f32, low: u32, high: u32) -> u32 {
    let value = dice.count(low, high);
    if dice.chance(probability) { value } else { 0 }
}

fn lobes(dice: &mut Dice, low: u32, high: u32) -> Vec<[f32; 3]> {
    (0..dice.count(low, high))
        .map(|_| {
            let [x, y] = dice.in_disc();
            [x * 0.9, y * 0.9, dice.range(0.4, 0.8)]
        })
        .collect()
}

/// The lesion of a picture of `class`.
pub(crate) fn lesion(class: &str, dice: &mut Dice) -> Lesion {
    let mut l = Lesion {
        centre: [dice.bell() * 0.1, dice.bell() * 0.1],
        radius: dice.range(0.4, 0.72),
        aspect: dice.range(0.68, 1.0),
        angle: dice.range(0.0, core::f32::consts::TAU),
        ragged: dice.range(0.06, 0.14),
        ragged_frequency: dice.range(1.6, 3.0),
        edge: dice.range(0.08, 0.2),
        network_period: dice.range(0.085, 0.12),
        lacunae_period: dice.range(0.13, 0.22),
        scar_radius: dice.range(0.2, 0.55),
        scar_offset: [dice.bell() * 0.12, dice.bell() * 0.12],
        ..Lesion::default()
    };
    let plain = plainness(dice);
    match class {
        "akiec" => {
            l.ragged = dice.range(0.14, 0.28);
            l.edge = dice.range(0.15, 0.4);
            l.blood = dice.range(0.35, 0.85) * plain.max(0.5);
            l.melanin = when(dice, 0.35, 0.1, 0.5);
            l.blotches = dice.range(0.3, 0.6);
            l.follicles = when(dice, 0.75, 0.5, 1.0) * plain;
            l.scale = when(dice, 0.75, 0.5, 1.0) * plain;
            l.dotted_vessels = count_when(dice, 0.4, 10, 26);
            l.freckles = when(dice, 0.6, 0.3, 1.0);
            l.vessels = count_when(dice, 0.06, 1, 2);
            l.lobes = lobes(dice, 0, 2);
        }
        "bcc" => {
            l.edge = dice.range(0.1, 0.32);
            l.blood = dice.range(0.2, 0.6);
            l.melanin = when(dice, 0.4, 0.05, 0.3);
            l.milky = dice.range(0.1, 0.4) * plain;
            l.blotches = dice.range(0.2, 0.5);
            l.vessels = count_when(dice, 0.6 + 0.3 * plain, 2, 6);
            l.nests = count_when(dice, 0.6 * plain + 0.1, 2, 8);
            l.ulcer = when(dice, 0.35, 0.5, 1.0);
            l.scale = when(dice, 0.12, 0.3, 0.6);
            l.freckles = when(dice, 0.3, 0.2, 0.8);
            l.lobes = lobes(dice, 0, 1);
        }
        "bkl" => {
            l.edge = dice.range(0.03, 0.09) / plain;
            l.ragged = dice.range(0.08, 0.18);
            l.ragged_frequency = dice.range(3.0, 5.0);
            l.melanin = dice.range(0.3, 1.1);
            l.waxy = dice.range(0.15, 0.5) * plain;
            l.blotches = dice.range(0.2, 0.5);
            l.milia = count_when(dice, 0.5 + 0.3 * plain, 4, 14);
            l.comedones = count_when(dice, 0.3 + 0.35 * plain, 4, 12);
            l.fissures = when(dice, 0.45, 0.5, 1.0) * plain;
            l.network = when(dice, 0.15, 0.2, 0.5);
            l.regression = when(dice, 0.12, 0.3, 0.6);
            l.veil = when(dice, 0.06, 0.2, 0.5);
            l.freckles = when(dice, 0.25, 0.2, 0.7);
            l.lobes = lobes(dice, 0, 2);
        }
        "df" => {
            l.radius = dice.range(0.38, 0.62);
            l.aspect = dice.range(0.8, 1.0);
            l.edge = dice.range(0.3, 0.6);
            l.ragged = dice.range(0.04, 0.1);
            l.melanin = dice.range(0.25, 0.7);
            l.blood = dice.range(0.05, 0.3);
            l.blotches = dice.range(0.1, 0.25);
            l.scar = dice.range(0.35, 0.9) * plain;
            l.network = when(dice, 0.65, 0.2, 0.45) * plain;
            l.network_period *= 0.85;
            l.network_rim = true;
            l.dotted_vessels = count_when(dice, 0.15, 4, 10);
            l.milia = count_when(dice, 0.05, 2, 4);
        }
        "mel" => {
            l.radius = dice.range(0.45, 0.8);
            l.edge = dice.range(0.08, 0.24);
            l.ragged = dice.range(0.08, 0.2);
            l.melanin = dice.range(0.7, 1.5);
            l.blotches = dice.range(0.3, 0.75) * plain;
            l.dark_patch = when(dice, 0.75, 0.5, 1.2) * plain;
            l.colours = when(dice, 0.7, 0.4, 1.0) * plain;
            l.network = when(dice, 0.6, 0.35, 0.9);
            l.network_chaos = dice.range(0.3, 1.0) * plain;
            l.network_period *= dice.range(0.95, 1.25);
            l.streaks = when(dice, 0.45, 0.4, 1.0) * plain;
            l.dots = count_when(dice, 0.6, 6, 24);
            l.globules = count_when(dice, 0.3, 6, 16);
            l.veil = when(dice, 0.65, 0.4, 1.0) * plain;
            l.regression = when(dice, 0.4, 0.4, 0.9) * plain;
            if dice.chance(0.8 * plain) {
                l.lobes = lobes(dice, 1, 3);
            }
        }
        "nv" => {
            l.radius = dice.range(0.32, 0.66);
            l.aspect = dice.range(0.75, 1.0);
            l.ragged = dice.range(0.03, 0.12);
            l.edge = dice.range(0.1, 0.34);
            l.melanin = dice.range(0.45, 1.25);
            l.blotches = dice.range(0.06, 0.22);
            match dice.count(0, 7) {
                0..=3 => l.network = dice.range(0.35, 0.8),
                4 | 5 => {
                    l.globules = dice.count(18, 44);
                    l.globules_at_rim = dice.chance(0.35);
                }
                _ => l.dark_centre = dice.range(0.1, 0.5),
            }
            // The atypical mole: one or two signs of a melanoma.
            if plain < 0.65 {
                l.dark_patch = when(dice, 0.5, 0.3, 0.8);
                l.colours = when(dice, 0.4, 0.2, 0.5);
                l.blotches += dice.range(0.0, 0.25);
                l.ragged += dice.range(0.0, 0.08);
                l.dots = count_when(dice, 0.4, 3, 9);
                l.veil = when(dice, 0.15, 0.2, 0.5);
                l.lobes = lobes(dice, 0, 1);
            }
            l.milia = count_when(dice, 0.05, 2, 4);
        }
        _ => {
            l.radius = dice.range(0.25, 0.52);
            l.edge = dice.range(0.05, 0.14);
            l.ragged = dice.range(0.04, 0.14);
            l.blood = dice.range(0.8, 1.7) * plain.max(0.55);
            l.lacunae = when(dice, 0.75, 0.6, 1.0) * plain;
            l.purple = when(dice, 0.5, 0.2, 1.0);
            l.milky = when(dice, 0.3, 0.1, 0.3);
            l.melanin = when(dice, 0.3, 0.1, 0.7);
            l.scale = when(dice, 0.06, 0.3, 0.5);
            l.dark_patch = when(dice, 0.12, 0.5, 1.2);
            l.lobes = lobes(dice, 0, 1);
        }
    }
    l
}

/// The surroundings of a lesion: the same distribution for every class, save the freckles.
pub(crate) fn scene(lesion: &Lesion, dice: &mut Dice) -> Scene {
    let dark_skin = dice.chance(0.16);
    let light = dice.in_disc();
    let mut s = Scene {
        skin_melanin: if dark_skin {
            dice.range(0.3, 0.75)
        } else {
            dice.range(0.02, 0.25)
        },
        skin_blood: dice.range(0.06, 0.4),
        mottle: dice.range(0.3, 1.0),
        skin_lines: dice.range(0.0, 1.0),
        freckles: lesion.freckles.max(when(dice, 0.12, 0.2, 0.8)),
        light: [light[0] * 0.16, light[1] * 0.16],
        vignette: dice.range(0.02, 0.3),
        field: dice.chance(0.14).then(|| dice.range(1.08, 1.3)),
        exposure: dice.range(0.9, 1.12),
        contrast: dice.range(0.92, 1.12),
        hair_dark: dice.range(0.5, 1.0),
        ruler: dice.chance(0.12),
        ink: dice.chance(0.05),
        blur: when(dice, 0.5, 0.4, 1.1),
        grain: dice.range(0.006, 0.022),
        ..Scene::default()
    };
    // From the yellowish light of a lamp to the violet cast of polarised LEDs.
    let warm = dice.bell() * 0.035;
    let violet = dice.range(-0.01, 0.05);
    s.balance = [1.0 + warm, 1.0 - violet, 1.0 - warm + violet * 1.6];
    s.hairs = count_when(dice, 0.4, 1, 7);
    s.stubble = count_when(dice, 0.14, 5, 18);
    s.bubbles = count_when(dice, 0.16, 1, 7);
    s.glints = count_when(dice, 0.4, 2, 14);
    s
}
