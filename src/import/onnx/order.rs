//! The order in which nodes are read: each behind those whose values it takes.
//!
//! The specification asks files to be sorted; not all are. Only nodes that lead to an output count.

use std::collections::HashMap;

use super::proto::Node;
use crate::import::error::{ImportError, Place, invalid};
use crate::text::shorten;

/// Indices of the nodes that `outputs` need, sorted. `is_given` says which values need no node.
pub(super) fn sorted(
    nodes: &[Node],
    outputs: &[&str],
    is_given: &dyn Fn(&str) -> bool,
) -> Result<Vec<usize>, ImportError> {
    let mut maker: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for &output in node.outputs.iter().filter(|name| !name.is_empty()) {
            if is_given(output) || maker.insert(output, i).is_some() {
                let message = format!("value `{}` is made twice", shorten(output));
                return Err(invalid("the graph", message));
            }
        }
    }
    let mut state = vec![State::New; nodes.len()];
    let mut order = Vec::new();
    // Depth first, on a stack of our own: a chain may be as long as the file allows.
    let mut stack: Vec<Visit> = Vec::new();
    for &output in outputs {
        start(
            output,
            "the graph",
            &maker,
            is_given,
            &mut state,
            &mut stack,
        )?;
        while let Some(visit) = stack.last_mut() {
            let node = &nodes[visit.node];
            let Some(&input) = node.inputs.get(visit.next) else {
                state[visit.node] = State::Done;
                order.push(visit.node);
                stack.pop();
                continue;
            };
            visit.next += 1;
            start(input, node.op, &maker, is_given, &mut state, &mut stack)?;
        }
    }
    Ok(order)
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}

struct Visit {
    node: usize,
    next: usize,
}

/// Visits the node that makes a value, unless it has been.
fn start(
    value: &str,
    reader: &str,
    maker: &HashMap<&str, usize>,
    is_given: &dyn Fn(&str) -> bool,
    state: &mut [State],
    stack: &mut Vec<Visit>,
) -> Result<(), ImportError> {
    if value.is_empty() || is_given(value) {
        return Ok(());
    }
    let Some(&node) = maker.get(value) else {
        let message = format!(
            "value `{}`, which {} reads, is not an input, a weight or the output of a node",
            shorten(value),
            shorten(reader)
        );
        return Err(invalid("the graph", message));
    };
    match state[node] {
        State::Done => Ok(()),
        State::Open => {
            let message = format!(
                "its nodes run in a circle through value `{}`",
                shorten(value)
            );
            Err(invalid("the graph", message))
        }
        State::New => {
            state[node] = State::Open;
            stack.push(Visit { node, next: 0 });
            Ok(())
        }
    }
}

/// A node as a place for errors.
pub(super) fn place_of(node: &Node, index: usize) -> Place {
    Place {
        what: "node",
        name: name_of(node, index),
        class: shorten(node.op),
    }
}

/// A name for a node: its own, or that of its first output, if it has none or a very long one.
pub(super) fn name_of(node: &Node, index: usize) -> String {
    const LONGEST: usize = 200;
    let output = node.outputs.iter().find(|name| !name.is_empty());
    [Some(&node.name), output]
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty() && name.len() <= LONGEST)
        .map_or_else(
            || format!("{}_{index}", shorten(node.op)),
            |name| (*name).to_owned(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes_of(nodes: &[(&'static str, &'static str)]) -> Vec<Node<'static>> {
        let node = |&(input, output): &(&'static str, &'static str)| Node {
            op: "Relu",
            inputs: vec![input],
            outputs: vec![output],
            ..Node::default()
        };
        nodes.iter().map(node).collect()
    }

    fn order(nodes: &[(&'static str, &'static str)]) -> Result<Vec<usize>, String> {
        sorted(&nodes_of(nodes), &["y"], &|name| name == "x").map_err(|e| e.to_string())
    }

    #[test]
    fn nodes_are_sorted_and_dead_ones_left_out() {
        let got = order(&[("b", "y"), ("x", "a"), ("a", "b"), ("x", "unused")]);
        assert_eq!(got, Ok(vec![1, 2, 0]));
    }

    #[test]
    fn circles_gaps_and_doubles_are_named() {
        let error = order(&[("b", "y"), ("c", "b"), ("b", "c")]).unwrap_err();
        assert!(error.contains("in a circle through value `b`"), "{error}");
        let error = order(&[("nothing", "y")]).unwrap_err();
        assert!(
            error.contains("`nothing`, which Relu reads, is not an input"),
            "{error}"
        );
        let error = order(&[("x", "y"), ("x", "y")]).unwrap_err();
        assert!(error.contains("`y` is made twice"), "{error}");
        assert!(order(&[("x", "x"), ("x", "y")]).is_err());
    }

    #[test]
    fn a_long_chain_does_not_fill_the_stack() {
        let names: Vec<&'static str> = (0..100_000)
            .map(|i| &*Box::leak(format!("v{i}").into_boxed_str()))
            .collect();
        let mut nodes: Vec<_> = names.windows(2).map(|w| (w[1], w[0])).collect();
        nodes.push(("x", names[names.len() - 1]));
        nodes.push((names[0], "y"));
        assert_eq!(order(&nodes).unwrap().len(), nodes.len());
    }
}
