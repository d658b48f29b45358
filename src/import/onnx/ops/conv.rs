//! `Conv`.

use super::super::call::{Call, Outputs};
use super::super::constant::Constant;
use super::super::importer::Importer;
use super::window::{image_of, pair, result_of, window};
use crate::activation::Activation;
use crate::graph::{Conv2d, DepthwiseConv2d, Epilogue, Op};
use crate::import::error::ImportError;
use crate::tensor::Shape;

/// Kernels `OIHW` become `HWIO`, or `HWC` where each channel has filters of its own.
pub(super) fn conv<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let weights = kernel_of_rows(call)?;
    // A position code that is computed from constants (EdgeNeXt) becomes a value of the graph.
    let x = importer.value(call, 0)?;
    let (x, [h, w, c]) = image_of(importer, call, &x)?;
    let &[filters, depth, kh, kw] = weights.dims() else {
        let shown = format!("{:?}", weights.dims());
        return Err(call.place().refused("kernel", shown, "four axes"));
    };
    let groups = call.attributes.int("group", 1)?;
    let groups = usize::try_from(groups)
        .ok()
        .filter(|&g| g > 0 && filters.is_multiple_of(g) && c.is_multiple_of(g))
        .ok_or_else(|| {
            let expected = format!("a divisor of {c} channels and {filters} filters");
            call.place().refused("group", groups, expected)
        })?;
    if depth != c / groups || filters == 0 || kh == 0 || kw == 0 {
        return Err(ImportError::WeightShape {
            place: call.place().clone(),
            weight: "kernel".into(),
            expected: Shape::new(&[filters, c / groups, kh, kw]),
            got: Shape::new(weights.dims()),
        });
    }
    // Left out by torch's newer exporter; it is in the weight.
    let kernel = pair(call, "kernel_shape", Some([kh, kw]))?;
    if kernel != [kh, kw] {
        let shown = format!("{kernel:?}");
        let expected = format!("the weight's [{kh}, {kw}]");
        return Err(call.place().refused("kernel_shape", shown, expected));
    }
    let window = window(call, kernel, [h, w])?;
    let bias = match call.optional_constant(2, "bias")?.cloned() {
        Some(bias) => Some(importer.vector(call, "bias", &bias, filters)?),
        None => None,
    };
    let op = if groups == c && c > 1 {
        let turned = weights.transposed(&[2, 3, 1, 0]);
        let plain = turned.reshaped(&[kh, kw, filters]);
        let plain =
            plain.ok_or_else(|| call.place().invalid("its kernel has too many elements"))?;
        Op::DepthwiseConv2d(DepthwiseConv2d {
            window,
            multiplier: filters / c,
            kernel: importer.kernel(call, "kernel", &plain, None, 1.0)?,
            bias,
            activation: Activation::Linear,
        })
    } else {
        let plain = weights.transposed(&[2, 3, 1, 0]);
        Op::Conv2d(Conv2d {
            window,
            groups,
            filters,
            kernel: importer.kernel(call, "kernel", &plain, None, 1.0)?,
            bias,
            epilogue: Epilogue::default(),
        })
    };
    let id = importer.push(call, None, op, &[x])?;
    result_of(importer, call, id)
}

/// The kernel `OIHW`; that of a sequence, `OIW`, has one row.
fn kernel_of_rows<'a>(call: &Call<'_, 'a>) -> Result<Constant<'a>, ImportError> {
    let weights = call.constant(1, "kernel")?;
    let rank = call.input(0)?.dims().len();
    let flat = match weights.dims() {
        &[o, i, w] if rank == 3 => weights.reshaped(&[o, i, 1, w]),
        _ => None,
    };
    Ok(flat.unwrap_or_else(|| Constant::clone(weights)))
}
