//! `BatchNormalization` at inference.

use super::super::call::{Call, Outputs, Value};
use super::super::constant::Constant;
use super::super::importer::Importer;
use crate::import::affine::Affine;
use crate::import::error::ImportError;
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
