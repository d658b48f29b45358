//! Activation functions on rows of memory.
//!
//! [`apply`] changes a row in place: kernels call it on a row that they just wrote and that is
//! still in the first-level cache. [`ActivationF32`] is the activation as a separate operation.
//!
//! The definition, and the oracle of the tests, is [`Activation::apply`]. NaN gives NaN, even if
//! the definition's `max` drops it. Values below 1e-36, which are as good as 0, may come out as 0.

mod functions;

pub(super) use functions::{Clamp, Function, exp};

use super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::{Isa, KernelError, PreparedOp, split};
use crate::activation::Activation;
use functions::{
    Abs, EachLane, Elu, Exp, Gelu, GeluTanh, HardSigmoid, HardSwish, LeakyRelu, Mish, Neg,
    Reciprocal, ReluGeneral, Sigmoid, Silu, Softplus, Softsign, Square, Tanh,
};

/// Replaces every element of `row` by the activation's value.
pub fn apply(isa: Isa, activation: Activation, row: &mut [f32]) {
    if activation != Activation::Linear {
        // SAFETY: the row is readable and writable, and elementwise maps may be in place.
        unsafe { map(isa, activation, row.as_ptr(), row.as_mut_ptr(), row.len()) }
    }
}

/// The part of an activation that is a clamp of the value in its register, and the rest, which is
/// left for [`apply`]. One of the two does nothing.
pub(super) fn split_clamp(activation: Activation) -> (Clamp, Activation) {
    let clamp = |low, high| (Clamp { low, high }, Activation::Linear);
    match activation {
        Activation::Relu => clamp(0.0, f32::INFINITY),
        Activation::Relu6 => clamp(0.0, 6.0),
        // This order of the bounds needs them to be in order; a NaN is left to the general form.
        Activation::ReluGeneral {
            max_value,
            negative_slope: 0.0,
            threshold: 0.0,
        } if max_value.is_none_or(|max| max >= 0.0) => {
            clamp(0.0, max_value.unwrap_or(f32::INFINITY))
        }
        rest => (
            Clamp {
                low: f32::NEG_INFINITY,
                high: f32::INFINITY,
            },
            rest,
        ),
    }
}

/// `to[i] = activation(from[i])` for `len` elements.
///
/// # Safety
/// `from` is valid for reads and `to` for writes of `len` floats; they are the same memory or do
/// not overlap.
pub(super) unsafe fn map(
    isa: Isa,
    activation: Activation,
    from: *const f32,
    to: *mut f32,
    len: usize,
) {
    macro_rules! run {
        ($function:expr) => {
            dispatch(
                isa,
                Map {
                    function: $function,
                    from,
                    to,
                    len,
                },
            )
        };
    }
    // SAFETY: the caller keeps the contract of `Map`.
    unsafe {
        match activation {
            Activation::Linear => std::ptr::copy(from, to, len),
            Activation::Relu => run!(Clamp {
                low: 0.0,
                high: f32::INFINITY
            }),
            Activation::Relu6 => run!(Clamp {
                low: 0.0,
                high: 6.0
            }),
            Activation::ReluGeneral {
                max_value,
                negative_slope,
                threshold,
            } => run!(ReluGeneral {
                max_value: max_value.unwrap_or(f32::INFINITY),
                negative_slope,
                threshold,
            }),
            Activation::LeakyRelu { slope } => run!(LeakyRelu { slope }),
            Activation::Sigmoid => run!(Sigmoid),
            Activation::HardSigmoid { alpha, beta } => run!(HardSigmoid { alpha, beta }),
            Activation::Silu => run!(Silu),
            Activation::HardSwish => run!(HardSwish),
            Activation::Tanh => run!(Tanh),
            Activation::Elu { alpha } => run!(Elu {
                scale: 1.0,
                scale_alpha: alpha
            }),
            Activation::Selu => run!(Elu {
                scale: 1.050_701,
                scale_alpha: 1.758_099_3,
            }),
            Activation::Gelu => run!(Gelu),
            Activation::GeluTanh => run!(GeluTanh),
            Activation::Softplus => run!(Softplus),
            Activation::Softsign => run!(Softsign),
            Activation::Exp => run!(Exp),
            Activation::Mish => run!(Mish),
            Activation::Neg => run!(Neg),
            Activation::Abs => run!(Abs),
            Activation::Reciprocal => run!(Reciprocal),
            Activation::Pow { exponent: 2.0 } => run!(Square),
            Activation::Erf
            | Activation::Sqrt
            | Activation::Pow { .. }
            | Activation::Log
            | Activation::Sin
            | Activation::Cos => run!(EachLane(activation)),
        }
    }
}

/// Arguments of [`map`], whose contract is this kernel's.
struct Map<F> {
    function: F,
    from: *const f32,
    to: *mut f32,
    len: usize,
}

impl<F: Function> Kernel for Map<F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let mut at = 0;
        // SAFETY: `from` and `to` hold `len` floats, and `at` stays below; a vector is read
        // before it is written, so the two may be one.
        unsafe {
            while at + V::LANES <= self.len {
                let x = V::load(self.from.add(at));
                self.function.eval(x).store(self.to.add(at));
                at += V::LANES;
            }
            if at < self.len {
                let x = V::load_first(self.from.add(at), self.len - at);
                let y = self.function.eval(x);
                y.store_first(self.to.add(at), self.len - at);
            }
        }
    }
}

/// An activation as a separate operation.
#[derive(Clone, Debug)]
pub struct ActivationF32 {
    isa: Isa,
    activation: Activation,
    len: usize,
}

impl ActivationF32 {
    /// Prepares the activation of a value of `len` elements.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty value.
    pub fn prepare(isa: Isa, activation: Activation, len: usize) -> Result<Self, KernelError> {
        super::check_len("activation", len)?;
        Ok(Self {
            isa,
            activation,
            len,
        })
    }
}

// SAFETY: a task reads and writes its own elements of `len`.
unsafe impl PreparedOp for ActivationF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "activation_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.len]
    }

    fn output_len(&self) -> usize {
        self.len
    }

    fn in_place(&self) -> bool {
        true
    }

    fn tasks(&self, threads: usize) -> usize {
        // About 0.4 ns an element for the transcendental ones.
        split::tasks(threads, split::lines(self.len), self.len / 2)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let part = split::elements(task, tasks, self.len);
        // SAFETY: the part lies within both; each task has its own.
        unsafe {
            map(
                self.isa,
                self.activation,
                inputs[0].add(part.start),
                output.add(part.start),
                part.len(),
            );
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "equality is one way to be right")]
mod tests {
    use super::*;
    use crate::kernels::harness;

    const ALL: [Activation; 32] = [
        Activation::Linear,
        Activation::Relu,
        Activation::Relu6,
        Activation::ReluGeneral {
            max_value: Some(4.0),
            negative_slope: 0.1,
            threshold: 0.5,
        },
        Activation::ReluGeneral {
            max_value: Some(3.0),
            negative_slope: 0.0,
            threshold: 0.0,
        },
        Activation::ReluGeneral {
            max_value: None,
            negative_slope: 0.0,
            threshold: 1.0,
        },
        Activation::LeakyRelu { slope: 0.3 },
        Activation::Sigmoid,
        Activation::HardSigmoid {
            alpha: 1.0 / 6.0,
            beta: 0.5,
        },
        Activation::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        },
        Activation::Silu,
        Activation::HardSwish,
        Activation::Tanh,
        Activation::Elu { alpha: 0.7 },
        Activation::Selu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Softplus,
        Activation::Softsign,
        Activation::Exp,
        Activation::Mish,
        Activation::Erf,
        Activation::Sqrt,
        Activation::Reciprocal,
        Activation::Pow { exponent: 2.0 },
        Activation::Pow { exponent: 3.0 },
        Activation::Pow { exponent: -0.5 },
        Activation::Neg,
        Activation::Abs,
        Activation::Log,
        Activation::Sin,
        Activation::Cos,
    ];

    /// Units in the last place that a function may be off at `x`, with the tier's rounding.
    ///
    /// Sums of the roundings on the way: each operation 0.5. If the argument of an exponential is
    /// rounded, its own size counts, too.
    fn ulps(activation: Activation, x: f32, isa: Isa) -> f32 {
        let twice_rounded = f32::from(u8::from(isa == Isa::Portable));
        match activation {
            // One rounding, or the definition itself.
            Activation::Linear
            | Activation::Relu
            | Activation::Relu6
            | Activation::Erf
            | Activation::Sqrt
            | Activation::Reciprocal
            | Activation::Pow { .. }
            | Activation::Neg
            | Activation::Abs
            | Activation::Log
            | Activation::Sin
            | Activation::Cos => 0.0,
            Activation::ReluGeneral { .. }
            | Activation::LeakyRelu { .. }
            | Activation::Softsign => 1.0,
            // Near -beta / alpha the sum cancels: see `floor`.
            Activation::HardSigmoid { .. } | Activation::HardSwish => 2.0,
            Activation::Exp => 1.5 + twice_rounded,
            Activation::Sigmoid | Activation::Silu => 2.5 + twice_rounded,
            Activation::Elu { .. } | Activation::Selu | Activation::Softplus => 3.5 + twice_rounded,
            Activation::Tanh | Activation::Mish => 4.5 + 2.0 * twice_rounded,
            // Nine steps of the polynomial in u, and u itself.
            Activation::Gelu => 10.0 + 2.0 * twice_rounded,
            // The rounded argument 2 t of the exponential, at most 89 where the result counts.
            Activation::GeluTanh => 4.0 + 3.0 * (1.6 * x.abs() + 0.072 * x.abs().powi(3)).min(89.0),
        }
    }

    /// The absolute error that is always allowed, for results that are as good as 0 and for sums
    /// that cancel.
    fn floor(activation: Activation) -> f32 {
        match activation {
            Activation::HardSigmoid { .. } => 2.0_f32.powi(-24),
            Activation::Exp | Activation::Elu { .. } | Activation::Softplus => 2.0_f32.powi(-149),
            _ => 1e-36,
        }
    }

    fn ulp(y: f32) -> f32 {
        let y = y.abs().max(f32::MIN_POSITIVE);
        f32::from_bits(y.to_bits() + 1) - y
    }

    /// Every 997th float from -inf to inf, and every float bit pattern near the interesting
    /// points.
    fn sweep() -> Vec<f32> {
        // An emulator tests only a hundredth of them.
        let thin = if harness::is_emulated() { 101 } else { 1 };
        let mut xs = Vec::new();
        for bits in (0..f32::INFINITY.to_bits()).step_by(997 * thin) {
            xs.push(f32::from_bits(bits));
        }
        for i in (0..400_000_u32).step_by(thin) {
            xs.push(f32::from(i16::try_from(i % 30_000).unwrap()) * 1e-3 + i as f32 * 1e-6);
        }
        for near in [
            0.5, 1.0, 3.0, 6.0, 10.0, 20.0, 86.0, 88.722_84, 89.0, 103.97, 104.0,
        ] {
            let bits = f32::to_bits(near);
            xs.extend((bits - 200..bits + 200).map(f32::from_bits));
        }
        let negative: Vec<_> = xs.iter().map(|x| -x).collect();
        xs.extend(negative);
        xs
    }

    #[test]
    fn functions_stay_within_their_error_bounds() {
        let xs = sweep();
        for activation in ALL {
            let expected: Vec<_> = xs.iter().map(|&x| activation.apply(x)).collect();
            for isa in Isa::available() {
                let mut got = xs.clone();
                apply(isa, activation, &mut got);
                let mut worst = (0.0_f32, 0.0_f32);
                for ((&x, &y), &e) in xs.iter().zip(&got).zip(&expected) {
                    let undefined = e.is_nan() && y.is_nan();
                    if undefined || y == e || (y - e).abs() <= floor(activation) {
                        continue;
                    }
                    // An overflow may start one place early or late.
                    if e.abs() > 3.4e38 && y.is_infinite() {
                        continue;
                    }
                    let error = (y - e).abs() / ulp(e);
                    assert!(
                        error <= ulps(activation, x, isa) + 0.5,
                        "{activation:?} on {isa} at {x:e}: {y:e}, not {e:e}: {error} ulp"
                    );
                    if error > worst.0 {
                        worst = (error, x);
                    }
                }
                println!("{activation:?} {isa}: {} ulp at {}", worst.0, worst.1);
            }
        }
    }

    #[test]
    fn infinities_and_nan_go_where_the_definition_says() {
        for isa in Isa::available() {
            for activation in ALL {
                let mut row = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e30, -1e30];
                apply(isa, activation, &mut row);
                assert!(
                    row[2].is_nan(),
                    "{activation:?} on {isa} of NaN: {}",
                    row[2]
                );
                for (x, y) in [
                    (f32::INFINITY, row[0]),
                    (f32::NEG_INFINITY, row[1]),
                    (1e30, row[3]),
                    (-1e30, row[4]),
                ] {
                    let e = activation.apply(x);
                    // If the formula is infinity times 0, one side may give NaN and the other the
                    // limit.
                    let same = y == e
                        || (e.is_nan() && (y.is_nan() || y == 0.0))
                        || (y.is_nan() && matches!(activation, Activation::ReluGeneral { .. }))
                        || (y - e).abs() <= ulp(e);
                    assert!(same, "{activation:?} on {isa} of {x}: {y}, not {e}");
                }
            }
        }
    }

    #[test]
    fn rows_of_every_length_are_changed_and_nothing_else() {
        for isa in Isa::available() {
            for len in 0..70 {
                let mut memory = harness::numbers(len as u64, 70);
                let before = memory.clone();
                apply(isa, Activation::Silu, &mut memory[..len]);
                assert_eq!(memory[len..], before[len..]);
                for (y, x) in memory[..len].iter().zip(&before) {
                    let e = Activation::Silu.apply(*x);
                    assert!((y - e).abs() <= 4.0 * ulp(e));
                }
            }
        }
    }

    #[test]
    fn the_operation_equals_the_row_for_every_split() {
        for isa in Isa::available() {
            for len in [1, 7, 8, 9, 15, 16, 17, 1000] {
                for activation in [Activation::Relu, Activation::Mish, Activation::Linear] {
                    let op = ActivationF32::prepare(isa, activation, len).unwrap();
                    let x = harness::numbers(3, len);
                    let mut expected = x.clone();
                    apply(isa, activation, &mut expected);
                    harness::assert_bits(&harness::run(&op, &[&x]), &expected);
                }
            }
        }
        assert!(ActivationF32::prepare(Isa::Portable, Activation::Relu, 0).is_err());
    }

    #[test]
    fn the_clamp_and_the_rest_make_the_whole() {
        for activation in ALL {
            let (clamp, rest) = split_clamp(activation);
            for x in [-7.0_f32, -0.1, 0.0, 0.2, 1.5, 5.0, 9.0] {
                let y = rest.apply(x.max(clamp.low).min(clamp.high));
                let whole = activation.apply(x);
                let same = y == whole || (y.is_nan() && whole.is_nan());
                assert!(same, "{activation:?} of {x}: {y}, not {whole}");
            }
        }
    }
}
