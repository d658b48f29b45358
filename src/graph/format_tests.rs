//! `docs/artifact-format.md` has the same names as the code: ops, layouts, stages, element types.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{BinaryOp, KernelLayout, Op, PoolKind, ReduceKind, ResizeKind, Stage};
use crate::activation::Activation;
use crate::artifact::Head;
use crate::tensor::DType;

const DOCUMENT: &str = include_str!("../../docs/artifact-format.md");

/// The words of a text between backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The names of an enum's variants in JSON. serde lists them when it reads an unknown one, so no
/// list of ours can miss one.
fn variants<T: DeserializeOwned>(unknown: Value) -> BTreeSet<String> {
    let error = serde_json::from_value::<T>(unknown).err().unwrap();
    let error = error.to_string();
    let (_, expected) = error.split_once("expected").unwrap();
    quoted(expected).into_iter().map(str::to_owned).collect()
}

fn unit<T: DeserializeOwned>() -> BTreeSet<String> {
    variants::<T>(json!("?"))
}

/// The part of the document from one text to another.
fn part(from: &str, to: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once(from).expect(from);
    rest.split_once(to).expect(to).0
}

/// The quoted words in the first cells of the table with this header.
fn first_cells(title: &str) -> BTreeSet<&'static str> {
    let (_, rest) = DOCUMENT.split_once(title).expect(title);
    let rows = rest
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| quoted(row.split('|').nth(1).unwrap()))
        .collect()
}

/// The row of the ops' table that begins with this op.
fn row(op: &str) -> &'static str {
    let start = format!("| `{op}` |");
    let mut lines = DOCUMENT.lines();
    lines.find(|line| line.starts_with(&start)).expect(op)
}

fn same(documented: &BTreeSet<&str>, known: &BTreeSet<String>) {
    let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    assert_eq!(*documented, known);
}

#[test]
fn the_table_of_ops_is_that_of_the_code() {
    let known = variants::<Op>(json!({"op": "?"}));
    assert!(known.contains("quantize") && known.len() > 15, "{known:?}");
    same(&first_cells("| `op` | Attributes | Inputs |"), &known);
}

#[test]
fn kinds_are_named_beside_their_ops() {
    for (op, kinds) in [
        ("binary", unit::<BinaryOp>()),
        ("pool2d", unit::<PoolKind>()),
        ("resize", unit::<ResizeKind>()),
        ("reduce", unit::<ReduceKind>()),
    ] {
        let named = quoted(row(op));
        for kind in kinds {
            assert!(named.contains(kind.as_str()), "`{kind}` of `{op}`");
        }
    }
    let named = quoted(part("An activation is", "has each formula"));
    for kind in variants::<Activation>(json!({"kind": "?"})) {
        assert!(named.contains(kind.as_str()), "activation `{kind}`");
    }
}

#[test]
fn every_layout_has_a_section() {
    let sections = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("### `"));
    let sections = sections.map(|rest| rest.trim_end_matches('`'));
    let layouts = sections.filter(|name| !name.starts_with("dermal."));
    same(&layouts.collect(), &unit::<KernelLayout>());
}

#[test]
fn stages_heads_and_element_types_are_those_of_the_code() {
    let stages = part("`stage.at` says where", "`before_affine` names");
    same(&quoted(stages), &variants::<Stage>(json!({"at": "?"})));
    same(
        &first_cells("| `head` | Meaning | Labels |"),
        &unit::<Head>(),
    );
    let dtypes = unit::<DType>();
    same(
        &first_cells("| Dtype | In a file header | Where |"),
        &dtypes,
    );
    let table = part("| Dtype | In a file header | Where |", "## Metadata");
    for dtype in dtypes {
        assert!(
            quoted(table).contains(dtype.to_uppercase().as_str()),
            "{dtype}"
        );
    }
}
