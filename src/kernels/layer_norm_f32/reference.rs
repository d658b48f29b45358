//! Layer normalization, literally.

/// Each row of `columns` elements less its mean, divided by its standard deviation, in f64. `scale`
/// and `shift` have one value for all or one a column.
#[must_use]
pub fn layer_norm_f32_reference(
    input: &[f32],
    columns: usize,
    (scale, shift): (&[f32], &[f32]),
    epsilon: f32,
) -> Vec<f64> {
    let pick = |v: &[f32], i: usize| f64::from(if v.len() == 1 { v[0] } else { v[i] });
    let mut output = Vec::with_capacity(input.len());
    for row in input.chunks(columns) {
        let n = columns as f64;
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let squares = row.iter().map(|&x| (f64::from(x) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / n + f64::from(epsilon)).sqrt();
        output.extend(
            row.iter()
                .enumerate()
                .map(|(i, &x)| (f64::from(x) - mean) / deviation * pick(scale, i) + pick(shift, i)),
        );
    }
    output
}
