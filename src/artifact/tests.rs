//! The format's tests: the round trip, and every way a file can lie.

use crate::hint::Hint;
use std::fs;
use std::io::Write;
use std::path::Path;

use super::*;
use crate::activation::Activation;
use crate::file::sha256_of_file;
use crate::graph::{
    BinaryOp, Conv2d, Dense, Epilogue, Graph, Kernel, Op, Padding, PoolKind, ReduceKind, Slice,
    SourceLayer, Stage, Window,
};
use crate::tensor::{ALIGNMENT, DType, Shape, Tensor};

/// A classifier of 6x6 photos and two numbers, with weights of awkward sizes.
fn sample() -> Model {
    let mut graph = Graph::new("sample");
    let mut weight = |name: &str, dims: &[usize]| {
        let values: Vec<f32> = (0..dims.iter().product::<usize>())
            .map(|i| (i as f32).mul_add(0.37, 0.1).sin())
            .collect();
        let tensor = Tensor::from_f32(crate::tensor::Shape::new(dims), &values).unwrap();
        graph.tensors.insert(name.to_owned(), tensor);
    };
    weight("conv/kernel", &[3, 3, 3, 16]);
    weight("conv/bias", &[16]);
    weight("head/kernel", &[18, 3]);
    weight("head/bias", &[3]);
    weight("unread", &[5]);
    let image = graph.push_input("image", [6, 6, 3].into()).unwrap();
    let numbers = graph.push_input("numbers", [2].into()).unwrap();
    let window = Window {
        kernel: [3, 3],
        strides: [2, 2],
        dilations: [1, 1],
        padding: Padding {
            bottom: 1,
            right: 1,
            ..Padding::default()
        },
    };
    let conv = graph
        .push(
            "conv",
            Op::Conv2d(Conv2d {
                window,
                groups: 1,
                filters: 16,
                kernel: Kernel::plain("conv/kernel"),
                bias: Some("conv/bias".into()),
                epilogue: Epilogue {
                    activation: Activation::LeakyRelu { slope: 0.1 },
                    residual: None,
                },
            }),
            &[image],
        )
        .unwrap();
    graph.layers_mut(conv).push(SourceLayer {
        name: "backbone/conv \"1\"".into(),
        class: "Conv2D".into(),
        stage: Stage::BeforeActivation,
    });
    let pool = Op::GlobalPool {
        kind: PoolKind::Average,
        keep_dims: false,
    };
    let pooled = graph.push("pool", pool, &[conv]).unwrap();
    let joined = graph
        .push("join", Op::Concat { axis: 0 }, &[pooled, numbers])
        .unwrap();
    let head = Op::Dense(Dense {
        units: 3,
        kernel: Kernel::plain("head/kernel"),
        bias: Some("head/bias".into()),
        epilogue: Epilogue::default(),
    });
    graph.push("head", head, &[joined]).unwrap();
    let preprocessing = Preprocessing {
        preset: None,
        resize: Resize::Stretch,
        filter: Filter::PillowBilinear,
        scale: 1.0 / 255.0,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        channels: ChannelOrder::Rgb,
        background: None,
    };
    Model {
        graph,
        manifest: Manifest::new(
            vec![
                InputSpec {
                    name: "image".into(),
                    kind: InputKind::Image { preprocessing },
                },
                InputSpec {
                    name: "numbers".into(),
                    kind: InputKind::Vector {
                        default: Some(vec![0.1, 0.2]),
                    },
                },
            ],
            vec!["nævus".into(), "mel".into(), "bcc".into()],
            Head::Softmax,
            Provenance {
                source_file: "sample.keras".into(),
                ..Provenance::default()
            },
        ),
    }
}

fn bytes_of(model: &Model) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let written = write(&path, model).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(written, bytes.len() as u64);
    bytes
}

fn load_bytes(folder: &Path, bytes: &[u8]) -> Result<Model, ArtifactError> {
    let path = folder.join("m.safetensors");
    fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    load(&path)
}

/// The header's JSON and the data.
fn split(bytes: &[u8]) -> (&str, &[u8]) {
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    let length = usize::try_from(length).unwrap();
    let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
    (header.trim_end(), &bytes[8 + length..])
}

fn join(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (8 + header.len()).next_multiple_of(ALIGNMENT) - 8;
    let mut bytes = (length as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(8 + length, b' ');
    bytes.extend_from_slice(data);
    bytes
}

#[test]
fn a_model_survives_the_round_trip_and_gives_the_same_bytes_twice() {
    let model = sample();
    let bytes = bytes_of(&model);
    assert_eq!(bytes, bytes_of(&sample()));
    let folder = tempfile::tempdir().unwrap();
    let back = load_bytes(folder.path(), &bytes).unwrap();
    assert_eq!(back.manifest, model.manifest);
    assert_eq!(back.graph.name, model.graph.name);
    assert_eq!(back.graph.nodes(), model.graph.nodes());
    assert_eq!(back.graph.output(), model.graph.output());
    assert_eq!(back.graph.tensors.len(), 4, "the unread tensor is left out");
    for (name, tensor) in &back.graph.tensors {
        let original = &model.graph.tensors[name];
        assert_eq!(tensor.shape(), original.shape());
        assert_eq!(tensor.as_f32(), original.as_f32());
        let address = tensor.bytes().as_ptr() as usize;
        assert!(address.is_multiple_of(ALIGNMENT), "{name} at {address:#x}");
    }
    assert_eq!(bytes_of(&back), bytes, "what was loaded is written alike");
}

#[test]
fn any_safetensors_reader_can_open_an_artifact() {
    let model = sample();
    let bytes = bytes_of(&model);
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for name in ["conv/kernel", "conv/bias", "head/kernel", "head/bias"] {
        let view = file.tensor(name).unwrap();
        assert_eq!(view.data(), model.graph.tensors[name].bytes());
        assert_eq!(view.shape(), model.graph.tensors[name].shape().dims());
    }
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!(metadata["dermal.format"], "1");
    assert!(
        metadata["dermal.graph"].contains("LeakyRelu")
            || metadata["dermal.graph"].contains("leaky_relu")
    );
}

#[test]
fn whole_cache_lines_come_first_and_fillers_are_few() {
    let bytes = bytes_of(&sample());
    let (header, _) = split(&bytes);
    let positions: Vec<_> = [
        "conv/kernel",
        "conv/bias",
        "head/kernel",
        "dermal.filler.0",
        "head/bias",
    ]
    .iter()
    .map(|name| {
        header
            .find(&format!("\"{name}\":{{\"dtype\""))
            .unwrap_or_else(|| panic!("{name}"))
    })
    .collect();
    assert!(positions.is_sorted(), "{positions:?}");
    assert!(!header.contains("dermal.filler.1"));
}

#[test]
fn every_float_type_can_be_stored_and_integers_only_in_integer_layouts() {
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::I32, DType::I8] {
        let mut model = sample();
        let bytes: Vec<u8> = (0..64).take(16 * dtype.bytes()).collect();
        let tensor = Tensor::from_bytes(dtype, [16], bytes.clone()).unwrap();
        model.graph.tensors.insert("conv/bias".into(), tensor);
        let folder = tempfile::tempdir().unwrap();
        let loaded = load_bytes(folder.path(), &bytes_of(&model));
        if matches!(dtype, DType::I32 | DType::I8) {
            let error = loaded.unwrap_err();
            let mut causes = String::new();
            let mut next: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = next {
                causes.push_str(&error.to_string());
                next = error.source();
            }
            assert!(causes.contains("`conv/bias`"), "{causes}");
            continue;
        }
        let back = loaded.unwrap();
        assert_eq!(back.graph.tensors["conv/bias"].dtype(), dtype);
        assert_eq!(back.graph.tensors["conv/bias"].bytes(), bytes);
    }
}

#[test]
fn static_bytes_load_in_place_and_must_be_aligned() {
    #[repr(align(64))]
    struct Aligned([u8; 1 << 14]);
    let bytes = bytes_of(&sample());
    let mut holder = Box::new(Aligned([0; 1 << 14]));
    holder.0[..bytes.len()].copy_from_slice(&bytes);
    let holder: &'static Aligned = Box::leak(holder);
    let model = load_static(&holder.0[..bytes.len()]).unwrap();
    assert_eq!(model.manifest, sample().manifest);
    let shifted = load_static(&holder.0[8..]).unwrap_err();
    assert_eq!(shifted.kind(), "misaligned");
}

#[test]
fn progress_ends_at_the_files_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut calls = Vec::new();
    let path = folder.path().join("m.safetensors");
    let bytes = write_with_progress(&path, &sample(), &mut |done, all| calls.push((done, all)));
    let bytes = bytes.unwrap();
    assert_eq!(calls.last(), Some(&(bytes, bytes)));
    assert!(calls.is_sorted());
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(&sample());
    let (_, data) = split(&bytes);
    let data_start = bytes.len() - data.len();
    for end in 0..bytes.len() {
        let kind = load_bytes(folder.path(), &bytes[..end]).unwrap_err().kind();
        let expected = match end {
            0 => "foreign_format",
            1..8 => "too_short",
            _ if end < data_start => "header_truncated",
            _ => "data_length",
        };
        assert_eq!(kind, expected, "cut at {end}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    let kind = load_bytes(folder.path(), &longer).unwrap_err().kind();
    assert_eq!(kind, "data_length");
}

#[test]
fn a_flipped_bit_in_the_header_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(&sample());
    let header = bytes.len() - split(&bytes).1.len();
    let mut refused = 0;
    for i in 0..header {
        let mut flipped = bytes.clone();
        flipped[i] ^= 1 << (i % 8);
        refused += usize::from(load_bytes(folder.path(), &flipped).is_err());
    }
    // Letters inside names and labels may change without an error; safety does not depend on them.
    assert!(refused > header / 2, "{refused} of {header}");
}

#[test]
fn every_lie_in_a_header_has_a_name() {
    struct Case {
        from: &'static str,
        to: &'static str,
        kind: &'static str,
        message: &'static str,
    }
    let case = |from, to, kind, message| Case {
        from,
        to,
        kind,
        message,
    };
    let cases = [
        case(
            r#"{"__metadata__""#,
            r#"["__metadata__""#,
            "header_syntax",
            "",
        ),
        case("__metadata__", "__metadat__", "header_syntax", ""),
        case(
            r#""dermal.format":"1""#,
            r#""dermal.format":"2""#,
            "version",
            "artifact format `2`, expected `1`",
        ),
        case(
            r#""dermal.format":"1""#,
            r#""format":"pt""#,
            "not_an_artifact",
            "a safetensors file with 5 tensors, but without a dermal graph",
        ),
        case(
            r#""dermal.format":"1""#,
            r#""dermal.format":1"#,
            "header_syntax",
            "",
        ),
        case(
            r#""dermal.graph""#,
            r#""other.graph""#,
            "missing_metadata",
            "metadata `dermal.graph` is missing",
        ),
        case(
            r#""dermal.manifest""#,
            r#""other""#,
            "missing_metadata",
            "metadata `dermal.manifest` is missing",
        ),
        case(
            r#""dermal.graph""#,
            r#""dermal.format""#,
            "header_syntax",
            "",
        ),
        case(
            r#"\"nodes\":["#,
            r#"\"nodes\":[7,"#,
            "metadata",
            "metadata `dermal.graph` cannot be understood",
        ),
        case(
            r#"\"op\":\"concat\""#,
            r#"\"op\":\"lambda\""#,
            "unknown_op",
            "node `join`: op `lambda` is unknown",
        ),
        case(
            r#"\"op\":\"concat\",\"axis\":0"#,
            r#"\"op\":\"concat\",\"axis\":\"0\""#,
            "metadata",
            "",
        ),
        case(r#"\"axis\":0"#, r#"\"axis\":9"#, "graph", ""),
        case(r#"\"inputs\":[3,1]"#, r#"\"inputs\":[3,5]"#, "graph", ""),
        case(r#"\"inputs\":[3,1]"#, r#"\"inputs\":[4,1]"#, "graph", ""),
        case(r#"\"inputs\":[3,1]"#, r#"\"inputs\":[3]"#, "graph", ""),
        case(r#"\"output\":5"#, r#"\"output\":6"#, "graph", ""),
        case(r#"\"shape\":[18]"#, r#"\"shape\":[81]"#, "graph", ""),
        case(r#"\"name\":\"join\""#, r#"\"name\":\"pool\""#, "graph", ""),
        case(r#"\"filters\":16"#, r#"\"filters\":17"#, "graph", ""),
        case(r#"\"filters\":16"#, r#"\"filters\":-1"#, "metadata", ""),
        case(r#"\"strides\":[2,2]"#, r#"\"strides\":[0,2]"#, "graph", ""),
        case(
            r#"\"bottom\":1"#,
            r#"\"bottom\":18446744073709551615"#,
            "graph",
            "",
        ),
        case(
            r#"\"filters\":16"#,
            r#"\"filters\":18446744073709551615"#,
            "graph",
            "",
        ),
        case(
            r#"\"filters\":16,\"kernel\":{\"tensor\":\"conv/kernel\",\"layout\":\"plain\"}"#,
            r#"\"filters\":18446744073709551615,\"kernel\":{\"tensor\":\"conv/kernel\",\"layout\":\"panel16\"}"#,
            "graph",
            "",
        ),
        case(
            r#"\"kernel\":[3,3]"#,
            r#"\"kernel\":[9223372036854775807,3]"#,
            "graph",
            "",
        ),
        case(
            r#"\"op\":\"conv2d\""#,
            r#"\"multiplier\":18446744073709551615,\"activation\":{\"kind\":\"relu\"},\"op\":\"depthwise_conv2d\""#,
            "graph",
            "",
        ),
        case(
            r#"\"op\":\"global_pool\""#,
            r#"\"op\":\"pad\",\"top\":18446744073709551615,\"bottom\":9,\"left\":9,\"right\":9"#,
            "graph",
            "",
        ),
        case(r#"\"slope\":0.1"#, r#"\"slope\":null"#, "metadata", ""),
        case(
            r#""head/bias":{"#,
            r#""head/bios":{"#,
            "unread_tensor",
            "tensor `head/bios` is not read by any node",
        ),
        case(
            r#""conv/bias":{"dtype":"F32""#,
            r#""conv/bias":{"dtype":"F64""#,
            "dtype",
            "tensor `conv/bias`: dtype `F64` is not supported",
        ),
        case(
            r#""conv/bias":{"dtype":"F32""#,
            r#""conv/bias":{"dtype":"F16""#,
            "byte_count",
            "tensor `conv/bias`: F16 [16] takes 32 bytes, got 64",
        ),
        case(
            r#""dermal.filler.0":{"dtype":"U8""#,
            r#""dermal.filler.0":{"dtype":"I8""#,
            "dtype",
            "",
        ),
        case(
            r#""shape":[16],"data_offsets""#,
            r#""shape":[17],"data_offsets""#,
            "byte_count",
            "tensor `conv/bias`: F32 [17] takes 68 bytes, got 64",
        ),
        case(
            r#""shape":[16],"data_offsets""#,
            r#""shape":[18446744073709551615],"data_offsets""#,
            "byte_count",
            "",
        ),
        case(
            r#""shape":[16],"data_offsets""#,
            r#""shape":[-16],"data_offsets""#,
            "header_syntax",
            "",
        ),
        case(
            r#""shape":[16],"data_offsets""#,
            r#""shape":[4,4],"data_offsets""#,
            "graph",
            "",
        ),
        case(
            r#""shape":[16],"data_offsets""#,
            r#""extra":0,"shape":[16],"data_offsets""#,
            "header_syntax",
            "",
        ),
        case(
            r#""data_offsets":[0,1728]"#,
            r#""data_offsets":[0,1664]"#,
            "byte_count",
            "",
        ),
        case(
            r#""data_offsets":[0,1728]"#,
            r#""data_offsets":[64,1792]"#,
            "offsets",
            "tensor `conv/kernel`: expected to start at data byte 0, got 64..1792",
        ),
        case(
            r#""data_offsets":[1728,1792]"#,
            r#""data_offsets":[1728,1664]"#,
            "offsets",
            "",
        ),
        case(
            r#""data_offsets":[1728,1792]"#,
            r#""data_offsets":[0,64]"#,
            "offsets",
            "",
        ),
        case(
            r#""data_offsets":[1728,1792]"#,
            r#""data_offsets":[1728,18446744073709551615]"#,
            "byte_count",
            "",
        ),
        case(
            r#"\"name\":\"image\",\"kind\""#,
            r#"\"name\":\"photo\",\"kind\""#,
            "inputs",
            "the manifest's inputs are [`photo`, `numbers`], expected those of the graph: [`image`, `numbers`]",
        ),
        case(
            r#"\"default\":[0.1,0.2]"#,
            r#"\"default\":[0.1]"#,
            "input",
            "input `numbers`: its default has 1 numbers, expected 2 for shape [2]",
        ),
        case(
            r#"\"channels\":\"rgb\""#,
            r#"\"channels\":\"gray\""#,
            "input",
            "input `image`: preprocessing makes 1 channels, but its shape is [6, 6, 3]",
        ),
        case(
            r#"\"std\":[0.229,0.224,0.225]"#,
            r#"\"std\":[0.229,0.0,0.225]"#,
            "input",
            "input `image`: `std` divides, but is [0.229, 0.0, 0.225]",
        ),
        case(
            r#"\"mode\":\"stretch\""#,
            r#"\"mode\":\"short_side_center_crop\",\"short_side\":5"#,
            "input",
            "input `image`: `short_side` is 5, expected 6 to 4096",
        ),
        case(
            r#"\"mel\",\"bcc\""#,
            r#"\"mel\""#,
            "label_count",
            "2 labels, expected 3: the model has 3 outputs",
        ),
        case(
            r#"\"mel\",\"bcc\""#,
            r#"\"mel\",\"mel\""#,
            "label",
            "label 2 (`mel`) is given twice",
        ),
        case(
            r#"\"mel\",\"bcc\""#,
            r#"\"mel\",\" \""#,
            "label",
            "label 2 (` `) is empty",
        ),
        case(
            r#"\"head\":\"softmax\""#,
            r#"\"head\":\"tarot\""#,
            "metadata",
            "metadata `dermal.manifest` cannot be understood",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(&sample());
    let (header, data) = split(&bytes);
    for Case {
        from,
        to,
        kind,
        message,
    } in cases
    {
        assert!(header.contains(from), "{from} is not in {header}");
        let lie = join(&header.replacen(from, to, 1), data);
        let error = load_bytes(folder.path(), &lie).expect_err(to);
        assert_eq!(error.kind(), kind, "{to}: {error}");
        if !message.is_empty() {
            assert_eq!(error.to_string(), message);
        }
    }
}

#[test]
fn a_header_length_that_lies_is_refused_without_allocating() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(&sample());
    let with_length = |length: u64| {
        let mut lie = bytes.clone();
        lie[..8].copy_from_slice(&length.to_le_bytes());
        load_bytes(folder.path(), &lie).unwrap_err().kind()
    };
    assert_eq!(with_length(u64::MAX), "header_too_large");
    assert_eq!(with_length(MAX_HEADER_BYTES), "header_truncated");
    assert_eq!(with_length(bytes.len() as u64), "header_truncated");
    assert_eq!(with_length(0), "header_syntax");
    assert_eq!(with_length(100), "header_syntax");
}

#[test]
fn data_off_the_boundary_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(&sample());
    let (header, data) = split(&bytes);
    let mut shifted = (header.len() as u64).to_le_bytes().to_vec();
    shifted.extend_from_slice(header.as_bytes());
    shifted.extend_from_slice(data);
    let unpadded_is_aligned = (8 + header.len()).is_multiple_of(ALIGNMENT);
    assert!(!unpadded_is_aligned, "choose another sample");
    let error = load_bytes(folder.path(), &shifted).unwrap_err();
    assert_eq!(error.kind(), "misaligned");
}

#[test]
fn deep_and_wide_json_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let deep = join(&"[".repeat(200_000), &[]);
    assert_eq!(
        load_bytes(folder.path(), &deep).unwrap_err().kind(),
        "header_syntax"
    );
    let bytes = bytes_of(&sample());
    let (header, data) = split(&bytes);
    let many =
        r#"{\"name\":\"x\",\"op\":\"input\",\"inputs\":[],\"shape\":[1]},"#.repeat(MAX_NODES);
    let wide = header.replacen(r#"\"nodes\":["#, &format!(r#"\"nodes\":[{many}"#), 1);
    let error = load_bytes(folder.path(), &join(&wide, data)).unwrap_err();
    assert_eq!(error.kind(), "too_many_nodes");
}

#[test]
fn other_files_are_named_for_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let error = load_bytes(folder.path(), lfs).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected a dermal artifact, got a git-LFS pointer (the model itself was not downloaded)"
    );
    assert_eq!(error.hint(), "fetch the real file with `git lfs pull`");
    let zip = load_bytes(folder.path(), b"PK\x03\x04and so on").unwrap_err();
    assert!(zip.hint().contains("dermal import"));
    let plain = safetensors::serialize(
        [(
            "fc.weight",
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4])
                .unwrap(),
        )],
        None,
    );
    let plain = load_bytes(folder.path(), &plain.unwrap()).unwrap_err();
    assert_eq!(plain.kind(), "not_an_artifact");
    assert!(plain.hint().contains("dermal import"));
    assert_eq!(load(folder.path()).unwrap_err().kind(), "not_a_file");
    assert_eq!(load(&folder.path().join("none")).unwrap_err().kind(), "io");
}

#[test]
fn a_model_that_does_not_hold_together_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let kind = |change: &dyn Fn(&mut Model)| {
        let mut model = sample();
        change(&mut model);
        write(&path, &model).unwrap_err().kind()
    };
    assert_eq!(
        kind(&|m| {
            m.manifest.labels.pop();
        }),
        "label_count"
    );
    assert_eq!(kind(&|m| m.manifest.inputs.reverse()), "inputs");
    assert_eq!(kind(&|m| m.manifest.head = Head::BinarySigmoid), "head");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn an_infinite_attribute_is_not_written() {
    let mut model = sample();
    let output = model.graph.output();
    let op = Op::Activation(Activation::Elu {
        alpha: f32::INFINITY,
    });
    model.graph.push("elu", op, &[output]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = write(&folder.path().join("m.safetensors"), &model).unwrap_err();
    assert_eq!(
        error.to_string(),
        "node `elu` has an attribute that is not a finite number"
    );
}

#[test]
fn the_digest_is_sha_256() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc");
    fs::File::create(&path).unwrap().write_all(b"abc").unwrap();
    // FIPS 180-2, appendix B.1.
    assert_eq!(
        sha256_of_file(&path, &mut |_, _| {}).unwrap(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn a_mapping_of_fields_is_checked_before_writing_and_after_loading() {
    let mut model = sample();
    model.manifest.inputs[1].kind = InputKind::Vector { default: None };
    let text = "version: 1\ninputs:\n  numbers:\n    - one_hot: sex\n      values: [male]\n      \
                missing: []\n    - number: age\n      divide_by: 90\n";
    let mapping = FieldMapping::from_yaml(text, &model.vector_inputs()).unwrap();
    model.manifest.fields = Some(mapping);
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(&model);
    let back = load_bytes(folder.path(), &bytes).unwrap();
    assert_eq!(back.manifest, model.manifest);

    let (header, data) = split(&bytes);
    for (from, to, kind) in [
        (r#"\"divide_by\":90.0"#, r#"\"divide_by\":0.0"#, "fields"),
        (r#"[\"male\"]"#, r#"[\"male\",\"b\"]"#, "fields"),
        (r#"[\"male\"]"#, "[]", "fields"),
        (r#"\"field\":\"age\""#, r#"\"field\":\"\""#, "fields"),
        (r#"\"version\":1"#, r#"\"version\":2"#, "fields"),
        (
            r#"\"kind\":\"number\""#,
            r#"\"kind\":\"numbr\""#,
            "metadata",
        ),
        (r#"\"divide_by\":90.0"#, r#"\"divided\":90.0"#, "metadata"),
    ] {
        assert!(header.contains(from), "{from} is not in {header}");
        let lie = join(&header.replacen(from, to, 1), data);
        let error = load_bytes(folder.path(), &lie).unwrap_err();
        assert_eq!(error.kind(), kind, "{to}: {error}");
    }
    // With a default, the two would contradict each other.
    model.manifest.inputs[1].kind = InputKind::Vector {
        default: Some(vec![0.1, 0.2]),
    };
    let error = write(&folder.path().join("n.safetensors"), &model).unwrap_err();
    assert_eq!(error.kind(), "fields");
}

#[test]
fn what_transformers_need_survives_the_round_trip() {
    let mut model = sample();
    let graph = &mut model.graph;
    let output = graph.output();
    for (key, dims) in [
        ("unit/gamma", &[3][..]),
        ("unit/beta", &[1]),
        ("where", &[4, 3]),
    ] {
        let shape = Shape::new(dims);
        let tensor = Tensor::from_f32(shape.clone(), &vec![0.25; shape.len()]).unwrap();
        graph.tensors.insert(key.to_owned(), tensor);
    }
    let mut push = |name: &str, op: Op, inputs: &[_]| graph.push(name, op, inputs).unwrap();
    let tensor = "where".to_owned();
    let positions = push("positions", Op::Constant { tensor }, &[]);
    let add = Op::Binary {
        kind: BinaryOp::Add,
        activation: Activation::Pow { exponent: 3.0 },
    };
    let tokens = push("tokens", add, &[output, positions]);
    let norm = Op::LayerNormalization {
        scale: "unit/gamma".into(),
        shift: "unit/beta".into(),
        epsilon: 1e-6,
    };
    let unit = push("unit", norm, &[tokens]);
    let permutation = vec![1, 0];
    let turned = push("turned", Op::Transpose { permutation }, &[unit]);
    let scores = push("scores", Op::MatMul, &[unit, turned]);
    let share = push("share", Op::Softmax { axis: Some(0) }, &[scores]);
    let mixed = push("mixed", Op::MatMul, &[share, unit]);
    let first = Op::Slice(Slice::whole(&[4, 3].into()).along(0, 0, 1));
    let first = push("first", first, &[mixed]);
    let indices = vec![2, 1, 0];
    let turned = push("around", Op::Gather { axis: 1, indices }, &[first]);
    let largest = Op::Reduce {
        kind: ReduceKind::Max,
        axes: vec![0],
        keep_dims: false,
    };
    push("largest", largest, &[turned]);
    let bytes = bytes_of(&model);
    let folder = tempfile::tempdir().unwrap();
    let back = load_bytes(folder.path(), &bytes).unwrap();
    assert_eq!(back.graph.nodes(), model.graph.nodes());
    let stored = back.graph.tensors["where"].as_f32();
    assert_eq!(stored, model.graph.tensors["where"].as_f32());
    assert_eq!(bytes_of(&back), bytes, "what was loaded is written alike");
}
