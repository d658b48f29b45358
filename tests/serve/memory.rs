//! The process stays within its memory budget, however large the pictures are that clients ask for, however
//! slowly they take their answers, and whatever a body contains.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

const BUDGET_BYTES: u64 = 300_000_000;

/// Twelve megapixels that do not compress, in a file of 12 MB: a BMP of 256 random colours.
fn noise() -> Vec<u8> {
    let (width, height) = (4000_u32, 3000_u32);
    let mut state = 1_u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    let offset = 14 + 40 + 4 * 256;
    let mut file = b"BM".to_vec();
    for word in [offset + width * height, 0, offset, 40, width, height] {
        file.extend(word.to_le_bytes());
    }
    file.extend([1, 0, 8, 0]);
    for word in [0, width * height, 2835, 2835, 256, 0] {
        file.extend(word.to_le_bytes());
    }
    for _ in 0..256 {
        file.extend([random(), random(), random(), 0]);
    }
    file.extend((0..width * height).map(|_| random()));
    file
}

fn server(args: &[&str]) -> Server {
    let budget = BUDGET_BYTES.to_string();
    Server::start(&[&["--budget", &budget, "--max-upload", "13MB"], args].concat())
}

#[track_caller]
#[expect(clippy::print_stdout, reason = "figures to look at")]
fn is_within(server: &Server, budget: u64) {
    let memory = server.get("/memory").ok();
    let peak = memory["peak_rss_bytes"].as_u64().unwrap();
    println!("peak {} MB of {} MB", peak / 1_000_000, budget / 1_000_000);
    assert!(peak < budget, "{peak} bytes");
}

/// Clients that take their answers slowly: the rest only after every client has the start of its answer. At
/// any time four wait for an answer.
fn taken_slowly(server: &Server, requests: &[Vec<u8>]) -> Vec<Reply> {
    let begun = AtomicUsize::new(0);
    let all_at_once = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = requests
            .iter()
            .enumerate()
            .map(|(i, request)| {
                let (begun, all_at_once) = (&begun, &all_at_once);
                scope.spawn(move || {
                    while begun.load(Ordering::Relaxed) + 4 <= i {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    let mut stream = server.connect();
                    stream.write_all(request).unwrap();
                    let mut start = vec![0; 4096];
                    let n = stream.read(&mut start).unwrap();
                    start.truncate(n);
                    begun.fetch_add(1, Ordering::Relaxed);
                    while !all_at_once.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(100));
                        let mut piece = [0; 4096];
                        let n = stream.read(&mut piece).unwrap();
                        start.extend(&piece[..n]);
                    }
                    Reply::read_after(start, &mut stream)
                })
            })
            .collect();
        server.wait_until("each has the start of an answer", |_| {
            begun.load(Ordering::Relaxed) == requests.len()
        });
        all_at_once.store(true, Ordering::Relaxed);
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    })
}

fn ask(target: &str, accept: &str, photo: &[u8]) -> Vec<u8> {
    let headers = [("content-type", "image/bmp"), ("accept", accept)];
    request("POST", target, &headers, photo)
}

#[test]
fn slow_clients_of_large_pictures_stay_within_the_budget() {
    let server = server(&["--cache", "0"]);
    let photo = large_jpeg(4000, 3000);
    let requests: Vec<_> = (0..16)
        .map(|i| {
            let accept = ["application/json", "image/png"][i % 2];
            ask("/predict?gradcam=1&max_side=4096", accept, &photo)
        })
        .collect();
    let replies = taken_slowly(&server, &requests);
    let (mut pictures, mut shed, mut refused) = (0, 0, 0);
    for reply in &replies {
        let is_png = reply.header("content-type") == Some("image/png");
        match reply.status {
            200 if is_png => {
                let picture = image::load_from_memory(&reply.body).unwrap();
                assert_eq!((picture.width(), picture.height()), (4000, 3000));
                pictures += 1;
            }
            200 if reply.json()["gradcam_shed"] == true => shed += 1,
            200 => {
                let answer = reply.json();
                let text = answer["gradcam"]["png_base64"].as_str().unwrap();
                assert!(text.len() > 20_000_000, "{}", text.len());
                pictures += 1;
            }
            429 => refused += 1,
            other => panic!("{other}: {}", reply.text()),
        }
    }
    println!("{pictures} with a picture, {shed} without, {refused} refused");
    assert!(pictures >= 2 && shed >= 1, "{pictures} {shed}");
    is_within(&server, BUDGET_BYTES);
    server.wait_until("all bytes are given back", |s| {
        s.metric("dermal_uploads_leased_bytes") == 0.0
    });
}

/// Pictures for slow clients do not use up the memory that photos need.
#[test]
fn photos_are_let_in_while_pictures_are_sent() {
    let server = server(&["--cache", "0"]);
    let picture = ask("/predict?max_side=4096", "image/png", &noise());
    // There is room for two such pictures. A client that does not take its picture is disconnected only after
    // some seconds.
    let hold = |status: &str| {
        let mut stream = server.connect();
        stream.write_all(&picture).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(start, format!("HTTP/1.1 {status}").as_bytes());
        stream
    };
    let holding = [hold("200"), hold("200"), hold("429")];
    let answer = server.post("/predict?gradcam=1", &photo("nv_00.jpg")).ok();
    assert!(answer["gradcam"].is_object(), "a small one finds its place");
    server.post("/predict", &large_jpeg(4000, 3000)).ok();
    drop(holding);
    server.wait_until("all bytes are given back", |s| {
        s.metric("dermal_uploads_leased_bytes") == 0.0
    });
    is_within(&server, BUDGET_BYTES);
}

#[test]
fn answers_of_jobs_that_wait_stay_within_the_budget() {
    let server = server(&["--cache", "0"]);
    let photo = noise();
    let mut urls = Vec::new();
    for _ in 0..6 {
        let posted = server.raw(&ask("/jobs?gradcam=1&max_side=4096", "*/*", &photo));
        assert_eq!(posted.status, 202, "{}", posted.text());
        let url = posted.header("location").unwrap().to_owned();
        server.wait_until("the job is done", |s| {
            let reply = s.get(&url);
            reply.status == 200 && reply.text().contains("\"status\":\"done\"")
        });
        urls.push(url);
    }
    // The oldest answer was removed.
    assert_eq!(server.get(&urls[0]).refused(404), "no_such_job");
    let newest = server.get(&urls[5]).ok();
    let text = newest["result"]["gradcam"]["png_base64"].as_str().unwrap();
    assert!(text.len() > 48_000_000, "{}", text.len());
    let again = request("GET", &urls[5], &[], &[]);
    for reply in taken_slowly(&server, &vec![again; 10]) {
        assert_eq!(reply.ok()["result"], newest["result"]);
    }
    is_within(&server, BUDGET_BYTES);
    for url in &urls {
        server.request("DELETE", url, &[], &[]);
    }
    server.wait_until("all bytes are given back", |s| {
        s.metric("dermal_uploads_leased_bytes") == 0.0
    });
}

#[test]
fn a_picture_that_never_fits_is_told_from_one_that_does_not_now() {
    // Just enough to start: a photo of 4 megapixels can be decoded, one of 12 cannot.
    let server = Server::start(&["--budget", "101MB"]);
    let bytes = large_jpeg(1900, 1050);
    let usual = server.post("/predict?gradcam=1", &bytes).ok();
    assert!(usual["gradcam"].is_object(), "{usual}");
    let mut png = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(2400, 1800, image::Rgb([200, 150, 120]))
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    let png = png.into_inner();
    let large = server.post("/predict?gradcam=1&max_side=2390", &png).ok();
    assert_eq!(large["gradcam_shed"], true);
    assert!(large.get("gradcam").is_none());
    let reply = server.raw(&ask("/predict?max_side=2390", "image/png", &png));
    assert_eq!(reply.refused(413), "heat_map_too_large");
    assert!(
        reply.json()["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("max_side")
    );
    assert_eq!(
        server
            .post("/predict", &large_jpeg(4000, 3000))
            .refused(413),
        "too_much_memory"
    );
    is_within(&server, 101_000_000);
}

/// Bodies whose values would take many times the memory of their text.
#[test]
fn bodies_take_no_more_than_they_are() {
    let budget = 128_000_000;
    let server = Server::start(&["--budget", "128MB", "--cache", "0"]);
    let zeros = "0,".repeat(6_500_000);
    let fields: Vec<_> = (0..1_000_000).map(|i| format!("\"{i}\":0")).collect();
    let (predict, infer) = ("/predict", "/v2/models/demo/infer");
    let image = "{\"name\":\"image\",\"shape\":[1],\"datatype\":\"FP32\"";
    for (target, body) in [
        (
            predict,
            format!("{{\"image\":\"\",\"gradcam\":[{zeros}0]}}"),
        ),
        (predict, format!("{{\"image\":\"\",\"other\":[{zeros}0]}}")),
        (
            predict,
            format!("{{\"image\":\"\",\"inputs\":{{\"a\":[{zeros}0]}}}}"),
        ),
        (
            predict,
            format!("{{\"image\":\"\",\"fields\":{{{}}}}}", fields.join(",")),
        ),
        (
            infer,
            format!("{{\"inputs\":[{image},\"data\":[{zeros}0]}}]}}"),
        ),
        (
            infer,
            format!("{{\"inputs\":[],\"parameters\":{{{}}}}}", fields.join(",")),
        ),
        (
            infer,
            format!("{{\"inputs\":[{{\"name\":\"x\",\"shape\":[{zeros}0]}}]}}"),
        ),
    ] {
        let headers = [("content-type", "application/json")];
        let replies: Vec<_> = std::thread::scope(|scope| {
            let ask = || server.request("POST", target, &headers, body.as_bytes());
            let asking: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|a| a.join().unwrap()).collect()
        });
        for reply in replies {
            let fine = [400, 413, 429].contains(&reply.status);
            assert!(fine, "{} {}: {}", &body[..40], reply.status, reply.text());
        }
        is_within(&server, budget);
    }
    server.post("/predict", &photo("nv_00.jpg")).ok();
}
