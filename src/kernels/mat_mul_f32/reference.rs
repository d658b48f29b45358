//! The product of two values, literally.

/// The product of each of `a`'s matrices `[m, k]` with `b`'s matrix `[k, n]` of the same number, in
/// f64. A single matrix goes with all of the other side's.
#[must_use]
pub fn mat_mul_f32_reference(a: &[f32], b: &[f32], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let (a_count, b_count) = (a.len() / (m * k), b.len() / (k * n));
    let mut output = Vec::new();
    for batch in 0..a_count.max(b_count) {
        let a = &a[batch % a_count * m * k..][..m * k];
        let b = &b[batch % b_count * k * n..][..k * n];
        for row in a.chunks_exact(k) {
            for column in 0..n {
                let terms = row.iter().enumerate();
                let products = terms.map(|(t, &x)| f64::from(x) * f64::from(b[t * n + column]));
                output.push(products.sum());
            }
        }
    }
    output
}
