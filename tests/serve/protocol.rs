//! The Open Inference Protocol, by hand and with the client that people use.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Server, photo, predicted, repo};

const INFER: &str = "/v2/models/demo/infer";

/// Probabilities in the order of the labels.
fn probabilities(name: &str) -> Vec<f64> {
    let predicted = predicted(name, &[]);
    let mut ranked: Vec<(u64, f64)> = predicted["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            (
                p["index"].as_u64().unwrap(),
                p["probability"].as_f64().unwrap(),
            )
        })
        .collect();
    ranked.sort_by_key(|p| p.0);
    ranked.into_iter().map(|p| p.1).collect()
}

#[test]
fn the_protocol_gives_the_same_answers() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/v2").ok()["name"], "dermal");
    assert_eq!(
        server.get("/v2/").ok()["extensions"][0],
        "binary_tensor_data"
    );
    assert_eq!(server.get("/v2/health/live").ok()["live"], true);
    assert_eq!(server.get("/v2/health/ready").ok()["ready"], true);
    let model = server.get("/v2/models/demo/versions/1").ok();
    assert_eq!(
        model["inputs"][0],
        json!({"name": "image", "datatype": "BYTES", "shape": [-1]})
    );
    assert_eq!(model["outputs"][0]["shape"], json!([-1, 7]));
    assert_eq!(server.get("/v2/models/demo/ready").ok()["ready"], true);
    assert_eq!(server.get("/v2/models/other").status, 404);
    assert_eq!(server.get("/v2/models/demo/versions/2/ready").status, 404);

    let names = ["nv_00.jpg", "mel_03.jpg"];
    let photos: Vec<String> = names.iter().map(|n| STANDARD.encode(photo(n))).collect();
    let body = json!({"id": "7", "inputs": [
        {"name": "image", "shape": [2], "datatype": "BYTES", "data": photos}
    ]});
    let answer = server
        .request("POST", INFER, &[], body.to_string().as_bytes())
        .ok();
    assert_eq!(answer["id"], "7");
    assert_eq!(answer["model_name"], "demo");
    let output = &answer["outputs"][0];
    assert_eq!(
        (&output["datatype"], &output["shape"]),
        (&json!("FP32"), &json!([2, 7]))
    );
    let got: Vec<f64> = output["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect();
    let expected: Vec<f64> = names.iter().flat_map(|n| probabilities(n)).collect();
    assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(
        answer["outputs"][1]["data"][0],
        predicted(names[0], &[])["top1"]
    );

    // Binary in, binary out.
    let bytes = photo(names[1]);
    let element = [
        &u32::try_from(bytes.len()).unwrap().to_le_bytes()[..],
        &bytes,
    ]
    .concat();
    let head = json!({
        "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES",
                    "parameters": {"binary_data_size": element.len()}}],
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": true}},
                    {"name": "probabilities", "parameters": {"classification": 2}}],
    })
    .to_string();
    let length = head.len().to_string();
    let whole = [head.as_bytes(), &element].concat();
    let headers = [("inference-header-content-length", length.as_str())];
    let reply = server.request("POST", INFER, &headers, &whole);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let at: usize = reply
        .header("inference-header-content-length")
        .unwrap()
        .parse()
        .unwrap();
    let (head, tail) = reply.body.split_at(at);
    let head: Value = serde_json::from_slice(head).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 28);
    let floats: Vec<f32> = tail
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let expected = probabilities(names[1]);
    assert!(
        floats
            .iter()
            .zip(&expected)
            .all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6)
    );
    let classes = head["outputs"][1]["data"][0].as_str().unwrap();
    assert!(
        classes.ends_with(predicted(names[1], &[])["top1"].as_str().unwrap()),
        "{classes}"
    );
}

#[test]
fn wrong_tensors_are_named() {
    let server = Server::start(&[]);
    let image = STANDARD.encode(photo("nv_00.jpg"));
    for (body, says) in [
        (json!({}), "bad JSON"),
        (json!({"inputs": []}), "`image` is missing"),
        (
            json!({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}),
            "no input `x`",
        ),
        (
            json!({"inputs": [{"name": "image", "shape": [3], "datatype": "FP32", "data": [1, 2, 3]}]}),
            "expected [N, height",
        ),
        (
            json!({"inputs": [{"name": "image", "shape": [1, 1, 1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}),
            "expected 37632",
        ),
        (
            json!({"inputs": [{"name": "image", "shape": [17], "datatype": "BYTES", "data": vec![&image; 17]}]}),
            "1 to 16",
        ),
        (
            json!({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}], "outputs": [{"name": "y"}]}),
            "no output `y`",
        ),
        (
            json!({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}], "parameters": {"gradcam": 1}}),
            "has no effect",
        ),
    ] {
        let reply = server.request("POST", INFER, &[], body.to_string().as_bytes());
        assert_eq!(reply.status, 400, "{}", reply.text());
        let message = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(message.contains(says), "{says}: {message}");
    }
    assert_eq!(
        server
            .request("POST", "/v2/models/x/infer", &[], b"{}")
            .status,
        404
    );
}

/// `tritonclient[http]` from PyPI, in the environment that `scripts/setup-triton-client.sh` makes.
#[test]
fn the_real_client_is_served() {
    let python = repo(".cache/triton-client/bin/python");
    if !python.exists() {
        println!("SKIPPED: there is no tritonclient (scripts/setup-triton-client.sh)");
        return;
    }
    let server = Server::start(&[]);
    let names = ["nv_00.jpg", "mel_03.jpg"];
    let output = Command::new(python)
        .arg(repo("scripts/triton_client.py"))
        .arg(server.address.to_string())
        .args(names.map(|name| repo("fixtures/images").join(name)))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (i, name) in names.iter().enumerate() {
        let expected = probabilities(name);
        for form in ["binary", "json"] {
            let got = answer[form]["probabilities"][i].as_array().unwrap();
            let close = |(a, b): (&Value, &f64)| (a.as_f64().unwrap() - b).abs() < 1e-6;
            assert!(got.iter().zip(&expected).all(close), "{form} {name}");
        }
        let top1 = predicted(name, &[])["top1"].clone();
        assert_eq!(answer["binary"]["label"][i], top1);
        let class = answer["classification"][i][0].as_str().unwrap();
        assert!(class.ends_with(top1.as_str().unwrap()), "{class}");
    }
}
