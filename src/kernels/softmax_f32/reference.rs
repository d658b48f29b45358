//! Softmax, literally.

/// The softmax of each row of `columns` elements, in f64.
#[must_use]
pub fn softmax_f32_reference(input: &[f32], columns: usize) -> Vec<f64> {
    let mut output = Vec::with_capacity(input.len());
    for row in input.chunks(columns) {
        let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let exps: Vec<_> = row
            .iter()
            .map(|&x| (f64::from(x) - largest).exp())
            .collect();
        let sum: f64 = exps.iter().sum();
        output.extend(exps.iter().map(|e| e / sum));
    }
    output
}
