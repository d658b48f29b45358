//! Resizing of rows and columns.
//!
//! The graph's `Resize` has half-pixel coordinates. In other coordinates a row of the result is still
//! a fixed mix of rows of the input, whichever the photo: a product with a matrix, or a choice.

use super::super::call::{Call, Outputs, Value};
use super::super::constant::{Constant, Element};
use super::super::importer::Importer;
use crate::graph::{Dense, Epilogue, Kernel, NodeId, Op, ResizeKind};
use crate::import::error::ImportError;
use crate::tensor::Shape;

/// The largest extent of a result.
const MAX_EXTENT: usize = 4096;

/// Weights of an interpolation matrix.
const MAX_MATRIX: usize = 1 << 22;

/// How rows of the result lie between those of the input.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Coordinates {
    HalfPixel,
    AlignCorners,
    /// `i * in / out`
    Asymmetric,
}

impl Coordinates {
    fn of(call: &Call, [align, half]: [usize; 2]) -> Result<Self, ImportError> {
        Ok(
            match (call.options.flag(align)?, call.options.flag(half)?) {
                (true, true) => {
                    let expected = "not both with `align_corners`";
                    return Err(call.place().refused("half_pixel_centers", "true", expected));
                }
                (true, false) => Self::AlignCorners,
                (false, true) => Self::HalfPixel,
                (false, false) => Self::Asymmetric,
            },
        )
    }

    /// The position on an axis of `from` elements for element `i` of `to`.
    fn position(self, i: usize, from: usize, to: usize) -> f64 {
        let (at, from, to) = (i as f64, from as f64, to as f64);
        match self {
            Self::HalfPixel => (at + 0.5) * from / to - 0.5,
            Self::AlignCorners if to > 1.0 => at * (from - 1.0) / (to - 1.0),
            _ => at * from / to,
        }
    }
}

/// Rows and columns of the result.
fn size(call: &Call) -> Result<[usize; 2], ImportError> {
    let given = call.ints(1, "size")?;
    let extent = |&n: &i64| {
        usize::try_from(n)
            .ok()
            .filter(|n| (1..=MAX_EXTENT).contains(n))
    };
    let size: Option<Vec<usize>> = given.iter().map(extent).collect();
    if let Some(&[h, w]) = size.as_deref() {
        return Ok([h, w]);
    }
    let shown = format!("{given:?}");
    let expected = "rows and columns from 1 to 4096";
    Err(call.place().refused("size", shown, expected))
}

pub(super) fn bilinear<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let coordinates = Coordinates::of(call, [2, 3])?;
    let size = size(call)?;
    let (mut x, [h, w, _]) = importer.image(call, call.view(0)?)?;
    if coordinates == Coordinates::HalfPixel {
        let kind = ResizeKind::Bilinear;
        x = importer.push(call, None, Op::Resize { kind, size }, &[x])?;
        return Ok(vec![Value::View(importer.of_image(x))]);
    }
    for (axis, (from, to)) in [(h, size[0]), (w, size[1])].into_iter().enumerate() {
        if from.saturating_mul(to) > MAX_MATRIX {
            let message = format!("resizing an axis of {from} to {to} is too large");
            return Err(call.place().invalid(message));
        }
        if from != to {
            x = mixed(importer, call, x, axis, &weights(coordinates, from, to))?;
        }
    }
    Ok(vec![Value::View(importer.of_image(x))])
}

/// `[from, to]` weights, two for each element of the result.
fn weights(coordinates: Coordinates, from: usize, to: usize) -> Constant<'static> {
    let mut matrix = vec![0.0; from * to];
    for i in 0..to {
        let at = coordinates
            .position(i, from, to)
            .clamp(0.0, (from - 1) as f64);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index between 0 and from"
        )]
        let low = at.floor() as usize;
        let high = (low + 1).min(from - 1);
        matrix[low * to + i] += 1.0 - (at - low as f64);
        matrix[high * to + i] += at - low as f64;
    }
    Constant::new(vec![from, to], Element::F32, &matrix)
}

/// Appends the product of one axis of an image with a matrix.
fn mixed<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
    x: NodeId,
    axis: usize,
    matrix: &Constant<'a>,
) -> Result<NodeId, ImportError> {
    let [from, to] = *matrix.dims() else {
        return Err(call.place().invalid("its matrix is none"));
    };
    let name = ["rows", "columns"][axis];
    let kernel = importer.weight(call, name, (matrix, name), &[from, to], &mut |into| {
        for (i, weight) in into.iter_mut().enumerate() {
            *weight = matrix.weight(i);
        }
    })?;
    // The axis changes places with the channels and back.
    let permutation = if axis == 0 {
        vec![2, 1, 0]
    } else {
        vec![0, 2, 1]
    };
    let turn = Op::Transpose { permutation };
    let suffix = |what: &str| format!("{name}/{what}");
    let turned = importer.push(call, Some(&suffix("turned")), turn.clone(), &[x])?;
    let dims = importer.graph.shape(turned).dims().to_vec();
    let flat = Shape::new(&[dims[0] * dims[1], from]);
    let site = &call.site;
    let flat = importer
        .graph
        .reshape(site, Some(&suffix("flat")), turned, flat)?;
    let op = Op::Dense(Dense {
        units: to,
        kernel: Kernel::plain(kernel),
        bias: None,
        epilogue: Epilogue::default(),
    });
    let product = importer.push(call, Some(&suffix("product")), op, &[flat])?;
    let whole = Shape::new(&[dims[0], dims[1], to]);
    let whole = importer
        .graph
        .reshape(site, Some(&suffix("whole")), product, whole)?;
    importer.push(call, Some(name), turn, &[whole])
}

pub(super) fn nearest<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let coordinates = Coordinates::of(call, [0, 1])?;
    let size = size(call)?;
    let (mut x, [h, w, _]) = importer.image(call, call.view(0)?)?;
    let is_whole = size[0].is_multiple_of(h) && size[1].is_multiple_of(w);
    let same = coordinates == Coordinates::HalfPixel
        || (coordinates == Coordinates::Asymmetric && is_whole);
    if same {
        let kind = ResizeKind::Nearest;
        x = importer.push(call, None, Op::Resize { kind, size }, &[x])?;
        return Ok(vec![Value::View(importer.of_image(x))]);
    }
    for (axis, (from, to)) in [(h, size[0]), (w, size[1])].into_iter().enumerate() {
        if from == to {
            continue;
        }
        let indices = (0..to).map(|i| chosen(coordinates, i, from, to)).collect();
        let name = ["rows", "columns"][axis];
        x = importer.push(call, Some(name), Op::Gather { axis, indices }, &[x])?;
    }
    Ok(vec![Value::View(importer.of_image(x))])
}

/// The element that is nearest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index between 0 and from"
)]
fn chosen(coordinates: Coordinates, i: usize, from: usize, to: usize) -> usize {
    let at = coordinates.position(i, from, to);
    let at = match coordinates {
        Coordinates::AlignCorners => at.round(),
        _ => at.floor(),
    };
    (at.max(0.0) as usize).min(from - 1)
}
