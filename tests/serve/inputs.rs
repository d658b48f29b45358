//! Requests as programs and people really send them: forms of every kind, base64 in every form,
//! bodies that are not photos, variables that a platform sets wrongly.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Reply, Server, photo, predicted};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const INFER: &str = "/v2/models/demo/infer";

/// Most characters of a request that an error repeats, and room for its own words.
const MAX_ERROR_BYTES: usize = 600;

/// A form whose parts have these headers and contents.
fn form(server: &Server, parts: &[(&str, &[u8])]) -> Reply {
    const BOUNDARY: &str = "----WebKitFormBoundaryx7";
    let mut body = Vec::new();
    for (head, content) in parts {
        body.extend(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").as_bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    server.request("POST", "/predict", &[("content-type", &kind)], &body)
}

#[test]
fn a_photo_may_be_in_a_form_field_of_any_name() {
    let server = Server::start(&["--cache", "0"]);
    let bytes = photo("nv_00.jpg");
    let expected = predicted("nv_00.jpg", &[])["predictions"].clone();
    let names = [
        "image",
        "file",
        "photo",
        "img",
        "picture",
        "upload",
        "files",
        "file[]",
        "File",
        "IMAGE",
        "data",
        "lesion photo",
        "f%22x",
        "caf\u{e9}",
        "top",
    ];
    for name in names {
        let head = format!(
            "Content-Disposition: form-data; name=\"{name}\"; filename=\"IMG_0001.JPG\"\r\n\
             Content-Type: image/jpeg"
        );
        let answer = form(&server, &[(&head, &bytes)]).ok();
        assert_eq!(answer["predictions"], expected, "{name}");
    }
    for head in [
        // Without a file name, as `curl -F 'photo=<x.jpg'` and some libraries send it.
        "Content-Disposition: form-data; name=\"photo\"",
        "Content-Disposition: form-data; name=image",
        "Content-Disposition: form-data; name=\"photo\"\r\nContent-Type: image/jpeg",
        // The name comes last, and the file name looks like parameters.
        "Content-Disposition: form-data; filename=\"a;name=x.png\"; name=\"image\"",
        "Content-Disposition: form-data; filename=\"a\\\"; name=\\\"x.png\"; name=\"image\"",
        "content-disposition: Form-Data; NAME=\"photo\"; filename*=UTF-8''h%C3%A9.jpg",
        "Content-Type: application/octet-stream\r\n\
         Content-Disposition: form-data; name=\"photo\"; filename=\"\"",
    ] {
        let answer = form(&server, &[(head, &bytes)]).ok();
        assert_eq!(answer["predictions"], expected, "{head}");
    }
    // A camera and a gallery field side by side, one of them left empty, with options around them.
    let file =
        |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"x\"");
    let text = |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"");
    let (camera, gallery, top) = (file("camera"), file("gallery"), text("top"));
    for parts in [
        [(&camera, &b""[..]), (&gallery, &bytes), (&top, b"2")],
        [(&top, b"2"), (&camera, &bytes), (&gallery, b"")],
        // A client that gives every part a file name.
        [(&file("top"), b"2"), (&camera, b""), (&gallery, &bytes)],
    ] {
        let parts = parts.map(|(head, content)| (head.as_str(), content));
        let answer = form(&server, &parts).ok();
        assert_eq!(answer["predictions"].as_array().unwrap().len(), 2);
        assert_eq!(answer["predictions"][0], expected[0]);
    }
    // As a canvas encodes it.
    let url = format!("data:image/jpeg;base64,{}", STANDARD.encode(&bytes));
    let answer = form(&server, &[(&text("image"), url.as_bytes())]).ok();
    assert_eq!(answer["predictions"], expected);
}

#[test]
fn forms_without_one_photo_are_refused_by_the_names_of_their_fields() {
    let server = Server::start(&[]);
    let bytes = photo("nv_00.jpg");
    let file =
        |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"x\"");
    let text = |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"");
    let long = "n".repeat(5000);
    let much = vec![b'a'; 5000];
    for (parts, status, kind, says) in [
        (
            vec![(file("camera"), &bytes[..]), (file("gallery"), &bytes)],
            400,
            "several_photos",
            "`camera` and `gallery`",
        ),
        (
            vec![(file("files[]"), &bytes), (file("files[]"), &bytes)],
            400,
            "several_photos",
            "several files in field `files[]`",
        ),
        (
            vec![(file("photo"), b"")],
            400,
            "empty_file",
            "`photo` is empty",
        ),
        (vec![(text("top"), b"1")], 400, "photo_missing", "no photo"),
        (
            vec![(file("photo"), b"some notes")],
            415,
            "not_a_photo",
            "not a photo",
        ),
        (
            vec![(text("notes"), &much)],
            400,
            "field_too_long",
            "`notes` has more than 4096",
        ),
        (
            vec![(text("site"), b"a text that ends badly \xff\xfe")],
            400,
            "bad_option",
            "`site` is not UTF-8",
        ),
        (
            vec![(text(&long), b"1"), (file("photo"), &bytes)],
            400,
            "name_too_long",
            "more than 256 bytes",
        ),
    ] {
        let parts: Vec<_> = parts.iter().map(|(h, c)| (h.as_str(), *c)).collect();
        let reply = form(&server, &parts);
        assert_eq!(reply.refused(status), kind);
        let message = reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains(says), "{message}");
        assert!(reply.body.len() < MAX_ERROR_BYTES, "{}", reply.text());
    }
}

#[test]
fn base64_is_taken_as_programs_write_it() {
    let server = Server::start(&["--cache", "0"]);
    let bytes = photo("nv_00.jpg");
    let expected = predicted("nv_00.jpg", &[])["predictions"].clone();
    let standard = STANDARD.encode(&bytes);
    let lines = |width: usize, end: &str| {
        let mut text = String::new();
        for line in standard.as_bytes().chunks(width) {
            text.push_str(std::str::from_utf8(line).unwrap());
            text.push_str(end);
        }
        text
    };
    for (what, text) in [
        ("base64 photo.jpg", lines(76, "\n")),
        ("MIME", lines(76, "\r\n")),
        ("PEM", lines(64, "\n")),
        ("a new line at the end", format!("{standard}\n")),
        ("blanks around it", format!(" \t{standard} ")),
        ("URL-safe", URL_SAFE.encode(&bytes)),
        ("URL-safe, unpadded", URL_SAFE_NO_PAD.encode(&bytes)),
        ("unpadded", standard.trim_end_matches('=').to_owned()),
        ("data URL", format!("data:image/jpeg;base64,{standard}")),
        (
            "data URL in lines",
            format!("data:image/jpeg;base64,\n{}", lines(76, "\n")),
        ),
        (
            "data URL with a name",
            format!("data:image/jpeg;name=a.jpg;base64,{standard}"),
        ),
        (
            "data URL in capitals",
            format!("DATA:IMAGE/JPEG;BASE64,{standard}"),
        ),
    ] {
        let body = json!({ "image": text }).to_string();
        let reply = server.request("POST", "/predict", &JSON, body.as_bytes());
        assert_eq!(reply.ok()["predictions"], expected, "{what}");
    }
    let body = json!({"inputs": [
        {"name": "image", "shape": [1], "datatype": "BYTES", "data": [lines(76, "\n")]}
    ]});
    let reply = server.request("POST", INFER, &JSON, body.to_string().as_bytes());
    assert_eq!(reply.ok()["outputs"][1]["data"][0], expected[0]["class"]);
    for text in ["@nv_00.jpg", "{}", "/9j/4AAQ*", "A", "data:image/jpeg,abc"] {
        let body = json!({ "image": text }).to_string();
        let reply = server.request("POST", "/predict", &JSON, body.as_bytes());
        assert_eq!(reply.refused(400), "bad_base64", "{text}");
    }
}

/// Longest run of one letter in a text: the part of a body full of that letter that an error
/// repeats.
fn longest_run(text: &str, letter: char) -> usize {
    let runs = text.split(|c| c != letter);
    runs.map(str::len).max().unwrap_or(0)
}

#[test]
fn no_error_repeats_more_than_the_beginning_of_a_request() {
    let server = Server::start(&[]);
    let long = "A".repeat(4_000_000);
    let short = "A".repeat(3000);
    let image = STANDARD.encode(photo("nv_00.jpg"));
    let tensor = |more: &str| {
        format!(
            "{{\"inputs\":[{{\"name\":\"image\",\"shape\":[1],\"datatype\":\"BYTES\",{more}}}]}}"
        )
    };
    for (target, body) in [
        ("/predict", format!("\"{long}\"")),
        ("/predict", format!("[\"{long}\"]")),
        ("/predict", long.clone()),
        ("/predict", format!("{{\"{long}\":1,\"image\":\"\"}}")),
        ("/predict", format!("{{\"image\":{{\"{long}\":1}}}}")),
        ("/predict", format!("{{\"image\":\"*{long}\"}}")),
        (
            "/predict",
            format!("{{\"image\":\"\",\"top\":\"{short}\"}}"),
        ),
        (
            "/predict",
            format!("{{\"image\":\"\",\"fields\":\"{long}\"}}"),
        ),
        (
            "/predict",
            format!("{{\"image\":\"\",\"fields\":{{\"{long}\":1}}}}"),
        ),
        (
            "/predict",
            format!("{{\"image\":\"\",\"inputs\":\"{long}\"}}"),
        ),
        (
            "/predict",
            format!("{{\"image\":\"\",\"inputs\":{{\"v\":\"{long}\"}}}}"),
        ),
        (
            "/predict",
            format!("{{\"image\":\"\",\"inputs\":{{\"v\":[\"{long}\"]}}}}"),
        ),
        (
            "/predict",
            format!("{{\"image\":\"\",\"inputs\":{{\"{long}\":[1]}}}}"),
        ),
        (
            "/predict",
            format!("{{\"image\":\"{image}\",\"gradcam\":1,\"class\":\"{short}\"}}"),
        ),
        (
            "/predict",
            format!(
                "{{\"image\":\"{image}\",\"fields\":{{\"{}\":\"{short}\"}}}}",
                &short[..250]
            ),
        ),
        ("/jobs", format!("\"{long}\"")),
        (INFER, format!("\"{long}\"")),
        (INFER, format!("{{\"inputs\":\"{long}\"}}")),
        (INFER, format!("{{\"inputs\":[\"{long}\"]}}")),
        (
            INFER,
            format!("{{\"inputs\":[],\"parameters\":\"{long}\"}}"),
        ),
        (INFER, tensor(&format!("\"data\":{{\"{long}\":1}}"))),
        (INFER, tensor(&format!("\"data\":[\"*{long}\"]"))),
        (
            INFER,
            tensor(&format!(
                "\"parameters\":{{\"binary_data_size\":\"{long}\"}}"
            )),
        ),
        (
            INFER,
            format!(
                "{{\"inputs\":[{{\"name\":\"{long}\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[1]}}]}}"
            ),
        ),
        (
            INFER,
            format!(
                "{{\"inputs\":[{{\"name\":\"image\",\"shape\":[\"{long}\"],\"datatype\":\"{long}\"}}]}}"
            ),
        ),
        (
            INFER,
            format!(
                "{{\"inputs\":[{{\"name\":\"image\",\"shape\":[1],\"datatype\":\"{long}\",\"data\":[1]}}]}}"
            ),
        ),
        (
            INFER,
            format!("{{\"inputs\":[],\"parameters\":{{\"{long}\":1}}}}"),
        ),
    ] {
        let reply = server.request("POST", target, &JSON, body.as_bytes());
        let beginning: String = body.chars().take(60).collect();
        assert!(
            (400..500).contains(&reply.status),
            "{beginning}: {}",
            reply.status
        );
        let text = reply.text();
        assert!(
            text.len() < MAX_ERROR_BYTES,
            "{beginning}: {} bytes",
            text.len()
        );
        assert!(longest_run(&text, 'A') <= 80, "{beginning}: {text}");
    }
    for target in [
        format!("/predict?{short}=1"),
        format!("/predict?top={short}"),
        format!("/predict?method={short}"),
        format!("/predict?age={short}"),
        format!("/predict?input.v={short}"),
        format!("/predict?input.{short}=1"),
        format!("/predict?gradcam=1&class={short}"),
        format!("/jobs/{short}"),
        format!("/v2/models/{short}"),
        format!("/{short}"),
    ] {
        let bytes = photo("nv_00.jpg");
        let method = if target.starts_with("/predict") {
            "POST"
        } else {
            "GET"
        };
        let headers = [("content-type", "image/jpeg")];
        let reply = server.request(method, &target, &headers, &bytes);
        assert!(
            (400..500).contains(&reply.status),
            "{}: {}",
            &target[..20],
            reply.status
        );
        let text = reply.text();
        assert!(text.len() < MAX_ERROR_BYTES, "{}: {text}", &target[..20]);
        assert!(longest_run(&text, 'A') <= 80, "{text}");
    }
    let reply = server.request(&"A".repeat(3000), "/predict", &[], b"");
    assert!(reply.body.len() < MAX_ERROR_BYTES, "{}", reply.text());
    // The error about base64 in quotes, a common mistake, says what to send.
    let body = Value::from(image).to_string();
    let reply = server.request("POST", "/predict", &JSON, body.as_bytes());
    assert_eq!(reply.refused(400), "bad_json");
    assert!(
        reply
            .text()
            .contains("expected an object with the photo in `image`"),
        "{}",
        reply.text()
    );
    assert!(!server.log_text().contains(&"A".repeat(81)));
}

/// The message of `dermal serve` when it refuses these variables.
fn refused_with(env: &[(&str, &str)], args: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dermal"))
        .arg("serve")
        .args(args)
        .env_remove("PORT")
        .env("NO_COLOR", "1")
        .envs(env.iter().copied())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{env:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn variables_are_named_and_empty_ones_are_not_set() {
    let server = Server::with_env(
        &[],
        &[
            ("PORT", ""),
            ("DERMAL_QUEUE", ""),
            ("DERMAL_BUDGET", ""),
            ("DERMAL_MAX_UPLOAD", ""),
            ("DERMAL_API_KEYS", ""),
            ("DERMAL_REDIS", ""),
            ("DERMAL_LOG_LEVEL", ""),
            ("PRELOAD_MODEL", ""),
            ("ENABLE_GRADCAM", ""),
        ],
    );
    server.post("/predict", &photo("nv_00.jpg")).ok();
    for (name, value, says) in [
        ("PORT", "\"8080\"", "the quotes are part of the value"),
        ("PORT", "'8080'", "the quotes are part of the value"),
        ("PORT", "$PORT", "no shell replaced `$PORT`"),
        ("PORT", "${PORT:-8080}", "no shell replaced `${PORT:-8080}`"),
        ("PORT", "http", "expected a number from 0 to 65535"),
        ("PORT", "80800", "expected a number from 0 to 65535"),
        ("PORT", "8080,8081", "expected a number from 0 to 65535"),
        (
            "DERMAL_BIND",
            "0.0.0.0:$PORT",
            "no shell replaced `0.0.0.0:$PORT`",
        ),
        ("DERMAL_BUDGET", "$MEMORY", "no shell replaced `$MEMORY`"),
        ("DERMAL_QUEUE", "many", "expected 1 to 100000"),
        ("PRELOAD_MODEL", "maybe", "expected true or false"),
        (
            "DERMAL_LOG_LEVEL",
            "loud",
            "expected error, warn, info, debug",
        ),
        (
            "DERMAL_MODEL",
            "",
            "DERMAL_MODEL (environment variable) is empty",
        ),
    ] {
        let text = refused_with(&[(name, value)], &[]);
        let named = format!("{name} (environment variable)");
        assert!(
            text.contains(&named) && text.contains(says),
            "{name}={value}: {text}"
        );
        assert!(text.contains("\nhint: "), "{text}");
    }
    // An error about the command line does not name the variable.
    let text = refused_with(&[("PORT", "8080")], &["--port", "x"]);
    assert!(
        text.contains("--port") && !text.contains("environment"),
        "{text}"
    );
    let text = refused_with(&[("PORT", &"9".repeat(3000))], &[]);
    assert!(text.len() < MAX_ERROR_BYTES, "{text}");
}
