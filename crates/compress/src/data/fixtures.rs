//! Small files for tests, written by hand so that each test shows the bytes it is about.

use std::{fs::File, io::Write, path::Path};

use zip::write::SimpleFileOptions;

/// An npy file with this header text.
pub(crate) fn npy_with(header: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(body);
    bytes
}

/// An npy file with this `descr` and `shape`, as Python writes them.
pub(crate) fn npy(descr: &str, shape: &str, body: &[u8]) -> Vec<u8> {
    npy_with(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"), body)
}

/// Bytes `0, 1, 2, ...` as an array of this shape.
pub(crate) fn bytes_array(shape: &[usize]) -> Vec<u8> {
    let body: Vec<u8> = (0..shape.iter().product::<usize>()).map(|i| (i * 7 + i / 256) as u8).collect();
    npy("'|u1'", &tuple(shape), &body)
}

/// Floats as an array of this shape.
pub(crate) fn floats(shape: &[usize], values: &[f32]) -> Vec<u8> {
    npy("'<f4'", &tuple(shape), &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

/// Integers as a vector.
pub(crate) fn integers(values: &[i64]) -> Vec<u8> {
    let body: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    npy("'<i8'", &tuple(&[values.len()]), &body)
}

fn tuple(shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(|dim| format!("{dim},")).collect();
    format!("({})", dims.join(" "))
}

/// An npz file of these arrays.
pub(crate) fn write_npz(path: &Path, arrays: &[(&str, Vec<u8>)]) {
    let mut archive = zip::ZipWriter::new(File::create(path).unwrap());
    for (name, bytes) in arrays {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}
