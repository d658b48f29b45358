//! Normalizations: by stored statistics, and by those of the photo itself.

use super::super::call::{Call, Outputs, Value};
use super::super::constant::{Constant, Kind};
use super::super::importer::Importer;
use super::arithmetic::two;
use super::dense::product;
use super::reduce::joined;
use crate::activation::Activation;
use crate::graph::{BinaryOp, Op, ReduceKind};
use crate::import::affine::Affine;
use crate::import::error::ImportError;
use crate::import::view::View;
use crate::tensor::Shape;

/// `scale * (x - mean) / sqrt(variance + epsilon) + bias`, for each channel.
pub(super) fn batch<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let training = call.attributes.flag("training_mode", false)?;
    if training || call.outputs_read > 1 {
        return Err(call.refused(
            "it computes mean and deviation from the photo, as in training",
            "export the model for inference: `model.eval()` before `torch.onnx.export`",
        ));
    }
    call.attributes.must_be("spatial", 1)?;
    call.attributes.ignore(&["momentum"]);
    let epsilon = f64::from(call.attributes.float("epsilon", 1e-5)?);
    let x = call.view(0)?.clone();
    let channels = x.extent(1);
    let read = |index: usize, name: &str| -> Result<Vec<f32>, ImportError> {
        let constant: &Constant = call.constant(index, name)?;
        let flat = Some(constant).filter(|c| c.dims() == [channels]);
        let Some(flat) = flat else {
            return Err(ImportError::WeightShape {
                place: call.place().clone(),
                weight: name.to_owned(),
                expected: Shape::new(&[channels]),
                got: Shape::new(constant.dims()),
            });
        };
        Ok((0..channels).map(|i| flat.weight(&[i])).collect())
    };
    let (gamma, beta) = (read(1, "scale")?, read(2, "bias")?);
    let (mean, variance) = (read(3, "mean")?, read(4, "variance")?);
    let folded = Affine::batch_norm(Some(&gamma), Some(&beta), &mean, &variance, epsilon);
    let mut dims = vec![1; x.rank().saturating_sub(1)];
    if let Some(first) = dims.first_mut() {
        *first = channels;
    }
    let scale = |at: usize| folded.scale[at];
    let shift = |at: usize| folded.shift[at];
    let y = importer.affine(call, None, &x, (&dims, &scale, &shift))?;
    Ok(vec![Value::View(y)])
}

/// Appends `(x - mean) / sqrt(variance + epsilon)` with the statistics along the axes `over`.
fn unit(
    importer: &mut Importer,
    call: &Call,
    suffix: Option<&str>,
    x: &View,
    (over, epsilon): (&[usize], f32),
) -> Result<View, ImportError> {
    let (id, lies) = importer.innermost(call, x, over)?;
    let scale = list(importer, call, "unit/scale", &[1.0])?;
    let shift = list(importer, call, "unit/shift", &[0.0])?;
    let op = Op::LayerNormalization {
        scale,
        shift,
        epsilon,
    };
    Ok(lies.of(importer.push(call, suffix, op, &[id])?))
}

/// Stores a list of numbers.
fn list(
    importer: &mut Importer,
    call: &Call,
    name: &str,
    values: &[f32],
) -> Result<String, ImportError> {
    let key = format!("{}/{name}", call.site.constants);
    let mut buffer = importer.graph.zeroed(call.place(), values.len())?;
    buffer.as_mut_slice().copy_from_slice(values);
    importer
        .graph
        .insert(call.place(), key.clone(), &[values.len()], buffer)?;
    Ok(key)
}

/// The number of a constant that meets each element of a row of `n`, which lies as `lies` says.
fn of_row(
    call: &Call,
    name: &str,
    (constant, axes): (&Constant, usize),
    (lies, n): (&View, usize),
) -> Result<Vec<f32>, ImportError> {
    let positions = Some(constant)
        .filter(|c| c.dims().len() <= axes)
        .and_then(|c| lies.positions(c.dims(), n));
    let flat = constant.reshaped(&[constant.len()]);
    let (Some(positions), Some(flat)) = (positions, flat) else {
        let shown = format!("{:?}", constant.dims());
        let expected = format!("a shape that is broadcast to the last {axes} axes");
        return Err(call.place().refused(name, shown, expected));
    };
    let values = positions.iter().cycle().map(|&at| flat.weight(&[at]));
    Ok(values.take(n).collect())
}

/// Along the last axes, with a scale and a shift for each of their elements.
pub(super) fn layer<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    if call.outputs_read > 1 {
        return Err(call.refused(
            "its mean or deviation is used",
            "only the normalized value is supported: rebuild this part of the model",
        ));
    }
    let rank = call.view(0)?.rank();
    let axis = call.axis(call.attributes.int("axis", -1)?, rank)?;
    let epsilon = call.attributes.float("epsilon", 1e-5)?;
    // In which precision the statistics are computed; it is f32 here.
    call.attributes.ignore(&["stash_type"]);
    Ok(vec![along(importer, call, (axis, epsilon))?.into()])
}

/// Appends the normalization from an axis on: value, scale, shift.
pub(super) fn along<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    (axis, epsilon): (usize, f32),
) -> Result<View, ImportError> {
    let x = call.view(0)?.clone();
    let over: Vec<usize> = (axis..x.rank()).collect();
    let n = over.iter().map(|&a| x.extent(a)).product();
    let (id, lies) = importer.innermost(call, &x, &over)?;
    let scale = call.constant(1, "scale")?;
    let scale = of_row(call, "scale", (scale, over.len()), (&lies, n))?;
    let shift = match call.optional_constant(2, "bias")? {
        Some(shift) => of_row(call, "bias", (shift, over.len()), (&lies, n))?,
        None => vec![0.0],
    };
    let op = Op::LayerNormalization {
        scale: list(importer, call, "scale", &scale)?,
        shift: list(importer, call, "shift", &shift)?,
        epsilon,
    };
    Ok(lies.of(importer.push(call, None, op, &[id])?))
}

/// `x / sqrt(mean(x^2) + epsilon) * scale` along the last axes.
pub(super) fn root_mean_square<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let rank = call.view(0)?.rank();
    let axis = call.axis(call.attributes.int("axis", -1)?, rank)?;
    let epsilon = call.attributes.float("epsilon", 1e-5)?;
    call.attributes.ignore(&["stash_type"]);
    if call.outputs_read > 1 {
        return Err(call.refused(
            "its deviation is used",
            "only the normalized value is supported: rebuild this part of the model",
        ));
    }
    Ok(vec![root(importer, call, (axis, epsilon))?.into()])
}

/// Appends that: value, scale.
pub(super) fn root<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    (axis, epsilon): (usize, f32),
) -> Result<View, ImportError> {
    let x = call.view(0)?.clone();
    let over: Vec<usize> = (axis..x.rank()).collect();
    let square = two(importer, call, Some("square"), BinaryOp::Mul, &x, &x)?;
    let mean = joined(
        importer,
        call,
        Some("mean"),
        &square,
        &over,
        ReduceKind::Mean,
    )?;
    let mean = importer.scaled(call, Some("shifted"), &mean, 1.0, f64::from(epsilon))?;
    let root = importer.activation(call, Some("root"), &mean, Activation::Sqrt)?;
    let y = two(importer, call, Some("unit"), BinaryOp::Div, &x, &root)?;
    let scale = call.constant(1, "scale")?;
    let values = Some(scale).filter(|scale| scale.dims().len() <= over.len());
    let values = values.and_then(|scale| scale.values()).ok_or_else(|| {
        let shown = format!("{:?}", scale.dims());
        let expected = format!("a shape that is broadcast to the last {} axes", over.len());
        call.place().refused("scale", shown, expected)
    })?;
    importer.affine(call, None, &y, (scale.dims(), &|at| values[at], &|_| 0.0))
}

/// Divided by the sum of absolute values along an axis, or by the root of the sum of squares.
pub(super) fn by_norm<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let axis = call.axis(call.attributes.int("axis", -1)?, x.rank())?;
    let norm = match call.attributes.int("p", 2)? {
        1 => {
            let size = importer.activation(call, Some("size"), &x, Activation::Abs)?;
            joined(
                importer,
                call,
                Some("norm"),
                &size,
                &[axis],
                ReduceKind::Sum,
            )?
        }
        2 => joined(importer, call, Some("norm"), &x, &[axis], ReduceKind::L2)?,
        other => return Err(call.place().refused("p", other, "1 or 2")),
    };
    // Where all elements are 0 the result is 0.
    let smallest = f64::from(f32::MIN_POSITIVE);
    let norm = importer.scaled(call, Some("positive"), &norm, 1.0, smallest)?;
    Ok(vec![
        two(importer, call, None, BinaryOp::Div, &x, &norm)?.into(),
    ])
}

/// Without mean and with deviation 1 along some axes.
pub(super) fn mean_variance<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let axes = call
        .attributes
        .ints("axes")?
        .unwrap_or_else(|| vec![0, 2, 3]);
    let axes = call.axes(&axes, x.rank())?;
    // The deviation has 1e-9 added, here its square.
    let y = unit(importer, call, None, &x, (&axes, 1e-18))?;
    Ok(vec![y.into()])
}

/// Most numbers of the matrix that sums neighbouring channels.
const MAX_NEIGHBOURS: usize = 1 << 22;

/// `x / (bias + alpha / size * sum of x^2 over neighbouring channels) ^ beta`, as in AlexNet.
pub(super) fn local_response<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let channels = x.extent(1);
    let given = call.attributes.int("size", 0)?;
    let size = usize::try_from(given)
        .ok()
        .filter(|&n| n > 0 && n < 1 << 20);
    let fits = x.rank() > 1
        && channels
            .checked_mul(channels)
            .is_some_and(|n| n <= MAX_NEIGHBOURS);
    let (Some(size), true) = (size, fits) else {
        return Err(call.place().refused("size", given, "a number of channels"));
    };
    let [alpha, beta, bias] = [
        call.attributes.float("alpha", 1e-4)?,
        call.attributes.float("beta", 0.75)?,
        call.attributes.float("bias", 1.0)?,
    ];
    let (before, after) = ((size - 1) / 2, size / 2);
    let near = |i: usize| {
        let (from, to) = (i / channels, i % channels);
        f64::from(u8::from(from + before >= to && from <= to + after))
    };
    let sums = (0..channels * channels).map(near).collect();
    let sums = Constant::new(vec![channels, channels], Kind::Float, sums);
    let square = two(importer, call, Some("square"), BinaryOp::Mul, &x, &x)?;
    // Channels last, as a product has them.
    let mut order: Vec<usize> = (0..x.rank()).filter(|&a| a != 1).collect();
    order.push(1);
    let mut back: Vec<usize> = (0..x.rank() - 1).collect();
    back.insert(1, x.rank() - 1);
    let name = (Some("neighbours"), "neighbours");
    let turned = square.transposed(&order);
    let sum = product(importer, call, name, &turned, &sums, (1.0, None))?.transposed(&back);
    let each = f64::from(alpha) / size as f64;
    let sum = importer.scaled(call, Some("shifted"), &sum, each, f64::from(bias))?;
    let exponent = -beta;
    let power = importer.activation(call, Some("power"), &sum, Activation::Pow { exponent })?;
    Ok(vec![
        two(importer, call, None, BinaryOp::Mul, &x, &power)?.into(),
    ])
}

/// Along rows and columns, for each channel.
pub(super) fn instance<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let epsilon = call.attributes.float("epsilon", 1e-5)?;
    let over: Vec<usize> = (2..x.rank()).collect();
    if over.is_empty() {
        let shown = format!("{:?}", x.dims());
        return Err(call.place().refused("shape", shown, "three axes or more"));
    }
    let y = unit(importer, call, Some("unit"), &x, (&over, epsilon))?;
    scaled_by_channel(importer, call, &y)
}

/// Along groups of channels, with all rows and columns.
pub(super) fn group<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let dims = x.dims();
    let epsilon = call.attributes.float("epsilon", 1e-5)?;
    call.attributes.ignore(&["stash_type"]);
    let given = call.attributes.int("num_groups", 0)?;
    let channels = x.extent(1);
    let groups = usize::try_from(given)
        .ok()
        .filter(|&g| g > 0 && channels.is_multiple_of(g) && dims.len() > 1)
        .ok_or_else(|| {
            let expected = format!("a divisor of {channels} channels");
            call.place().refused("num_groups", given, expected)
        })?;
    let rows = [dims[0], groups, x.len() / dims[0] / groups];
    let y = importer.reshape(&call.site, &x, &rows)?;
    let y = unit(importer, call, Some("unit"), &y, (&[2], epsilon))?;
    let y = importer.reshape(&call.site, &y, &dims)?;
    scaled_by_channel(importer, call, &y)
}

/// Appends the scale and the shift of each channel, or of each group of channels.
fn scaled_by_channel<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    x: &View,
) -> Result<Outputs<'a>, ImportError> {
    let channels = x.extent(1);
    let read = |index: usize, name: &str| -> Result<Vec<f64>, ImportError> {
        let constant = call.constant(index, name)?;
        let n = constant.len();
        let divides = constant.dims().len() == 1 && n > 0 && channels.is_multiple_of(n);
        let flat = Some(constant).filter(|_| divides).ok_or_else(|| {
            let shown = format!("{:?}", constant.dims());
            let expected = format!("a number for each of {channels} channels");
            call.place().refused(name, shown, expected)
        })?;
        Ok((0..channels)
            .map(|c| flat.at(&[c / (channels / n)]))
            .collect())
    };
    let (scale, shift) = (read(1, "scale")?, read(2, "bias")?);
    let mut dims = vec![1; x.rank() - 1];
    dims[0] = channels;
    let y = importer.affine(call, None, x, (&dims, &|at| scale[at], &|at| shift[at]))?;
    Ok(vec![Value::View(y)])
}
