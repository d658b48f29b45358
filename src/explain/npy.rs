//! The `.npy` format, version 1.0
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).

/// A `.npy` file of a 2-D f32 array in C order.
#[must_use]
pub fn npy_bytes(height: usize, width: usize, values: &[f32]) -> Vec<u8> {
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}), }}");
    // Magic, version and length take 10 bytes; the data starts at a multiple of 64.
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(padded).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.resize(10 + padded - 1, b' ');
    bytes.push(b'\n');
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}
