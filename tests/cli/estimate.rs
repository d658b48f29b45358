//! `dermal estimate`: the arithmetic as a report, exit codes, platforms.

use super::{dermal, fixture};

#[test]
fn terms_add_up_and_the_verdict_is_the_exit_status() {
    for (budget, verdict, code) in [("1GB", "fits", 0), ("50MB", "does_not_fit", 1)] {
        let ran = dermal(["estimate", "--json", "--budget", budget]);
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        let document = ran.json();
        assert_eq!(document["limit"]["verdict"], verdict);
        for state in document["states"].as_array().unwrap() {
            let terms = state["terms"].as_array().unwrap().iter();
            let sum: u64 = terms.map(|term| term["bytes"].as_u64().unwrap()).sum();
            assert_eq!(state["charged_bytes"], sum);
        }
        // 12 megapixels are 36 MB; only one of the four photos is decoded at a time.
        assert!(document["peak"]["charged_bytes"].as_u64().unwrap() > 36_000_000);
    }
}

#[test]
fn a_tenth_of_a_cpu_takes_ten_times_as_long() {
    let free = dermal([
        "estimate",
        "--json",
        "--platform",
        "render-free",
        "--threads",
        "1",
    ]);
    let document = free.json();
    let latency = &document["latency_ms"];
    let ratio = latency["there"].as_f64().unwrap() / latency["here"].as_f64().unwrap();
    assert!((9.0..11.0).contains(&ratio), "{latency}");
    assert_eq!(document["limit"]["bytes"], 512_000_000);
}

#[test]
fn smaller_loads_need_less() {
    let ran = dermal(["estimate", "--json", "--budget", "512MB"]);
    let document = ran.json();
    let rows = document["what_if"].as_array().unwrap();
    let peak = |row: &serde_json::Value| row["peak_bytes"].as_u64().unwrap();
    assert_eq!(rows[0]["change"], "as it is");
    assert!(rows.len() >= 4);
    assert!(
        rows[1..].iter().all(|row| peak(row) <= peak(&rows[0])),
        "{rows:#?}"
    );
}

#[test]
fn an_image_size_that_the_layers_allow_is_taken() {
    // The demo pools globally, so it works at any size.
    let ran = dermal(["estimate", "--image-size", "64"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("photos of 64 x 64"), "{}", ran.stdout);
}

#[test]
fn an_image_size_that_the_layers_fix_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    let (source, model) = (fixture("keras/head_softmax.keras"), model.to_str().unwrap());
    let source = source.to_str().unwrap();
    let ran = dermal(["import", source, "-o", model, "--preprocess", "raw"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // It flattens its map for a dense layer, whose weights fix the size of the map.
    let ran = dermal(["estimate", model, "--image-size", "64"]);
    ran.refuses(&["the model does not work on photos of 64 x 64"]);
}

#[test]
fn platforms_are_listed_with_their_doubts() {
    let ran = dermal(["estimate", "--platform", "list"]);
    assert_eq!(ran.code, Some(0));
    for part in [
        "render-free",
        "render-starter",
        "fly-512",
        "2026-08-18",
        "`?`",
    ] {
        assert!(
            ran.stdout.contains(part),
            "`{part}` is not in {}",
            ran.stdout
        );
    }
    let json = dermal(["estimate", "--platform", "list", "--json"]).json();
    for platform in json["platforms"].as_array().unwrap() {
        assert!(platform["source"].as_str().unwrap().len() > 10);
    }
}

#[test]
fn advice_is_cheapest_first_with_reasons() {
    let ran = dermal(["estimate", "--advise", "--json"]);
    let document = ran.json();
    let choices = document["choices"].as_array().unwrap();
    let usd = |i: usize| choices[i]["usd_per_month"].as_f64().unwrap();
    assert!((1..choices.len()).all(|i| usd(i - 1) <= usd(i)));
    let chosen = document["chosen"]
        .as_u64()
        .map(|i| usize::try_from(i).unwrap());
    let reasons = |choice: &serde_json::Value| choice["against"].as_array().unwrap().len();
    for cheaper in &choices[..chosen.unwrap_or(choices.len())] {
        assert!(reasons(cheaper) > 0, "{cheaper}");
    }
    assert!(chosen.is_none_or(|i| reasons(&choices[i]) == 0));
}
