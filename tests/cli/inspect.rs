//! `dermal inspect`.

use super::dermal;

#[test]
fn the_embedded_model_is_described() {
    let ran = dermal(["inspect"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for field in ["input", "labels", "parameters", "multiply-adds", "arena"] {
        assert!(ran.stdout.contains(field), "{field}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains("stem_conv"), "no layers unless asked");
    let layers = dermal(["inspect", "--layers"]).stdout;
    assert!(layers.contains("stem_conv") && layers.len() > ran.stdout.len());
}

#[test]
fn json_counts_and_layers_add_up() {
    let ran = dermal(["inspect", "--json", "--layers"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report = ran.json();
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["labels"].as_array().unwrap().len(), 7);
    let layers = report["layers"].as_array().unwrap();
    let sum = |field: &str| -> u64 { layers.iter().map(|l| l[field].as_u64().unwrap()).sum() };
    assert_eq!(report["parameters"].as_u64().unwrap(), sum("parameters"));
    assert_eq!(report["macs"].as_u64().unwrap(), sum("macs"));
    assert!(dermal(["inspect", "--json"]).json().get("layers").is_none());
}

#[test]
fn what_is_no_artifact_is_named() {
    let keras = super::fixture("import/nested.keras");
    dermal(["inspect", keras.to_str().unwrap()]).refuses(&[
        "a zip file",
        "hint: ",
        "dermal import",
    ]);
    dermal(["inspect", "no-such.safetensors"]).refuses(&["no-such.safetensors"]);
}
