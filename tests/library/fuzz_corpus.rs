//! The kept inputs of the fuzzer (`fuzz/corpus`), and blind mutations of them, keep every promise of
//! their targets (`fuzz/src/targets.rs`), without the fuzzer.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the helpers"
)]

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use crate::common::repo;

#[allow(
    unreachable_pub,
    clippy::missing_panics_doc,
    clippy::disallowed_methods,
    reason = "the crate of the fuzzer has it as a public module; its files are temporary"
)]
#[path = "../../fuzz/src/targets.rs"]
mod targets;

/// The kept inputs of a target, with their names.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let path = repo("fuzz/corpus").join(format!("{target}.zip"));
    let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    let inputs = (0..archive.len()).map(|i| {
        let mut entry = archive.by_index(i).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (name, bytes)
    });
    inputs.collect()
}

/// Runs a target. A failure shows which input it was.
#[allow(clippy::print_stdout, reason = "only a failed test shows it")]
fn run(target: fn(&[u8]), what: &str, bytes: &[u8]) {
    println!("{what}");
    let started = Instant::now();
    target(bytes);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{what}: {took:?}");
}

#[test]
fn kept_inputs_of_the_fuzzer_do_no_harm() {
    for (name, target) in targets::TARGETS {
        let inputs = kept(name);
        assert!(inputs.len() >= 20, "{name}: {} inputs", inputs.len());
        for (input, bytes) in inputs {
            run(target, &format!("{name} {input}"), &bytes);
        }
    }
}

/// Seeded numbers (xorshift64).
struct Noise(u64);

impl Noise {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}

fn mutations(rounds: usize) {
    const BYTES: [u8; 6] = [0, 1, 4, 0x7f, 0x80, 0xff];
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for (name, target) in targets::TARGETS {
        let inputs = kept(name);
        for round in 0..rounds {
            let (input, bytes) = &inputs[noise.below(inputs.len())];
            let mut bytes = bytes.clone();
            for _ in 0..=noise.below(4) {
                let at = noise.below(bytes.len().max(1)).min(bytes.len());
                let end = (at + noise.below(40)).min(bytes.len());
                match noise.below(5) {
                    0 if at < bytes.len() => bytes[at] = BYTES[noise.below(BYTES.len())],
                    1 if at < bytes.len() => bytes[at] ^= 1 << noise.below(8),
                    2 => drop(bytes.drain(at..end)),
                    3 => bytes.insert(at, BYTES[noise.below(BYTES.len())]),
                    _ => {
                        let part = bytes[at..end].to_vec();
                        bytes.splice(at..at, part);
                    }
                }
            }
            run(target, &format!("{name} {input}, mutation {round}"), &bytes);
        }
    }
}

#[test]
fn mutations_of_kept_inputs_do_no_harm() {
    mutations(if cfg!(debug_assertions) { 20 } else { 200 });
}

/// `cargo test --release --test library ten_thousand -- --ignored`: docs/fuzzing.md has its last result.
#[test]
#[ignore = "it takes minutes"]
fn ten_thousand_mutations_of_each_format_do_no_harm() {
    mutations(10_000);
}
