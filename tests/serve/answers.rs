//! The answers: photos in every form, heat maps, health, the description of the interface.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Server, large_jpeg, multipart, photo, predicted, repo};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[test]
fn the_answer_is_that_of_predict_however_the_photo_comes() {
    let server = Server::start(&[]);
    for name in ["nv_00.jpg", "mel_03.jpg", "df_29.jpg"] {
        let expected = predicted(name, &[]);
        let bytes = photo(name);
        let (form, body) = multipart(&[("image", &bytes)]);
        let (old_form, old_body) = multipart(&[("file", &bytes)]);
        let encoded = json!({ "image": STANDARD.encode(&bytes) }).to_string();
        let url = format!("data:image/jpeg;base64,{}", STANDARD.encode(&bytes));
        let as_url = json!({ "image": url }).to_string();
        for (target, kind, body) in [
            ("/predict", form.as_str(), body.as_slice()),
            ("/predict/", old_form.as_str(), &old_body),
            ("/upload", form.as_str(), &body),
            ("/predict", "image/jpeg", &bytes),
            ("/predict", "application/octet-stream", &bytes),
            ("/predict", "application/json", encoded.as_bytes()),
            (
                "/upload/",
                "application/json; charset=utf-8",
                as_url.as_bytes(),
            ),
        ] {
            let reply = server.request("POST", target, &[("content-type", kind)], body);
            let answer = reply.ok();
            assert_eq!(
                answer["predictions"], expected["predictions"],
                "{target} {kind}"
            );
            assert_eq!(answer["top1"], expected["top1"]);
            assert_eq!(answer["image"]["width"], expected["width"]);
            assert!(answer.get("gradcam").is_none());
            assert_eq!(answer["request_id"], reply.header("x-request-id").unwrap());
        }
    }
    let three = server.post("/predict?top=3", &photo("nv_00.jpg")).ok();
    assert_eq!(three["predictions"].as_array().unwrap().len(), 3);
    // The names of uploaded files are not logged.
    assert!(!server.log_text().contains("passwd"));
    assert!(!server.log_text().contains("127.0.0.1:\""));
}

#[test]
fn a_heat_map_comes_in_the_answer_or_alone() {
    let server = Server::start(&[]);
    let bytes = large_jpeg(2100, 1400);
    let answer = server.post("/predict?gradcam=1&class=mel", &bytes).ok();
    let map = &answer["gradcam"];
    assert_eq!(map["class"], "mel");
    assert_eq!((&map["width"], &map["height"]), (&json!(1024), &json!(683)));
    let png = STANDARD
        .decode(map["png_base64"].as_str().unwrap())
        .unwrap();
    let picture = image::load_from_memory(&png).unwrap();
    assert_eq!((picture.width(), picture.height()), (1024, 683));

    let accept = [("content-type", "image/jpeg"), ("accept", "image/png")];
    let reply = server.request("POST", "/predict?class=mel", &accept, &bytes);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("image/png"));
    assert_eq!(reply.body, png, "the same picture");
    assert!(reply.header("x-dermal-top1").is_some());
    // Nothing but pixels: header, data, end.
    let chunks: Vec<&[u8]> = png
        .windows(4)
        .filter(|w| w.iter().all(u8::is_ascii_alphabetic))
        .collect();
    for metadata in [&b"tEXt"[..], b"eXIf", b"iTXt", b"tIME"] {
        assert!(!chunks.contains(&metadata));
    }
    let small = server.post("/predict?gradcam=1&max_side=64", &bytes).ok();
    assert_eq!(small["gradcam"]["width"], 64);
    let bytes = photo("nv_00.jpg");
    let (form, body) = multipart(&[
        ("gradcam", b"1"),
        ("method", b"layercam"),
        ("image", &bytes),
    ]);
    let answer = server
        .request("POST", "/predict", &[("content-type", &form)], &body)
        .ok();
    assert_eq!(answer["gradcam"]["method"], "layercam");
    let off = Server::with_env(&[], &[("ENABLE_GRADCAM", "False")]);
    assert_eq!(
        off.post("/predict?gradcam=1", &bytes).refused(501),
        "gradcam_disabled"
    );
    assert!(off.post("/predict", &bytes).ok().get("gradcam").is_none());
}

#[test]
fn fields_and_inputs_reach_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mapping = "version: 1\ninputs:\n  patient:\n    - one_hot: sex\n      values: [female, male]\n      \
                   missing: []\n    - number: age\n      divide_by: 100\n      min: 0\n      max: 120\n";
    #[expect(clippy::disallowed_methods, reason = "a test's file")]
    std::fs::write(at("mapping.yaml"), mapping).unwrap();
    let model = at("nested.safetensors");
    let imported = std::process::Command::new(env!("CARGO_BIN_EXE_dermal"))
        .arg("import")
        .arg(repo("fixtures/import/nested.keras"))
        .args(["-o", &model, "--labels", "yes,no", "--preprocess", "unit"])
        .args(["--fields", &at("mapping.yaml")])
        .output()
        .unwrap();
    assert!(imported.status.success());
    let server = Server::start(&[&model]);
    let version = server.get("/version").ok();
    assert_eq!(version["model"]["self_test"], "matched");
    assert_eq!(version["model"]["fields"][1]["name"], "age");
    let bytes = photo("nv_00.jpg");
    let given = [
        "--model", &model, "--field", "sex=male", "--field", "age=55",
    ];
    let expected = predicted("nv_00.jpg", &given)["predictions"].clone();
    let (form, body) = multipart(&[("age", b"55"), ("image", &bytes), ("sex", b"male")]);
    let by_form = server
        .request("POST", "/predict", &[("content-type", &form)], &body)
        .ok();
    assert_eq!(by_form["predictions"], expected);
    assert_eq!(by_form["fields"]["used"], json!(["sex", "age"]));
    let by_query = server.post("/predict?age=55&sex=male", &bytes).ok();
    assert_eq!(by_query["predictions"], expected);
    let body = json!({"image": STANDARD.encode(&bytes), "fields": {"age": 55, "sex": "male"}});
    let by_json = server
        .request("POST", "/predict", &JSON, body.to_string().as_bytes())
        .ok();
    assert_eq!(by_json["predictions"], expected);
    let body = json!({"image": STANDARD.encode(&bytes), "inputs": {"patient": [0, 1, 0.55]}});
    let by_input = server
        .request("POST", "/predict", &JSON, body.to_string().as_bytes())
        .ok();
    assert_eq!(by_input["predictions"], expected);
    assert_eq!(
        server.post("/predict", &bytes).refused(400),
        "missing_field"
    );
    assert_eq!(
        server.post("/predict?agee=5", &bytes).refused(400),
        "unknown_field_name"
    );
    assert_eq!(
        server.post("/predict?age=500", &bytes).refused(400),
        "field_out_of_range"
    );
}

#[test]
fn health_memory_and_metrics_answer_with_and_without_slash() {
    let server = Server::start(&[]);
    for path in ["/health", "/health/", "/livez", "/livez/"] {
        assert_eq!(server.get(path).text(), "ok", "{path}");
    }
    let health = server.get("/health/?verbose=1").ok();
    assert_eq!(
        (&health["status"], &health["model_loaded"]),
        (&json!("ok"), &json!(true))
    );
    let memory = server.get("/memory/").ok();
    for name in [
        "rss_mb",
        "vms_mb",
        "percent",
        "peak_rss_mb",
        "limit_mb",
        "rss_bytes",
        "limit_bytes",
    ] {
        assert!(memory[name].as_f64().unwrap() > 0.0, "{name}: {memory}");
    }
    assert_eq!(
        (&memory["model_loaded"], &memory["gradcam_enabled"]),
        (&json!(true), &json!(true))
    );
    for name in ["nv_00.jpg", "nv_01.jpg"] {
        server.post("/predict", &photo(name)).ok();
    }
    server.post("/predict", b"no photo").refused(415);
    assert_eq!(
        server.metric("dermal_requests_total{route=\"/predict\",status=\"200\"}"),
        2.0
    );
    assert_eq!(
        server.metric("dermal_requests_total{route=\"/predict\",status=\"415\"}"),
        1.0
    );
    assert_eq!(server.metric("dermal_photos_total"), 2.0);
    let api = server.get("/openapi.json").ok();
    assert_eq!(api["openapi"], "3.1.0");
    for (path, part) in [
        ("/docs", "POST /predict"),
        ("/", "not a diagnosis"),
        ("/page.js", "fetch"),
    ] {
        let reply = server.get(path);
        assert!(reply.status == 200 && reply.text().contains(part), "{path}");
        for header in [
            "content-security-policy",
            "x-content-type-options",
            "referrer-policy",
        ] {
            assert!(reply.header(header).is_some(), "{path}: {header}");
        }
    }
    assert_eq!(server.get("/nothing").refused(404), "not_found");
    assert_eq!(server.get("/predict").refused(405), "method");
    assert_eq!(server.get("/../../etc/passwd").refused(404), "not_found");
}

#[test]
fn errors_name_what_is_wrong() {
    let server = Server::start(&["--max-upload", "1MB", "--max-pixels", "4000000"]);
    let bytes = photo("nv_00.jpg");
    let cut = &bytes[..bytes.len() / 2];
    for (target, kind, body, status, expected) in [
        ("/predict", "image/jpeg", &b""[..], 400, "empty_file"),
        ("/predict", "image/jpeg", b"GIF89a....", 415, "not_a_photo"),
        ("/predict", "image/jpeg", cut, 400, "truncated_photo"),
        ("/predict", "text/plain", &bytes, 415, "content_type"),
        ("/predict", "application/json", b"{}", 400, "bad_json"),
        ("/predict", "multipart/form-data", &bytes, 400, "bad_form"),
        (
            "/predict?gradcam=1&class=x",
            "image/jpeg",
            &bytes,
            400,
            "unknown_class",
        ),
        (
            "/predict?age=5",
            "image/jpeg",
            &bytes,
            400,
            "no_field_mapping",
        ),
        ("/predict?top=x", "image/jpeg", &bytes, 400, "bad_option"),
    ] {
        let reply = server.request("POST", target, &[("content-type", kind)], body);
        assert_eq!(reply.refused(status), expected, "{target} {kind}");
    }
    let reply = server.post("/predict", &large_jpeg(2200, 2000));
    let kind = reply.refused(413);
    assert!(
        ["too_many_pixels", "body_too_large"].contains(&kind.as_str()),
        "{kind}"
    );
    assert_eq!(
        server.post("/predict", &vec![0; 3 << 20]).refused(413),
        "body_too_large"
    );
    let encoded = [("content-type", "image/jpeg"), ("content-encoding", "gzip")];
    let reply = server.request("POST", "/predict", &encoded, &bytes);
    assert_eq!(reply.refused(415), "body_encoded");
    let (form, body) = multipart(&[("image", &bytes), ("image", &bytes)]);
    let reply = server.request("POST", "/predict", &[("content-type", &form)], &body);
    assert_eq!(reply.refused(400), "several_photos");
    let (form, body) = multipart(&[("top", b"1")]);
    let reply = server.request("POST", "/predict", &[("content-type", &form)], &body);
    assert_eq!(reply.refused(400), "photo_missing");
    server.post("/predict", &bytes).ok();
}

#[test]
fn jobs_are_answered_later() {
    let server = Server::start(&["--max-jobs", "3"]);
    let bytes = photo("mel_01.jpg");
    let expected = predicted("mel_01.jpg", &[])["predictions"].clone();
    let posted = server.post("/jobs?gradcam=1", &bytes);
    assert_eq!(posted.status, 202, "{}", posted.text());
    let url = posted.header("location").unwrap().to_owned();
    assert_eq!(posted.json()["url"], url);
    let mut answer = Value::Null;
    server.wait_until("the job is done", |s| {
        answer = s.get(&url).ok();
        answer["status"] == "done"
    });
    assert_eq!(answer["result"]["predictions"], expected);
    assert!(answer["result"]["gradcam"]["png_base64"].is_string());
    assert!(answer["expires_in_seconds"].as_u64().unwrap() <= 600);
    assert_eq!(server.request("DELETE", &url, &[], &[]).status, 204);
    assert_eq!(server.get(&url).refused(404), "no_such_job");
    assert_eq!(
        server.post("/jobs", b"no photo").refused(415),
        "not_a_photo"
    );
    // Wrong in a way that only the model sees.
    let posted = server.post("/jobs?age=1", &bytes).json();
    let url = posted["url"].as_str().unwrap().to_owned();
    server.wait_until("the job has failed", |s| {
        s.get(&url).ok()["status"] == "failed"
    });
    assert_eq!(server.get(&url).ok()["error"]["kind"], "no_field_mapping");
}

#[test]
fn the_same_question_is_computed_once() {
    let server = Server::start(&[]);
    let bytes = photo("bcc_02.jpg");
    let first = server.post("/predict?gradcam=1", &bytes).ok();
    let again = server.post("/predict?gradcam=1", &bytes).ok();
    assert_eq!(
        (&first["cached"], &again["cached"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(first["gradcam"], again["gradcam"]);
    assert_eq!(server.post("/predict", &bytes).ok()["cached"], false);
    assert_eq!(server.metric("dermal_cache_hits_total"), 1.0);
    let look = |level: &str, result: &str| {
        server.metric(&format!(
            "dermal_cache_lookups_total{{level=\"{level}\",result=\"{result}\"}}"
        ))
    };
    assert_eq!(look("memory_file", "hit"), 1.0);
    assert_eq!(look("memory_pixels", "hit"), 0.0);
    let fresh = [
        ("content-type", "image/jpeg"),
        ("cache-control", "max-age=0, no-cache"),
    ];
    let afresh = server.request("POST", "/predict", &fresh, &bytes);
    assert_eq!(afresh.ok()["cached"], false);
    assert_eq!(look("memory_file", "hit"), 1.0);
    let off = Server::start(&["--cache", "0"]);
    off.post("/predict", &bytes).ok();
    assert_eq!(off.post("/predict", &bytes).ok()["cached"], false);
}

/// The pixels count: a picture is not computed again if it was saved without loss in another
/// format, with metadata, or lying on its side with a note to turn it.
#[test]
fn the_same_picture_in_another_file_is_computed_once() {
    use image::ImageFormat;
    use std::io::Cursor;

    let server = Server::start(&[]);
    let picture = image::RgbImage::from_fn(240, 160, |x, y| {
        let [x, y] = [x, y].map(|n| n.to_le_bytes()[0]);
        image::Rgb([x, y, x / 2 + y / 3])
    });
    let encode = |picture: &image::RgbImage, format| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let png = encode(&picture, ImageFormat::Png);
    // A text chunk (PNG specification, 11.3.3) before the end, whose chunk has 12 bytes.
    let mut chunk = b"tEXtComment\0for nobody".to_vec();
    let crc = png_crc(&chunk).to_be_bytes();
    let length = u32::try_from(chunk.len() - 4).unwrap().to_be_bytes();
    chunk = [&length, chunk.as_slice(), &crc].concat();
    let (start, end) = png.split_at(png.len() - 12);
    let commented = [start, &chunk, end].concat();
    // Turned left, and an EXIF chunk (W3C PNG, 11.3.4.5) that says to turn it right (orientation 6).
    let lying = encode(&image::imageops::rotate270(&picture), ImageFormat::Png);
    let exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut chunk = [&b"eXIf"[..], exif].concat();
    let crc = png_crc(&chunk).to_be_bytes();
    let length = u32::try_from(exif.len()).unwrap().to_be_bytes();
    chunk = [&length, chunk.as_slice(), &crc].concat();
    // Behind the header: 8 bytes of signature, 25 of IHDR.
    let (start, end) = lying.split_at(33);
    let turned = [start, &chunk, end].concat();

    let first = server.post("/predict", &png).ok();
    assert_eq!(first["cached"], false);
    for (name, file) in [
        ("BMP", encode(&picture, ImageFormat::Bmp)),
        ("WebP", encode(&picture, ImageFormat::WebP)),
        ("PNG with a comment", commented),
        ("PNG on its side", turned),
    ] {
        let again = server.post("/predict", &file).ok();
        assert_eq!(again["cached"], true, "{name}");
        assert_eq!(again["predictions"], first["predictions"], "{name}");
        // Its file is known from now on.
        server.post("/predict", &file).ok();
    }
    let name = "dermal_cache_lookups_total{level=\"memory_pixels\",result=\"hit\"}";
    assert_eq!(server.metric(name), 4.0);
    let name = "dermal_cache_lookups_total{level=\"memory_file\",result=\"hit\"}";
    assert_eq!(server.metric(name), 4.0);
    assert_eq!(server.metric("dermal_photos_total"), 1.0);
    // One pixel is another picture.
    let mut other = picture.clone();
    other.get_pixel_mut(3, 5).0[1] ^= 1;
    let other = encode(&other, ImageFormat::Png);
    assert_eq!(server.post("/predict", &other).ok()["cached"], false);
}

/// The check of a PNG chunk (PNG specification, annex D), bit by bit.
fn png_crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
