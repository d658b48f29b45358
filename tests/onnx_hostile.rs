//! ONNX files that lie: each is refused by name or imported, without a panic and in bounded memory.
//! The files are made here, byte by byte, so that nothing hostile lies in the repository.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the helpers"
)]
#![allow(
    clippy::cast_possible_truncation,
    reason = "bytes of numbers, and indices below a length"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a half-written temporary file hurts nobody"
)]

#[path = "common/bounded.rs"]
mod bounded;

use std::path::{Path, PathBuf};

use bounded::{ALONE, bounded};
use dermal::Hint;

fn varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// A field that is a message, text or bytes.
fn field(number: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(number << 3 | 2, &mut out);
    varint(body.len() as u64, &mut out);
    out.extend_from_slice(body);
    out
}

/// A field that is a number.
fn number(number: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(number << 3, &mut out);
    varint(value, &mut out);
    out
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for name in inputs {
        body.extend(field(1, name.as_bytes()));
    }
    for name in outputs {
        body.extend(field(2, name.as_bytes()));
    }
    body.extend(field(4, op.as_bytes()));
    for attribute in attributes {
        body.extend(field(5, attribute));
    }
    field(1, &body)
}

fn info(number: u64, name: &str, dims: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> = dims
        .iter()
        .flat_map(|&d| field(1, &self::number(1, d)))
        .collect();
    let tensor = [self::number(1, 1), field(2, &dims)].concat();
    field(
        number,
        &[field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat(),
    )
}

fn weight(name: &str, dims: &[u64], more: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&d| number(1, d)).collect();
    field(
        5,
        &[dims, number(2, 1), field(8, name.as_bytes()), more.to_vec()].concat(),
    )
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    field(
        13,
        &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat(),
    )
}

fn external(location: &str, offset: &str) -> Vec<u8> {
    [
        entry("location", location),
        entry("offset", offset),
        number(14, 1),
    ]
    .concat()
}

/// A model of opset 17 around the parts of a graph.
fn model(parts: &[Vec<u8>]) -> Vec<u8> {
    let opset = field(8, &number(2, 17));
    [
        number(1, 8),
        field(2, b"test"),
        opset,
        field(7, &parts.concat()),
    ]
    .concat()
}

fn photo() -> Vec<u8> {
    info(11, "x", &[1, 3, 4, 4])
}

fn out() -> Vec<u8> {
    info(12, "y", &[1, 3, 4, 4])
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn refused(&self, bytes: &[u8], kind: &str, says: &str) {
        let path = self.write("model.onnx", bytes);
        let error = bounded(&path).map(|_| ()).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(says), "{text}");
        assert!(!error.hint().is_empty());
    }
}

fn folder() -> Folder {
    Folder(tempfile::tempdir().unwrap())
}

#[test]
fn nesting_and_claims_cost_nothing() {
    let _alone = ALONE.lock();
    let folder = folder();
    // 234 kB of graphs in attributes of nodes of graphs overflow the stack of other readers.
    let mut graph = Vec::new();
    while graph.len() < 234_000 {
        let attribute = [field(1, b"body"), field(6, &graph), number(20, 5)].concat();
        graph = node("Loop", &["x"], &["y"], &[attribute]);
    }
    let deep = model(&[graph, photo(), out()]);
    folder.refused(&deep, "unsupported_operators", "`Loop` (control flow)");

    let mut short = number(1, 8);
    short.extend(field(2, b"test"));
    short.extend([0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x0a]);
    folder.refused(&short, "protobuf", "claims more bytes");

    for dims in [
        vec![1 << 63],
        vec![1 << 62, 4],
        vec![u64::MAX; 3],
        vec![1 << 40],
    ] {
        let add = node("Add", &["x", "w"], &["y"], &[]);
        let file = model(&[add, weight("w", &dims, &field(9, &[0; 4])), photo(), out()]);
        folder.refused(&file, "protobuf", "tensor `w`");
    }
    let dims = vec![1; 1000];
    let file = model(&[weight("w", &dims, &[]), photo(), out()]);
    folder.refused(&file, "protobuf", "more than 16 axes");

    let huge = info(11, "x", &[1, 3, 1 << 40, 1 << 40]);
    let file = model(&[node("Relu", &["x"], &["y"], &[]), huge, out()]);
    folder.refused(&file, "graph", "does not fit");
}

#[test]
fn a_million_nodes_are_too_many() {
    let _alone = ALONE.lock();
    let folder = folder();
    let mut nodes = Vec::new();
    for i in 0..1_000_000 {
        let (from, to) = (format!("v{i}"), format!("v{}", i + 1));
        nodes.extend(node("Relu", &[&from], &[&to], &[]));
    }
    folder.refused(
        &model(&[nodes, photo(), out()]),
        "protobuf",
        "more than 400000 nodes",
    );

    // Fewer, but more than are built.
    let mut nodes = node("Relu", &["x"], &["v0"], &[]);
    for i in 0..60_000 {
        let (from, to) = (format!("v{i}"), format!("v{}", i + 1));
        nodes.extend(node("Neg", &[&from], &[&to], &[]));
    }
    nodes.extend(node("Relu", &["v60000"], &["y"], &[]));
    folder.refused(
        &model(&[nodes, photo(), out()]),
        "config",
        "more than 50000 nodes",
    );
}

#[test]
fn borders_and_broadcasts_do_not_grow_without_bound() {
    let _alone = ALONE.lock();
    let folder = folder();
    let large = || [info(11, "x", &[1, 3, 3072, 3072]), out()].concat();
    let data = |name: &str, dims: &[u64], element: u64, data: &[u8]| {
        let dims: Vec<u8> = dims.iter().flat_map(|&d| number(1, d)).collect();
        field(
            5,
            &[
                dims,
                number(2, element),
                field(8, name.as_bytes()),
                field(9, data),
            ]
            .concat(),
        )
    };
    // One more channel is 9 million numbers, of a file of 200 bytes.
    let pads: Vec<u8> = [0i64, 1, 0, 0, 0, 0, 0, 0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let parts = [
        node("Pad", &["x", "p", "v"], &["y"], &[]),
        data("p", &[8], 7, &pads),
        data("v", &[], 1, &0.5f32.to_le_bytes()),
        large(),
    ];
    folder.refused(&model(&parts), "config", "too large");
    // A number a row and one a column are a number for each element, again and again.
    let mut parts = vec![
        data("r", &[3072, 1], 1, &[0; 4 * 3072]),
        data("c", &[3072], 1, &[0; 4 * 3072]),
        large(),
    ];
    for i in 0..20 {
        let from = if i == 0 {
            "x".to_owned()
        } else {
            format!("v{i}")
        };
        let (between, to) = (format!("b{i}"), format!("v{}", i + 1));
        parts.push(node("Add", &[&from, "r"], &[&between], &[]));
        parts.push(node("Mul", &[&between, "c"], &[&to], &[]));
    }
    parts.push(node("Sigmoid", &["v20"], &["y"], &[]));
    let path = folder.write("model.onnx", &model(&parts));
    // Whether it is refused or not: within bounds.
    if let Err(error) = bounded(&path) {
        assert!(!error.hint().is_empty(), "{error}");
    }
}

#[test]
fn one_name_for_all_nodes_costs_nothing() {
    let _alone = ALONE.lock();
    let folder = folder();
    let mut nodes = Vec::new();
    for i in 0..5_000 {
        let (from, to) = (format!("v{i}"), format!("v{}", i + 1));
        let parts: [(u64, &[u8]); 4] = [
            (1, from.as_bytes()),
            (2, to.as_bytes()),
            (3, b"same"),
            (4, b"Relu"),
        ];
        nodes.extend(field(1, &parts.map(|(n, text)| field(n, text)).concat()));
    }
    let start = node("Neg", &["x"], &["v0"], &[]);
    let end = node("Sigmoid", &["v5000"], &["y"], &[]);
    let path = folder.write("model.onnx", &model(&[start, nodes, end, photo(), out()]));
    assert!(bounded(&path).unwrap().graph.nodes().len() > 5_000);
}

#[test]
fn constants_do_not_grow_without_bound() {
    let _alone = ALONE.lock();
    let folder = folder();
    let ints = |name: &str, values: &[u64]| {
        let dims = number(1, values.len() as u64);
        let data: Vec<u8> = values.iter().flat_map(|&v| number(7, v)).collect();
        field(
            5,
            &[dims, number(2, 7), field(8, name.as_bytes()), data].concat(),
        )
    };
    let filled = node("ConstantOfShape", &["s"], &["c"], &[]);
    let add = node("Add", &["x", "c"], &["y"], &[]);
    for shape in [
        vec![1 << 40],
        vec![1 << 32, 1 << 32],
        vec![100_000, 100_000],
    ] {
        let parts = [
            filled.clone(),
            add.clone(),
            ints("s", &shape),
            photo(),
            out(),
        ];
        folder.refused(&model(&parts), "config", "too many elements");
    }
    // Each doubles the one before.
    let mut nodes = filled;
    for i in 0..60 {
        let from = if i == 0 {
            "c".to_owned()
        } else {
            format!("c{i}")
        };
        let axis = [field(1, b"axis"), number(3, 0), number(20, 2)].concat();
        nodes.extend(node(
            "Concat",
            &[&from, &from],
            &[&format!("c{}", i + 1)],
            &[axis],
        ));
    }
    nodes.extend(node("Add", &["x", "c60"], &["y"], &[]));
    let parts = [nodes, ints("s", &[4]), photo(), out()];
    folder.refused(&model(&parts), "config", "too many elements");
}

#[test]
fn graphs_that_are_none_are_named() {
    let _alone = ALONE.lock();
    let folder = folder();
    let circle = [
        node("Relu", &["b"], &["y"], &[]),
        node("Relu", &["y"], &["b"], &[]),
    ];
    folder.refused(
        &model(&[circle.concat(), photo(), out()]),
        "config",
        "in a circle",
    );
    let gap = node("Relu", &["nothing"], &["y"], &[]);
    folder.refused(
        &model(&[gap, photo(), out()]),
        "config",
        "not an input, a weight",
    );
    let relu = node("Relu", &["x"], &["y"], &[]);
    let twice = [relu.clone(), relu.clone()].concat();
    folder.refused(&model(&[twice, photo(), out()]), "config", "is made twice");
    folder.refused(&model(&[relu.clone(), photo()]), "config", "no outputs");
    folder.refused(
        &model(&[relu.clone(), photo(), out(), out()]),
        "config",
        "one name",
    );
    let w = weight("w", &[1], &field(9, &[0; 4]));
    let parts = [relu.clone(), w.clone(), w, photo(), out()];
    folder.refused(&model(&parts), "config", "given twice");
    let short = weight("w", &[2], &field(9, &[0; 4]));
    let add = node("Add", &["x", "w"], &["y"], &[]);
    folder.refused(
        &model(&[add, short, photo(), out()]),
        "protobuf",
        "takes 8 bytes, and has 4",
    );
    let sparse = field(15, b"");
    folder.refused(
        &model(&[relu, sparse, photo(), out()]),
        "config",
        "sparse weights",
    );
    folder.refused(
        &[number(1, 8), field(2, b"test")].concat(),
        "protobuf",
        "no graph",
    );
}

#[test]
fn external_data_stays_in_the_folder_of_the_model() {
    let _alone = ALONE.lock();
    let folder = folder();
    let model_in = |location: &str, offset: &str| {
        let add = node("Add", &["x", "w"], &["y"], &[]);
        let w = weight("w", &[3, 1, 1], &external(location, offset));
        model(&[add, w, photo(), out()])
    };
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, [0; 64]).unwrap();
    let absolute = secret.to_str().unwrap();
    let up = format!(
        "../{}/secret",
        outside.path().file_name().unwrap().to_str().unwrap()
    );
    for location in [absolute, &up, "..", "a/../../b", "", "..\\b", "/etc/passwd"] {
        folder.refused(
            &model_in(location, "0"),
            "external_data",
            "not in the folder",
        );
    }
    std::os::unix::fs::symlink(&secret, folder.0.path().join("link")).unwrap();
    folder.refused(
        &model_in("link", "0"),
        "external_data",
        "a link that leads out",
    );
    std::os::unix::fs::symlink(outside.path(), folder.0.path().join("below")).unwrap();
    folder.refused(
        &model_in("below/secret", "0"),
        "external_data",
        "a link that leads out",
    );
    std::fs::create_dir(folder.0.path().join("dir")).unwrap();
    folder.refused(&model_in("dir", "0"), "external_data", "not a regular file");

    let missing = folder.write("model.onnx", &model_in("model.onnx.data", "0"));
    let error = bounded(&missing).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("the file is not there"),
        "{error}"
    );
    let hint = error.hint();
    assert!(
        hint.contains("external_data=False") && hint.contains("copy"),
        "{hint}"
    );

    folder.write("weights", b"version https://git-lfs.github.com/spec/v1\n");
    folder.refused(
        &model_in("weights", "0"),
        "external_data",
        "git-LFS pointer",
    );
    folder.write("weights", &[0; 64]);
    for offset in [
        "56",
        "18446744073709551615",
        "18446744073709551616",
        "-4",
        "x",
    ] {
        folder.refused(&model_in("weights", offset), "external_data", "weight `w`");
    }
    let w = [external("weights", "0"), entry("length", "16")].concat();
    let parts = [
        node("Add", &["x", "w"], &["y"], &[]),
        weight("w", &[3, 1, 1], &w),
        photo(),
        out(),
    ];
    folder.refused(
        &model(&parts),
        "external_data",
        "takes 12 bytes, and its length is 16",
    );
    // Ranges may overlap: they are only read.
    let path = folder.write("model.onnx", &model_in("./weights", "4"));
    assert_eq!(bounded(&path).unwrap().also_read.len(), 1);
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/import/onnx");
    std::fs::read(folder.join(name)).unwrap()
}

#[test]
fn a_file_that_ends_anywhere_is_refused() {
    let _alone = ALONE.lock();
    let folder = folder();
    let whole = fixture("x_dynamo_head.onnx");
    for end in 1..whole.len() {
        let path = folder.write("model.onnx", &whole[..end]);
        let error = bounded(&path).map(|_| ()).expect_err("a part is a model");
        assert!(!error.to_string().is_empty() && !error.hint().is_empty());
    }
    bounded(&folder.write("model.onnx", &whole)).unwrap();
}

/// Seeded numbers (xorshift64).
struct Noise(u64);

impl Noise {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[test]
fn ten_thousand_mutations_do_no_harm() {
    let _alone = ALONE.lock();
    let folder = folder();
    let files = [
        "x_silu_se",
        "x_shape_arithmetic",
        "s_channel_shuffle",
        "x_paddle_hard_swish_11",
    ]
    .map(|name| fixture(&format!("{name}.onnx")));
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut imported = 0;
    for round in 0..10_000 {
        let mut bytes = files[round % files.len()].clone();
        for _ in 0..=noise.below(4) {
            let at = noise.below(bytes.len());
            match noise.below(5) {
                0 => bytes[at] = noise.below(256) as u8,
                1 => bytes[at] ^= 1 << noise.below(8),
                2 => drop(bytes.remove(at)),
                3 => bytes.insert(at, [0, 0x7f, 0x80, 0xff][noise.below(4)]),
                _ => {
                    let end = (at + noise.below(40)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    let to = noise.below(bytes.len());
                    bytes.splice(to..to, part);
                }
            }
        }
        let path = folder.write("model.onnx", &bytes);
        match bounded(&path) {
            Ok(_) => imported += 1,
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    // Most hit weights, which may be any number.
    assert!((100..10_000).contains(&imported), "{imported}");
}
