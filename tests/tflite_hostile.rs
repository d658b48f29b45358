//! TFLite files that lie: each is refused by name or imported, without a panic and in bounded memory.
//! The files are made here, table by table, so that nothing hostile lies in the repository.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the helpers"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "bytes of numbers, and positions in small files"
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

/// A part of a FlatBuffer.
#[derive(Clone)]
enum Part {
    Byte(u8),
    Int(i32),
    Ints(Vec<i32>),
    Bytes(Vec<u8>),
    Table(Vec<(usize, Part)>),
    List(Vec<Part>),
}

use Part::{Byte, Bytes, Int, Ints, List, Table};

fn text(text: &str) -> Part {
    Bytes(text.as_bytes().to_vec())
}

/// Writes a part behind the rest, and returns where it begins.
fn write(part: &Part, out: &mut Vec<u8>) -> usize {
    out.resize(out.len().next_multiple_of(4), 0);
    let mut children = Vec::new();
    let start = match part {
        Byte(_) | Int(_) => panic!("it stands in its table"),
        Ints(list) => {
            let start = out.len();
            out.extend((list.len() as u32).to_le_bytes());
            out.extend(list.iter().flat_map(|v| v.to_le_bytes()));
            start
        }
        Bytes(list) => {
            let start = out.len();
            out.extend((list.len() as u32).to_le_bytes());
            out.extend(list);
            start
        }
        List(list) => {
            let start = out.len();
            out.extend((list.len() as u32).to_le_bytes());
            for part in list {
                children.push((out.len(), part));
                out.extend([0; 4]);
            }
            start
        }
        Table(fields) => {
            let slots = fields.iter().map(|(slot, _)| slot + 1).max().unwrap_or(0);
            let fields_at = out.len();
            out.extend((4 + 2 * slots as u16).to_le_bytes());
            out.extend((4 + 4 * fields.len() as u16).to_le_bytes());
            out.resize(out.len() + 2 * slots, 0);
            out.resize(out.len().next_multiple_of(4), 0);
            let start = out.len();
            out.extend(((start - fields_at) as i32).to_le_bytes());
            for (i, (slot, part)) in fields.iter().enumerate() {
                let at = fields_at + 4 + 2 * slot;
                out[at..at + 2].copy_from_slice(&(4 + 4 * i as u16).to_le_bytes());
                match part {
                    Byte(value) => out.extend([*value, 0, 0, 0]),
                    Int(value) => out.extend(value.to_le_bytes()),
                    part => {
                        children.push((out.len(), part));
                        out.extend([0; 4]);
                    }
                }
            }
            start
        }
    };
    for (at, child) in children {
        let target = write(child, out);
        out[at..at + 4].copy_from_slice(&((target - at) as u32).to_le_bytes());
    }
    start
}

fn file(root: &Part) -> Vec<u8> {
    let mut out = b"\0\0\0\0TFL3".to_vec();
    let at = write(root, &mut out);
    out[..4].copy_from_slice(&(at as u32).to_le_bytes());
    out
}

fn tensor(name: &str, shape: &[i32], element: u8, buffer: i32) -> Part {
    Table(vec![
        (0, Ints(shape.to_vec())),
        (1, Byte(element)),
        (2, Int(buffer)),
        (3, text(name)),
    ])
}

fn operator(code: i32, inputs: &[i32], outputs: &[i32]) -> Part {
    Table(vec![
        (0, Int(code)),
        (1, Ints(inputs.to_vec())),
        (2, Ints(outputs.to_vec())),
    ])
}

/// Tensor 0 is the photo, 1 the answer, more begin with 2.
struct Model {
    codes: Vec<i32>,
    tensors: Vec<Part>,
    operators: Vec<Part>,
    buffers: Vec<Part>,
    inputs: Vec<i32>,
    outputs: Vec<i32>,
}

const RELU: i32 = 19;
const ADD: i32 = 0;
const PACK: i32 = 83;

impl Model {
    fn new(codes: &[i32], operators: Vec<Part>) -> Self {
        Self {
            codes: codes.to_vec(),
            tensors: vec![
                tensor("photo", &[1, 4, 4, 3], 0, 0),
                tensor("answer", &[1, 4, 4, 3], 0, 0),
            ],
            operators,
            buffers: vec![Table(vec![])],
            inputs: vec![0],
            outputs: vec![1],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let code = |&code: &i32| Table(vec![(3, Int(code))]);
        let graph = Table(vec![
            (0, List(self.tensors.clone())),
            (1, Ints(self.inputs.clone())),
            (2, Ints(self.outputs.clone())),
            (3, List(self.operators.clone())),
        ]);
        file(&Table(vec![
            (0, Int(3)),
            (1, List(self.codes.iter().map(code).collect())),
            (2, List(vec![graph])),
            (4, List(self.buffers.clone())),
        ]))
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn refused(&self, bytes: &[u8], kind: &str, says: &str) {
        let path = self.write("model.tflite", bytes);
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

fn relu() -> Model {
    Model::new(&[RELU], vec![operator(0, &[0], &[1])])
}

#[test]
fn a_file_that_is_written_here_is_imported() {
    let _alone = ALONE.lock();
    let folder = folder();
    let path = folder.write("model.tflite", &relu().bytes());
    assert_eq!(bounded(&path).unwrap().graph.nodes().len(), 2);
}

#[test]
fn offsets_and_counts_lead_nowhere() {
    let _alone = ALONE.lock();
    let folder = folder();
    let whole = relu().bytes();
    for offset in [0, 3, 1 << 20, u32::MAX] {
        let mut bytes = whole.clone();
        bytes[..4].copy_from_slice(&u32::to_le_bytes(offset));
        let path = folder.write("model.tflite", &bytes);
        assert_eq!(bounded(&path).unwrap_err().kind(), "flatbuffer", "{offset}");
    }
    // Each number of four bytes is made as large as it can be, or leads to itself.
    for at in (8..whole.len() - 3).step_by(4) {
        for value in [u32::MAX, 1 << 31, 0x7fff_fffc, 4, 0] {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let path = folder.write("model.tflite", &bytes);
            if let Err(error) = bounded(&path) {
                assert!(!error.to_string().is_empty() && !error.hint().is_empty());
            }
        }
    }
    for len in 8..whole.len() {
        let path = folder.write("model.tflite", &whole[..len]);
        if let Err(error) = bounded(&path) {
            assert!(!error.hint().is_empty());
        }
    }
}

#[test]
fn tensors_that_claim_too_much_are_named() {
    let _alone = ALONE.lock();
    let folder = folder();
    for (shape, says) in [
        (vec![i32::MAX; 4], "has the shape"),
        (vec![-1, 3], "has the shape"),
        (
            vec![1 << 20, 1 << 20],
            "takes 4398046511104 bytes, and has 4",
        ),
        (vec![2], "takes 8 bytes, and has 4"),
        (vec![1; 9], "a tensor has 9 axes, the limit is 8"),
    ] {
        let mut model = Model::new(&[ADD], vec![operator(0, &[0, 2], &[1])]);
        model.buffers.push(Table(vec![(0, Bytes(vec![0; 4]))]));
        model.tensors.push(tensor("w", &shape, 0, 1));
        folder.refused(&model.bytes(), "flatbuffer", says);
    }
    let mut model = Model::new(&[ADD], vec![operator(0, &[0, 2], &[1])]);
    model.tensors.push(tensor("w", &[1], 0, 77));
    folder.refused(&model.bytes(), "flatbuffer", "there is no buffer 77");
    // A text and four bits.
    for element in [5, 17, 99] {
        let mut model = Model::new(&[ADD], vec![operator(0, &[0, 2], &[1])]);
        model.buffers.push(Table(vec![(0, Bytes(vec![0; 4]))]));
        model.tensors.push(tensor("w", &[4], element, 1));
        folder.refused(&model.bytes(), "flatbuffer", "which are not read");
    }
    let mut model = relu();
    model.tensors[0] = tensor("photo", &[1, i32::MAX, i32::MAX, 3], 0, 0);
    folder.refused(&model.bytes(), "graph", "does not fit");
    // Scales that fit no axis.
    let mut model = Model::new(&[ADD], vec![operator(0, &[0, 2], &[1])]);
    model.buffers.push(Table(vec![(0, Bytes(vec![0; 3]))]));
    let scales = Bytes([1f32.to_le_bytes(); 2].concat());
    // A list of floats counts floats.
    let Bytes(mut list) = scales else { panic!() };
    list.truncate(8);
    let quantization = Table(vec![(2, Ints(vec![0x3f80_0000; 2])), (6, Int(7))]);
    let Table(mut w) = tensor("w", &[3], 9, 1) else {
        panic!()
    };
    w.push((4, quantization));
    model.tensors.push(Table(w));
    folder.refused(
        &model.bytes(),
        "flatbuffer",
        "has 2 scales for axis 7 of [3]",
    );
}

#[test]
fn scales_of_values_are_positive_numbers() {
    let _alone = ALONE.lock();
    let folder = folder();
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-45] {
        let scaled = |name: &str| {
            let Table(mut tensor) = tensor(name, &[1, 4, 4, 3], 9, 0) else {
                panic!()
            };
            let scales = Ints(vec![scale.to_bits() as i32]);
            tensor.push((4, Table(vec![(2, scales)])));
            Table(tensor)
        };
        for name in ["photo", "answer"] {
            let mut model = relu();
            model.tensors[usize::from(name == "answer")] = scaled(name);
            let says = format!("`scale` is `{}`", f64::from(scale));
            folder.refused(&model.bytes(), "unsupported_value", &says);
        }
    }
}

#[test]
fn sparse_weights_do_not_grow_without_bound() {
    let _alone = ALONE.lock();
    let folder = folder();
    let level = |extent: i32| Table(vec![(1, Int(extent))]);
    for (shape, order, levels, says) in [
        (
            vec![1 << 15, 1 << 15],
            vec![0, 1],
            vec![1 << 15; 2],
            "too large to be spelled out",
        ),
        (vec![4, 4], vec![0, 0], vec![4, 4], "does not say where"),
        (vec![4, 4], vec![0], vec![4], "does not say where"),
        (
            vec![4, 4],
            vec![0, 1],
            vec![i32::MAX, i32::MAX],
            "does not say where",
        ),
        (vec![4, 4], vec![0, 1], vec![4, 5], "does not say where"),
    ] {
        let mut model = Model::new(&[ADD], vec![operator(0, &[0, 2], &[1])]);
        model.buffers.push(Table(vec![(0, Bytes(vec![0; 64]))]));
        let sparsity = Table(vec![
            (0, Ints(order)),
            (2, List(levels.into_iter().map(level).collect())),
        ]);
        let Table(mut w) = tensor("w", &shape, 0, 1) else {
            panic!()
        };
        w.push((6, sparsity));
        model.tensors.push(Table(w));
        folder.refused(&model.bytes(), "flatbuffer", says);
    }
}

#[test]
fn graphs_that_are_none_are_named() {
    let _alone = ALONE.lock();
    let folder = folder();
    let both = |a: [i32; 2], b: [i32; 2]| {
        let mut model = Model::new(
            &[RELU],
            vec![operator(0, &a[..1], &a[1..]), operator(0, &b[..1], &b[1..])],
        );
        model.tensors.push(tensor("between", &[1, 4, 4, 3], 0, 0));
        model.bytes()
    };
    let order = "is read before it is made";
    folder.refused(&both([2, 1], [1, 2]), "config", order);
    folder.refused(&both([2, 1], [0, 2]), "config", order);
    folder.refused(&both([0, 1], [0, 1]), "config", "is made twice");
    folder.refused(&both([0, 0], [0, 1]), "config", "is made twice");
    let mut model = relu();
    model.outputs = vec![];
    folder.refused(&model.bytes(), "config", "no outputs");
    model.outputs = vec![5];
    folder.refused(&model.bytes(), "flatbuffer", "there is no tensor 5");
    let mut model = relu();
    model.inputs = vec![0, 0];
    folder.refused(&model.bytes(), "config", "it is listed twice");
    for (inputs, outputs, kind, says) in [
        (
            vec![0, 0],
            vec![1],
            "config",
            "it has 2 inputs, expected 1 to 1",
        ),
        (vec![], vec![1], "config", "it has 0 inputs"),
        (vec![-1], vec![1], "config", "it has no input 0"),
        (vec![-2], vec![1], "flatbuffer", "there is no tensor -2"),
        (vec![0], vec![1, -1], "flatbuffer", "there is no tensor -1"),
    ] {
        let model = Model::new(&[RELU], vec![operator(0, &inputs, &outputs)]);
        folder.refused(&model.bytes(), kind, says);
    }
    let model = Model::new(&[RELU], vec![operator(9, &[0], &[1])]);
    folder.refused(
        &model.bytes(),
        "flatbuffer",
        "of kind 9, which does not exist",
    );
    let model = Model::new(&[9999], vec![operator(0, &[0], &[1])]);
    folder.refused(&model.bytes(), "unsupported_operators", "`operator 9999`");
    let Table(mut with_options) = operator(0, &[0], &[1]) else {
        panic!()
    };
    with_options.extend([(3, Byte(1)), (4, Table(vec![(0, Byte(1))]))]);
    let model = Model::new(&[RELU], vec![Table(with_options)]);
    folder.refused(&model.bytes(), "unsupported_value", "`option 0` is `set`");
    let mut bytes = relu().bytes();
    let at = bytes.windows(4).position(|w| w == [3, 0, 0, 0]).unwrap();
    bytes[at] = 2;
    folder.refused(&bytes, "config", "its schema has version 2, expected 3");
}

#[test]
fn a_million_operators_are_too_many() {
    let _alone = ALONE.lock();
    let folder = folder();
    // One after the other; and all of them on the same two tensors.
    let mut row = Model::new(&[RELU], vec![]);
    for i in 0..30_000 {
        let to = if i == 29_999 { 1 } else { i + 2 };
        let from = if i == 0 { 0 } else { i + 1 };
        row.tensors.push(tensor("", &[], 0, 0));
        row.operators.push(operator(0, &[from], &[to]));
    }
    let same = Model::new(&[RELU], vec![operator(0, &[0], &[1]); 1_000_000]);
    for (model, count) in [(row, 30_000), (same, 1_000_000)] {
        let says = format!("{count} operators, the limit is 20000");
        folder.refused(&model.bytes(), "flatbuffer", &says);
    }
    let many = vec![0; 4000];
    let model = Model::new(&[PACK], vec![operator(0, &many, &[1]); 300]);
    folder.refused(&model.bytes(), "flatbuffer", "too many inputs");
}

#[test]
fn labels_outside_of_the_folder_are_not_read() {
    let _alone = ALONE.lock();
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("labels.txt");
    std::fs::write(&secret, "a secret\n").unwrap();
    let folder = folder();
    let path = folder.write("model.tflite", &relu().bytes());
    let beside = folder.0.path().join("labels.txt");
    std::os::unix::fs::symlink(&secret, &beside).unwrap();
    let imported = bounded(&path).unwrap();
    assert!(imported.labels.is_none() && imported.also_read.is_empty());
    // Opening a pipe would wait for ever.
    std::fs::remove_file(&beside).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&beside).status();
    assert!(made.unwrap().success());
    assert!(bounded(&path).unwrap().labels.is_none());
    std::fs::remove_file(&beside).unwrap();
    folder.write("labels.txt", b"a\nb\n");
    assert!(bounded(&path).unwrap().labels.is_some());
}

#[test]
fn one_name_for_all_operators_costs_nothing() {
    let _alone = ALONE.lock();
    let folder = folder();
    let mut model = Model::new(&[RELU], vec![]);
    for i in 0..5_000 {
        let to = if i == 4_999 { 1 } else { i + 2 };
        let from = if i == 0 { 0 } else { i + 1 };
        model.tensors.push(tensor("same", &[1, 4, 4, 3], 0, 0));
        model.operators.push(operator(0, &[from], &[to]));
    }
    let imported = bounded(&folder.write("model.tflite", &model.bytes())).unwrap();
    assert_eq!(imported.graph.nodes().len(), 5_001);
}

#[test]
fn constants_do_not_grow_without_bound() {
    let _alone = ALONE.lock();
    let folder = folder();
    // Each is two of the one before.
    let mut model = Model::new(&[PACK, ADD], vec![]);
    model.buffers.push(Table(vec![(0, Bytes(vec![0; 4096]))]));
    model.tensors.push(tensor("w", &[1024], 0, 1));
    for i in 0..60 {
        model.tensors.push(tensor("", &[], 0, 0));
        model.operators.push(operator(0, &[i + 2, i + 2], &[i + 3]));
    }
    model.operators.push(operator(1, &[0, 62], &[1]));
    folder.refused(&model.bytes(), "config", "too many elements");
}

/// Bytes of real files, changed at random.
#[test]
fn mutated_files_are_refused_or_imported() {
    let _alone = ALONE.lock();
    let folder = folder();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/import/tflite");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut refused = 0;
    let names = [
        "x_mobilenet",
        "x_metadata",
        "x_bytes_to_bytes",
        "i_depthwise_relu",
        "x_folded",
        "x_select_selu",
        "w_sparse_blocks",
        "w_hybrid_dense",
        "s_strided_backwards",
        "x_flatten_by_shape",
    ];
    let rounds = if cfg!(debug_assertions) { 150 } else { 1500 };
    for name in names {
        let whole = std::fs::read(fixtures.join(format!("{name}.tflite"))).unwrap();
        for round in 0..rounds {
            let mut bytes = whole.clone();
            for _ in 0..=next() % 4 {
                let at = usize::try_from(next()).unwrap() % bytes.len();
                // Small numbers are offsets and counts; they stand everywhere.
                let value = [next() as u8, 0, 1, 4, 0x7f, 0xff][(next() % 6) as usize];
                bytes[at] = value;
            }
            if next() % 16 == 0 {
                bytes.truncate(usize::try_from(next()).unwrap() % whole.len());
            }
            let path = folder.write(&format!("{name}-{round}.tflite"), &bytes);
            match bounded(&path) {
                Ok(_) => {}
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().is_empty() && !error.hint().is_empty());
                }
            }
            std::fs::remove_file(path).unwrap();
        }
    }
    assert!(refused > 100, "{refused}");
}
