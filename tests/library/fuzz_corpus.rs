//! The kept inputs of the fuzzer (`fuzz/corpus`) keep every promise of their targets, without the fuzzer.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use crate::common::repo;

#[allow(
    unreachable_pub,
    clippy::missing_panics_doc,
    reason = "the crate of the fuzzer has it as a public module"
)]
#[path = "../../fuzz/src/targets.rs"]
mod targets;

#[test]
fn kept_inputs_of_the_fuzzer_do_no_harm() {
    for (name, target) in targets::TARGETS {
        let path = repo("fuzz/corpus").join(format!("{name}.zip"));
        let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
        assert!(archive.len() >= 20, "{name}: {} inputs", archive.len());
        for i in 0..archive.len() {
            let mut entry = archive.by_index(i).unwrap();
            let entry_name = entry.name().unwrap().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            // A failure shows which input it was.
            println!("{name} {entry_name}");
            let started = Instant::now();
            target(&bytes);
            let took = started.elapsed();
            assert!(took < Duration::from_secs(5), "{name} {entry_name}: {took:?}");
        }
    }
}
