//! `dermal serve`: real processes on free ports of the loopback device, real photos, the embedded
//! model, a plain socket as the client.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod abuse;
mod answers;
mod behaviour;
mod formats;
mod inputs;
mod memory;
mod page;
mod probe;
mod protocol;
mod redis;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything that should happen soon; the machine may be busy.
const SOON: Duration = Duration::from_secs(40);

fn repo(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn photo(name: &str) -> Vec<u8> {
    std::fs::read(repo("fixtures/images").join(name)).unwrap()
}

/// A separate server for one test. Dropping it kills it.
struct Server {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        Self::with_env(args, &[])
    }

    fn with_env(args: &[&str], env: &[(&str, &str)]) -> Self {
        let server = Self::unready(args, env);
        server.wait_until("it is ready", |s| s.get("/readyz").status == 200);
        server
    }

    /// A server that listens, even if its model cannot be loaded.
    fn unready(args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dermal"));
        for name in ["PORT", "PRELOAD_MODEL", "ENABLE_GRADCAM"] {
            command.env_remove(name);
        }
        let mut child = command
            .args(["serve", "--bind", "127.0.0.1:0", "--log-level", "debug"])
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let copy = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                copy.lock().unwrap().push(line);
            }
        });
        let started = Instant::now();
        loop {
            let listening = log.lock().unwrap().iter().find_map(|line| {
                let event: Value = serde_json::from_str(line).ok()?;
                (event["message"] == "listening").then(|| event["address"].clone())
            });
            if let Some(address) = listening {
                let address = address.as_str().unwrap().parse().unwrap();
                return Self {
                    child,
                    address,
                    log,
                };
            }
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < SOON,
                "the server does not listen ({ended:?}): {:?}",
                log.lock().unwrap()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log_text(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The log without the lines of [`Server::metric`], which tests ask again and again.
    fn log_to_read(&self) -> String {
        let log = self.log.lock().unwrap();
        let lines = log.iter().filter(|l| !l.contains("\"/metrics\""));
        lines.map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    fn wait_until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            assert!(
                started.elapsed() < SOON,
                "waited too long until {what}:\n{}",
                self.get("/metrics").text()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// Sends bytes as they are and reads until the server closes.
    fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        // A server that answers early may close before it has read everything.
        let _ = stream.write_all(bytes);
        Reply::read(&mut stream)
    }

    fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.raw(&request(method, target, headers, body))
    }

    fn get(&self, target: &str) -> Reply {
        self.request("GET", target, &[], &[])
    }

    /// A photo as the body itself.
    fn post(&self, target: &str, photo: &[u8]) -> Reply {
        self.request("POST", target, &[("content-type", "image/jpeg")], photo)
    }

    fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").text();
        let line = page.lines().find_map(|l| l.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{page}"));
        line.trim().parse().unwrap()
    }

    /// Photos that were admitted since the start, whether they are answered or not.
    fn let_in(&self) -> f64 {
        // In this order, so that a photo that is answered in between is never counted twice.
        let answered = self.metric("dermal_photos_total");
        answered + self.metric("dermal_requests_inside")
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for the process to end by itself.
    fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < SOON, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    #[expect(clippy::print_stdout, reason = "a failed test shows the log")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- the server's log\n{}", self.log_to_read());
        }
    }
}

/// A request that asks for the connection to be closed after it.
fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if method != "GET" || !body.is_empty() {
        let _ = write!(head, "content-length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// A multipart body of these fields, and its content type. Fields `image` and `file` are files.
fn multipart(fields: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    const BOUNDARY: &str = "test-boundary-7d1";
    let mut body = Vec::new();
    for (name, content) in fields {
        let file = if *name == "image" || *name == "file" {
            "; filename=\"../../etc/passwd\"\r\ncontent-type: image/jpeg"
        } else {
            ""
        };
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n"
        );
        body.extend(head.as_bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

#[derive(Clone, Debug, Default)]
struct Reply {
    /// 0 if the server closed without an answer.
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn read(stream: &mut TcpStream) -> Self {
        Self::read_after(Vec::new(), stream)
    }

    /// Like [`Reply::read`], if the first `bytes` have already been read.
    fn read_after(mut bytes: Vec<u8>, stream: &mut TcpStream) -> Self {
        // The server may reset the connection after the answer to a body that it did not read.
        let mut piece = [0; 16 << 10];
        while let Ok(n @ 1..) = stream.read(&mut piece) {
            bytes.extend(&piece[..n]);
        }
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            return Self::default();
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let body = bytes.split_off(end + 4);
        assert!(!head.starts_with("HTTP/1.1 100"), "nobody asked for it");
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        });
        Self {
            status: status.parse().unwrap(),
            headers: headers.collect(),
            body,
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text()))
    }

    /// The document of an answer that must have one.
    #[track_caller]
    fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The kind of an error, which must have the status.
    #[track_caller]
    fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let error = &self.json()["error"];
        let message = error["message"].as_str().unwrap();
        for inside in ["src/", "/home", "/root", "/tmp", ".rs", "panicked"] {
            assert!(!message.contains(inside), "{message}");
        }
        error["kind"].as_str().unwrap().to_owned()
    }
}

/// A JPEG file of noise over squares, `width` x `height`.
fn large_jpeg(width: u32, height: u32) -> Vec<u8> {
    use image::codecs::jpeg::JpegEncoder;
    let mut state = 7_u32;
    let picture = image::RgbImage::from_fn(width, height, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 27).to_le_bytes()[0];
        let square = ((x / 64 * 40 + y / 64 * 90) % 200).to_le_bytes()[0];
        image::Rgb([square + noise, 220 - square + noise, square / 2 + noise])
    });
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 88)
        .encode_image(&picture)
        .unwrap();
    bytes
}

/// The output of `dermal predict --json` for a fixture.
fn predicted(name: &str, more: &[&str]) -> Value {
    let photo = repo("fixtures/images").join(name);
    let output = Command::new(env!("CARGO_BIN_EXE_dermal"))
        .args(["predict", photo.to_str().unwrap(), "--json"])
        .args(more)
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    document["images"][0].clone()
}

/// A small file that takes long: 49 megapixels of squares.
fn slow_jpeg() -> &'static [u8] {
    static PHOTO: OnceLock<Vec<u8>> = OnceLock::new();
    PHOTO.get_or_init(|| {
        let picture = image::RgbImage::from_fn(7000, 7000, |x, y| {
            let square = ((x / 64 * 40 + y / 64 * 90) % 200).to_le_bytes()[0];
            image::Rgb([square, 220 - square, square / 2])
        });
        let mut bytes = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 60)
            .encode_image(&picture)
            .unwrap();
        assert!(bytes.len() < 5_000_000, "{}", bytes.len());
        bytes
    })
}
