//! Makes a map of where the class was seen from an activation and its gradient.
//!
//! `A` is the activation `[H, W, K]`, `G` the gradient of the class's logit with respect to it.

use serde::Serialize;

/// A way to weigh a feature map's channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// `sum_k mean(G_k) A_k` (Selvaraju et al. 2017, arXiv:1610.02391).
    #[default]
    GradCam,
    /// Weights `sum_ij a_ij relu(G_ij)` with `a = G^2 / (2 G^2 + sum(A) G^3)`
    /// (Chattopadhay et al. 2018, arXiv:1710.11063).
    #[serde(rename = "gradcam++")]
    GradCamPlusPlus,
    /// `sum_k relu(G_k) A_k`, element by element (Jiang et al. 2021).
    LayerCam,
    /// The first principal component of `A`, without any class (Muhammad and Yeasin 2020,
    /// arXiv:2008.00299); its sign is chosen so that the map's sum is positive.
    EigenCam,
    /// `sum_k G_k A_k`, element by element (Draelos and Carin 2020, arXiv:2011.08891).
    HiResCam,
}

impl Method {
    /// Every method, in the order of the help text.
    pub const ALL: [Self; 5] = [
        Self::GradCam,
        Self::GradCamPlusPlus,
        Self::LayerCam,
        Self::EigenCam,
        Self::HiResCam,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GradCam => "gradcam",
            Self::GradCamPlusPlus => "gradcam++",
            Self::LayerCam => "layercam",
            Self::EigenCam => "eigencam",
            Self::HiResCam => "hirescam",
        }
    }

    /// Whether the map depends on a class.
    #[must_use]
    pub fn needs_gradient(self) -> bool {
        self != Self::EigenCam
    }

    /// The signed map, `[H, W]`. `gradient` is empty for methods that need none.
    pub(super) fn map(self, activation: &[f32], gradient: &[f32], channels: usize) -> Vec<f32> {
        let pixels = activation.chunks_exact(channels);
        let gradients = gradient.chunks_exact(channels);
        let elementwise = |weight: fn(f32) -> f32| {
            let pairs = pixels.clone().zip(gradients.clone());
            let sums = pairs.map(|(a, g)| {
                a.iter()
                    .zip(g)
                    .map(|(&a, &g)| f64::from(a) * f64::from(weight(g)))
                    .sum()
            });
            sums.map(round).collect()
        };
        match self {
            Self::GradCam => weighted(activation, &channel_means(gradient, channels)),
            Self::GradCamPlusPlus => weighted(
                activation,
                &plus_plus_weights(activation, gradient, channels),
            ),
            Self::LayerCam => elementwise(|g| g.max(0.0)),
            Self::HiResCam => elementwise(|g| g),
            Self::EigenCam => principal_component(activation, channels),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "maps are f32; sums are done in f64"
)]
fn round(value: f64) -> f32 {
    value as f32
}

fn weighted(activation: &[f32], weights: &[f64]) -> Vec<f32> {
    let pixels = activation.chunks_exact(weights.len());
    let sums = pixels.map(|a| a.iter().zip(weights).map(|(&a, w)| f64::from(a) * w).sum());
    sums.map(round).collect()
}

fn channel_means(values: &[f32], channels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    for pixel in values.chunks_exact(channels) {
        for (sum, &value) in sums.iter_mut().zip(pixel) {
            *sum += f64::from(value);
        }
    }
    let pixels = (values.len() / channels).max(1) as f64;
    sums.iter().map(|sum| sum / pixels).collect()
}

fn plus_plus_weights(activation: &[f32], gradient: &[f32], channels: usize) -> Vec<f64> {
    let pixels = (activation.len() / channels) as f64;
    let sums: Vec<f64> = channel_means(activation, channels)
        .iter()
        .map(|m| m * pixels)
        .collect();
    let mut weights = vec![0.0; channels];
    for pixel in gradient.chunks_exact(channels) {
        for ((weight, &g), sum) in weights.iter_mut().zip(pixel).zip(&sums) {
            let g = f64::from(g);
            let denominator = 2.0 * g * g + sum * g * g * g;
            // Where the gradient is zero, the numerator is zero, too; the paper's fraction is then
            // taken as zero.
            if denominator != 0.0 {
                *weight += g * g / denominator * g.max(0.0);
            }
        }
    }
    weights
}

/// `A v` for the first right singular vector `v` of `A` as a matrix `[H * W, K]`, by power
/// iteration on `A^T A`.
fn principal_component(activation: &[f32], channels: usize) -> Vec<f32> {
    const ROUNDS: usize = 1_000;
    let rows = || activation.chunks_exact(channels);
    let project = |v: &[f64]| -> Vec<f64> {
        rows()
            .map(|row| row.iter().zip(v).map(|(&a, v)| f64::from(a) * v).sum())
            .collect()
    };
    let mut direction = vec![1.0; channels];
    let mut component = project(&direction);
    for _ in 0..ROUNDS {
        let mut next = vec![0.0; channels];
        for (row, weight) in rows().zip(&component) {
            for (sum, &a) in next.iter_mut().zip(row) {
                *sum += f64::from(a) * weight;
            }
        }
        let norm = next.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm == 0.0 {
            break;
        }
        for v in &mut next {
            *v /= norm;
        }
        let moved: f64 = next
            .iter()
            .zip(&direction)
            .map(|(a, b)| (a - b).abs())
            .sum();
        direction = next;
        component = project(&direction);
        if moved < 1e-10 {
            break;
        }
    }
    let sign = if component.iter().sum::<f64>() < 0.0 {
        -1.0
    } else {
        1.0
    };
    component.iter().map(|v| round(sign * v)).collect()
}

/// A map of where the class was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// The method's values, unchanged, signed, row by row.
    pub raw: Vec<f32>,
    /// `relu(raw)` divided by its largest value: 0 to 1. All zero if nothing supported the class;
    /// see [`HeatMap::is_blank`].
    pub intensity: Vec<f32>,
}

impl HeatMap {
    /// A map from a method's values.
    #[must_use]
    pub fn new(height: usize, width: usize, raw: Vec<f32>) -> Self {
        let most = raw
            .iter()
            .copied()
            .filter(|v| v.is_finite())
            .fold(0.0f32, f32::max);
        let scale = |v: f32| {
            if most > 0.0 && v > 0.0 {
                (v / most).min(1.0)
            } else {
                0.0
            }
        };
        let intensity = raw.iter().map(|&v| scale(v)).collect();
        Self {
            height,
            width,
            raw,
            intensity,
        }
    }

    /// Whether nothing on the map supports the class.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.intensity.iter().all(|&v| v == 0.0)
    }
}
