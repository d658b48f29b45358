//! Elementwise functions by their parameters: the simplest function that computes the same.

use crate::activation::Activation;

/// A ReLU with an upper bound, a slope below its threshold, and that threshold.
#[expect(clippy::float_cmp, reason = "attributes are exact values")]
pub(super) fn relu(max_value: Option<f32>, negative_slope: f32, threshold: f32) -> Activation {
    match (max_value, negative_slope, threshold) {
        (None, slope, t) if slope == 0.0 && t == 0.0 => Activation::Relu,
        (Some(max), slope, t) if max == 6.0 && slope == 0.0 && t == 0.0 => Activation::Relu6,
        (None, slope, 0.0) => Activation::LeakyRelu { slope },
        _ => Activation::ReluGeneral {
            max_value,
            negative_slope,
            threshold,
        },
    }
}

/// Values bounded from below by 0, and by `high` if there is one; `None` for other bounds.
pub(super) fn clip(low: Option<f64>, high: Option<f64>) -> Option<Activation> {
    match (low, high) {
        (Some(0.0), None) => Some(Activation::Relu),
        (Some(0.0), Some(high)) if high > 0.0 => Some(relu(Some(narrow(high)), 0.0, 0.0)),
        _ => None,
    }
}

/// A parameter of a function, in the type that functions store.
#[expect(clippy::cast_possible_truncation, reason = "activations are f32")]
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relu_attributes_become_the_simplest_function() {
        assert_eq!(relu(None, 0.0, 0.0), Activation::Relu);
        assert_eq!(relu(Some(6.0), 0.0, 0.0), Activation::Relu6);
        assert_eq!(relu(None, 0.1, 0.0), Activation::LeakyRelu { slope: 0.1 });
        let general = relu(Some(4.0), 0.5, 1.0);
        assert!((general.apply(5.0) - 4.0).abs() < 1e-6);
        assert!((general.apply(0.0) + 0.5).abs() < 1e-6);
    }

    #[test]
    fn bounds_from_zero_upwards_are_functions() {
        assert_eq!(clip(Some(0.0), Some(6.0)), Some(Activation::Relu6));
        assert_eq!(clip(Some(0.0), None), Some(Activation::Relu));
        assert_eq!(clip(Some(-1.0), Some(1.0)), None);
        assert_eq!(clip(None, Some(1.0)), None);
        assert_eq!(clip(Some(0.0), Some(f64::NAN)), None);
    }
}
