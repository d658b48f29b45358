//! Draws a picture from its traits.
//!
//! Skin is a white layer seen through two absorbers, melanin and blood, as in Beer and Lambert's law:
//! `white * exp(-melanin * k_m - blood * k_b)` for each of R, G, B. Signs add absorber or blend in a
//! colour (milky, waxy, blue). Objects with an outline are stamped on planes first; fields
//! that cover an area are evaluated pixel by pixel. Then light, camera, hair and glass.

use image::{Rgb, RgbImage};

use super::noise::{Dice, cells, fractal, hash, mix, smoothstep, value_noise};
use super::traits::{Lesion, Scene};

/// Colour of the layer under the absorbers, and absorption of a unit of each, R G B. Chosen by eye.
const WHITE: [f32; 3] = [0.95, 0.86, 0.84];
const MELANIN: [f32; 3] = [0.55, 1.02, 1.45];
const BLOOD: [f32; 3] = [0.13, 0.88, 0.62];

const MILKY: [f32; 3] = [0.93, 0.84, 0.83];
const WAXY: [f32; 3] = [0.80, 0.64, 0.40];
const VEIL: [f32; 3] = [0.45, 0.50, 0.62];
const NEST: [f32; 3] = [0.34, 0.33, 0.42];
const SCALE: [f32; 3] = [0.95, 0.90, 0.80];

/// Where fields take their seeds: one each, so that no two share a pattern.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Field {
    Border,
    WarpX,
    WarpY,
    Blotch,
    Mottle,
    Flush,
    Lines,
    Freckle,
    Network,
    Lacunae,
    Fissure,
    Veil,
    Regression,
    Colours,
    Follicle,
    Scale,
    Grain,
    Streak,
}

/// Pixel grid and picture coordinates.
#[derive(Clone, Copy)]
struct Frame {
    width: u32,
    height: u32,
}

impl Frame {
    /// Pixels in a unit of length.
    fn unit(self) -> f32 {
        self.width.min(self.height) as f32 / 2.0
    }

    fn position(self, column: u32, row: u32) -> [f32; 2] {
        [
            (column as f32 + 0.5 - self.width as f32 / 2.0) / self.unit(),
            (row as f32 + 0.5 - self.height as f32 / 2.0) / self.unit(),
        ]
    }

    /// Half extents in units.
    fn extent(self) -> [f32; 2] {
        [
            self.width as f32 / 2.0 / self.unit(),
            self.height as f32 / 2.0 / self.unit(),
        ]
    }
}

/// Coverage in 0..1 at each pixel, of things with an outline.
struct Plane {
    frame: Frame,
    cover: Vec<f32>,
}

impl Plane {
    fn new(frame: Frame) -> Self {
        Self {
            frame,
            cover: vec![0.0; (frame.width * frame.height) as usize],
        }
    }

    fn at(&self, column: u32, row: u32) -> f32 {
        self.cover[(row * self.frame.width + column) as usize]
    }

    /// Raises the coverage near the segment from `a` to `b`: `amount` within `half_width`, falling
    /// to 0 over a further `soft`. A segment of no length is a disc.
    fn segment(&mut self, a: [f32; 2], b: [f32; 2], pen: Pen) {
        let reach = pen.half_width + pen.soft;
        let [ex, ey] = self.frame.extent();
        let unit = self.frame.unit();
        let low = |p: f32, q: f32, e: f32| ((p.min(q) - reach + e) * unit).floor().max(0.0) as u32;
        let high = |p: f32, q: f32, e: f32, n: u32| {
            (((p.max(q) + reach + e) * unit).ceil().max(0.0) as u32).min(n)
        };
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let length2 = dx * dx + dy * dy;
        for row in low(a[1], b[1], ey)..high(a[1], b[1], ey, self.frame.height) {
            for column in low(a[0], b[0], ex)..high(a[0], b[0], ex, self.frame.width) {
                let [x, y] = self.frame.position(column, row);
                let along = (x - a[0]) * dx + (y - a[1]) * dy;
                let t = if length2 > 0.0 {
                    (along / length2).clamp(0.0, 1.0)
                } else {
                    0.0
                };
                let (ox, oy) = (x - a[0] - t * dx, y - a[1] - t * dy);
                let distance = (ox * ox + oy * oy).sqrt();
                let cover = pen.amount * (1.0 - smoothstep(pen.half_width, reach, distance));
                let here = &mut self.cover[(row * self.frame.width + column) as usize];
                *here = here.max(cover);
            }
        }
    }

    fn disc(&mut self, centre: [f32; 2], pen: Pen) {
        self.segment(centre, centre, pen);
    }
}

#[derive(Clone, Copy)]
struct Pen {
    half_width: f32,
    soft: f32,
    amount: f32,
}

fn pen(half_width: f32, soft: f32, amount: f32) -> Pen {
    Pen {
        half_width,
        soft,
        amount,
    }
}

/// The lesion's own coordinates: its border is where [`Body::depth`] is 0, its middle near 1.
struct Body<'a> {
    lesion: &'a Lesion,
    cos: f32,
    sin: f32,
    seed: u32,
}

impl<'a> Body<'a> {
    fn new(lesion: &'a Lesion, seed: u32) -> Self {
        Self {
            lesion,
            cos: libm::cosf(lesion.angle),
            sin: libm::sinf(lesion.angle),
            seed,
        }
    }

    /// Picture position to radii along the lesion's axes.
    fn local(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let l = self.lesion;
        let (dx, dy) = (x - l.centre[0], y - l.centre[1]);
        [
            (dx * self.cos + dy * self.sin) / l.radius,
            (dy * self.cos - dx * self.sin) / (l.radius * l.aspect),
        ]
    }

    /// The reverse of [`Body::local`].
    fn global(&self, [u, v]: [f32; 2]) -> [f32; 2] {
        let l = self.lesion;
        let (u, v) = (u * l.radius, v * l.radius * l.aspect);
        [
            l.centre[0] + u * self.cos - v * self.sin,
            l.centre[1] + u * self.sin + v * self.cos,
        ]
    }

    fn depth(&self, position: [f32; 2]) -> f32 {
        let l = self.lesion;
        let [u, v] = self.local(position);
        let mut depth = 1.0 - (u * u + v * v).sqrt();
        for &[du, dv, radius] in &l.lobes {
            let (a, b) = (u - du, v - dv);
            depth = depth.max(radius - (a * a + b * b).sqrt());
        }
        let f = l.ragged_frequency;
        depth + l.ragged * 1.6 * fractal(self.seed ^ 0x51, u * f, v * f, 4)
    }

    /// A position in the lesion, `spread` 1 reaching its border.
    fn inside(&self, dice: &mut Dice, spread: f32) -> [f32; 2] {
        let [u, v] = dice.in_disc();
        self.global([u * spread, v * spread])
    }
}

/// The picture of `lesion` in `scene`, `format` columns and rows.
pub(crate) fn render(
    format: (u32, u32),
    lesion: &Lesion,
    scene: &Scene,
    dice: &mut Dice,
) -> RgbImage {
    let frame = Frame {
        width: format.0,
        height: format.1,
    };
    let seed = dice.bits();
    let body = Body::new(lesion, field_seed(seed, Field::Border));
    let signs = Signs::stamp(frame, &body, dice);
    let mut pixels = Vec::with_capacity((frame.width * frame.height) as usize);
    for row in 0..frame.height {
        for column in 0..frame.width {
            pixels.push(shade(seed, &body, scene, &signs, frame, [column, row]));
        }
    }
    let mut pixels = blur(frame, &pixels, scene.blur);
    Glass::stamp(frame, scene, dice).over(frame, &mut pixels);
    expose(frame, seed, scene, &pixels)
}

fn field_seed(seed: u32, field: Field) -> u32 {
    hash(seed, field as i32, 77)
}

/// Planes of the lesion's signs.
struct Signs {
    dark: Plane,
    red: Plane,
    white: Plane,
    blue: Plane,
    ulcer: Plane,
}

impl Signs {
    fn stamp(frame: Frame, body: &Body<'_>, dice: &mut Dice) -> Self {
        let l = body.lesion;
        let mut signs = Self {
            dark: Plane::new(frame),
            red: Plane::new(frame),
            white: Plane::new(frame),
            blue: Plane::new(frame),
            ulcer: Plane::new(frame),
        };
        for _ in 0..l.globules {
            let at = if l.globules_at_rim {
                let angle = dice.range(0.0, core::f32::consts::TAU);
                let r = dice.range(0.8, 0.97);
                body.global([r * libm::cosf(angle), r * libm::sinf(angle)])
            } else {
                body.inside(dice, 0.9)
            };
            let r = dice.range(0.018, 0.034);
            signs.dark.disc(at, pen(r, 0.02, dice.range(0.45, 0.9)));
        }
        for _ in 0..l.dots {
            let at = body.inside(dice, 1.05);
            let r = dice.range(0.006, 0.018);
            signs.dark.disc(at, pen(r, 0.014, dice.range(0.7, 1.0)));
        }
        for _ in 0..l.comedones {
            let at = body.inside(dice, 0.85);
            let r = dice.range(0.02, 0.045);
            signs.dark.disc(at, pen(r, 0.02, dice.range(0.5, 0.95)));
        }
        for _ in 0..l.milia {
            let at = body.inside(dice, 0.85);
            let r = dice.range(0.008, 0.028);
            signs.white.disc(at, pen(r, 0.02, dice.range(0.55, 0.95)));
        }
        for _ in 0..l.dotted_vessels {
            let at = body.inside(dice, 0.8);
            let r = dice.range(0.008, 0.016);
            signs.red.disc(at, pen(r, 0.014, dice.range(0.5, 0.9)));
        }
        for _ in 0..l.nests {
            let a = body.inside(dice, 0.8);
            let r = dice.range(0.03, 0.085);
            let b = [a[0] + dice.bell() * r * 0.5, a[1] + dice.bell() * r * 0.5];
            signs
                .blue
                .segment(a, b, pen(r * 0.6, r * 0.8, dice.range(0.5, 0.95)));
        }
        if l.ulcer > 0.0 {
            let a = body.inside(dice, 0.5);
            for _ in 0..dice.count(1, 4) {
                let b = [a[0] + dice.bell() * 0.07, a[1] + dice.bell() * 0.07];
                let r = dice.range(0.02, 0.06);
                signs.ulcer.segment(a, b, pen(r, 0.03, l.ulcer));
            }
        }
        for _ in 0..l.vessels {
            let start = body.inside(dice, 1.0);
            let [u, v] = body.local(start);
            // Trunks come from outside and branch towards the middle.
            let inward = libm::atan2f(-v, -u) + l.angle + dice.bell() * 0.5;
            let reach = dice.range(0.5, 1.1) * l.radius;
            branch(&mut signs.red, dice, start, [inward, reach, 0.016], 3);
        }
        signs
    }
}

/// A wavering line that thins out and forks; `[direction, length, half width]`.
fn branch(plane: &mut Plane, dice: &mut Dice, from: [f32; 2], line: [f32; 3], forks: u32) {
    let [mut direction, length, half_width] = line;
    let steps = 8;
    let mut at = from;
    for step in 0..steps {
        direction += dice.bell() * 0.28;
        let stride = length / steps as f32;
        let to = [
            at[0] + stride * libm::cosf(direction),
            at[1] + stride * libm::sinf(direction),
        ];
        let thin = half_width * (1.0 - 0.6 * step as f32 / steps as f32);
        plane.segment(at, to, pen(thin * 0.5, 0.016, 0.55 + 12.0 * thin));
        at = to;
        if forks > 0 && dice.chance(0.3) {
            let side = if dice.chance(0.5) { 0.7 } else { -0.7 };
            let turned = direction + side + dice.bell() * 0.2;
            let child = [turned, length * dice.range(0.3, 0.6), half_width * 0.7];
            branch(plane, dice, at, child, forks - 1);
        }
    }
}

/// Colour of the skin at a pixel, before light and camera.
fn shade(
    seed: u32,
    body: &Body<'_>,
    scene: &Scene,
    signs: &Signs,
    frame: Frame,
    [column, row]: [u32; 2],
) -> [f32; 3] {
    let l = body.lesion;
    let s = |field| field_seed(seed, field);
    let [px, py] = frame.position(column, row);
    let warp_x = fractal(s(Field::WarpX), px * 2.2, py * 2.2, 3);
    let warp_y = fractal(s(Field::WarpY), px * 2.2, py * 2.2, 3);

    // Healthy skin.
    let mottle = fractal(s(Field::Mottle), px * 2.0, py * 2.0, 5) * scene.mottle;
    let flush = fractal(s(Field::Flush), px * 1.6, py * 1.6, 5) * scene.mottle;
    let mut melanin = scene.skin_melanin * (1.0 + 0.5 * mottle) + 0.03 * mottle;
    let mut blood = scene.skin_blood * (1.0 + 0.45 * flush);
    let mut tints: [(f32, [f32; 3]); 6] = [(0.0, MILKY); 6];
    if scene.freckles > 0.0 {
        let f = fractal(s(Field::Freckle), px * 3.6, py * 3.6, 5);
        melanin += scene.freckles * 0.45 * smoothstep(0.1, 0.95, f);
    }
    let pores = value_noise(s(Field::Lines), px * 26.0 + warp_x, py * 26.0 + warp_y);
    melanin += 0.03 * scene.skin_lines * pores;
    blood += 0.05 * scene.skin_lines * fractal(s(Field::Lines) ^ 1, px * 9.0, py * 9.0, 3);
    if scene.skin_lines > 0.3 {
        let (lx, ly) = (px + 0.06 * warp_x, py + 0.06 * warp_y);
        let c = cells(s(Field::Lines), lx * 12.0, ly * 15.0, 1.0);
        let crease = 1.0 - smoothstep(0.0, 0.3, c.second - c.near);
        melanin -= 0.03 * scene.skin_lines * crease;
    }

    // The lesion's ground.
    let depth = body.depth([px, py]);
    let edge = l.edge * 0.5;
    let inside = smoothstep(
        -edge,
        edge,
        depth + 0.04 * fractal(s(Field::Grain), px * 11.0, py * 11.0, 2),
    );
    if inside > 0.0 {
        let [u, v] = body.local([px, py]);
        let radius = (u * u + v * v).sqrt();
        let blotch = fractal(
            s(Field::Blotch),
            px * 3.6 + warp_x * 0.6,
            py * 3.6 + warp_y * 0.6,
            4,
        );
        let fine = fractal(s(Field::Blotch) ^ 1, px * 13.0, py * 13.0, 3);
        let mut brown = l.melanin * (1.0 + l.blotches * 0.9 * blotch + 0.22 * fine);
        let mut red = l.blood * (1.0 + l.blotches * 0.6 * blotch + 0.15 * fine);
        brown += l.melanin.max(0.5) * l.dark_centre * (1.0 - smoothstep(0.0, 0.8, radius));
        if l.dark_patch > 0.0 {
            let (du, dv) = (u - 0.38 + 0.3 * warp_x, v - 0.2 + 0.3 * warp_y);
            brown += l.dark_patch * (1.0 - smoothstep(0.2, 0.6, (du * du + dv * dv).sqrt()));
        }
        if l.colours > 0.0 {
            let c = fractal(s(Field::Colours), px * 2.4, py * 2.4, 3);
            red += l.colours * 0.6 * smoothstep(0.05, 0.5, c);
            brown *= 1.0 - 0.6 * l.colours * smoothstep(0.05, 0.55, -c);
        }
        if l.network > 0.0 {
            brown += l.network * network(seed, l, [px, py], [warp_x, warp_y], depth);
        }
        if l.streaks > 0.0 {
            let angle = libm::atan2f(v, u);
            let rays = value_noise(s(Field::Streak), angle * 7.0, 0.5 + radius * 0.6);
            let rim = smoothstep(0.3, 0.08, depth);
            brown += l.streaks * 1.1 * rim * smoothstep(0.1, 0.5, rays);
        }
        if l.fissures > 0.0 {
            let c = cells(
                s(Field::Fissure),
                (px + 0.12 * warp_x) * 6.0,
                (py + 0.12 * warp_y) * 6.0,
                1.0,
            );
            let crack = 1.0 - smoothstep(0.04, 0.22, c.second - c.near);
            brown += l.fissures * 0.6 * crack;
            tints[0] = (
                l.fissures * 0.2 * smoothstep(0.3, 0.6, c.second - c.near),
                MILKY,
            );
        }
        if l.lacunae > 0.0 {
            let k = 1.0 / l.lacunae_period;
            let (lx, ly) = (px + 0.05 * warp_x, py + 0.05 * warp_y);
            let c = cells(s(Field::Lacunae), lx * k, ly * k, 0.8);
            let lake = 1.0 - smoothstep(0.22 + 0.2 * c.id, 0.6, c.near);
            red *= mix(1.0, 0.5 + 0.75 * lake, l.lacunae);
            brown += l.purple * lake * c.id * 0.8;
            tints[0] = (l.lacunae * 0.18 * (1.0 - lake), MILKY);
            tints[1] = (l.purple * lake * 0.45 * (1.0 - c.id), VEIL);
        } else if l.purple > 0.0 {
            tints[1] = (l.purple * 0.2 * smoothstep(-0.3, 0.6, blotch), VEIL);
        }
        if l.follicles > 0.0 {
            // Strawberry pattern: pale follicles with a red rim.
            let c = cells(s(Field::Follicle), px * 8.0, py * 8.0, 0.8);
            red += l.follicles * 0.35 * smoothstep(0.16, 0.4, c.near);
            tints[0] = (
                l.follicles * 0.6 * (1.0 - smoothstep(0.1, 0.24, c.near)),
                SCALE,
            );
        }
        if l.scale > 0.0 {
            let f = fractal(s(Field::Scale), px * 6.0 + warp_x, py * 6.0 + warp_y, 4);
            tints[2] = (l.scale * 0.75 * smoothstep(0.18, 0.5, f), SCALE);
        }
        if l.regression > 0.0 {
            let f = fractal(s(Field::Regression), px * 2.6, py * 2.6, 3);
            let white = l.regression * smoothstep(0.1, 0.45, f);
            brown *= 1.0 - 0.8 * white;
            tints[3] = (0.4 * white, MILKY);
        }
        if l.veil > 0.0 {
            let f = fractal(
                s(Field::Veil),
                px * 2.0 + 0.4 * warp_x,
                py * 2.0 + 0.4 * warp_y,
                3,
            );
            let cloud = smoothstep(-0.1, 0.4, f) * smoothstep(0.02, 0.3, depth);
            tints[4] = (l.veil * (0.68 + 0.25 * fine) * cloud, VEIL);
        }
        if l.scar > 0.0 {
            let (du, dv) = (
                u - l.scar_offset[0] + 0.3 * warp_x,
                v - l.scar_offset[1] + 0.3 * warp_y,
            );
            let r = (du * du + dv * dv).sqrt();
            let patch = 1.0 - smoothstep(l.scar_radius * 0.3, l.scar_radius * 1.6, r);
            let scar = (l.scar * patch * (1.0 + 0.5 * fine)).clamp(0.0, 1.0);
            brown *= 1.0 - 0.9 * scar;
            tints[3] = (0.6 * scar, MILKY);
        }
        melanin += inside * brown.max(0.0);
        blood += inside * red.max(0.0);
        tints[5] = (
            l.waxy * (0.6 + 0.4 * blotch + 0.3 * fine).clamp(0.0, 1.0),
            WAXY,
        );
        for tint in &mut tints {
            tint.0 *= inside;
        }
    }

    let (dark, vessel) = (signs.dark.at(column, row), signs.red.at(column, row));
    let ulcer = signs.ulcer.at(column, row);
    melanin += 1.1 * dark + 0.35 * ulcer;
    blood += 1.1 * vessel + 1.3 * ulcer;
    let milky = l.milky * inside * 0.7;
    let blue = signs.blue.at(column, row);
    let white = signs.white.at(column, row);
    let mut colour = [0.0; 3];
    for c in 0..3 {
        let absorbed = melanin.max(0.0) * MELANIN[c] + blood.max(0.0) * BLOOD[c];
        let mut value = WHITE[c] * libm::expf(-absorbed);
        // The yellow and the milky layer lie under vessels, scale and milia on top.
        for (share, tint) in [(tints[5].0, WAXY), (milky * (1.0 - vessel), MILKY)] {
            value = mix(value, tint[c], share);
        }
        for &(share, tint) in &tints[..5] {
            value = mix(value, tint[c], share.clamp(0.0, 1.0));
        }
        value = mix(value, NEST[c], blue * 0.8);
        value = mix(value, SCALE[c], white * 0.75);
        colour[c] = value;
    }
    colour
}

/// Lines of a honeycomb, 0..1.
fn network(seed: u32, l: &Lesion, [x, y]: [f32; 2], [wx, wy]: [f32; 2], depth: f32) -> f32 {
    let sway = 0.05 + 0.12 * l.network_chaos;
    let k = 1.0 / l.network_period;
    let c = cells(
        field_seed(seed, Field::Network),
        (x + sway * wx) * k,
        (y + sway * wy) * k,
        0.65 + 0.35 * l.network_chaos,
    );
    // Lines of uneven strength with soft flanks; holes stay a little brown.
    let uneven = 0.75 + 0.5 * value_noise(field_seed(seed, Field::Network), x * 5.0, y * 5.0);
    let thick = 0.34 + 0.3 * l.network_chaos * (c.id - 0.3);
    let line = uneven * (1.0 - smoothstep(0.0, thick + 0.15, c.second - c.near));
    let zone = if l.network_rim {
        smoothstep(0.75, 0.4, depth)
    } else {
        // Irregular networks break off, regular ones thin out to the rim.
        let patchy = smoothstep(-0.5, 0.3, wx + 0.3);
        mix(smoothstep(-0.1, 0.4, depth), patchy, l.network_chaos)
    };
    line * zone
}

/// Gaussian blur of `sigma` pixels, in two passes.
fn blur(frame: Frame, pixels: &[[f32; 3]], sigma: f32) -> Vec<[f32; 3]> {
    if sigma <= 0.0 {
        return pixels.to_vec();
    }
    let tap = |d: i32| libm::expf(-((d * d) as f32) / (2.0 * sigma * sigma));
    let taps: Vec<f32> = (-3..=3).map(tap).collect();
    let total: f32 = taps.iter().sum();
    let (w, h) = (frame.width as i32, frame.height as i32);
    let pass = |source: &[[f32; 3]], dx: i32, dy: i32| {
        let mut result = vec![[0.0; 3]; source.len()];
        for y in 0..h {
            for x in 0..w {
                let mut sum = [0.0; 3];
                for (tap, d) in taps.iter().zip(-3..) {
                    let sx = (x + d * dx).clamp(0, w - 1);
                    let sy = (y + d * dy).clamp(0, h - 1);
                    let pixel = source[(sy * w + sx) as usize];
                    for c in 0..3 {
                        sum[c] += tap * pixel[c];
                    }
                }
                result[(y * w + x) as usize] = sum.map(|v| v / total);
            }
        }
        result
    };
    let across = pass(pixels, 1, 0);
    pass(&across, 0, 1)
}

/// What lies on the skin or the glass: hair, gel, ruler, ink.
struct Glass {
    hair: Plane,
    hair_colour: [f32; 3],
    bright: Plane,
    shadow: Plane,
    ruler: Plane,
    ink: Plane,
}

impl Glass {
    fn stamp(frame: Frame, scene: &Scene, dice: &mut Dice) -> Self {
        let [ex, ey] = frame.extent();
        let dark = scene.hair_dark;
        let mut glass = Self {
            hair: Plane::new(frame),
            hair_colour: [
                mix(0.42, 0.10, dark),
                mix(0.30, 0.07, dark),
                mix(0.20, 0.06, dark),
            ],
            bright: Plane::new(frame),
            shadow: Plane::new(frame),
            ruler: Plane::new(frame),
            ink: Plane::new(frame),
        };
        let common = dice.range(0.0, core::f32::consts::TAU);
        for _ in 0..scene.hairs {
            let from = [dice.range(-ex, ex), dice.range(-ey, ey)];
            hair(&mut glass.hair, dice, from, [common, 0.5], 1.6);
        }
        for _ in 0..scene.stubble {
            let from = [dice.range(-ex, ex), dice.range(-ey, ey)];
            hair(&mut glass.hair, dice, from, [common, 0.2], 0.18);
        }
        for _ in 0..scene.bubbles {
            let at = [dice.range(-ex, ex), dice.range(-ey, ey)];
            let radius = dice.range(0.03, 0.12);
            bubble(&mut glass, at, radius);
        }
        for _ in 0..scene.glints {
            let at = [dice.range(-ex, ex), dice.range(-ey, ey)];
            let to = [at[0] + dice.bell() * 0.012, at[1] + dice.bell() * 0.012];
            let glint = pen(0.003, 0.012, dice.range(0.3, 0.9));
            glass.bright.segment(at, to, glint);
        }
        if scene.ruler {
            let side = if dice.chance(0.5) { 1.0 } else { -1.0 };
            let step = dice.range(0.09, 0.14);
            let mut x = -ex;
            let mut tick = 0;
            while x < ex {
                let length = if tick % 5 == 0 { 0.16 } else { 0.09 };
                let y = side * ey;
                let line = pen(0.004, 0.01, 0.8);
                glass.ruler.segment([x, y], [x, y - side * length], line);
                x += step;
                tick += 1;
            }
        }
        if scene.ink {
            let corner = [if dice.chance(0.5) { ex } else { -ex }, dice.range(-ey, ey)];
            let mut at = corner;
            for _ in 0..6 {
                let to = [
                    at[0] - corner[0].signum() * dice.range(0.0, 0.09),
                    at[1] + dice.bell() * 0.12,
                ];
                glass.ink.segment(at, to, pen(0.03, 0.03, 0.75));
                at = to;
            }
        }
        glass
    }

    fn over(&self, frame: Frame, pixels: &mut [[f32; 3]]) {
        const INK: [f32; 3] = [0.18, 0.20, 0.62];
        const RULER: [f32; 3] = [0.12, 0.12, 0.14];
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let at = [i as u32 % frame.width, i as u32 / frame.width];
            let cover = |plane: &Plane| plane.at(at[0], at[1]);
            for c in 0..3 {
                let v = &mut pixel[c];
                *v *= mix(1.0, INK[c] * 1.2, cover(&self.ink));
                *v = mix(*v, RULER[c], cover(&self.ruler));
                *v = mix(*v, self.hair_colour[c], cover(&self.hair));
                *v *= 1.0 - 0.35 * cover(&self.shadow);
                *v = mix(*v, 0.97, 0.8 * cover(&self.bright));
            }
        }
    }
}

/// A hair from `from`; `[direction, spread]`.
fn hair(
    plane: &mut Plane,
    dice: &mut Dice,
    from: [f32; 2],
    [along, spread]: [f32; 2],
    length: f32,
) {
    let mut direction = along + dice.bell() * spread;
    let bend = dice.bell() * 0.06;
    let length = length * dice.range(0.5, 1.2);
    let line = pen(dice.range(0.0, 0.006), 0.012, dice.range(0.7, 1.0));
    let steps = 10;
    let mut at = from;
    for _ in 0..steps {
        direction += bend;
        let stride = length / steps as f32;
        let to = [
            at[0] + stride * libm::cosf(direction),
            at[1] + stride * libm::sinf(direction),
        ];
        plane.segment(at, to, line);
        at = to;
    }
}

/// A bubble in the gel: a dark ring, lit at the upper left.
fn bubble(glass: &mut Glass, centre: [f32; 2], radius: f32) {
    let point = |i: i32| {
        let angle = i as f32 / 24.0 * core::f32::consts::TAU;
        [
            centre[0] + radius * libm::cosf(angle),
            centre[1] + radius * libm::sinf(angle),
        ]
    };
    for i in 0..24 {
        glass
            .shadow
            .segment(point(i), point(i + 1), pen(0.004, 0.014, 0.9));
    }
    for i in 13..17 {
        glass
            .bright
            .segment(point(i), point(i + 1), pen(0.004, 0.012, 0.8));
    }
}

/// Light, lens and sensor: linear colour to bytes.
fn expose(frame: Frame, seed: u32, scene: &Scene, pixels: &[[f32; 3]]) -> RgbImage {
    let grain_seed = field_seed(seed, Field::Grain);
    RgbImage::from_fn(frame.width, frame.height, |column, row| {
        let [x, y] = frame.position(column, row);
        let radius2 = x * x + y * y;
        let mut light = 1.0 + scene.light[0] * x + scene.light[1] * y;
        light *= 1.0 - scene.vignette * 0.3 * radius2;
        if let Some(field) = scene.field {
            light *= 1.0 - 0.97 * smoothstep(field - 0.02, field + 0.06, radius2.sqrt());
        }
        let pixel = pixels[(row * frame.width + column) as usize];
        let mut bytes = [0; 3];
        for c in 0..3 {
            let lit = pixel[c] * light * scene.exposure * scene.balance[c];
            let stretched = (lit - 0.5) * scene.contrast + 0.5;
            let h = hash(grain_seed.wrapping_add(c as u32), column as i32, row as i32);
            // Triangular noise of unit deviation from two 16-bit halves.
            let noise = ((h & 0xffff) as f32 + (h >> 16) as f32) / 65536.0 - 1.0;
            let value = stretched + noise * 2.45 * scene.grain;
            bytes[c] = (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
        }
        Rgb(bytes)
    })
}
