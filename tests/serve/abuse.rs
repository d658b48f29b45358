//! Requests that no server should get: nothing crashes, slow clients are disconnected, others are served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Reply, Server, multipart, photo};

/// When such a connection must be closed: within ten seconds, and the machine may be busy.
const CLOSED: Duration = Duration::from_secs(18);

/// Waits until the server closes, sending `drip` every half second.
fn until_closed(stream: &mut TcpStream, drip: &[u8]) -> Duration {
    let started = Instant::now();
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut piece = [0; 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return started.elapsed(),
            Err(error)
                if !matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                return started.elapsed();
            }
            _ => {}
        }
        if started.elapsed() > CLOSED + Duration::from_secs(5) {
            return started.elapsed();
        }
        let _ = stream.write_all(drip);
    }
}

#[test]
fn slow_clients_are_closed_and_others_served() {
    let server = Server::start(&[]);
    let starts: [(&str, &[u8], &[u8]); 4] = [
        ("silent", b"", b""),
        ("slow header", b"POST /predict HTTP/1.1\r\nx-a: ", b"a"),
        (
            "slow body",
            b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/jpeg\r\ncontent-length: 100000\r\n\r\n",
            b"a",
        ),
        (
            "silent body",
            b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/jpeg\r\ncontent-length: 100000\r\n\r\nab",
            b"",
        ),
    ];
    std::thread::scope(|scope| {
        for (what, start, drip) in starts {
            let mut stream = server.connect();
            scope.spawn(move || {
                stream.write_all(start).unwrap();
                let took = until_closed(&mut stream, drip);
                assert!(took < CLOSED, "{what}: {took:?}");
            });
        }
        // A client that asks for a lot and takes nothing.
        let mut stream = server.connect();
        let server = &server;
        scope.spawn(move || {
            for _ in 0..4000 {
                let asked = b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n";
                stream
                    .set_write_timeout(Some(Duration::from_secs(15)))
                    .unwrap();
                if stream.write_all(asked).is_err() {
                    break;
                }
            }
            server.wait_until("it is closed", |s| {
                s.metric("dermal_requests_inside") == 0.0
            });
        });
        for i in 0..5 {
            server
                .post("/predict", &photo(&format!("nv_0{i}.jpg")))
                .ok();
        }
    });
    server.post("/predict", &photo("nv_00.jpg")).ok();
}

#[test]
fn idle_sockets_keep_no_client_out() {
    let server = Server::start(&["--max-connections", "200"]);
    // As many as this process may open, up to ten thousand.
    let mut sockets = Vec::new();
    while sockets.len() < 10_000 {
        match TcpStream::connect(server.address) {
            Ok(stream) => sockets.push(stream),
            Err(_) => break,
        }
        if sockets.len().is_multiple_of(1000) {
            server.post("/predict", &photo("nv_00.jpg")).ok();
        }
    }
    println!("{} idle sockets", sockets.len());
    assert!(sockets.len() > 400, "{}", sockets.len());
    // Leaves file descriptors for the test itself.
    sockets.truncate(sockets.len() - 10);
    let started = Instant::now();
    server.post("/predict", &photo("nv_01.jpg")).ok();
    assert!(started.elapsed() < Duration::from_secs(8));
    assert!(server.metric("dermal_connections_evicted_total") > 100.0);
    let rss = server.get("/memory").ok()["rss_mb"].as_f64().unwrap();
    assert!(rss < 60.0, "{rss} MB");
}

#[test]
fn requests_that_are_not_http_are_refused() {
    let server = Server::start(&[]);
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let path = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(100_000));
    for (what, bytes, allowed) in [
        (
            "two lengths",
            "POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
            &[400][..],
        ),
        (
            "length and chunks",
            "POST /predict HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: image/jpeg\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
            &[400, 415],
        ),
        (
            "negative length",
            "POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
            &[400],
        ),
        (
            "bad chunk",
            "POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/jpeg\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            &[400],
        ),
        ("no http", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", &[400, 0]),
        ("long header", &long, &[431, 400, 0]),
        ("many headers", &many, &[431, 400, 0]),
        ("long path", &path, &[414, 431, 400, 0]),
    ] {
        let ask = || {
            let mut stream = server.connect();
            let _ = stream.write_all(bytes.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            Reply::read(&mut stream)
        };
        let mut reply = ask();
        // If the server closes with bytes unread, the reset may arrive before the answer.
        for _ in 0..5 {
            if reply.status != 0 || allowed.contains(&0) {
                break;
            }
            reply = ask();
        }
        assert!(allowed.contains(&reply.status), "{what}: {}", reply.status);
    }
    server.post("/predict", &photo("nv_00.jpg")).ok();
}

#[test]
fn forms_that_lie_are_refused() {
    let server = Server::start(&[]);
    let bytes = photo("nv_00.jpg");
    let post = |kind: &str, body: &[u8]| {
        server.request("POST", "/predict", &[("content-type", kind)], body)
    };
    assert_eq!(post("multipart/form-data", &bytes).refused(400), "bad_form");
    assert_eq!(
        post("multipart/form-data; boundary=", &bytes).refused(400),
        "bad_form"
    );
    assert_eq!(
        post("multipart/form-data; boundary=x", &bytes).refused(400),
        "bad_form"
    );
    let (kind, body) = multipart(&[("image", &bytes)]);
    assert_eq!(
        post(&kind, &body[..body.len() - 40]).refused(400),
        "bad_form"
    );
    let parts: Vec<(&str, &[u8])> = (0..100_000).map(|_| ("a", &b"1"[..])).collect();
    let (kind, body) = multipart(&parts);
    let reply = post(&kind, &body);
    assert!([400, 413, 0].contains(&reply.status), "{}", reply.text());
    let long = vec![b'a'; 1 << 20];
    let (kind, body) = multipart(&[("age", &long), ("image", &bytes)]);
    assert_eq!(post(&kind, &body).refused(400), "field_too_long");
    let nested = "[".repeat(100_000);
    assert_eq!(
        post("application/json", nested.as_bytes()).refused(400),
        "bad_json"
    );
    let (kind, body) = multipart(&[("image", &bytes)]);
    post(&kind, &body).ok();
}

#[test]
fn damaged_photos_by_the_thousand_crash_nothing() {
    let server = Server::start(&["--cache", "0", "--queue", "64"]);
    let whole = photo("nv_00.jpg");
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (server, whole) = (&server, &whole);
            scope.spawn(move || {
                let mut state = 1 + thread;
                for _ in 0..300 {
                    let mut bytes = whole.clone();
                    for _ in 0..4 {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let at = state as usize % bytes.len();
                        bytes[at] = (state >> 11).to_le_bytes()[0];
                    }
                    if state & 0x300 == 0 {
                        bytes.truncate(state as usize % whole.len());
                    }
                    let reply = server.post("/predict", &bytes);
                    let fine = [200, 400, 413, 415, 422];
                    assert!(
                        fine.contains(&reply.status),
                        "{}: {}",
                        reply.status,
                        reply.text()
                    );
                }
            });
        }
    });
    assert!(!server.log_text().contains("panicked"));
    server.post("/predict", &whole).ok();
}
