//! The web page in a real browser: headless Chromium, controlled by `scripts/page_test.py` in the
//! environment that `scripts/setup-browser.sh` makes.

use super::*;

#[test]
fn a_person_classifies_a_photo_on_the_page() {
    let python = repo(".cache/browser/bin/python");
    if !python.exists() || !Path::new("/usr/bin/chromium").exists() {
        println!("SKIPPED: there is no browser (scripts/setup-browser.sh)");
        return;
    }
    let server = Server::start(&[]);
    let url = format!("http://{}/", server.address);
    let output = Command::new(python)
        .arg(repo("scripts/page_test.py"))
        .arg(&url)
        .arg(repo("fixtures/images/mel_05.jpg"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{}", server.log_text());
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();

    assert_eq!(seen["title"], "Most probable: mel, 99.8 %");
    let rows = seen["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 7);
    assert_eq!(rows[0], serde_json::json!(["mel", "99.8 %"]));
    // The heat map lies over the photo: both have its proportions.
    let size = |name: &str| {
        let [w, h] = [0, 1].map(|i| seen[name][i].as_f64().unwrap());
        w / h
    };
    assert!((size("photo") - size("map")).abs() < 0.01, "{seen}");
    assert_eq!(seen["opacity"], serde_json::json!(["0.45", "1"]));
    assert_eq!(seen["second_map"], "Heat map for nv");
    assert!(
        seen["card"].as_str().unwrap().contains("demo@0.1.0"),
        "{seen}"
    );
    let no_photo = seen["no_photo"].as_str().unwrap();
    assert!(
        no_photo.starts_with("This file is not a photo"),
        "{no_photo}"
    );
    for nothing in ["unnamed", "console"] {
        assert_eq!(seen[nothing], serde_json::json!([]), "{nothing}");
    }
    // The page loads nothing from other servers.
    for request in seen["requests"].as_array().unwrap() {
        let request = request.as_str().unwrap();
        let own = ["blob:", "data:", &url];
        assert!(
            own.iter().any(|start| request.starts_with(start)),
            "{request}"
        );
    }
    // A phone in Vietnam.
    assert_eq!(seen["vi_lang"], "vi");
    assert_eq!(seen["vi_title"], "Khả năng cao nhất: mel, 99.8 %");
    assert_eq!(seen["vi_overflow"], 0);
    assert_eq!(seen["switched"], seen["title"]);
}
