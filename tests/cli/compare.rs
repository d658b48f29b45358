//! `dermal compare`.

use super::*;

fn demo() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let demo = root.join("models/demo.safetensors");
    demo.to_str().unwrap().to_owned()
}

fn compare(models: &[&str], args: &[&str]) -> Ran {
    let table = fixture("labels.csv").to_str().unwrap().to_owned();
    let given = ["compare"].iter().chain(models).copied();
    let fixtures = ["--fixtures", &table];
    dermal(given.chain(fixtures).chain(args.iter().copied()))
}

#[test]
fn one_model_is_judged_alone() {
    let ran = compare(&[&demo()], &["--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let json = ran.json();
    assert_eq!(json["schema_version"], 1);
    assert_eq!(json["photos"], 210);
    assert_eq!(json["comparison"], Value::Null);
    let model = &json["models"][0];
    // The model's card has the same count.
    let top1 = model["evaluation"]["top1"]["value"].as_f64().unwrap();
    assert!((top1 - 201.0 / 210.0).abs() < 1e-12, "{top1}");
    let confusion = model["evaluation"]["confusion"].as_array().unwrap();
    let rows = confusion.iter().flat_map(|row| row.as_array().unwrap());
    assert_eq!(rows.map(|n| n.as_u64().unwrap()).sum::<u64>(), 210);
    assert!(model["peak_rss_bytes"].as_u64().unwrap() > 4 << 20);
    assert!(model["latency_ms"].as_f64().unwrap() > 0.0);
    let shown = compare(&[&demo()], &[]);
    assert!(
        shown.stdout.starts_with("210 photos from "),
        "{}",
        shown.stdout
    );
    for part in ["95.7 % (92.1 to 97.7)", "balanced accuracy", "vasc"] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
}

#[test]
fn the_same_model_twice_is_equivalent_where_there_are_photos_enough() {
    let demo = demo();
    let twice = [demo.as_str(), &demo];
    // 210 photos without a difference rule out a loss of 1.3 points.
    let enough = compare(&twice, &["--margin", "2pp", "--json"]);
    assert_eq!(enough.code, Some(0), "{}", enough.stderr);
    let json = enough.json();
    let found = &json["comparison"];
    assert_eq!(found["verdict"], "equivalent");
    assert_eq!(found["mcnemar_p"], 1.0);
    assert_eq!(found["agreement"]["value"], 1.0);
    assert_eq!(found["drift"]["max_abs_dp"], 0.0);
    assert_eq!(json["flips"].as_array().unwrap().len(), 0);
    assert_eq!(json["heat_maps"]["photos"], 16);
    assert!(json["heat_maps"]["worst_correlation"].as_f64().unwrap() > 0.999_999);

    let few = compare(&twice, &["--margin", "1pp"]);
    assert_eq!(few.code, Some(3), "{}", few.stderr);
    assert!(
        few.stdout.contains("no photo changed its class"),
        "{}",
        few.stdout
    );
    let last = few.stdout.lines().last().unwrap();
    assert!(last.starts_with("Cannot tell: "), "{last}");
    assert!(last.contains("it would need about 270 images"), "{last}");
    let allowed = compare(&twice, &["--margin", "1pp", "--allow-inconclusive"]);
    assert_eq!(allowed.code, Some(0), "{}", allowed.stderr);
}

/// The demo model with two of its labels swapped: its bcc is a bkl.
fn mislabelled(folder: &Path) -> String {
    let path = folder.join("mislabelled.safetensors");
    let bytes = std::fs::read(demo()).unwrap();
    // Of equal lengths, so that every offset in the file stays.
    let (a, b): (&[u8], &[u8]) = (b"\\\"bcc\\\"", b"\\\"bkl\\\"");
    let mut out = Vec::with_capacity(bytes.len());
    while let Some(&byte) = bytes.get(out.len()) {
        match &bytes[out.len()..] {
            rest if rest.starts_with(a) => out.extend(b),
            rest if rest.starts_with(b) => out.extend(a),
            _ => out.push(byte),
        }
    }
    std::fs::write(&path, out).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn classes_meet_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let turned = mislabelled(folder.path());
    let ran = compare(&[&demo(), &turned], &["--json"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let json = ran.json();
    // Every bcc is now called bkl: 30 photos of each are lost, except for those already wrong.
    let table = &json["comparison"]["table"];
    let lost = table["right_to_wrong"].as_u64().unwrap();
    assert!((50..=60).contains(&lost), "{table}");
    assert_eq!(json["comparison"]["verdict"], "worse");
    for flip in json["flips"].as_array().unwrap() {
        let pair = [
            flip["base"].as_str().unwrap(),
            flip["candidate"].as_str().unwrap(),
        ];
        assert!(pair == ["bcc", "bkl"] || pair == ["bkl", "bcc"], "{flip}");
    }
}

#[test]
fn a_report_has_plots_and_the_photos_that_changed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let table = at("some.csv");
    // Ten photos of each of two classes, with a column to group by.
    let images = fixture("images");
    let mut text = "file,label,eye\n".to_owned();
    for (i, class) in (0..10).flat_map(|i| [(i, "bcc"), (i, "bkl")]) {
        let file = images.join(format!("{class}_{i:02}.jpg"));
        let eye = if i % 2 == 0 { "left" } else { "" };
        text.push_str(&format!("{},{class},{eye}\n", file.display()));
    }
    std::fs::write(&table, text).unwrap();
    let other = mislabelled(folder.path());
    let (html, markdown) = (at("report.html"), at("report.md"));
    for report in [&html, &markdown] {
        let demo = demo();
        let ran = dermal([
            "compare",
            &demo,
            &other,
            "--fixtures",
            &table,
            "--group",
            "eye",
            "--report",
            report,
        ]);
        assert_eq!(ran.code, Some(1), "{} {}", ran.stdout, ran.stderr);
        for part in ["(unknown)", "loses more than the margin\n"] {
            assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
        }
    }
    let page = std::fs::read_to_string(html).unwrap();
    for part in [
        "<svg",
        "data:image/jpeg;base64,",
        "By eye",
        "Confusion",
        "Worse: ",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let text = std::fs::read_to_string(markdown).unwrap();
    assert!(text.contains("| base | candidate |"), "{text}");
    assert!(!text.contains("<svg"), "{text}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let demo = demo();
    compare(&[&demo, "no-such-file"], &[]).refuses(&["cannot load model `no-such-file`"]);
    compare(&[&demo], &["--report", &at("a.pdf")]).refuses(&["cannot tell the format", ".html"]);
    compare(&[&demo], &["--report", &at("no/a.html")]).refuses(&["a.html"]);
    compare(&[&demo, &demo], &["--group", "sex"]).refuses(&["`sex`"]);
    compare(&[&demo], &["--where", "label=x"]).refuses(&["none of 210 rows"]);
    compare(&[&demo], &["--input", "age=1"]).refuses(&["`age`"]);
    let ran = dermal(["compare", &demo, "--fixtures", &at("none")]);
    ran.refuses(&["cannot use the photos of"]);
    let empty = at("empty");
    std::fs::create_dir(&empty).unwrap();
    dermal(["compare", &demo, "--fixtures", &empty]).refuses(&["has no photos"]);
    assert_eq!(listing(folder.path()), ["empty"]);
}

#[test]
fn photos_that_cannot_be_read_are_named_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    for (i, class) in ["nv", "mel"].into_iter().enumerate() {
        let own = folder.path().join(class);
        std::fs::create_dir(&own).unwrap();
        std::fs::copy(photo(&format!("{class}_00.jpg")), own.join("a.jpg")).unwrap();
        if i == 0 {
            std::fs::write(own.join("b.jpg"), b"not a photo").unwrap();
        }
    }
    let given = [
        "compare",
        &demo(),
        "--fixtures",
        folder.path().to_str().unwrap(),
    ];
    dermal(given).refuses(&["b.jpg", "--max-bad"]);
    let ran = dermal(given.iter().chain(&["--max-bad", "1"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("b.jpg"), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("2 photos from "), "{}", ran.stdout);
    assert!(ran.stdout.contains("1 left out"), "{}", ran.stdout);
}
