//! The demo model, compiled into the program.

use super::{ArtifactError, Model, load_static};

/// Bytes on a 64-byte boundary, which kernels want for weights.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static DEMO: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/demo.safetensors"));

/// The demo model: seven classes of synthetic pictures, see `models/README.md`. Its weights are
/// used in place, in the program's own mapping.
///
/// # Errors
/// [`ArtifactError`] if the embedded file is damaged.
pub fn embedded() -> Result<Model, ArtifactError> {
    load_static(&DEMO.0)
}

/// The demo model's file.
#[must_use]
pub fn embedded_bytes() -> &'static [u8] {
    &DEMO.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_model_loads_in_place() {
        let model = embedded().unwrap();
        let range = DEMO.0.as_ptr_range();
        for (name, tensor) in &model.graph.tensors {
            let start = tensor.bytes().as_ptr();
            assert!(range.contains(&start), "`{name}` was copied");
            assert_eq!(start as usize % 64, 0, "`{name}` is not aligned");
        }
        assert_eq!(
            model.manifest.labels,
            ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
        );
    }
}
