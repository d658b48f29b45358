//! The activation functions on vectors.
//!
//! Everything transcendental comes from `e^x = 2^n e^r` with `n` the integer nearest to
//! `x / ln 2` and `|r| <= ln 2 / 2`, where `e^r = 1 + r + r^2 q(r)`. The polynomials here are
//! minimax in relative error (Lawson's iteration in f64), rounded to f32.
//! `functions_stay_within_their_error_bounds` (in `mod.rs`) states how far each function is from
//! the true value.

use crate::activation::Activation;
use crate::kernels::vector::Vector;

/// An elementwise function. Implementations must be `inline(always)`.
pub(in crate::kernels) trait Function: Copy {
    /// Its value in each lane.
    fn eval<V: Vector>(self, x: V) -> V;
}

/// Adding it rounds to an integer, which is then in the low bits of the mantissa.
const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23

/// Exponent bias of binary32.
const BIAS: f32 = 127.0;

/// ln 2 in two parts. The first has 15 significant bits, so that its product with an integer of up
/// to 9 bits is exact, even if multiply-add rounds twice.
const LN_2_HIGH: f32 = f32::from_bits(0x3f31_7200);
const LN_2_LOW: f32 = 1.428_606_8e-6;

/// `q(r) = (e^r - 1 - r) / r^2`, relative error of `e^r` 3e-9.
const EXP_Q: [f32; 5] = [
    0.499_999_94,
    0.166_665_2,
    0.041_668_393,
    0.008_368_781,
    0.001_381_446_7,
];

/// As [`EXP_Q`], relative error of `e^r - 1` 1.4e-8.
const EXP_M1_Q: [f32; 5] = [
    0.499_999_97,
    0.166_665_44,
    0.041_667_2,
    0.008_366_58,
    0.001_388_251,
];

/// `c[0] + c[1] x + ...`
#[inline(always)]
fn polynomial<V: Vector, const N: usize>(x: V, c: [f32; N]) -> V {
    let mut sum = x.like(c[N - 1]);
    for &c in c[..N - 1].iter().rev() {
        sum = sum.fma(x, x.like(c));
    }
    sum
}

/// `2^n` for an integral `n` of -126 to 127.
#[inline(always)]
fn exp2_integer<V: Vector>(n: V) -> V {
    n.add(n.like(ROUND + BIAS)).shift_to_exponent()
}

/// `n` and `r` of `x = n ln 2 + r`, for `|x|` below 2^8.
#[inline(always)]
fn reduce<V: Vector>(x: V) -> (V, V) {
    let round = x.like(ROUND);
    let n = x.fma(x.like(std::f32::consts::LOG2_E), round).sub(round);
    let r = n.fma(x.like(-LN_2_HIGH), x);
    (n, n.fma(x.like(-LN_2_LOW), r))
}

/// `e^r` for `|r| <= ln 2 / 2`.
#[inline(always)]
fn exp_reduced<V: Vector>(r: V) -> V {
    let q = polynomial(r, EXP_Q);
    r.mul(r).fma(q, r.add(r.like(1.0)))
}

/// `e^x`, subnormal results included.
#[inline(always)]
pub(in crate::kernels) fn exp<V: Vector>(x: V) -> V {
    // Beyond these bounds the result is 0 or infinite.
    let (n, r) = reduce(x.at_least(x.like(-104.0)).at_most(x.like(89.0)));
    scaled_exp(n, r)
}

/// `2^n e^r` for `n` of -165 to 128.
#[inline(always)]
fn scaled_exp<V: Vector>(n: V, r: V) -> V {
    // Too much for one exponent: two factors.
    let round = n.like(ROUND);
    let half = n.fma(n.like(0.5), round).sub(round);
    exp_reduced(r)
        .mul(exp2_integer(half))
        .mul(exp2_integer(n.sub(half)))
}

/// `e^x - 1`, exact to the last places even near 0. Beyond +-80 it keeps its value at +-80.
#[inline(always)]
fn exp_m1<V: Vector>(x: V) -> V {
    let x = x.at_least(x.like(-80.0)).at_most(x.like(80.0));
    let (n, r) = reduce(x);
    let m1 = r.mul(r).fma(polynomial(r, EXP_M1_Q), r);
    let power = exp2_integer(n);
    power.fma(m1, power.sub(x.like(1.0)))
}

/// `1 + e^-x`; infinite from -89 down, 1 to the last place from 17 up.
#[inline(always)]
fn one_plus_exp_neg<V: Vector>(x: V) -> V {
    // The bounds keep `n - 1` within one exponent; `2 * 2^(n - 1)` may still overflow, as it
    // should.
    let x = x.at_least(x.like(-89.0)).at_most(x.like(86.0));
    let shifted = x.like(ROUND + BIAS - 1.0);
    let t = x.fma(x.like(-std::f32::consts::LOG2_E), shifted);
    let n = t.sub(shifted);
    let r = n.fma(x.like(LN_2_HIGH), x);
    let minus_r = n.fma(x.like(LN_2_LOW), r);
    let q = polynomial(
        minus_r,
        [EXP_Q[0], -EXP_Q[1], EXP_Q[2], -EXP_Q[3], EXP_Q[4]],
    );
    let one = x.like(1.0);
    let exp = minus_r.mul(minus_r).fma(q, one.sub(minus_r));
    exp.mul(t.shift_to_exponent()).fma(x.like(2.0), one)
}

/// `min(max(x, low), high)`, NaN for NaN.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Clamp {
    pub(in crate::kernels) low: f32,
    pub(in crate::kernels) high: f32,
}

impl Function for Clamp {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        x.at_least(x.like(self.low)).at_most(x.like(self.high))
    }
}

#[derive(Clone, Copy)]
pub(super) struct ReluGeneral {
    pub(super) max_value: f32,
    pub(super) negative_slope: f32,
    pub(super) threshold: f32,
}

impl Function for ReluGeneral {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        let threshold = x.like(self.threshold);
        let below = x.sub(threshold).mul(x.like(self.negative_slope));
        // A NaN is not greater, and `below` keeps it.
        x.where_greater(x, threshold, below)
            .at_most(x.like(self.max_value))
    }
}

#[derive(Clone, Copy)]
pub(super) struct LeakyRelu {
    pub(super) slope: f32,
}

impl Function for LeakyRelu {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        x.where_greater(x, x.like(0.0), x.mul(x.like(self.slope)))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Sigmoid;

impl Function for Sigmoid {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        x.like(1.0).div(one_plus_exp_neg(x))
    }
}

#[derive(Clone, Copy)]
pub(super) struct HardSigmoid {
    pub(super) alpha: f32,
    pub(super) beta: f32,
}

impl Function for HardSigmoid {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        x.fma(x.like(self.alpha), x.like(self.beta))
            .at_least(x.like(0.0))
            .at_most(x.like(1.0))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Silu;

impl Function for Silu {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        x.div(one_plus_exp_neg(x))
    }
}

#[derive(Clone, Copy)]
pub(super) struct HardSwish;

impl Function for HardSwish {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        // `(x + 3) / 6` and not `x / 6 + 0.5`, because it is exact near -3, where it cancels.
        let gate = x.add(x.like(3.0)).mul(x.like(1.0 / 6.0));
        x.mul(gate.at_least(x.like(0.0)).at_most(x.like(1.0)))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Tanh;

impl Function for Tanh {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        // tanh(10) rounds to 1.
        let twice = x.abs().at_most(x.like(10.0)).mul(x.like(2.0));
        let m1 = exp_m1(twice);
        m1.div(m1.add(x.like(2.0))).with_sign_of(x)
    }
}

/// `scale * x` if `x` is positive, else `scale_alpha * (e^x - 1)`: ELU and SELU.
#[derive(Clone, Copy)]
pub(super) struct Elu {
    pub(super) scale: f32,
    pub(super) scale_alpha: f32,
}

impl Function for Elu {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        let negative = exp_m1(x).mul(x.like(self.scale_alpha));
        x.mul(x.like(self.scale))
            .where_greater(x, x.like(0.0), negative)
    }
}

/// `x * Phi(x)`, relatively exact in both tails: with `a = |x|` the tail
/// `Phi(-a) = e^(-a^2 / 2) P(u)`, `u = 1 / (1 + 0.3 a)`.
#[derive(Clone, Copy)]
pub(super) struct Gelu;

impl Gelu {
    /// `erfcx(a / sqrt 2) / 2` over `u`, relative error 6e-8 for `a` of 0 to 15.
    const P: [f32; 9] = [
        7.494_883_4e-6,
        0.119_482_1,
        0.121_960_38,
        0.094_526_455,
        0.142_905_37,
        -0.077_043_22,
        0.229_130_28,
        -0.169_394_08,
        0.038_425_248,
    ];
}

impl Function for Gelu {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        let one = x.like(1.0);
        // Phi(-15) is below the smallest subnormal.
        let a = x.abs().at_most(x.like(15.0));
        let u = one.div(a.fma(x.like(0.3), one));
        // A rounding of a^2 / 2 would count up to a hundred times in the exponential. With `high`
        // the multiple of 2^-8 next to `a`, its square is exact and the rest is small.
        let grid = x.like(ROUND / 256.0);
        let high = a.add(grid).sub(grid);
        let rest = a.sub(high).mul(a.add(high));
        let (n, r) = reduce(high.mul(high).mul(x.like(-0.5)));
        let exp = scaled_exp(n, rest.fma(x.like(-0.5), r));
        let tail = a.mul(exp.mul(polynomial(u, Self::P)));
        x.sub(tail)
            .where_greater(x, x.like(0.0), x.like(0.0).sub(tail))
    }
}

#[derive(Clone, Copy)]
pub(super) struct GeluTanh;

impl Function for GeluTanh {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        // (1 + tanh(t)) / 2 = sigmoid(2 t), and 2 t = x (a + b x^2).
        const A: f32 = 1.595_769; // 2 sqrt(2 / pi)
        const B: f32 = 0.071_354_814; // 0.044715 A
        let twice = x.mul(x.mul(x).fma(x.like(B), x.like(A)));
        x.div(one_plus_exp_neg(twice))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Softplus;

impl Softplus {
    /// `atanh(s) = s + s z Q(z)`, `z = s^2` up to 1/9, relative error 5e-9.
    const Q: [f32; 4] = [0.333_332_06, 0.200_108_86, 0.139_989_32, 0.140_156_37];
}

impl Function for Softplus {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        let zero = x.like(0.0);
        let e = exp(zero.sub(x.abs()));
        // ln(1 + e) = 2 atanh(e / (2 + e))
        let s = e.div(e.add(x.like(2.0)));
        let z = s.mul(s);
        let twice = s.add(s);
        let log = twice.mul(z).fma(polynomial(z, Self::Q), twice);
        x.at_least(zero).add(log)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Softsign;

impl Function for Softsign {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        x.div(x.abs().add(x.like(1.0)))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Exp;

impl Function for Exp {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        exp(x)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Mish;

impl Function for Mish {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        // tanh(ln(1 + e)) = n / (n + 2) with n = e (e + 2), which is 1 from x = 20 up.
        let e = exp(x.at_most(x.like(20.0)));
        let n = e.mul(e.add(x.like(2.0)));
        x.mul(n.div(n.add(x.like(2.0))))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Neg;

impl Function for Neg {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        // Not `0 - x`, which has the wrong sign at 0.
        x.mul(x.like(-1.0))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Abs;

impl Function for Abs {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        x.abs()
    }
}

#[derive(Clone, Copy)]
pub(super) struct Reciprocal;

impl Function for Reciprocal {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        x.like(1.0).div(x)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Square;

impl Function for Square {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        x.mul(x)
    }
}

/// The definition itself, one lane after the other: for functions that networks rarely have.
#[derive(Clone, Copy)]
pub(super) struct EachLane(pub(super) Activation);

impl Function for EachLane {
    #[inline(always)]
    fn eval<V: Vector>(self, x: V) -> V {
        let mut lanes = [0.0; 16];
        // SAFETY: no tier has more than sixteen lanes; `x` proves the CPU's instructions.
        unsafe {
            x.store(lanes.as_mut_ptr());
            for lane in &mut lanes[..V::LANES] {
                *lane = self.0.apply(*lane);
            }
            V::load(lanes.as_ptr())
        }
    }
}
