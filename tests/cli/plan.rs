//! `dermal inspect --plan`.

use serde_json::Value;

use super::{dermal, fixture};

/// An artifact whose nodes have long names.
fn nested(folder: &std::path::Path) -> String {
    let out = folder.join("m.safetensors").to_str().unwrap().to_owned();
    let source = fixture("import/nested.keras");
    let ran = dermal(["import", source.to_str().unwrap(), "-o", &out]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    out
}

#[test]
fn no_two_values_that_live_at_the_same_time_share_memory() {
    let folder = tempfile::tempdir().unwrap();
    let nested = nested(folder.path());
    for model in [&[][..], &[nested.as_str()]] {
        let ran = dermal(["inspect", "--plan", "--json"].iter().chain(model));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let report = ran.json();
        assert_eq!(report["schema_version"], 1);
        let number = |value: &Value| value.as_u64().unwrap();
        let steps = report["steps"].as_array().unwrap();
        let values = report["values"].as_array().unwrap();
        let arena = number(&report["arena_bytes"]);
        // Inputs live from before the first step, kept values to the end.
        let first = |v: &Value| v["first_step"].as_i64().unwrap_or(-1);
        let last = |v: &Value| v["last_step"].as_i64().unwrap_or(i64::MAX);
        let place = |v: &Value| {
            let start = number(&v["offset_bytes"]);
            start..start + number(&v["size_bytes"])
        };
        for (i, a) in values.iter().enumerate() {
            assert!(place(a).end <= arena, "{a}");
            assert!(first(a) <= last(a), "{a}");
            if let Some(step) = a["first_step"].as_u64() {
                assert_eq!(a["node"], steps[usize::try_from(step).unwrap()], "{a}");
            }
            for b in &values[i + 1..] {
                let (x, y) = (place(a), place(b));
                let meet = x.start < y.end && y.start < x.end;
                // A value that is made in place may begin when its input ends.
                let together = if b["in_place"] == true {
                    first(b) < last(a)
                } else {
                    first(b) <= last(a)
                };
                assert!(!(meet && together && first(a) <= last(b)), "{a} and {b}");
            }
        }
        let worst = report["worst_step"].as_i64().unwrap();
        let alive = |v: &&Value| first(v) <= worst && worst <= last(v);
        let live: u64 = values
            .iter()
            .filter(alive)
            .map(|v| number(&v["size_bytes"]))
            .sum();
        assert!(live >= number(&report["worst_live_bytes"]) / 2, "{live}");
        let kept: Vec<_> = values.iter().filter(|v| v["last_step"].is_null()).collect();
        assert_eq!(kept.len(), 1, "only the answer stays: {kept:?}");
    }
    let inspected = dermal(["inspect", "--json"]).json();
    let planned = dermal(["inspect", "--plan", "--json"]).json();
    assert_eq!(inspected["arena"]["bytes"], planned["arena_bytes"]);
    assert_eq!(
        inspected["arena"]["worst_live_bytes"],
        planned["worst_live_bytes"]
    );
}

#[test]
fn the_table_fits_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let nested = nested(folder.path());
    for model in [&[][..], &[nested.as_str()]] {
        let text = dermal(["inspect", "--plan"].iter().chain(model)).stdout;
        let table = text.split("\n\n").nth(1).unwrap();
        assert!(table.starts_with("step  value"), "{text}");
        for line in table.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let json = dermal(["inspect", "--plan", "--json"].iter().chain(model)).json();
        let values = json["values"].as_array().unwrap();
        // A title, the values, and the note.
        assert_eq!(table.lines().count(), values.len() + 1, "{table}");
    }
}

#[test]
fn plan_and_layers_are_asked_for_one_at_a_time() {
    let ran = dermal(["inspect", "--plan", "--layers"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("'--layers'"), "{}", ran.stderr);
}
