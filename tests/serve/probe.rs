//! `dermal probe` against real servers, and against addresses without one.

use std::io::Write;
use std::process::{Command, Output};

use serde_json::Value;

use super::{Server, repo};

fn probe(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dermal"))
        .arg("probe")
        .args(args)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

#[test]
fn a_healthy_server_is_found_healthy() {
    let server = Server::start(&[]);
    let url = format!("http://{}/", server.address);
    let photos = repo("fixtures/images");
    let args = [
        &url,
        "--requests",
        "6",
        "--json",
        "--images",
        photos.to_str().unwrap(),
    ];
    let args = [&args[..], &["--minutes", "0.1", "--rps", "5"]].concat();
    let output = probe(&args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["healthy"], true);
    let facts = &report["facts"];
    assert_eq!(
        (
            &facts["sequential"]["answered"],
            &facts["parallel"]["answered"]
        ),
        (&6.into(), &6.into())
    );
    assert_eq!(facts["heat_map"], "present");
    assert!(facts["memory_after"]["rss_bytes"].as_u64().unwrap() > 0);
    let soaked = facts["soak"]["series"]["answered"].as_u64().unwrap();
    assert!((5..=31).contains(&soaked), "{soaked}");
    // The server counted the same: no photo came from its cache.
    let answered = 12 + 1 + soaked;
    let counted = server.metric("dermal_requests_total{route=\"/predict\",status=\"200\"}");
    assert_eq!(counted, answered as f64);
    assert_eq!(server.metric("dermal_cache_hits_total"), 0.0);
}

#[test]
fn an_unhealthy_server_is_told_from_one_that_is_not_there() {
    let locked = Server::with_env(&[], &[("DERMAL_API_KEYS", "only-with-this")]);
    let url = format!("http://{}", locked.address);
    let output = probe(&[&url, "--requests", "2"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("FAILED") && text.contains("status 401"),
        "{text}"
    );
    let output = probe(&[&url, "--requests", "2", "--api-key", "only-with-this"]);
    assert_eq!(output.status.code(), Some(0));

    let mut damaged = tempfile::NamedTempFile::new().unwrap();
    damaged.write_all(b"not an artifact").unwrap();
    let unready = Server::unready(&[damaged.path().to_str().unwrap()], &[]);
    let url = format!("http://{}", unready.address);
    let output = probe(&[&url, "--requests", "1", "--patience", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("not within"));

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for (args, says) in [
        (&[nobody.as_str()][..], "does not answer"),
        (&["ftp://a"], "is not the URL of a server"),
        (
            &[nobody.as_str(), "--images", "/nonexistent"],
            "cannot read folder `/nonexistent`",
        ),
        (
            &[nobody.as_str(), "--images", "Cargo.toml"],
            "cannot read folder `Cargo.toml`",
        ),
    ] {
        let output = probe(&[args, &["--patience", "0.1"]].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(says) && text.contains("hint: "), "{text}");
    }
}
