//! Hashes of files, in hexadecimal. Files are read and not mapped, because hashing should not make
//! the pages of a model's weights resident.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 1 << 16;

/// The SHA-256 of a file, in hexadecimal. Calls `progress` with the bytes done and the bytes in
/// all.
///
/// # Errors
/// If the file cannot be read.
pub fn sha256_of_file(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> io::Result<String> {
    sha256_of_files(&[path], progress)
}

/// The SHA-256 of some files one after the other, as of `cat a b`, in hexadecimal. Calls `progress`
/// with the bytes done and the bytes in all.
///
/// # Errors
/// If a file cannot be read.
pub fn sha256_of_files(paths: &[&Path], progress: &mut dyn FnMut(u64, u64)) -> io::Result<String> {
    let mut total = 0u64;
    for path in paths {
        total += std::fs::metadata(path)?.len();
    }
    let mut hasher = Sha256::new();
    let mut before = 0;
    for path in paths {
        let mut last = 0;
        let mut of_all = |done: u64, _: u64| {
            last = done;
            progress(before + done, total);
        };
        each_chunk(path, &mut of_all, |chunk| hasher.update(chunk))?;
        before += last;
    }
    let mut text = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// The BLAKE3 hash of a file, in hexadecimal.
///
/// # Errors
/// If the file cannot be read.
pub fn blake3_of_file(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    each_chunk(path, &mut |_, _| {}, |chunk| {
        hasher.update(chunk);
    })?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn each_chunk(
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut file = File::open(path)?;
    let total = file.metadata()?.len();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut done = 0;
    loop {
        let n = match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        take(&buffer[..n]);
        done += n as u64;
        progress(done, total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn hashes_are_those_of_the_standards() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"abc").unwrap();
        let mut seen = Vec::new();
        // FIPS 180-4's example.
        assert_eq!(
            sha256_of_file(file.path(), &mut |done, all| seen.push((done, all))).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(seen, [(3, 3)]);
        let mut more = tempfile::NamedTempFile::new().unwrap();
        more.write_all(b"dbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")
            .unwrap();
        let mut seen = Vec::new();
        // The standard's second example, in two files.
        assert_eq!(
            sha256_of_files(&[file.path(), more.path()], &mut |done, all| seen
                .push((done, all)))
            .unwrap(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        );
        assert_eq!(seen, [(3, 56), (56, 56)]);
        // BLAKE3's own `b3sum` of the same bytes.
        assert_eq!(
            blake3_of_file(file.path()).unwrap(),
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        );
    }
}
