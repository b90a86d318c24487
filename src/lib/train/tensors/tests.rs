use candle_core::Device;
use safetensors::SafeTensors;

use super::*;

#[test]
fn what_is_written_is_read_by_the_format_s_own_reader() {
    let var = Var::new(&[[1.0f32, -2.0, 0.5]], &Device::Cpu).unwrap();
    let host = Named {
        name: "a".into(),
        shape: vec![CELLS + 1],
        numbers: Numbers::Host(vec![7.0; CELLS + 1].into()),
    };
    let mut bytes = Vec::new();
    let tensors = vec![Named::variable("b.weight".into(), &var), host];
    write(&tensors, Width::Full, Path::new("x"), &mut bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    let read = SafeTensors::deserialize(&bytes).unwrap();
    let data = |name: &str| read.tensor(name).unwrap().data().to_vec();
    assert_eq!(read.tensor("b.weight").unwrap().shape(), [1, 3]);
    let expected: Vec<u8> = [1.0f32, -2.0, 0.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(data("b.weight"), expected);
    assert_eq!(data("a"), 7.0f32.to_le_bytes().repeat(CELLS + 1));
    assert_eq!(read.names().len(), 2);
}

#[test]
fn halves_are_rounded_and_what_they_cannot_hold_is_refused() {
    let named = |numbers: &[f32]| {
        let numbers = numbers.to_vec();
        Named {
            name: "a".into(),
            shape: vec![numbers.len()],
            numbers: Numbers::Host(numbers.into()),
        }
    };
    let mut bytes = Vec::new();
    let third = 1.0f32 / 3.0;
    write(&[named(&[third, -2.0])], Width::Half, Path::new("x"), &mut bytes).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = read.tensor("a").unwrap();
    assert_eq!((tensor.dtype(), tensor.data().len()), (safetensors::Dtype::F16, 4));
    let first = f16::from_le_bytes(tensor.data()[..2].try_into().unwrap()).to_f32();
    assert!(first != third && (first - third).abs() < 1e-4);
    let error = write(&[named(&[1e6])], Width::Half, Path::new("x"), &mut Vec::new());
    assert!(error.unwrap_err().to_string().contains("can hold in a, found 1000000"));
}

fn host(name: &str, shape: &[usize], numbers: &[f32]) -> Named<'static> {
    let numbers = Numbers::Host(numbers.to_vec().into());
    Named { name: name.into(), shape: shape.to_vec(), numbers }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
}

/// The matrix `w.weight` of a file as a reader computes it.
fn restored(file: &[u8]) -> Vec<f32> {
    let read = SafeTensors::deserialize(file).unwrap();
    let (matrix, scales) =
        (read.tensor("w.weight").unwrap(), read.tensor("w.weight.block_scale").unwrap());
    let columns = matrix.shape()[1];
    let blocks = matrix.data().chunks(columns).flat_map(|row| row.chunks(32));
    let scaled = blocks.zip(floats(scales.data()));
    scaled
        .flat_map(|(block, scale)| block.iter().map(move |x| scale * f32::from(x.cast_signed())))
        .collect()
}

fn in_bytes(tensors: &[Named]) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    write(tensors, Width::Byte, Path::new("x"), &mut file).map(|()| file)
}

#[test]
fn bytes_are_those_computed_by_hand() {
    // rows with the scales 1, 2/127, 0 and 0: the last is of a number that has no 127th part
    let matrix =
        [127.0, 0.5, 1.5, -2.5, -2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1e-45, 0.0, 0.0, 0.0];
    let tensors = [
        host("w.weight", &[4, 4], &matrix),
        host("w.bias", &[3], &[0.1, -0.2, 0.3]),
        host("norm.weight", &[1], &[7.0]),
        host("theta", &[1, 1], &[5.0]),
    ];
    let file = in_bytes(&tensors).unwrap();
    let read = SafeTensors::deserialize(&file).unwrap();
    let weight = read.tensor("w.weight").unwrap();
    assert_eq!((weight.dtype(), weight.shape()), (safetensors::Dtype::I8, &[4, 4][..]));
    let numbers: Vec<i8> = weight.data().iter().map(|byte| byte.cast_signed()).collect();
    // ties to even: 0.5 to 0, 1.5 to 2, -2.5 to -2; 1 of 2 is 63.5 of 127
    assert_eq!(numbers, [127, 0, 2, -2, -127, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let scales = read.tensor("w.weight.block_scale").unwrap();
    assert_eq!(scales.shape(), [4, 1]);
    assert_eq!(floats(scales.data()), [1.0, 2.0 / 127.0, 0.0, 0.0]);
    for (name, numbers) in
        [("w.bias", &[0.1, -0.2, 0.3][..]), ("norm.weight", &[7.0]), ("theta", &[5.0])]
    {
        let tensor = read.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32);
        assert_eq!(floats(tensor.data()), numbers, "{name}");
    }
    assert_eq!(read.names().len(), 5);
}

#[test]
fn bytes_are_off_by_half_a_scale_at_most() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    // rows that end inside a chunk, and numbers of many sizes
    let (rows, columns) = (401, 97);
    let mut number = || {
        let bits: u32 = random.random();
        let share = (bits >> 8) as f32 / (1 << 24) as f32 - 0.5;
        share * 10f32.powi((bits & 7) as i32 - 4)
    };
    let matrix: Vec<f32> = (0..rows * columns).map(|_| number()).collect();
    let read = restored(&in_bytes(&[host("w.weight", &[rows, columns], &matrix)]).unwrap());
    assert_eq!(read.len(), matrix.len());
    let blocks = |numbers| <[f32]>::chunks(numbers, columns).flat_map(|row| row.chunks(32));
    for (row, read) in blocks(&matrix).zip(blocks(&read)) {
        let half = row.iter().fold(0f32, |most, x| most.max(x.abs())) / 127.0 / 2.0;
        for (x, read) in row.iter().zip(read) {
            assert!((x - read).abs() <= half * (1.0 + 1e-5), "{x} became {read}, half is {half}");
        }
        let largest = row.iter().zip(read).max_by(|a, b| a.0.abs().total_cmp(&b.0.abs())).unwrap();
        assert!((largest.0 - largest.1).abs() <= largest.0.abs() * 2e-7, "{largest:?}");
    }
}

/// Readers that view a file in place need every number at a multiple of its width.
#[test]
fn numbers_lie_at_multiples_of_their_width() {
    let tensors = [
        host("a.weight", &[1, 3], &[1.0, 2.0, 3.0]),
        host("b.bias", &[1], &[1.0]),
        host("c.weight", &[1, 1], &[4.0]),
    ];
    let file = in_bytes(&tensors).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&file).unwrap();
    let mut places: Vec<_> = metadata.tensors().into_iter().collect();
    places.sort_by_key(|(_, info)| info.data_offsets.0);
    let names: Vec<&str> = places.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["a.weight.block_scale", "b.bias", "c.weight.block_scale", "a.weight", "c.weight"]
    );
    assert!(header % 8 == 0);
    assert!(places.iter().all(|(_, info)| info.data_offsets.0 % (info.dtype.bitsize() / 8) == 0));
}

#[test]
fn what_is_not_finite_has_no_bytes() {
    for (name, shape) in [("w.weight", &[2, 2][..]), ("w.bias", &[4])] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = in_bytes(&[host(name, shape, &[1.0, bad, 2.0, 3.0])]).unwrap_err();
            let expected = format!("x: expected finite numbers in {name}, found {bad}");
            assert_eq!(error.to_string(), expected);
        }
    }
}
