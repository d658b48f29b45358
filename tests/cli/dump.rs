//! `dermal import --dump`.

use serde_json::Value;

use super::{dermal, fixture, listing};

const STAGES: [&str; 4] = ["imported", "folded", "fused", "packed"];

fn source() -> String {
    fixture("import/nested.keras").to_str().unwrap().to_owned()
}

fn dump(stage: &str) -> Value {
    let ran = dermal(["import", &source(), "--dump", stage, "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stderr, "");
    ran.json()
}

/// Names of source layers, with the stage of their output.
fn layers(graph: &Value) -> Vec<(String, String)> {
    let nodes = graph["nodes"].as_array().unwrap().iter();
    let layers = nodes.flat_map(|node| node["layers"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found: Vec<_> = layers
        .map(|layer| (text(&layer["name"]), text(&layer["stage"]["at"])))
        .collect();
    found.sort();
    found
}

#[test]
fn each_stage_has_fewer_nodes_and_still_names_every_layer() {
    let folder = tempfile::tempdir().unwrap();
    let reports = STAGES.map(dump);
    let names = |report: &Value| {
        let names = layers(&report["graph"]).into_iter().map(|(name, _)| name);
        names.collect::<Vec<_>>()
    };
    let count = |report: &Value| report["graph"]["nodes"].as_array().unwrap().len();
    for (stage, report) in STAGES.iter().zip(&reports) {
        assert_eq!(report["schema_version"], 1);
        assert_eq!(report["stage"], *stage);
        assert!(
            report["source_format"]
                .as_str()
                .unwrap()
                .starts_with("keras")
        );
        assert_eq!(names(report), names(&reports[0]), "{stage}");
    }
    let [imported, folded, fused, packed] = &reports;
    let output_only = |report: &Value| {
        layers(&report["graph"])
            .iter()
            .all(|(_, at)| at == "output")
    };
    assert!(output_only(imported) && !output_only(folded));
    assert!(count(imported) > count(folded) && count(folded) > count(fused));
    assert_eq!(count(fused), count(packed));
    let text = |report: &Value| report.to_string();
    assert!(text(fused).contains("plain") && !text(packed).contains("\"plain\""));
    assert!(listing(folder.path()).is_empty());
}

#[test]
fn the_packed_stage_is_the_graph_of_the_artifact() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.safetensors");
    let ran = dermal(["import", &source(), "-o", out.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let bytes = std::fs::read(&out).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let header: Value =
        serde_json::from_slice(&bytes[8..][..usize::try_from(length).unwrap()]).unwrap();
    let graph = header["__metadata__"]["dermal.graph"].as_str().unwrap();
    let graph: Value = serde_json::from_str(graph).unwrap();
    let dumped = &dump("packed")["graph"];
    for field in ["name", "output", "nodes"] {
        assert_eq!(dumped[field], graph[field], "{field}");
    }
    for (key, tensor) in dumped["tensors"].as_object().unwrap() {
        assert_eq!(tensor["shape"], header[key]["shape"], "{key}");
        let dtype = tensor["dtype"].as_str().unwrap().to_uppercase();
        assert_eq!(dtype, header[key]["dtype"].as_str().unwrap(), "{key}");
    }
}

#[test]
fn text_names_shapes_attributes_tensors_and_layers() {
    for stage in STAGES {
        let ran = dermal(["import", &source(), "--dump", stage]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let json = dump(stage);
        for node in json["graph"]["nodes"].as_array().unwrap() {
            let start = format!("\n{}: ", node["name"].as_str().unwrap());
            assert!(ran.stdout.contains(&start), "{stage}: {start}");
        }
        for key in json["graph"]["tensors"].as_object().unwrap().keys() {
            // The layer that needs a folded scale or shift names it.
            let named = [format!("={key} (f32 ["), format!("`{key}`")];
            assert!(
                named.iter().any(|text| ran.stdout.contains(text)),
                "{stage}: {key}"
            );
        }
        for (layer, _) in layers(&json["graph"]) {
            assert!(
                ran.stdout.contains(&format!("    layer {layer} (")),
                "{stage}: {layer}"
            );
        }
        assert!(ran.stdout.contains("window.kernel="), "{}", ran.stdout);
    }
}

#[test]
fn options_that_would_do_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.safetensors");
    let out = out.to_str().unwrap();
    let source = source();
    for (args, says) in [
        (&["--dump", "fused", "-o", out][..], "'--output <OUT>'"),
        (&["--dump", "fused", "--labels", "a,b"], "'--labels"),
        (&["--dump", "fusd"], "imported, folded, fused, packed"),
        (&["-o", out, "--json"], "'--json'"),
        (&["--json"], "--dump <STAGE>"),
        (&[], "--output <OUT>"),
    ] {
        let ran = dermal(["import", &source].iter().chain(args));
        assert_eq!(ran.code, Some(2), "{args:?}");
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
    }
    assert!(listing(folder.path()).is_empty());
    dermal(["import", "no-such.keras", "--dump", "fused"]).refuses(&["no-such.keras"]);
}
