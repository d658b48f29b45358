//! Activations as operators of opset 17. Functions that only later opsets have (GELU, Mish) are
//! spelled out as the usual exporters do.

use super::Exporter;
use super::builder::Attribute;
use super::placed::Placed;
use crate::activation::Activation;

impl Exporter<'_> {
    /// Appends a function of `x`; its last operator has the name.
    pub(super) fn activation(&mut self, name: &str, x: &Placed, activation: Activation) -> Placed {
        let alpha = |value: f32| vec![("alpha", Attribute::Float(value))];
        let y = match activation {
            Activation::Linear => return x.clone(),
            Activation::Relu => self.one(name, "Relu", x, vec![]),
            Activation::Relu6 => self.clip(name, &x.name, Some(0.0), Some(6.0)),
            Activation::ReluGeneral {
                max_value,
                negative_slope,
                threshold,
            } => self.relu_general(name, x, max_value, [negative_slope, threshold]),
            Activation::LeakyRelu { slope } => self.one(name, "LeakyRelu", x, alpha(slope)),
            Activation::Sigmoid => self.one(name, "Sigmoid", x, vec![]),
            Activation::HardSigmoid { alpha, beta } => {
                let attributes = vec![
                    ("alpha", Attribute::Float(alpha)),
                    ("beta", Attribute::Float(beta)),
                ];
                self.one(name, "HardSigmoid", x, attributes)
            }
            Activation::Silu => {
                let gate = self.one(&format!("{name}/gate"), "Sigmoid", x, vec![]);
                self.two(name, "Mul", &x.name, &gate)
            }
            Activation::HardSwish => self.one(name, "HardSwish", x, vec![]),
            Activation::Tanh => self.one(name, "Tanh", x, vec![]),
            Activation::Elu { alpha: scale } => self.one(name, "Elu", x, alpha(scale)),
            Activation::Selu => self.one(name, "Selu", x, vec![]),
            Activation::Gelu => {
                let root = self.scalar(name, "root", std::f32::consts::SQRT_2);
                let inner = self.two(&format!("{name}/scaled"), "Div", &x.name, &root);
                let inner = self
                    .builder
                    .push(&format!("{name}/erf"), "Erf", &[&inner], vec![]);
                self.half_gate(name, x, &inner)
            }
            Activation::GeluTanh => {
                let three = self.scalar(name, "three", 3.0);
                let cube = self.two(&format!("{name}/cube"), "Pow", &x.name, &three);
                let factor = self.scalar(name, "factor", 0.044_715);
                let cube = self.two(&format!("{name}/cubic"), "Mul", &cube, &factor);
                let sum = self.two(&format!("{name}/sum"), "Add", &x.name, &cube);
                let root = self.scalar(name, "root", 0.797_884_6);
                let inner = self.two(&format!("{name}/scaled"), "Mul", &sum, &root);
                let inner = self
                    .builder
                    .push(&format!("{name}/tanh"), "Tanh", &[&inner], vec![]);
                self.half_gate(name, x, &inner)
            }
            Activation::Softplus => self.one(name, "Softplus", x, vec![]),
            Activation::Softsign => self.one(name, "Softsign", x, vec![]),
            Activation::Exp => self.one(name, "Exp", x, vec![]),
            Activation::Mish => {
                let inner = self.one(&format!("{name}/softplus"), "Softplus", x, vec![]);
                let gate = self
                    .builder
                    .push(&format!("{name}/gate"), "Tanh", &[&inner], vec![]);
                self.two(name, "Mul", &x.name, &gate)
            }
            Activation::Erf => self.one(name, "Erf", x, vec![]),
            Activation::Sqrt => self.one(name, "Sqrt", x, vec![]),
            Activation::Reciprocal => self.one(name, "Reciprocal", x, vec![]),
            Activation::Pow { exponent } => {
                let exponent = self.scalar(name, "exponent", exponent);
                self.two(name, "Pow", &x.name, &exponent)
            }
            Activation::Neg => self.one(name, "Neg", x, vec![]),
            Activation::Abs => self.one(name, "Abs", x, vec![]),
            Activation::Log => self.one(name, "Log", x, vec![]),
            Activation::Sin => self.one(name, "Sin", x, vec![]),
            Activation::Cos => self.one(name, "Cos", x, vec![]),
        };
        x.named(y)
    }

    fn one(
        &mut self,
        name: &str,
        op: &'static str,
        x: &Placed,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        self.builder.push(name, op, &[&x.name], attributes)
    }

    fn two(&mut self, name: &str, op: &'static str, a: &str, b: &str) -> String {
        self.builder.push(name, op, &[a, b], vec![])
    }

    fn scalar(&mut self, name: &str, part: &str, value: f32) -> String {
        self.builder.scalar(&format!("{name}/{part}"), value)
    }

    /// `x * (inner + 1) * 0.5`
    fn half_gate(&mut self, name: &str, x: &Placed, inner: &str) -> String {
        let one = self.scalar(name, "one", 1.0);
        let gate = self.two(&format!("{name}/gate"), "Add", inner, &one);
        let product = self.two(&format!("{name}/product"), "Mul", &x.name, &gate);
        let half = self.scalar(name, "half", 0.5);
        self.two(name, "Mul", &product, &half)
    }

    fn clip(&mut self, name: &str, x: &str, low: Option<f32>, high: Option<f32>) -> String {
        let mut bound = |part: &str, value: Option<f32>| match value {
            Some(value) => self.scalar(name, part, value),
            None => String::new(),
        };
        let low = bound("low", low);
        let high = bound("high", high);
        let inputs = [x, &low, &high];
        let given = if high.is_empty() { 2 } else { 3 };
        self.builder.push(name, "Clip", &inputs[..given], vec![])
    }

    /// `min(x, max)` above the threshold, and `slope * (x - threshold)` up to it.
    fn relu_general(
        &mut self,
        name: &str,
        x: &Placed,
        max_value: Option<f32>,
        [slope, threshold]: [f32; 2],
    ) -> String {
        if let (Some(max), true) = (max_value, slope == 0.0 && threshold == 0.0) {
            return self.clip(name, &x.name, Some(0.0), Some(max));
        }
        let inner = match max_value {
            Some(_) => format!("{name}/unbounded"),
            None => name.to_owned(),
        };
        let y = if threshold == 0.0 {
            let alpha = vec![("alpha", Attribute::Float(slope))];
            self.one(&inner, "LeakyRelu", x, alpha)
        } else if slope == 0.0 && threshold > 0.0 {
            let alpha = vec![("alpha", Attribute::Float(threshold))];
            self.one(&inner, "ThresholdedRelu", x, alpha)
        } else {
            let threshold = self.scalar(name, "threshold", threshold);
            let below = self.two(&format!("{name}/distance"), "Sub", &x.name, &threshold);
            let slope = self.scalar(name, "slope", slope);
            let below = self.two(&format!("{name}/below"), "Mul", &below, &slope);
            let is_above = self.two(&format!("{name}/is_above"), "Greater", &x.name, &threshold);
            self.builder
                .push(&inner, "Where", &[&is_above, &x.name, &below], vec![])
        };
        match max_value {
            Some(max) => self.clip(name, &y, None, Some(max)),
            None => y,
        }
    }
}
