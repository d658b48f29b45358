//! What a quantized file brings with it: integers, scales and zero points.
//!
//! A format writes a quantized model down as the file defines it, in real numbers:
//!
//! - A value that the file stores in 8 bits goes through [`GraphBuilder::quantize`] with the map of
//!   [`value_map`], and [`GraphBuilder::dequantize`] gives the real numbers that the next operation
//!   reads. i8 becomes u8: 128 is added to integers and zero point.
//! - Weights are stored by [`IntegerWeights::store`], as integers minus their zero point, with a
//!   scale for each output channel.
//! - A bias is f32: the file's i32 times its scale, which is that of the input times the weights'.
//!
//! [`pass::compute_integers`](crate::graph::pass::compute_integers) then joins dequantizing, operation
//! and quantizing to nodes that compute in integers. Where it cannot, the graph computes in real
//! numbers between the two, as the file says. A format needs no rules about which operation has an
//! integer kernel.

use super::builder::GraphBuilder;
use super::error::{ImportError, Place};
use crate::graph::Kernel;
use crate::quantization::Quantization;
use crate::tensor::DType;

/// How a file stores integers of 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Integers {
    U8,
    I8,
}

/// The map of a value: `real = scale * (q - zero_point)`, one for the whole value. Both are the
/// file's own numbers.
pub(super) fn value_map(
    place: &Place,
    integers: Integers,
    scale: f64,
    zero_point: i64,
) -> Result<Quantization, ImportError> {
    let (offset, expected) = match integers {
        Integers::U8 => (0, "0 to 255, the zero point of u8"),
        Integers::I8 => (128, "-128 to 127, the zero point of i8"),
    };
    let zero_point = zero_point
        .checked_add(offset)
        .and_then(|zero_point| u8::try_from(zero_point).ok())
        .ok_or_else(|| place.refused("zero_point", zero_point, expected))?;
    #[expect(clippy::cast_possible_truncation, reason = "a file's scale is f32")]
    let map = Quantization {
        scale: scale as f32,
        zero_point,
    };
    if !map.is_valid() {
        return Err(place.refused("scale", scale, "a positive number"));
    }
    Ok(map)
}

/// Weights of a convolution or matrix product as integers.
#[derive(Clone, Copy, Debug)]
pub(super) struct IntegerWeights<'a> {
    /// In the operation's plain layout, whose last axis is the output channel. The zero point is
    /// subtracted, so that 0 stands for 0.
    pub(super) integers: &'a [i16],
    /// For each output channel, the real number that 1 represents.
    pub(super) scales: &'a [f32],
}

impl IntegerWeights<'_> {
    /// Stores the weights under `key`.
    ///
    /// They stay integers if they fit i8, as those of a symmetric scheme always do, and those of u8
    /// with a zero point near 128. Otherwise, or if a scale is 0, they become the real numbers that
    /// they represent: nothing is rounded either way.
    pub(super) fn store(
        &self,
        builder: &mut GraphBuilder,
        place: &Place,
        key: String,
        shape: &[usize],
    ) -> Result<Kernel, ImportError> {
        let n = self.scales.len();
        if let Some(scale) = self.scales.iter().find(|s| !s.is_finite() || **s < 0.0) {
            return Err(place.refused("scale of the weights", scale, "positive numbers"));
        }
        let narrow: Result<Vec<i8>, _> = self.integers.iter().map(|&w| i8::try_from(w)).collect();
        let scaled = self.scales.iter().all(|s| s.is_normal());
        if let Some(narrow) = narrow.ok().filter(|_| scaled) {
            let bytes = bytemuck::cast_slice(&narrow).to_vec();
            builder.insert_bytes(place, key.clone(), (DType::I8, shape), bytes)?;
            let mut scales = builder.zeroed(place, n)?;
            scales.as_mut_slice().copy_from_slice(self.scales);
            let scale = format!("{key}/scale");
            builder.insert(place, scale.clone(), &[n], scales)?;
            return Ok(Kernel {
                scale: Some(scale),
                ..Kernel::plain(key)
            });
        }
        let mut real = builder.zeroed(place, self.integers.len())?;
        let rows = real.as_mut_slice().chunks_exact_mut(n.max(1));
        for (to, from) in rows.zip(self.integers.chunks_exact(n.max(1))) {
            for ((to, &w), scale) in to.iter_mut().zip(from).zip(self.scales) {
                *to = f32::from(w) * scale;
            }
        }
        builder.insert(place, key.clone(), shape, real)?;
        Ok(Kernel::plain(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;
    use crate::import::options::Limits;

    fn place() -> Place {
        Place {
            what: "node",
            name: "conv".into(),
            class: "Conv".into(),
        }
    }

    #[test]
    fn signed_bytes_move_up_by_128() {
        let map = |integers, zero_point| value_map(&place(), integers, 0.5, zero_point);
        assert_eq!(map(Integers::U8, 3).unwrap().zero_point, 3);
        assert_eq!(map(Integers::I8, -128).unwrap().zero_point, 0);
        assert_eq!(map(Integers::I8, 127).unwrap().zero_point, 255);
        for (integers, zero_point) in [
            (Integers::U8, -1),
            (Integers::U8, 256),
            (Integers::I8, 128),
            (Integers::I8, i64::MAX),
        ] {
            assert_eq!(
                map(integers, zero_point).unwrap_err().kind(),
                "unsupported_value"
            );
        }
        for scale in [0.0, -1.0, f64::NAN, 1e-60, 1e60] {
            assert!(
                value_map(&place(), Integers::U8, scale, 0).is_err(),
                "{scale}"
            );
        }
    }

    #[test]
    fn weights_stay_integers_if_they_fit() {
        let limits = Limits::default();
        let mut progress = |_| {};
        let mut builder = GraphBuilder::new("g", &limits, &mut progress);
        let store = |builder: &mut GraphBuilder, key: &str, integers: &[i16], scales: &[f32]| {
            let weights = IntegerWeights { integers, scales };
            weights.store(builder, &place(), key.into(), &[2, 2])
        };
        let kept = store(&mut builder, "a", &[1, -128, 127, 4], &[0.5, 2.0]).unwrap();
        assert_eq!(kept.scale.as_deref(), Some("a/scale"));
        let wide = store(&mut builder, "b", &[1, -128, 128, 4], &[0.5, 2.0]).unwrap();
        assert_eq!(wide.scale, None);
        // A dead channel.
        let dead = store(&mut builder, "c", &[1, 2, 3, 4], &[0.5, 0.0]).unwrap();
        assert_eq!(dead.scale, None);
        assert!(store(&mut builder, "d", &[1; 4], &[-1.0, 1.0]).is_err());
        let tensors = builder.tensors();
        assert_eq!(tensors["a"].as_i8().unwrap(), [1, -128, 127, 4]);
        assert_eq!(tensors["b"].as_f32().unwrap(), [0.5, -256.0, 64.0, 8.0]);
        assert_eq!(tensors["c"].as_f32().unwrap(), [0.5, 0.0, 1.5, 0.0]);
    }
}
