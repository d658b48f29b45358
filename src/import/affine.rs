//! Everything that becomes `x * scale + shift`, folded in f64; and operators with a constant.

use super::functions;
use crate::activation::Activation;
use crate::graph::BinaryOp;

/// `x * scale + shift`: each has one value for all channels, or one for each channel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Affine {
    pub(super) scale: Vec<f64>,
    pub(super) shift: Vec<f64>,
}

impl Affine {
    /// One scale and one shift for all channels.
    pub(super) fn scalar(scale: f64, shift: f64) -> Self {
        Self {
            scale: vec![scale],
            shift: vec![shift],
        }
    }

    /// Batch normalization at inference: `gamma * (x - mean) / sqrt(variance + epsilon) + beta`.
    /// Without gamma it is 1, without beta 0.
    pub(super) fn batch_norm(
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        mean: &[f32],
        variance: &[f32],
        epsilon: f64,
    ) -> Self {
        let at = |values: Option<&[f32]>, i: usize, default: f64| {
            values.map_or(default, |values| f64::from(values[i]))
        };
        let scale: Vec<f64> = variance
            .iter()
            .enumerate()
            .map(|(i, &v)| at(gamma, i, 1.0) / (f64::from(v) + epsilon).sqrt())
            .collect();
        let shift = mean
            .iter()
            .zip(&scale)
            .enumerate()
            .map(|(i, (&m, s))| at(beta, i, 0.0) - f64::from(m) * s)
            .collect();
        Self { scale, shift }
    }

    /// `(x - mean) / max(sqrt(variance), least)`, or its inverse. Either list may have one value
    /// for all channels.
    pub(super) fn standardize(mean: &[f64], variance: &[f64], least: f64, invert: bool) -> Self {
        let n = mean.len().max(variance.len());
        let at = |list: &[f64], i: usize| list[if list.len() == 1 { 0 } else { i }];
        let (scale, shift) = (0..n)
            .map(|i| {
                let deviation = at(variance, i).sqrt().max(least);
                let mean = at(mean, i);
                if invert {
                    (deviation, mean)
                } else {
                    (1.0 / deviation, -mean / deviation)
                }
            })
            .unzip();
        Self { scale, shift }
    }
}

/// An array of numbers that a file has as an operand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    /// Its extents; none for a single number.
    pub(super) dims: Vec<usize>,
    /// Its numbers in row-major order.
    pub(super) values: Vec<f64>,
}

impl Constant {
    /// Whether all extents except the last are 1, so that its numbers belong to channels.
    fn along_channels(&self) -> bool {
        self.dims.iter().rev().skip(1).all(|&extent| extent == 1)
    }
}

/// The result of an operator with a value and a constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum WithConstant {
    Affine(Affine),
    Activation(Activation),
}

/// `x op constant`, or `constant op x` if the constant is `first`. The error says what the constant
/// must be.
pub(super) fn with_constant(
    kind: BinaryOp,
    constant: &Constant,
    first: bool,
    channels: usize,
) -> Result<WithConstant, String> {
    let n = constant.values.len();
    if n != 1 && n != channels {
        return Err(format!("1 or {channels} numbers"));
    }
    if n > 1 && !constant.along_channels() {
        return Err("numbers along the last axis".into());
    }
    let values = constant.values.clone();
    let map = |f: fn(f64) -> f64| values.iter().copied().map(f).collect::<Vec<_>>();
    let (scale, shift) = match (kind, first) {
        (BinaryOp::Add, _) => (vec![1.0], values),
        (BinaryOp::Sub, false) => (vec![1.0], map(|v| -v)),
        (BinaryOp::Sub, true) => (vec![-1.0], values),
        (BinaryOp::Mul, _) => (values, vec![0.0]),
        (BinaryOp::Div, false) if values.iter().all(|v| *v != 0.0) => (map(|v| 1.0 / v), vec![0.0]),
        (BinaryOp::Div, _) => return Err("a tensor divided by numbers other than 0".into()),
        (BinaryOp::Max, _) => {
            return match values.as_slice() {
                [low] => functions::clip(Some(*low), None)
                    .map(WithConstant::Activation)
                    .ok_or_else(|| "0".into()),
                _ => Err("0".into()),
            };
        }
        (BinaryOp::Min, _) => return Err("a tensor".into()),
    };
    Ok(WithConstant::Affine(Affine { scale, shift }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(dims: &[usize], values: &[f64]) -> Constant {
        Constant {
            dims: dims.to_vec(),
            values: values.to_vec(),
        }
    }

    #[test]
    fn batch_norm_is_folded() {
        let folded = Affine::batch_norm(Some(&[2.0]), Some(&[1.0]), &[3.0], &[3.0], 1.0);
        assert_eq!(folded, Affine::scalar(1.0, -2.0));
        let bare = Affine::batch_norm(None, None, &[3.0], &[3.0], 1.0);
        assert_eq!(bare, Affine::scalar(0.5, -1.5));
    }

    #[test]
    fn standardizing_has_an_inverse_and_a_floor() {
        let forward = Affine::standardize(&[4.0], &[4.0, 16.0], 1e-7, false);
        assert_eq!(forward.scale, [0.5, 0.25]);
        assert_eq!(forward.shift, [-2.0, -1.0]);
        let back = Affine::standardize(&[4.0], &[4.0], 1e-7, true);
        assert_eq!(back, Affine::scalar(2.0, 4.0));
        assert_eq!(Affine::standardize(&[0.0], &[0.0], 0.5, false).scale, [2.0]);
    }

    #[test]
    fn constants_must_lie_along_the_channels() {
        let add = |dims: &[usize]| {
            with_constant(BinaryOp::Add, &constant(dims, &[1.0, 2.0, 3.0]), false, 3)
        };
        assert!(add(&[3]).is_ok());
        assert!(add(&[1, 1, 3]).is_ok());
        assert!(add(&[3, 1]).is_err());
        let one = constant(&[1, 1], &[2.0]);
        let from = with_constant(BinaryOp::Sub, &one, true, 3).unwrap();
        assert_eq!(from, WithConstant::Affine(Affine::scalar(-1.0, 2.0)));
        assert!(with_constant(BinaryOp::Div, &constant(&[], &[0.0]), false, 3).is_err());
        assert_eq!(
            with_constant(BinaryOp::Max, &constant(&[], &[0.0]), false, 3),
            Ok(WithConstant::Activation(Activation::Relu))
        );
    }
}
