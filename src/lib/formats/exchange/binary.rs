//! Seismic's inner format: the number of vectors, then of each its length, its term ids and its weights;
//! u32 and f32, little-endian, and no document ids. Source:
//! `docs/formats.md`, "Binary forms".

use std::io::{self, Read, Write};

use crate::{
    error::{Error, Result},
    sparse::{SparseVector, TermId},
};

/// Writes one vector.
///
/// # Errors
/// What writing says.
pub fn write(out: &mut impl Write, terms: &[u32], weights: &[f32]) -> io::Result<()> {
    // a vocabulary has fewer than 2³² tokens
    out.write_all(&(terms.len() as u32).to_le_bytes())?;
    for term in terms {
        out.write_all(&term.to_le_bytes())?;
    }
    for weight in weights {
        out.write_all(&weight.to_le_bytes())?;
    }
    Ok(())
}

/// The vectors of an input, in order; a bad one ends it.
pub struct Vectors<R> {
    name: String,
    input: R,
    count: u32,
    read: u32,
    done: bool,
    vocabulary: usize,
}

impl<R: Read> Vectors<R> {
    /// Begins an input whose term ids are below `vocabulary`.
    ///
    /// # Errors
    /// [`Error::Format`] if it has no count.
    pub fn open(name: &str, mut input: R, vocabulary: usize) -> Result<Vectors<R>> {
        let count = number(&mut input).map_err(|found| {
            Error::format(name, format!("expected a count of vectors, found {found}"))
        })?;
        Ok(Vectors { name: name.to_owned(), input, count, read: 0, done: false, vocabulary })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn vector(&mut self) -> Result<SparseVector, String> {
        let length = number(&mut self.input)? as usize;
        if length > self.vocabulary {
            return Err(format!("{length} terms, of a vocabulary of {}", self.vocabulary));
        }
        let terms = (0..length).map(|_| number(&mut self.input)).collect::<Result<Vec<_>, _>>()?;
        let weights =
            (0..length).map(|_| number(&mut self.input)).collect::<Result<Vec<_>, _>>()?;
        if let Some(high) = terms.iter().find(|&&term| term as usize >= self.vocabulary) {
            return Err(format!("term id {high}, of a vocabulary of {}", self.vocabulary));
        }
        let pairs = terms.into_iter().map(TermId).zip(weights.into_iter().map(f32::from_bits));
        SparseVector::from_unordered(pairs.collect()).map_err(|error| error.to_string())
    }
}

impl<R: Read> Iterator for Vectors<R> {
    type Item = Result<SparseVector>;

    fn next(&mut self) -> Option<Result<SparseVector>> {
        if self.done {
            return None;
        }
        if self.read == self.count {
            self.done = true;
            let more = self.input.read(&mut [0]).is_ok_and(|bytes| bytes > 0);
            let wanted = "expected the end behind the last vector, found more bytes";
            return more.then(|| Err(Error::format(&self.name, wanted)));
        }
        self.read += 1;
        let vector = self.vector().map_err(|found| {
            let wanted = "a vector: its length, term ids and weights above 0";
            Error::format(
                &self.name,
                format!("vector {}: expected {wanted}, found {found}", self.read),
            )
        });
        self.done = vector.is_err();
        Some(vector)
    }
}

fn number(input: &mut impl Read) -> Result<u32, String> {
    let mut bytes = [0; 4];
    match input.read_exact(&mut bytes) {
        Ok(()) => Ok(u32::from_le_bytes(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err("the end of the file".into())
        }
        Err(error) => Err(error.to_string()),
    }
}
