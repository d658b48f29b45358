//! Operations of two values, and PReLU, whose second value is a constant.

use super::super::activation_f32::{self, Clamp, Function, split_clamp};
use super::super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::super::{Isa, KernelError, PreparedOp, check_tensor, split};
use super::broadcast::Broadcast;
use crate::activation::Activation;
use crate::tensor::{Shape, Tensor};

/// Floats that are written before an activation passes over them; half of a first-level cache is
/// 4096.
const BLOCK: usize = 2048;

/// The operation on two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// The larger; NaN if either is.
    Max,
    /// The smaller; NaN if either is.
    Min,
}

/// The parameters of an operation of two values.
#[derive(Clone, Debug)]
pub struct BinaryParams {
    /// The operation.
    pub arithmetic: Arithmetic,
    /// Shape of operand 0.
    pub a: Shape,
    /// Shape of operand 1.
    pub b: Shape,
    /// Applied to the result.
    pub activation: Activation,
}

/// An elementwise operation of two values, ready to run.
#[derive(Clone, Debug)]
pub struct BinaryF32 {
    isa: Isa,
    arithmetic: Arithmetic,
    walk: Walk,
}

impl BinaryF32 {
    /// Prepares the operation.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if the shapes cannot be combined, or are empty or enormous.
    pub fn prepare(isa: Isa, params: &BinaryParams) -> Result<Self, KernelError> {
        Ok(Self {
            isa,
            arithmetic: params.arithmetic,
            walk: Walk::new(&params.a, &params.b, params.activation)?,
        })
    }
}

// SAFETY: a task writes its own elements of the output; `prepare` derived the places that it reads
// from the operands' shapes.
unsafe impl PreparedOp for BinaryF32 {
    fn kernel_name(&self) -> &'static str {
        match self.arithmetic {
            Arithmetic::Add => kernel_name!(self.isa, "add_f32_row"),
            Arithmetic::Sub => kernel_name!(self.isa, "sub_f32_row"),
            Arithmetic::Mul => kernel_name!(self.isa, "mul_f32_row"),
            Arithmetic::Div => kernel_name!(self.isa, "div_f32_row"),
            Arithmetic::Max => kernel_name!(self.isa, "max_f32_row"),
            Arithmetic::Min => kernel_name!(self.isa, "min_f32_row"),
        }
    }

    fn input_lens(&self) -> Vec<usize> {
        self.walk.geometry.lens.to_vec()
    }

    fn output_len(&self) -> usize {
        self.walk.geometry.len
    }

    fn in_place(&self) -> bool {
        self.walk.geometry.first_is_whole
    }

    fn tasks(&self, threads: usize) -> usize {
        self.walk.tasks(threads)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        macro_rules! run {
            ($combine:expr) => {
                self.walk.run(
                    self.isa,
                    $combine,
                    (task, tasks),
                    [inputs[0], inputs[1]],
                    output,
                )
            };
        }
        // SAFETY: the caller's contract is that of `Walk::run`.
        unsafe {
            match self.arithmetic {
                Arithmetic::Add => run!(Add),
                Arithmetic::Sub => run!(Sub),
                Arithmetic::Mul => run!(Mul),
                Arithmetic::Div => run!(Div),
                Arithmetic::Max => run!(Max),
                Arithmetic::Min => run!(Min),
            }
        }
    }
}

/// `x` if it is positive, else `alpha * x`, ready to run.
#[derive(Clone, Debug)]
pub struct PReluF32 {
    isa: Isa,
    alpha: Tensor,
    walk: Walk,
}

impl PReluF32 {
    /// Prepares the PReLU of a value of shape `input`; `alpha` (f32) broadcasts to it.
    ///
    /// # Errors
    /// [`KernelError`] if alpha is not f32 or does not broadcast to the input's shape.
    pub fn prepare(isa: Isa, input: &Shape, alpha: &Tensor) -> Result<Self, KernelError> {
        check_tensor("alpha", alpha, alpha.shape().dims())?;
        let walk = Walk::new(input, alpha.shape(), Activation::Linear)?;
        if !walk.geometry.first_is_whole {
            return Err(KernelError::TensorShape {
                what: "alpha",
                expected: input.clone(),
                got: alpha.shape().clone(),
            });
        }
        Ok(Self {
            isa,
            alpha: alpha.clone(),
            walk,
        })
    }
}

// SAFETY: a task reads and writes its own elements; `prepare` checked that the slopes match them.
unsafe impl PreparedOp for PReluF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "prelu_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.walk.geometry.len]
    }

    fn output_len(&self) -> usize {
        self.walk.geometry.len
    }

    fn in_place(&self) -> bool {
        true
    }

    fn tasks(&self, threads: usize) -> usize {
        self.walk.tasks(threads)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let Some(alpha) = self.alpha.as_f32() else {
            unreachable!("`prepare` checked the dtype")
        };
        let operands = [inputs[0], alpha.as_ptr()];
        // SAFETY: the caller's contract is that of `Walk::run`; alpha has the length of its
        // shape.
        unsafe {
            self.walk
                .run(self.isa, PRelu, (task, tasks), operands, output);
        }
    }
}

/// The operation on two vectors. Implementations must be `inline(always)`.
trait Combine: Copy {
    fn combine<V: Vector>(self, a: V, b: V) -> V;
}

macro_rules! combine {
    ($($name:ident: |$a:ident, $b:ident| $body:expr;)*) => {$(
        #[derive(Clone, Copy)]
        struct $name;

        impl Combine for $name {
            #[inline(always)]
            fn combine<V: Vector>(self, $a: V, $b: V) -> V {
                $body
            }
        }
    )*};
}

combine! {
    Add: |a, b| a.add(b);
    Sub: |a, b| a.sub(b);
    Mul: |a, b| a.mul(b);
    Div: |a, b| a.div(b);
    Max: |a, b| a.max_or_nan(b);
    Min: |a, b| a.min_or_nan(b);
    PRelu: |x, alpha| x.where_greater(x, x.like(0.0), x.mul(alpha));
}

/// The order in which the result is computed, and its activation.
#[derive(Clone, Debug)]
struct Walk {
    geometry: Broadcast,
    clamp: Clamp,
    rest: Activation,
}

impl Walk {
    fn new(a: &Shape, b: &Shape, activation: Activation) -> Result<Self, KernelError> {
        let (clamp, rest) = split_clamp(activation);
        Ok(Self {
            geometry: Broadcast::new(a, b)?,
            clamp,
            rest,
        })
    }

    fn tasks(&self, threads: usize) -> usize {
        let each = if self.rest == Activation::Linear {
            4
        } else {
            2
        };
        let lines = split::lines(self.geometry.len);
        split::tasks(threads, lines, self.geometry.len / each)
    }

    /// # Safety
    /// The operands are readable for the geometry's lengths, the output writable for its length;
    /// they are apart, or operand 0 is the output and has its shape. No two calls with the same
    /// task run at a time.
    unsafe fn run<C: Combine>(
        &self,
        isa: Isa,
        combine: C,
        (task, tasks): (usize, usize),
        operands: [*const f32; 2],
        output: *mut f32,
    ) {
        let part = Part {
            isa,
            walk: self,
            combine,
            range: split::elements(task, tasks, self.geometry.len),
            operands,
            output,
        };
        // SAFETY: the caller's contract; each task has its own elements.
        unsafe { dispatch(isa, part) }
    }
}

/// Some elements of a result, with the contract of [`Walk::run`].
struct Part<'a, C> {
    isa: Isa,
    walk: &'a Walk,
    combine: C,
    range: std::ops::Range<usize>,
    operands: [*const f32; 2],
    output: *mut f32,
}

impl<C: Combine> Kernel for Part<'_, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Walk { geometry, rest, .. } = self.walk;
        let mut at = self.range.start;
        let (mut row, mut offset) = (at / geometry.inner, at % geometry.inner);
        while at < self.range.end {
            let starts = geometry.starts(row);
            let row_end = self.range.end.min(at + geometry.inner - offset);
            while at < row_end {
                let len = BLOCK.min(row_end - at);
                // SAFETY: the elements lie in the result, and in the operands at the geometry's
                // offsets.
                unsafe {
                    let steps = geometry.steps;
                    let a = self.operands[0].add(starts[0] + offset * steps[0]);
                    let b = self.operands[1].add(starts[1] + offset * steps[1]);
                    let to = self.output.add(at);
                    match steps {
                        [_, 0] => self.line::<V, true, false>(a, b, to, len),
                        [0, _] => self.line::<V, false, true>(a, b, to, len),
                        _ => self.line::<V, true, true>(a, b, to, len),
                    }
                    if *rest != Activation::Linear {
                        let written = std::slice::from_raw_parts_mut(to, len);
                        activation_f32::apply(self.isa, *rest, written);
                    }
                }
                at += len;
                offset += len;
            }
            row += 1;
            offset = 0;
        }
    }
}

impl<C: Combine> Part<'_, C> {
    /// `len` elements, of operands that advance (`A`, `B`) or stand still.
    ///
    /// # Safety
    /// The elements exist; `V` fits the CPU.
    #[inline(always)]
    unsafe fn line<V: Vector, const A: bool, const B: bool>(
        &self,
        a: *const f32,
        b: *const f32,
        to: *mut f32,
        len: usize,
    ) {
        let clamp = self.walk.clamp;
        let mut at = 0;
        // SAFETY: promised by the caller; a vector is read before it is written.
        unsafe {
            // Only used if an operand stands still; then it is that element.
            let (still_a, still_b) = (V::broadcast(*a), V::broadcast(*b));
            while at + V::LANES <= len {
                let x = if A { V::load(a.add(at)) } else { still_a };
                let y = if B { V::load(b.add(at)) } else { still_b };
                let value = self.combine.combine(x, y);
                clamp.eval(value).store(to.add(at));
                at += V::LANES;
            }
            if at < len {
                let n = len - at;
                let x = if A {
                    V::load_first(a.add(at), n)
                } else {
                    still_a
                };
                let y = if B {
                    V::load_first(b.add(at), n)
                } else {
                    still_b
                };
                let value = self.combine.combine(x, y);
                clamp.eval(value).store_first(to.add(at), n);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::binary_f32_reference;
    use super::*;
    use crate::kernels::harness;

    const ALL: [Arithmetic; 6] = [
        Arithmetic::Add,
        Arithmetic::Sub,
        Arithmetic::Mul,
        Arithmetic::Div,
        Arithmetic::Max,
        Arithmetic::Min,
    ];

    fn check(arithmetic: Arithmetic, a: &Shape, b: &Shape, activation: Activation) {
        let x = harness::numbers(1, a.len());
        let y = harness::numbers(2, b.len());
        let sums = binary_f32_reference(arithmetic, (a, &x), (b, &y));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the kernel rounds here too"
        )]
        let expected: Vec<_> = sums
            .iter()
            .map(|&v| f64::from(activation.apply(v as f32)))
            .collect();
        let params = BinaryParams {
            arithmetic,
            a: a.clone(),
            b: b.clone(),
            activation,
        };
        // One correctly rounded operation; then the error of `activation_f32`: 3 units in the last
        // place, and 0 for values that are as good as 0.
        let (units, floor) = if split_clamp(activation).1 == Activation::Linear {
            (0.0, 0.0)
        } else {
            (8.0, 1e-36)
        };
        for isa in Isa::available() {
            let op = BinaryF32::prepare(isa, &params).unwrap();
            assert_eq!(op.in_place(), a.len() == sums.len());
            let got = harness::run(&op, &[&x, &y]);
            harness::assert_close(&got, &expected, |i| {
                units * 2.0_f64.powi(-24) * expected[i].abs() + floor
            });
        }
    }

    #[test]
    fn every_operation_and_length() {
        for arithmetic in ALL {
            for n in [1, 7, 8, 9, 15, 16, 17, 40, 5000] {
                for activation in [Activation::Linear, Activation::Relu, Activation::Silu] {
                    check(arithmetic, &[n].into(), &[n].into(), activation);
                }
            }
        }
    }

    #[test]
    fn gates_and_scalars_broadcast() {
        for arithmetic in [Arithmetic::Mul, Arithmetic::Sub] {
            for c in [1, 3, 8, 16, 37] {
                let image = Shape::new(&[5, 6, c]);
                for other in [
                    &[1, 1, c][..],
                    &[c],
                    &[5, 6, 1],
                    &[5, 1, c],
                    &[1, 6, 1],
                    &[],
                ] {
                    let other = Shape::new(other);
                    check(arithmetic, &image, &other, Activation::Relu6);
                    check(arithmetic, &other, &image, Activation::HardSwish);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(80))]

        #[test]
        fn any_pair_of_shapes_equals_the_reference(
            dims in proptest::collection::vec(1_usize..6, 1..5),
            a_ones in proptest::collection::vec(any::<bool>(), 4),
            b_ones in proptest::collection::vec(any::<bool>(), 4),
            cut in 0_usize..5,
        ) {
            let shape = |ones: &[bool]| -> Vec<usize> {
                dims.iter().zip(ones).map(|(&d, &one)| if one { 1 } else { d }).collect()
            };
            let a = Shape::new(&shape(&a_ones));
            let b = shape(&b_ones);
            let b = Shape::new(&b[cut.min(b.len())..]);
            check(Arithmetic::Sub, &a, &b, Activation::Linear);
        }
    }

    #[test]
    fn nan_shows_whichever_side_it_is_on() {
        for isa in Isa::available() {
            for arithmetic in ALL {
                let params = BinaryParams {
                    arithmetic,
                    a: [2].into(),
                    b: [2].into(),
                    activation: Activation::Relu,
                };
                let op = BinaryF32::prepare(isa, &params).unwrap();
                let got = harness::run(&op, &[&[f32::NAN, 1.0], &[1.0, f32::NAN]]);
                assert!(got.iter().all(|v| v.is_nan()), "{arithmetic:?} on {isa}");
            }
        }
    }

    #[test]
    fn prelu_takes_alpha_of_every_allowed_shape() {
        let input = Shape::new(&[3, 4, 19]);
        let x = harness::numbers(3, input.len());
        for shape in [&[19][..], &[1, 1, 19], &[3, 4, 19], &[1]] {
            let shape = Shape::new(shape);
            let values = harness::numbers(4, shape.len());
            let alpha = Tensor::from_f32(shape, &values).unwrap();
            for isa in Isa::available() {
                let op = PReluF32::prepare(isa, &input, &alpha).unwrap();
                let expected: Vec<_> = (0..x.len())
                    .map(|i| {
                        if x[i] > 0.0 {
                            x[i]
                        } else {
                            x[i] * values[i % values.len()]
                        }
                    })
                    .collect();
                harness::assert_bits(&harness::run(&op, &[&x]), &expected);
            }
        }
        for bad in [&[18][..], &[2, 3, 4, 19]] {
            let shape = Shape::new(bad);
            let alpha = Tensor::from_f32(shape.clone(), &vec![0.0; shape.len()]).unwrap();
            assert!(PReluF32::prepare(Isa::Portable, &input, &alpha).is_err());
        }
    }
}
