//! Files of vectors: what is written is read back, what is broken is named.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{
    ArrayRef, RecordBatch, StringArray,
    builder::{Float32Builder, Int32Builder, ListBuilder},
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::Metadata;
use l0::internal::{
    Error, Result,
    io::{Input, Output},
    sparse::{SparseVector, TermId},
    vectors::{Form, Row, VectorMeta, Writer, read},
};
use proptest::prelude::*;

fn meta() -> VectorMeta {
    VectorMeta {
        role: "document".into(),
        model: "toy".into(),
        model_sha256: Some("ab".into()),
        vocabulary_sha256: "cd".into(),
        vocab_size: 9,
        activation: "log1p:2".into(),
        max_tokens: Some(64),
        prune: "none".into(),
        shard: None,
    }
}

fn rows(count: usize) -> Vec<Row> {
    let vector = |at: usize| {
        let pairs = (0..at % 5).map(|term| (TermId(term as u32), 0.1 + term as f32));
        SparseVector::new(pairs).unwrap()
    };
    let row = |at: usize| Row {
        id: format!("dôc {at}"),
        vector: vector(at),
        n_tokens: Some(at as u32),
        truncated: Some(at.is_multiple_of(2)),
        title: Some(String::new()),
        text: Some(format!("text {at}")),
    };
    (0..count).map(row).collect()
}

fn write(path: &Path, form: Form, rows: &[Row]) {
    let mut writer = Writer::new(Output::create(path).unwrap(), form, &meta(), true).unwrap();
    for row in rows {
        writer.write(row).unwrap();
    }
    writer.finish().unwrap();
}

fn read_all(path: &Path) -> Result<(Option<VectorMeta>, Vec<Row>)> {
    let (meta, rows) = read(Input::open(path)?, None)?;
    Ok((meta, rows.collect::<Result<_>>()?))
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    for (form, count) in [
        (Form::Parquet, 0),
        (Form::Parquet, 2500),
        (Form::Arrow, 0),
        (Form::Arrow, 2500),
        (Form::JsonLines, 40),
    ] {
        let path = folder.path().join("vectors");
        write(&path, form, &rows(count));
        let (got_meta, got) = read_all(&path).unwrap();
        assert_eq!(got, rows(count), "{form}");
        let expected = (form != Form::JsonLines).then(meta);
        assert_eq!(got_meta, expected, "{form}");
    }
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for form in [Form::Parquet, Form::Arrow] {
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        paths.iter().for_each(|path| write(path, form, &rows(1500)));
        assert_eq!(std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
    }
}

/// Writes `bytes` and returns the message of the first error on reading them.
fn refusal(folder: &Path, bytes: &[u8]) -> (PathBuf, Error) {
    let path = folder.join("broken");
    std::fs::write(&path, bytes).unwrap();
    let error = read_all(&path).map(|(_, rows)| rows.len()).unwrap_err();
    (path, error)
}

#[test]
fn a_file_cut_short_is_named_wherever_it_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    for form in [Form::Parquet, Form::Arrow] {
        let path = folder.path().join("whole");
        write(&path, form, &rows(1500));
        let whole = std::fs::read(&path).unwrap();
        for length in [8, 100, whole.len() / 2, whole.len() - 9] {
            let (path, error) = refusal(folder.path(), &whole[..length]);
            let message = error.to_string();
            assert!(message.starts_with(path.to_str().unwrap()), "{form} at {length}: {message}");
        }
    }
}

/// The crates that decode tables panic on some damage; here every byte in turn is damaged.
#[test]
fn a_flipped_byte_is_an_error_or_another_value() {
    let folder = tempfile::tempdir().unwrap();
    for form in [Form::Parquet, Form::Arrow] {
        let path = folder.path().join("good");
        write(&path, form, &rows(3));
        let good = std::fs::read(&path).unwrap();
        let mut refused = 0;
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let input = Input::from_reader("bad", std::io::Cursor::new(bad));
            let read =
                read(input.unwrap(), None).and_then(|(_, rows)| rows.collect::<Result<Vec<_>>>());
            refused += usize::from(read.is_err());
        }
        assert!(refused > good.len() / 10, "{form}: {refused} of {}", good.len());
    }
}

#[test]
fn bad_rows_are_named_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let good = r#"{"_id":"a","indices":[1],"values":[1]}"#;
    for (bad, found) in [
        (r#"{"_id":"b","indices":[1,2],"values":[1]}"#, "2 indices and 1 values"),
        (r#"{"_id":"b","indices":[1],"values":[0]}"#, "found 0 for term 1"),
        (r#"{"_id":"b","indices":[2,2],"values":[1,1]}"#, "found 2 after 2"),
        (r#"{"_id":"b","indices":[1],"values":[NaN]}"#, "expected value"),
        (r#"{"_id":"b","indices":[1],"values":[1e39]}"#, "found inf"),
        (r#"{"_id":"b","vector":{"a":1}}"#, "neither a tokenizer nor a model"),
        (r#"{"_id":"b"}"#, "neither in `b`"),
        (r#"{"indices":[],"values":[]}"#, "no id"),
    ] {
        let (path, error) = refusal(folder.path(), format!("{good}\n{bad}\n").as_bytes());
        let message = error.to_string();
        let place = format!("{}:2: expected ", path.display());
        assert!(message.starts_with(&place) && message.contains(found), "{message}");
    }
}

/// An Arrow stream of one row as another program might write it.
fn foreign(metadata: &[(&str, &str)], indices: &[i32], values: &[f32]) -> Vec<u8> {
    let mut ids = ListBuilder::new(Int32Builder::new());
    ids.append_value(indices.iter().map(|&index| Some(index)));
    let mut weights = ListBuilder::new(Float32Builder::new());
    weights.append_value(values.iter().map(|&value| Some(value)));
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(StringArray::from(vec!["a"]))),
        ("indices", Arc::new(ids.finish())),
        ("values", Arc::new(weights.finish())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let pairs = metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
    let schema = batch.schema().as_ref().clone().with_metadata(pairs.collect::<Metadata>());
    let schema = Arc::new(schema);
    let batch = batch.with_schema(Arc::clone(&schema)).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn another_format_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, error) = refusal(folder.path(), &foreign(&[("l0.format", "2")], &[1], &[1.0]));
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
}

#[test]
fn rows_of_other_programs_are_read_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign");
    std::fs::write(&path, foreign(&[], &[1, 5], &[1.0, 2.0])).unwrap();
    let (meta, got) = read_all(&path).unwrap();
    assert_eq!((meta, got[0].vector.nnz()), (None, 2));
    for (indices, values, found) in [
        (&[1][..], &[f32::NAN][..], "found NaN for term 1 in `a`"),
        (&[1, 1], &[1.0, 1.0], "found 1 after 1 in `a`"),
        (&[-1], &[1.0], "index -1 in `a`"),
        (&[1, 2], &[1.0], "2 indices and 1 values in `a`"),
    ] {
        let (path, error) = refusal(folder.path(), &foreign(&[], indices, values));
        let message = error.to_string();
        let place = format!("{}:1: expected ", path.display());
        assert!(message.starts_with(&place) && message.ends_with(found), "{message}");
    }
}

/// A vector with one term per weight.
fn weighted(weights: impl IntoIterator<Item = f32>) -> SparseVector {
    SparseVector::new((0..).map(TermId).zip(weights)).unwrap()
}

#[test]
fn lines_have_the_shortest_digits_of_a_weight() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors.jsonl");
    let vector = weighted([0.1, 1.0, 1.7, 16_777_216.0, f32::MAX, f32::MIN_POSITIVE, 1e-45]);
    write(&path, Form::JsonLines, &[Row { id: "a".into(), vector, ..Row::default() }]);
    let line = std::fs::read_to_string(&path).unwrap();
    let values = line.split_once("\"values\":").unwrap().1;
    assert_eq!(values, "[0.1,1.0,1.7,16777216.0,3.4028235e+38,1.1754944e-38,1e-45]}\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every finite number above 0, subnormal and huge ones as often as others of their exponent.
    #[test]
    fn lines_keep_the_bits_of_a_weight(bits in prop::collection::vec(1..0x7f80_0000u32, 1..400)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.jsonl");
        let vector = weighted(bits.iter().copied().map(f32::from_bits));
        write(&path, Form::JsonLines, &[Row { id: "a".into(), vector, ..Row::default() }]);
        let (_, rows) = read_all(&path).unwrap();
        let found: Vec<u32> = rows[0].vector.weights().iter().map(|w| w.to_bits()).collect();
        prop_assert_eq!(found, bits);
    }
}
