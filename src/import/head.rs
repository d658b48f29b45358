//! How a model's output becomes probabilities: it is known from the graph or the loss, or the user
//! says it. It is not guessed if a wrong guess would give nonsense.
//!
//! | The graph ends in | Head |
//! |---|---|
//! | softmax over two outputs or more | `softmax` |
//! | sigmoid | `sigmoid` for one output, `multi-sigmoid` for several |
//! | numbers that are always from 0 to 1 | `probabilities` |
//! | any numbers, and the loss takes logits | the loss's function |
//! | any numbers, two or more, and no loss is stored | `softmax`, with a warning |
//! | anything else | the user must say it |
//!
//! Not here: the functions themselves (`predict::head`).

use std::fmt::Write as _;

use super::facts::{Loss, LossKind};
use crate::artifact::Head;
use crate::graph::pass::{self, Answer};
use crate::graph::{Graph, GraphError, Node, Op, Range};
use crate::hint::{Arguments, Hint, named};
use crate::tensor::{Tensor, TensorError};

/// How the head was determined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadOrigin {
    /// The graph ends in it.
    Graph,
    /// The loss applies it.
    Loss(String),
    /// The user said so.
    Asked,
    /// The metadata of a file that this program exported says so.
    Stated,
    /// Nothing says it: the usual head is taken.
    Assumed,
}

/// A graph that is ready for its head.
#[derive(Clone, Debug)]
pub struct Headed {
    /// It ends in `[n]` numbers, to which the head is applied.
    pub graph: Graph,
    /// The function that makes probabilities of them.
    pub head: Head,
    /// How the head was determined.
    pub origin: HeadOrigin,
}

/// Why the head is not known, or not the requested one.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// A softmax over one number.
    #[error("a softmax over one number is always 1: every photo would be 100 % of one class")]
    SoftmaxOfOne {
        /// Whether the graph itself ends in it.
        in_graph: bool,
    },
    /// Neither the graph nor the loss says it.
    #[error(
        "the model's last layers ({last}) do not say how {outputs} become probabilities{because}"
    )]
    Unknown {
        /// The last ops.
        last: String,
        /// Number of outputs, as `its 3 outputs`.
        outputs: String,
        /// The known facts, as `: ...`.
        because: String,
        /// What to do.
        hint: String,
    },
    /// The head is for a different number of outputs.
    #[error("`{head}` is for one output, the model has {got}")]
    OneOutput {
        /// The requested head, by its name on the command line.
        head: &'static str,
        /// Outputs of the model.
        got: usize,
    },
    /// The user asked for a function, but the graph already ends in one.
    #[error("the model ends in {found} already, so `{asked}` cannot be its head")]
    Contradiction {
        /// The function at the end of the graph.
        found: &'static str,
        /// The requested head.
        asked: &'static str,
        /// The head that fits the graph.
        fits: &'static str,
    },
    /// The rewritten graph is not valid.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A tensor of the rewritten graph is not valid.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl Hint for HeadError {
    fn kind(&self) -> &'static str {
        match self {
            Self::SoftmaxOfOne { .. } => "softmax_of_one",
            Self::Unknown { .. } => "head_unknown",
            Self::OneOutput { .. } => "head_outputs",
            Self::Contradiction { .. } => "head_contradiction",
            Self::Graph(_) | Self::Tensor(_) => "graph",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::SoftmaxOfOne { in_graph: true } => {
                "such a model has learned nothing: train it with `Dense(1, activation=\"sigmoid\")`, \
                 or with two outputs and softmax"
                    .into()
            }
            Self::SoftmaxOfOne { in_graph: false } => {
                "give `--head sigmoid` (the output is a logit) or `--head probabilities` (it is a \
                 probability)"
                    .into()
            }
            Self::Unknown { hint, .. } => hint.clone(),
            Self::OneOutput { .. } => {
                "give `--head multi-sigmoid` for a sigmoid each, or `--head softmax` for one of the \
                 classes"
                    .into()
            }
            Self::Contradiction { fits, .. } => {
                format!("leave `--head` out, or give `--head {fits}`")
            }
            Self::Graph(_) | Self::Tensor(_) => {
                "check that the file loads in the program that made it".into()
            }
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::SoftmaxOfOne { in_graph } => named!(in_graph),
            Self::Unknown {
                last,
                outputs,
                because,
                ..
            } => named!(last, outputs, because),
            Self::OneOutput { head, got } => named!(head, got),
            Self::Contradiction { found, asked, fits } => named!(found, asked, fits),
            Self::Graph(_) | Self::Tensor(_) => named!(),
        }
    }
}

/// Finds the head of a graph as it was imported, and makes the graph end before it. `asked` is the
/// head that the user requested.
///
/// # Errors
/// [`HeadError`] if the head is not known, or contradicts the graph.
pub fn find(graph: Graph, loss: Option<&Loss>, asked: Option<Head>) -> Result<Headed, HeadError> {
    let answer = pass::answer(&graph);
    let outputs = graph.node(graph.output()).shape.len();
    let (head, origin) = match asked {
        Some(head) => (agrees(answer, outputs, head)?, HeadOrigin::Asked),
        None => known(&graph, answer, outputs, loss)?,
    };
    let graph = match head {
        // The output is used unchanged, even if it is a softmax's.
        Head::Probabilities => pass::flatten_output(graph)?,
        _ => pass::split_head(graph)?.0,
    };
    Ok(Headed {
        graph,
        head,
        origin,
    })
}

/// The requested head, if it fits the end of the graph.
fn agrees(answer: Answer, outputs: usize, asked: Head) -> Result<Head, HeadError> {
    let (found, fits) = match answer {
        Answer::Softmax => ("a softmax", Head::Softmax),
        Answer::Sigmoid if outputs == 1 => ("a sigmoid", Head::BinarySigmoid),
        Answer::Sigmoid => ("sigmoids", Head::MultiLabelSigmoid),
        Answer::Probabilities => ("probabilities", Head::Probabilities),
        Answer::Logits | Answer::Bounded(_) => ("", asked),
    };
    if asked == Head::BinarySigmoid && outputs != 1 {
        return Err(HeadError::OneOutput {
            head: asked.option(),
            got: outputs,
        });
    }
    if outputs == 1 && (answer == Answer::Softmax || asked == Head::Softmax) {
        return Err(HeadError::SoftmaxOfOne {
            in_graph: answer == Answer::Softmax,
        });
    }
    let one_sigmoid = answer == Answer::Sigmoid && asked == Head::MultiLabelSigmoid;
    if asked == fits || asked == Head::Probabilities || one_sigmoid {
        return Ok(asked);
    }
    Err(HeadError::Contradiction {
        found,
        asked: asked.option(),
        fits: fits.option(),
    })
}

fn known(
    graph: &Graph,
    answer: Answer,
    outputs: usize,
    loss: Option<&Loss>,
) -> Result<(Head, HeadOrigin), HeadError> {
    let by_loss = |loss: &Loss| HeadOrigin::Loss(loss.name.clone());
    Ok(match (answer, loss) {
        (Answer::Softmax, _) if outputs == 1 => {
            return Err(HeadError::SoftmaxOfOne { in_graph: true });
        }
        (Answer::Softmax, _) => (Head::Softmax, HeadOrigin::Graph),
        (Answer::Sigmoid, _) if outputs == 1 => (Head::BinarySigmoid, HeadOrigin::Graph),
        (Answer::Sigmoid, _) => (Head::MultiLabelSigmoid, HeadOrigin::Graph),
        (Answer::Probabilities, _) => (Head::Probabilities, HeadOrigin::Graph),
        (Answer::Logits, Some(loss)) if loss.from_logits => match loss.kind {
            LossKind::Binary if outputs == 1 => (Head::BinarySigmoid, by_loss(loss)),
            LossKind::Binary => (Head::MultiLabelSigmoid, by_loss(loss)),
            LossKind::Categorical if outputs > 1 => (Head::Softmax, by_loss(loss)),
            _ => return Err(unknown(graph, answer, outputs, Some(loss))),
        },
        (Answer::Logits, None) if outputs > 1 => (Head::Softmax, HeadOrigin::Assumed),
        (Answer::Logits | Answer::Bounded(_), loss) => {
            return Err(unknown(graph, answer, outputs, loss));
        }
    })
}

fn unknown(graph: &Graph, answer: Answer, outputs: usize, loss: Option<&Loss>) -> HeadError {
    let mut because = match answer {
        Answer::Bounded(range) => format!(": they lie {}", between(range)),
        _ => String::new(),
    };
    if let Some(loss) = loss {
        let logits = if loss.from_logits { " of logits" } else { "" };
        let start = if because.is_empty() {
            ": it"
        } else {
            ", and it"
        };
        let _ = write!(because, "{start} was trained with `{}`{logits}", loss.name);
    }
    let (outputs_text, choices) = if outputs == 1 {
        (
            "its output".to_owned(),
            "`--head sigmoid` if the output is a logit (trained with `from_logits=True`), `--head \
             probabilities` if it is a probability",
        )
    } else {
        (
            format!("its {outputs} outputs"),
            "`--head softmax` (one of the classes), `--head multi-sigmoid` (a sigmoid each), or \
             `--head probabilities` if they are probabilities",
        )
    };
    HeadError::Unknown {
        last: last_layers(graph),
        outputs: outputs_text,
        because,
        hint: format!("say what the training code applies to the output: {choices}"),
    }
}

fn between(range: Range) -> String {
    match (range.low.is_finite(), range.high.is_finite()) {
        (true, true) => format!("from {} to {}", range.low, range.high),
        (true, false) => format!("at {} or above", range.low),
        _ => format!("at {} or below", range.high),
    }
}

/// The last layers, as their source names them.
fn last_layers(graph: &Graph) -> String {
    let name = |node: &Node| match node.layers.last() {
        Some(layer) => format!("`{}` ({})", layer.name, layer.class),
        None => format!("`{}` ({})", node.name, node.op.name()),
    };
    let last = graph.node(graph.output());
    // An activation of a layer is a separate node, and says the most about the output.
    match &last.op {
        Op::Activation(activation) => format!("{}: {}", name(last), activation.name()),
        _ => name(last),
    }
}

/// The graph of one probability p, extended by `[1 - p, p]`, so that both classes have an output.
///
/// # Errors
/// [`HeadError::Graph`] if the graph is not valid, which is a bug.
pub fn with_complement(mut graph: Graph) -> Result<Graph, HeadError> {
    let p = graph.output();
    let free = |graph: &Graph, base: &str| {
        let taken = |name: &str| {
            graph.nodes().iter().any(|node| node.name == name) || graph.tensors.contains_key(name)
        };
        let mut name = base.to_owned();
        while taken(&name) {
            name.push('_');
        }
        name
    };
    let tensor = |graph: &mut Graph, base: &str, value: f32| {
        let key = free(graph, base);
        let tensor = Tensor::from_f32([1], &[value])?;
        graph.tensors.insert(key.clone(), tensor);
        Ok::<_, HeadError>(key)
    };
    let scale = tensor(&mut graph, "complement/scale", -1.0)?;
    let shift = tensor(&mut graph, "complement/shift", 1.0)?;
    let name = free(&graph, "complement");
    let rest = graph.push(name, Op::ScaleShift { scale, shift }, &[p])?;
    let name = free(&graph, "probabilities");
    graph.push(name, Op::Concat { axis: 0 }, &[rest, p])?;
    Ok(graph)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;

    /// A graph of `n` raw numbers, with an op after them.
    fn graph(n: usize, op: Option<Op>) -> Graph {
        let mut graph = Graph::new("test");
        let x = graph.push_input("scores", [n].into()).unwrap();
        if let Some(op) = op {
            graph.push("last", op, &[x]).unwrap();
        }
        graph
    }

    fn loss(kind: LossKind, from_logits: bool) -> Loss {
        Loss {
            name: "the_loss".to_owned(),
            kind,
            from_logits,
        }
    }

    #[test]
    fn the_head_is_known_or_asked_for() {
        let sigmoid = || Some(Op::Activation(Activation::Sigmoid));
        let tanh = || Some(Op::Activation(Activation::Tanh));
        let hard = || {
            Some(Op::Activation(Activation::HardSigmoid {
                alpha: 0.2,
                beta: 0.5,
            }))
        };
        let binary = Some(loss(LossKind::Binary, true));
        let categorical = Some(loss(LossKind::Categorical, true));
        let plain = Some(loss(LossKind::Binary, false));
        let squared = Some(loss(LossKind::Other, false));
        let softmax = || Some(Op::Softmax { axis: None });
        for (n, op, loss, asked, expected) in [
            // The graph says it.
            (3, softmax(), &None, None, "softmax"),
            (3, softmax(), &binary, None, "softmax"),
            (1, softmax(), &None, None, "softmax_of_one"),
            (1, sigmoid(), &None, None, "sigmoid"),
            (4, sigmoid(), &None, None, "multi-sigmoid"),
            (1, hard(), &None, None, "probabilities"),
            (3, hard(), &squared, None, "probabilities"),
            // The loss says it.
            (1, None, &binary, None, "sigmoid"),
            (4, None, &binary, None, "multi-sigmoid"),
            (4, None, &categorical, None, "softmax"),
            (1, None, &categorical, None, "head_unknown"),
            (1, None, &plain, None, "head_unknown"),
            (4, None, &plain, None, "head_unknown"),
            (4, None, &squared, None, "head_unknown"),
            (4, tanh(), &binary, None, "head_unknown"),
            // Nobody says it.
            (4, None, &None, None, "softmax"),
            (1, None, &None, None, "head_unknown"),
            (1, tanh(), &None, None, "head_unknown"),
            // The user says it.
            (1, None, &None, Some(Head::BinarySigmoid), "sigmoid"),
            (
                1,
                None,
                &None,
                Some(Head::MultiLabelSigmoid),
                "multi-sigmoid",
            ),
            (1, None, &None, Some(Head::Probabilities), "probabilities"),
            (1, None, &None, Some(Head::Softmax), "softmax_of_one"),
            (4, None, &binary, Some(Head::Softmax), "softmax"),
            (4, None, &None, Some(Head::BinarySigmoid), "head_outputs"),
            (4, tanh(), &None, Some(Head::Softmax), "softmax"),
            (3, softmax(), &None, Some(Head::Softmax), "softmax"),
            (
                3,
                softmax(),
                &None,
                Some(Head::Probabilities),
                "probabilities",
            ),
            (
                3,
                softmax(),
                &None,
                Some(Head::MultiLabelSigmoid),
                "head_contradiction",
            ),
            (
                3,
                sigmoid(),
                &None,
                Some(Head::Softmax),
                "head_contradiction",
            ),
            (1, sigmoid(), &None, Some(Head::BinarySigmoid), "sigmoid"),
            (
                1,
                sigmoid(),
                &None,
                Some(Head::MultiLabelSigmoid),
                "multi-sigmoid",
            ),
            (
                1,
                hard(),
                &None,
                Some(Head::BinarySigmoid),
                "head_contradiction",
            ),
        ] {
            let case = format!("{n} outputs, {op:?}, {loss:?}, {asked:?}");
            let got = match find(graph(n, op), loss.as_ref(), asked) {
                Ok(headed) => headed.head.option(),
                Err(error) => {
                    assert!(error.hint().contains("--head") || n == 1, "{case}");
                    error.kind()
                }
            };
            assert_eq!(got, expected, "{case}");
        }
    }

    #[test]
    fn what_made_it_known_is_told() {
        let origin = |n, op, loss: Option<Loss>, asked| {
            find(graph(n, op), loss.as_ref(), asked).unwrap().origin
        };
        let binary = loss(LossKind::Binary, true);
        assert_eq!(
            origin(3, Some(Op::Softmax { axis: None }), None, None),
            HeadOrigin::Graph
        );
        assert_eq!(origin(3, None, None, None), HeadOrigin::Assumed);
        assert_eq!(
            origin(3, None, Some(binary), None),
            HeadOrigin::Loss("the_loss".to_owned())
        );
        assert_eq!(
            origin(3, None, None, Some(Head::Softmax)),
            HeadOrigin::Asked
        );
    }

    #[test]
    fn a_softmax_that_is_taken_as_it_is_stays_in_the_graph() {
        let headed = find(
            graph(3, Some(Op::Softmax { axis: None })),
            None,
            Some(Head::Probabilities),
        )
        .unwrap();
        assert!(matches!(
            headed.graph.nodes().last().unwrap().op,
            Op::Softmax { axis: None }
        ));
        let headed = find(graph(3, Some(Op::Softmax { axis: None })), None, None).unwrap();
        assert!(matches!(headed.graph.nodes().last().unwrap().op, Op::Input));
    }

    #[test]
    fn a_probability_gets_its_complement() {
        let sigmoid = Op::Activation(Activation::Sigmoid);
        let graph = with_complement(graph(1, Some(sigmoid))).unwrap();
        let output = graph.node(graph.output());
        assert_eq!(output.shape, [2].into());
        assert!(Range::of(&graph, graph.output()).is_probability());
    }
}
