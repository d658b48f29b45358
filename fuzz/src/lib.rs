//! Fuzz targets for libFuzzer. What a target does is in `targets.rs`, which the tests of the gate
//! share; this crate adds a limit on memory.

mod memory;
pub mod targets;

pub use libfuzzer_sys;
pub use memory::limited;

/// The entry points of one target.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            $crate::limited(bytes.len(), || $crate::targets::$name(bytes));
        });
    };
}
