//! PISA's inverted index, uncompressed: what its `compress_inverted_index` and `build_binlex` read.
//!
//! `NAME.docs` is a list of one number, how many documents there are, and a list of documents for each
//! term; `NAME.freqs` a list of impacts for each term; `NAME.sizes` one list with each document's length.
//! A list is its length and so many numbers, u32, little-endian. `NAME.terms` and `NAME.documents` are
//! lines of tokens, in byte order, and of ids.

use std::io::{self, Write};

/// Writes one list.
///
/// # Errors
/// What writing says.
pub fn list(out: &mut impl Write, numbers: impl ExactSizeIterator<Item = u32>) -> io::Result<()> {
    // an index has fewer than 2³² documents
    out.write_all(&(numbers.len() as u32).to_le_bytes())?;
    for number in numbers {
        out.write_all(&number.to_le_bytes())?;
    }
    Ok(())
}
