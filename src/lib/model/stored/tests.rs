use super::*;

/// A tensor as a file has it: name, dtype, shape, bytes.
type Part<'a> = (&'a str, Dtype, &'a [usize], Vec<u8>);

/// A file, and what is read of it.
struct Written {
    bytes: Vec<u8>,
    tensors: Vec<(String, Stored)>,
    sha256: String,
}

fn read(parts: Vec<Part>) -> Result<Written> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let views = parts.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    std::fs::write(&file, &bytes).unwrap();
    let (tensors, sha256) = stored(&file)?;
    Ok(Written { bytes, tensors, sha256 })
}

fn bytes_of(numbers: &[i8]) -> Vec<u8> {
    numbers.iter().map(|number| number.cast_unsigned()).collect()
}

fn floats_of(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn a_matrix_in_bytes_is_its_rows_times_their_scales() {
    let matrix = bytes_of(&[127, -127, 0, -128, 1, 64]);
    let parts = vec![
        ("a.weight", Dtype::I8, &[3, 2][..], matrix),
        ("a.weight.row_scale", Dtype::F32, &[3][..], floats_of(&[0.5, 2.0, 0.0])),
        ("a.bias", Dtype::F32, &[2][..], floats_of(&[1.5, -3.0])),
    ];
    let Written { bytes, mut tensors, sha256 } = read(parts).unwrap();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a.bias", "a.weight"]);
    let [(_, bias), (_, weight)] = &tensors[..] else { panic!("{names:?}") };
    assert_eq!(bias.data, [1.5, -3.0]);
    assert_eq!(weight.data, [63.5, -63.5, 0.0, -256.0, 0.0, 0.0]);
    assert_eq!(weight.shape, [3, 2]);
    assert!(!weight.whole && !bias.whole);
    assert_eq!(sha256, hash(&bytes));
}

/// Blocks of 32 columns, the last of a row shorter.
#[test]
fn a_matrix_in_bytes_is_its_blocks_times_their_scales() {
    let matrix = bytes_of(&[1; 2 * 33]);
    let parts = vec![
        ("a.weight", Dtype::I8, &[2, 33][..], matrix),
        ("a.weight.block_scale", Dtype::F32, &[2, 2][..], floats_of(&[0.5, 2.0, 3.0, 4.0])),
    ];
    let tensors = read(parts).unwrap().tensors;
    let [(name, weight)] = &tensors[..] else { panic!("{}", tensors.len()) };
    let rows = [[0.5; 32].as_slice(), &[2.0], &[3.0; 32], &[4.0]];
    assert_eq!((name.as_str(), &weight.data), ("a.weight", &rows.concat()));
    assert_eq!(weight.shape, [2, 33]);
}

#[test]
fn a_matrix_without_columns_or_rows_is_empty() {
    for shape in [[3, 0], [0, 3]] {
        let scales = vec![1.0; shape[0]];
        let parts = vec![
            ("a.weight", Dtype::I8, &shape[..], Vec::new()),
            ("a.weight.row_scale", Dtype::F32, &shape[..1], floats_of(&scales)),
        ];
        let tensors = read(parts).unwrap().tensors;
        assert!(tensors.len() == 1 && tensors[0].1.data.is_empty());
        assert_eq!(tensors[0].1.shape, shape);
    }
}

#[test]
fn bytes_without_scales_are_whole_numbers() {
    let parts = vec![("a.weight", Dtype::I8, &[1, 2][..], bytes_of(&[3, -4]))];
    let tensors = read(parts).unwrap().tensors;
    assert!(tensors[0].1.whole);
    assert_eq!(tensors[0].1.data, [3.0, -4.0]);
}

#[test]
fn blocks_that_do_not_fit_are_refused() {
    let scale = |numbers: &[f32]| floats_of(numbers);
    for (shape, numbers, found) in [
        (&[2, 1][..], scale(&[1.0; 2]), "shape [2, 2], found F32 of [2, 1]"),
        (&[4], scale(&[1.0; 4]), "shape [2, 2], found F32 of [4]"),
        (&[2, 2], scale(&[1.0, 1.0, 1.0, -1.0]), "found -1 in row 1"),
    ] {
        let parts = vec![
            ("a.weight", Dtype::I8, &[2, 33][..], bytes_of(&[1; 66])),
            ("a.weight.block_scale", Dtype::F32, shape, numbers),
        ];
        let error = read(parts).err().unwrap().to_string();
        assert!(error.contains("a.weight.block_scale: expected"), "{error}");
        assert!(error.contains(found), "{error}");
    }
    let parts = vec![
        ("a.weight", Dtype::I8, &[1, 1][..], bytes_of(&[1])),
        ("a.weight.block_scale", Dtype::F32, &[1, 1][..], scale(&[1.0])),
        ("a.weight.row_scale", Dtype::F32, &[1][..], scale(&[1.0])),
    ];
    let error = read(parts).err().unwrap().to_string();
    assert!(error.contains("expected one tensor of scales for a.weight, found two"), "{error}");
}

#[test]
fn scales_that_do_not_fit_are_refused() {
    let matrix = || ("a.weight", Dtype::I8, &[2, 2][..], bytes_of(&[1, 2, 3, 4]));
    let scale = |numbers: &[f32]| floats_of(numbers);
    let floats = ("a.weight", Dtype::F32, &[2, 2][..], floats_of(&[1.0; 4]));
    let row = ("a.weight", Dtype::I8, &[2][..], bytes_of(&[1, 2]));
    for (matrix, dtype, shape, numbers, found) in [
        (None, Dtype::F32, &[2][..], scale(&[1.0; 2]), "expected a matrix a.weight in I8"),
        (Some(floats), Dtype::F32, &[2], scale(&[1.0; 2]), "in I8, found F32"),
        (Some(row), Dtype::F32, &[2], scale(&[1.0; 2]), "as a matrix, found [2]"),
        (Some(matrix()), Dtype::F32, &[3], scale(&[1.0; 3]), "shape [2], found F32 of [3]"),
        (Some(matrix()), Dtype::F32, &[2, 1], scale(&[1.0; 2]), "shape [2], found F32 of [2, 1]"),
        (Some(matrix()), Dtype::F16, &[2], vec![0; 4], "shape [2], found F16 of [2]"),
        (Some(matrix()), Dtype::F32, &[2], scale(&[1.0, f32::NAN]), "found NaN in row 1"),
        (Some(matrix()), Dtype::F32, &[2], scale(&[f32::INFINITY, 1.0]), "found inf in row 0"),
        (Some(matrix()), Dtype::F32, &[2], scale(&[1.0, -0.5]), "found -0.5 in row 1"),
    ] {
        let parts = matrix.into_iter().chain([("a.weight.row_scale", dtype, shape, numbers)]);
        let error = read(parts.collect()).err().unwrap_or_else(|| panic!("read: {found}"));
        let error = error.to_string();
        assert!(error.contains("model.safetensors: a.weight.row_scale: expected"), "{error}");
        assert!(error.contains(found), "{error}");
    }
}
