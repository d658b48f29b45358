//! Sums and statistics of constants: position codes, and weights that are standardized.

use super::super::call::Call;
use super::super::constant::{Constant, strides_of};
use super::super::importer::Importer;
use super::{array, rounded};
use crate::import::error::ImportError;

/// `CumSum`
pub(super) fn cumulative<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let mut x = array(importer, call, 0)?;
    let named = call.constant(1, "axis")?.ints();
    let Some(&[axis]) = named.as_deref() else {
        return Err(call.place().invalid("its axis is not one number"));
    };
    let axis = call.axis(axis, x.dims.len())?;
    let exclusive = call.attributes.flag("exclusive", false)?;
    let reverse = call.attributes.flag("reverse", false)?;
    let (extent, stride) = (x.dims[axis], strides_of(&x.dims)[axis]);
    let starts = (0..x.values.len()).filter(|i| i / stride % extent == 0);
    for start in starts {
        let mut sum = 0.0;
        for i in 0..extent {
            let i = if reverse { extent - 1 - i } else { i };
            let value = &mut x.values[start + i * stride];
            let own = *value;
            *value = if exclusive { sum } else { sum + own };
            sum += own;
        }
    }
    Ok(rounded(x.dims, x.kind, x.values))
}

/// `BatchNormalization` of weights; with statistics of their own if it is in training mode, which
/// is how torch standardizes the weights of an NFNet.
pub(super) fn batch_norm<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    if call.outputs_read > 1 {
        return Err(call.place().refused("outputs", "its statistics", "one"));
    }
    let mut x = array(importer, call, 0)?;
    let epsilon = f64::from(call.attributes.float("epsilon", 1e-5)?);
    let training = call.attributes.flag("training_mode", false)?;
    call.attributes.must_be("spatial", 1)?;
    call.attributes.ignore(&["momentum"]);
    let channels = x.dims.get(1).copied().filter(|&c| c > 0);
    let Some(channels) = channels else {
        return Err(call.place().invalid("its input has no channels"));
    };
    let mut read = |index: usize| -> Result<Vec<f64>, ImportError> {
        let list = array(importer, call, index)?;
        if list.dims == [channels] {
            return Ok(list.values);
        }
        let message = format!("input {index} does not have {channels} numbers");
        Err(call.place().invalid(message))
    };
    let (scale, shift) = (read(1)?, read(2)?);
    let (mut mean, mut variance) = (read(3)?, read(4)?);
    let stride = strides_of(&x.dims)[1];
    let channel = |i: usize| i / stride % channels;
    if training {
        let count = (x.values.len() / channels) as f64;
        let per_channel = |of: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0.0; channels];
            for (i, &value) in x.values.iter().enumerate() {
                sums[channel(i)] += of(channel(i), value) / count;
            }
            sums
        };
        mean = per_channel(&|_, value| value);
        variance = per_channel(&|c, value| (value - mean[c]).powi(2));
    }
    for (i, value) in x.values.iter_mut().enumerate() {
        let c = channel(i);
        *value = (*value - mean[c]) / (variance[c] + epsilon).sqrt() * scale[c] + shift[c];
    }
    Ok(rounded(x.dims, x.kind, x.values))
}
