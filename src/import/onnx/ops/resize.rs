//! `Resize` of rows and columns, and `Upsample`, its older name.
//!
//! What the graph's own resize does becomes that. Any other choice of nearest elements is picked,
//! and any other linear or cubic interpolation is a product with a matrix of constants.

use super::super::call::{Call, Outputs, Value};
use super::super::constant::{Constant, Kind};
use super::super::importer::Importer;
use super::dense::product;
use super::part::pick;
use crate::graph::{Op, ResizeKind};
use crate::import::error::ImportError;
use crate::import::functions::narrow;
use crate::import::view::View;

/// Longest axis of a result.
const MAX_EXTENT: usize = 1 << 14;

/// Weights of an interpolation matrix.
const MAX_MATRIX: usize = 1 << 22;

/// From a position on the resized axis to one on the axis before.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Transformation {
    HalfPixel,
    /// Half pixels about the middle of the axis.
    HalfPixelSymmetric,
    /// Half pixels, but the only element of an axis is read at 0.
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

/// Which of two neighbours is the nearest.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

/// Between which elements is interpolated.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Nearest(Rounding),
    Linear,
    /// With this coefficient, and whether elements outside of the axis are left out.
    Cubic(f64, bool),
}

/// How an axis is resized.
#[derive(Clone, Copy, Debug)]
struct Axis {
    from: usize,
    to: usize,
    scale: f32,
}

impl Axis {
    /// Whether the new extent is the old one times the scale, without rounding.
    fn is_whole(self) -> bool {
        (f64::from(self.scale) * self.from as f64 - self.to as f64).abs() < 1e-6 * self.to as f64
    }
}

pub(super) fn resize<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let rank = x.rank();
    let modern = call.op == "Resize" && importer.opset >= 11;
    let transformation = transformation(call, modern)?;
    let mode = mode(call, modern)?;
    call.attributes.ignore(&["extrapolation_value"]);
    let antialias = call.attributes.flag("antialias", false)?;
    let axes = resized(call, &x.dims(), modern)?;
    if antialias && axes.iter().any(|axis| axis.to < axis.from) {
        return Err(call.refused(
            "it makes a map smaller with `antialias`",
            "resize before the model, as part of the preprocessing, or without `antialias`",
        ));
    }
    let whole = |axis: &Axis| axis.is_whole() || transformation != Transformation::AlignCorners;
    if !axes.iter().all(whole) {
        return Err(call.refused(
            "it aligns the corners of a map whose new size is not whole",
            "give the new size as `sizes` and not as `scales`: runtimes differ in what they compute",
        ));
    }
    let changed: Vec<usize> = (0..rank).filter(|&a| axes[a].from != axes[a].to).collect();
    let image = rank == 4 && x.extent(0) == 1 && changed.iter().all(|&a| a > 1);
    if image && !changed.is_empty() && is_own(&axes[2..], mode, transformation) {
        let (id, _) = importer.image(call, &x)?;
        let op = Op::Resize {
            kind: match mode {
                Mode::Nearest(_) => ResizeKind::Nearest,
                _ => ResizeKind::Bilinear,
            },
            size: [axes[2].to, axes[3].to],
        };
        let id = importer.push(call, None, op, &[id])?;
        return Ok(vec![Value::View(importer.of_image(id))]);
    }
    let mut y = x;
    for &axis in &changed {
        y = along(importer, call, &y, axis, (axes[axis], mode, transformation))?;
    }
    Ok(vec![Value::View(y)])
}

/// Appends the resizing of one axis.
fn along<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    x: &View,
    axis: usize,
    (extents, mode, transformation): (Axis, Mode, Transformation),
) -> Result<View, ImportError> {
    let suffix = format!("axis{axis}");
    let taps = |i: usize| taps(i, extents, mode, transformation);
    if matches!(mode, Mode::Nearest(_)) {
        let picked: Vec<usize> = (0..extents.to).map(|i| taps(i)[0].0).collect();
        return pick(importer, call, Some(&suffix), x, axis, &picked);
    }
    let Axis { from, to, .. } = extents;
    if from.saturating_mul(to) > MAX_MATRIX {
        let message = format!("resizing an axis of {from} to {to} is too large");
        return Err(call.place().invalid(message));
    }
    let mut matrix = vec![0.0; from * to];
    for i in 0..to {
        for (at, weight) in taps(i) {
            matrix[at * to + i] += weight;
        }
    }
    let matrix = Constant::new(vec![from, to], Kind::Float, matrix);
    let mut turn: Vec<usize> = (0..x.rank()).collect();
    turn.swap(axis, x.rank() - 1);
    let name = format!("{suffix}/kernel");
    let turned = x.transposed(&turn);
    let y = product(
        importer,
        call,
        (Some(&suffix), &name),
        &turned,
        &matrix,
        (1.0, None),
    )?;
    Ok(y.transposed(&turn))
}

/// Whether the graph's own resize gives the same.
fn is_own(axes: &[Axis], mode: Mode, transformation: Transformation) -> bool {
    axes.iter().all(|&axis| {
        let Axis { from, to, .. } = axis;
        let exact = axis.is_whole();
        match mode {
            Mode::Nearest(_) => (0..to).all(|i| {
                let own = (2 * i + 1) * from / (2 * to);
                taps(i, axis, mode, transformation)[0].0 == own
            }),
            Mode::Linear => match transformation {
                Transformation::HalfPixel | Transformation::HalfPixelSymmetric => exact,
                Transformation::PytorchHalfPixel => exact && to > 1,
                _ => from == to,
            },
            Mode::Cubic(..) => false,
        }
    })
}

/// The elements that make element `i` of the resized axis, and how much each counts.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "extents are at most MAX_EXTENT"
)]
fn taps(
    i: usize,
    Axis { from, to, scale }: Axis,
    mode: Mode,
    transformation: Transformation,
) -> Vec<(usize, f64)> {
    let last = from as i64 - 1;
    let inside = |at: i64| usize::try_from(at.clamp(0, last)).unwrap_or(0);
    if from == to && (scale - 1.0).abs() < f32::EPSILON {
        return vec![(i, 1.0)];
    }
    let (index, length) = (i as f32, from as f32);
    let half = (index + 0.5) / scale - 0.5;
    // In f32, as ONNX Runtime computes it: near a half it decides which neighbour is taken.
    let at = match transformation {
        Transformation::HalfPixel => half,
        Transformation::HalfPixelSymmetric => {
            let adjustment = to as f32 / (scale * length);
            length / 2.0 * (1.0 - adjustment) + half
        }
        Transformation::PytorchHalfPixel if to > 1 => half,
        Transformation::AlignCorners if to > 1 => index * (length - 1.0) / (to as f32 - 1.0),
        Transformation::PytorchHalfPixel | Transformation::AlignCorners => 0.0,
        Transformation::Asymmetric => index / scale,
    };
    let below = at.floor();
    let part = f64::from(at) - f64::from(below);
    let first = below as i64;
    match mode {
        Mode::Nearest(rounding) => {
            let nearest = match rounding {
                Rounding::PreferFloor => (at - 0.5).ceil(),
                Rounding::PreferCeil => (at + 0.5).floor(),
                Rounding::Floor => below,
                Rounding::Ceil => at.ceil(),
            };
            vec![(inside(nearest as i64), 1.0)]
        }
        Mode::Linear => {
            let at = f64::from(at).clamp(0.0, last as f64);
            let below = at.floor();
            let first = below as i64;
            vec![
                (inside(first), 1.0 - (at - below)),
                (inside(first + 1), at - below),
            ]
        }
        Mode::Cubic(a, excludes) => {
            let near = |d: f64| ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
            let far = |d: f64| ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
            let weights = [
                far(part + 1.0),
                near(part),
                near(1.0 - part),
                far(2.0 - part),
            ];
            let list = (-1..).zip(weights).map(|(step, w)| (first + step, w));
            let kept: Vec<(i64, f64)> = list
                .filter(|(at, _)| !excludes || (0..=last).contains(at))
                .collect();
            let sum: f64 = kept.iter().map(|(_, w)| w).sum();
            let kept = kept.into_iter();
            kept.map(|(at, w)| (inside(at), w / sum)).collect()
        }
    }
}

fn transformation(call: &Call, modern: bool) -> Result<Transformation, ImportError> {
    if !modern {
        return Ok(Transformation::Asymmetric);
    }
    let name = call.attributes.text("coordinate_transformation_mode")?;
    Ok(match name.as_deref() {
        None | Some("half_pixel") => Transformation::HalfPixel,
        Some("half_pixel_symmetric") => Transformation::HalfPixelSymmetric,
        Some("pytorch_half_pixel") => Transformation::PytorchHalfPixel,
        Some("align_corners") => Transformation::AlignCorners,
        Some("asymmetric") => Transformation::Asymmetric,
        Some(other) => {
            let expected = "a transformation other than of a part of the map";
            let name = "coordinate_transformation_mode";
            return Err(call.place().refused(name, other, expected));
        }
    })
}

fn mode(call: &Call, modern: bool) -> Result<Mode, ImportError> {
    let nearest = call.attributes.text("nearest_mode")?;
    let rounding = match nearest.as_deref() {
        None if !modern => Rounding::Floor,
        None | Some("round_prefer_floor") => Rounding::PreferFloor,
        Some("round_prefer_ceil") => Rounding::PreferCeil,
        Some("floor") => Rounding::Floor,
        Some("ceil") => Rounding::Ceil,
        Some(other) => {
            let expected = "`round_prefer_floor`, `round_prefer_ceil`, `floor` or `ceil`";
            return Err(call.place().refused("nearest_mode", other, expected));
        }
    };
    let coefficient = call.attributes.float("cubic_coeff_a", -0.75)?;
    let excludes = call.attributes.flag("exclude_outside", false)?;
    Ok(match call.attributes.text("mode")?.as_deref() {
        None | Some("nearest") => Mode::Nearest(rounding),
        Some("linear" | "bilinear") => Mode::Linear,
        Some("cubic") => Mode::Cubic(f64::from(coefficient), excludes),
        Some(other) => {
            let expected = "`nearest`, `linear` or `cubic`";
            return Err(call.place().refused("mode", other, expected));
        }
    })
}

/// For each axis how it is resized: by factors or to sizes, of all axes or of those that are named.
fn resized(call: &Call, dims: &[usize], modern: bool) -> Result<Vec<Axis>, ImportError> {
    let rank = dims.len();
    let policy = call.attributes.text("keep_aspect_ratio_policy")?;
    if policy.as_deref().is_some_and(|policy| policy != "stretch") {
        let shown = policy.unwrap_or_default();
        let name = "keep_aspect_ratio_policy";
        return Err(call.place().refused(name, shown, "`stretch`"));
    }
    let axes = match call.attributes.ints("axes")? {
        Some(axes) => axes
            .iter()
            .map(|&axis| call.axis(axis, rank))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let list = |index: usize, what: &str| -> Result<Option<Vec<f64>>, ImportError> {
        let constant = call.optional_constant(index, what)?;
        // Exporters give an empty list for what they do not use.
        Ok(constant.filter(|c| c.len() > 0).and_then(|c| c.values()))
    };
    let scales = match call.attributes.floats("scales")? {
        Some(scales) => Some(scales.into_iter().map(f64::from).collect()),
        None => list(if modern { 2 } else { 1 }, "scales")?,
    };
    let sizes = if modern { list(3, "sizes")? } else { None };
    let mut all: Vec<Axis> = dims
        .iter()
        .map(|&extent| Axis {
            from: extent,
            to: extent,
            scale: 1.0,
        })
        .collect();
    let given = sizes.as_ref().or(scales.as_ref());
    let given = given.filter(|list| list.len() == axes.len());
    let given = given.ok_or_else(|| {
        let expected = format!("one for each of {} axes", axes.len());
        call.place()
            .refused("scales or sizes", "another number", expected)
    })?;
    for (&axis, &value) in axes.iter().zip(given) {
        let from = dims[axis] as f64;
        let (to, scale) = match &sizes {
            Some(_) => (value, value / from),
            None => (from * value, value),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked in the same line"
        )]
        let to = (1.0..=MAX_EXTENT as f64)
            .contains(&to)
            .then(|| to.floor() as usize);
        let to = to.ok_or_else(|| {
            let expected = format!("a size from 1 to {MAX_EXTENT}");
            call.place().refused("size", value, expected)
        })?;
        all[axis] = Axis {
            from: dims[axis],
            to,
            scale: narrow(scale),
        };
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_elements_are_those_of_the_standard() {
        let of = |from: usize, to: usize, rounding, transformation| -> Vec<usize> {
            let scale = to as f32 / from as f32;
            let axis = Axis { from, to, scale };
            let mode = Mode::Nearest(rounding);
            let one = |i| taps(i, axis, mode, transformation)[0].0;
            (0..to).map(one).collect()
        };
        let (floor, half) = (Rounding::Floor, Transformation::HalfPixel);
        assert_eq!(of(2, 4, floor, Transformation::Asymmetric), [0, 0, 1, 1]);
        assert_eq!(of(4, 2, Rounding::PreferFloor, half), [0, 2]);
        assert_eq!(of(4, 2, Rounding::PreferCeil, half), [1, 3]);
        assert_eq!(of(3, 1, floor, Transformation::AlignCorners), [0]);
    }

    #[test]
    fn weights_of_an_element_sum_to_one() {
        for mode in [
            Mode::Linear,
            Mode::Cubic(-0.75, false),
            Mode::Cubic(-0.5, true),
        ] {
            for (from, to) in [(3, 7), (7, 3), (1, 4)] {
                let scale = to as f32 / from as f32;
                let axis = Axis { from, to, scale };
                for i in 0..to {
                    let taps = taps(i, axis, mode, Transformation::HalfPixel);
                    let sum: f64 = taps.iter().map(|(_, w)| w).sum();
                    assert!((sum - 1.0).abs() < 1e-12, "{mode:?} {from} {to} {i}");
                }
            }
        }
    }
}
