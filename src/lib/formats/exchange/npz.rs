//! SciPy's CSR matrix in a .npz: a zip of `data` (float32), `indices` (int32), `indptr`, `shape` and
//! `format`, each as .npy. Read are those of `scipy.sparse.save_npz`, compressed or not.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
};

use npyz::{NpyFile, WriterBuilder};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::{
    error::{Error, Result},
    sparse::{SparseVector, TermId},
};

/// A matrix that is being written: rows are collected in files without a name.
pub struct Writer {
    data: BufWriter<File>,
    indices: BufWriter<File>,
    ends: Vec<u64>,
    columns: usize,
}

impl Writer {
    /// Of `columns` columns, with two empty files to collect in.
    pub fn new(columns: usize, data: File, indices: File) -> Writer {
        let (data, indices) = (BufWriter::new(data), BufWriter::new(indices));
        Writer { data, indices, ends: vec![0], columns }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// What writing says.
    pub fn row(&mut self, terms: &[u32], weights: &[f32]) -> io::Result<()> {
        for term in terms {
            self.indices.write_all(&term.to_le_bytes())?;
        }
        for weight in weights {
            self.data.write_all(&weight.to_le_bytes())?;
        }
        self.ends.push(self.ends.last().copied().unwrap_or(0) + terms.len() as u64);
        Ok(())
    }

    /// Writes the whole.
    ///
    /// # Errors
    /// What writing says.
    pub fn finish(self, out: &mut impl Write) -> io::Result<()> {
        let Writer { data, indices, ends, columns } = self;
        let (rows, nnz) = (ends.len() as u64 - 1, ends.last().copied().unwrap_or(0));
        let mut zip = ZipWriter::new_stream(out);
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let begin = |zip: &mut ZipWriter<_>, name: &str, large: bool| {
            zip.start_file(format!("{name}.npy"), options.large_file(large))
        };
        let large = nnz.saturating_mul(4) >= u64::from(u32::MAX) - 1024;
        begin(&mut zip, "indices", large)?;
        let from = rewound(indices)?;
        // a vocabulary has fewer than 2³¹ tokens
        array(&mut zip, nnz, numbers(from).map(|bits| bits.map(|bits| bits as i32)))?;
        begin(&mut zip, "indptr", rows.saturating_mul(8) >= u64::from(u32::MAX) - 1024)?;
        match i32::try_from(nnz) {
            Ok(_) => array(&mut zip, rows + 1, ends.iter().map(|&end| Ok(end as i32)))?,
            Err(_) => array(&mut zip, rows + 1, ends.iter().map(|&end| Ok(end as i64)))?,
        }
        begin(&mut zip, "format", false)?;
        zip.write_all(&format_array())?;
        begin(&mut zip, "shape", false)?;
        array(&mut zip, 2, [rows as i64, columns as i64].map(Ok))?;
        begin(&mut zip, "data", large)?;
        let from = rewound(data)?;
        array(&mut zip, nnz, numbers(from).map(|bits| bits.map(f32::from_bits)))?;
        zip.finish()?;
        Ok(())
    }
}

fn rewound(collected: BufWriter<File>) -> io::Result<BufReader<File>> {
    let mut file = collected.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(BufReader::with_capacity(1 << 18, file))
}

fn numbers(mut from: impl Read) -> impl Iterator<Item = io::Result<u32>> {
    std::iter::from_fn(move || {
        let mut bytes = [0; 4];
        match from.read_exact(&mut bytes) {
            Ok(()) => Some(Ok(u32::from_le_bytes(bytes))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => Some(Err(error)),
        }
    })
}

/// One .npy of `length` numbers.
fn array<T: npyz::AutoSerialize + Copy>(
    out: &mut impl Write,
    length: u64,
    values: impl IntoIterator<Item = io::Result<T>>,
) -> io::Result<()> {
    let options = npyz::WriteOptions::new().default_dtype().shape(&[length]);
    let mut writer = options.writer(out).begin_nd()?;
    for value in values {
        writer.push(&value?)?;
    }
    writer.finish()
}

/// The .npy of the three bytes `csr`, a scalar, by which SciPy knows the kind of matrix.
fn format_array() -> Vec<u8> {
    let mut header = String::from("{'descr': '|S3', 'fortran_order': False, 'shape': (), }");
    // magic, version and length are 10 bytes; the header ends at a multiple of 64, with a line feed
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(b"csr");
    bytes
}

/// A matrix that was read.
pub struct Matrix {
    data: Vec<f32>,
    indices: Vec<u32>,
    ends: Vec<usize>,
}

/// Reads a matrix whose columns are the terms of a vocabulary.
///
/// # Errors
/// [`Error::Format`] for what is no such file, a matrix of another kind or of more columns than
/// `vocabulary`, and for numbers that do not fit each other.
pub fn read(name: &str, file: impl Read + Seek, vocabulary: usize) -> Result<Matrix> {
    let bad = |found: String| {
        let wanted = "a CSR matrix as scipy.sparse.save_npz writes it";
        Error::format(name, format!("expected {wanted}, found {found}"))
    };
    let mut zip = ZipArchive::new(file).map_err(|error| bad(format!("no .npz: {error}")))?;
    let kind = bytes_of(&mut zip, "format", 1).map_err(bad)?;
    if !kind.ends_with(b"csr") {
        let found = String::from_utf8_lossy(&kind[kind.len().saturating_sub(3)..]).into_owned();
        return Err(bad(format!("format `{found}`")));
    }
    let shape = whole(&mut zip, "shape", 2).map_err(bad)?;
    let [rows, columns] = shape[..] else { return Err(bad(format!("a shape of {shape:?}"))) };
    if columns > vocabulary as i64 {
        return Err(bad(format!("{columns} columns for a vocabulary of {vocabulary} terms")));
    }
    let ends = whole(&mut zip, "indptr", rows.max(0).saturating_add(1) as u64).map_err(bad)?;
    // what is longer than the last end says does not fit, however much it unpacks to
    let most = ends.last().copied().unwrap_or(0).max(0) as u64;
    let indices = whole(&mut zip, "indices", most).map_err(bad)?;
    let data = reals(&mut zip, "data", most).map_err(bad)?;
    let ascend = ends.windows(2).all(|pair| pair[0] <= pair[1]);
    let fits = ends.len() as i64 == rows.saturating_add(1)
        && ascend
        && ends.first() == Some(&0)
        && ends.last().copied() == i64::try_from(indices.len()).ok()
        && indices.len() == data.len();
    if !fits {
        let (ends, indices, data) = (ends.len(), indices.len(), data.len());
        return Err(bad(format!(
            "{rows} rows with {ends} ends of rows, {indices} indices and {data} numbers that do not fit"
        )));
    }
    let terms = indices.into_iter().map(|term| match u32::try_from(term) {
        Ok(id) if term < columns => Ok(id),
        _ => Err(bad(format!("column {term} of {columns}"))),
    });
    let indices = terms.collect::<Result<_>>()?;
    // checked above: they ascend from 0 to a length in memory
    Ok(Matrix { data, indices, ends: ends.into_iter().map(|end| end as usize).collect() })
}

impl Matrix {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len() - 1
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row; explicit zeros are left out.
    ///
    /// # Errors
    /// [`Error::Weight`] and [`Error::Order`]: a weight below 0 or not finite, a column twice.
    pub fn row(&self, at: usize) -> Result<SparseVector> {
        let range = self.ends[at]..self.ends[at + 1];
        let terms = self.indices[range.clone()].iter().map(|&term| TermId(term));
        let pairs = terms.zip(self.data[range].iter().copied());
        SparseVector::from_unordered(pairs.filter(|&(_, weight)| weight != 0.0).collect())
    }
}

/// The bytes of an array of at most `most` numbers of eight bytes, and of its header.
fn bytes_of<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    name: &str,
    most: u64,
) -> Result<Vec<u8>, String> {
    const HEADER: u64 = 1 << 16;
    let mut bytes = Vec::new();
    let file = zip.by_name(&format!("{name}.npy")).map_err(|error| format!("`{name}`: {error}"))?;
    let limit = most.saturating_mul(8).saturating_add(HEADER);
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    match read.map_err(|error| format!("`{name}`: {error}"))? as u64 {
        read if read > limit => Err(format!("`{name}`: more than {most} numbers")),
        _ => Ok(bytes),
    }
}

/// An array, whose header does not promise more than there is.
fn open<'a>(name: &str, bytes: &'a [u8]) -> Result<NpyFile<&'a [u8]>, String> {
    let file = NpyFile::new(bytes).map_err(|error| format!("`{name}`: {error}"))?;
    let promised = file.shape().iter().try_fold(1u64, |all, &more| all.checked_mul(more));
    match promised {
        Some(numbers) if numbers <= bytes.len() as u64 => Ok(file),
        _ => Err(format!("`{name}`: a shape of {:?} in {} bytes", file.shape(), bytes.len())),
    }
}

/// Numbers of any whole type.
fn whole<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    name: &str,
    most: u64,
) -> Result<Vec<i64>, String> {
    let bytes = bytes_of(zip, name, most)?;
    let open = || open(name, &bytes);
    if let Ok(found) = open()?.into_vec::<i32>() {
        return Ok(found.into_iter().map(i64::from).collect());
    }
    open()?.into_vec::<i64>().map_err(|error| format!("`{name}`: {error}"))
}

/// Numbers of any real type, and counts.
fn reals<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    name: &str,
    most: u64,
) -> Result<Vec<f32>, String> {
    let bytes = bytes_of(zip, name, most)?;
    let open = || open(name, &bytes);
    if let Ok(found) = open()?.into_vec::<f32>() {
        return Ok(found);
    }
    if let Ok(found) = open()?.into_vec::<i64>() {
        return Ok(found.into_iter().map(|count| count as f32).collect());
    }
    let wide = open()?.into_vec::<f64>().map_err(|error| format!("`{name}`: {error}"))?;
    Ok(wide.into_iter().map(|weight| weight as f32).collect())
}
