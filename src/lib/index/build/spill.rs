//! Postings sorted by term in bounded memory: what does not fit goes to a scratch file as sorted
//! runs, and the runs are read together.
//!
//! Documents come in ascending order, so every run covers a range of documents after the one
//! before: the list of a term is its part of the first run, then of the second, and so on.

use std::{
    fs::File,
    io::{BufWriter, Read, Seek, SeekFrom, Write},
};

use rayon::slice::ParallelSliceMut;

use crate::{
    error::{Error, Result},
    index::format::postings::DocId,
    io,
    sparse::TermId,
};

/// One weight of one document.
#[derive(Clone, Copy, Debug)]
pub(in crate::index) struct Posting {
    pub(in crate::index) term: TermId,
    pub(in crate::index) doc: DocId,
    pub(in crate::index) weight: f32,
}

const POSTING_BYTES: usize = 12;
/// Fewer postings than these are never spilled: the runs would be too short.
const LEAST: usize = 1 << 10;
const SCRATCH: &str = "temporary file";

impl Posting {
    fn to_bytes(self) -> [u8; POSTING_BYTES] {
        let mut bytes = [0; POSTING_BYTES];
        bytes[..4].copy_from_slice(&self.term.0.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.doc.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.weight.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Posting {
        let field = |at: usize| bytes[at..at + 4].try_into().expect("four bytes");
        Posting {
            term: TermId(u32::from_le_bytes(field(0))),
            doc: DocId(u32::from_le_bytes(field(4))),
            weight: f32::from_le_bytes(field(8)),
        }
    }
}

/// Takes postings, documents ascending.
#[derive(Debug, Default)]
pub(in crate::index) struct Runs {
    held: Vec<Posting>,
    spilled: Option<File>,
    /// Ends of the spilled runs in the file.
    ends: Vec<u64>,
}

impl Runs {
    /// Takes one more; spills if what is held would pass `memory` bytes.
    ///
    /// # Errors
    /// [`Error::Io`] if the scratch file cannot be written.
    pub(in crate::index) fn push(&mut self, posting: Posting, memory: usize) -> Result<()> {
        let most = (memory / POSTING_BYTES).max(LEAST);
        if self.held.len() >= most {
            self.spill(most)?;
        }
        if self.held.len() == self.held.capacity() {
            // doubling would pass the limit
            let more = self.held.len().max(LEAST).min(most - self.held.len());
            self.held.reserve_exact(more);
        }
        self.held.push(posting);
        Ok(())
    }

    fn sort(&mut self) {
        self.held.par_sort_unstable_by_key(|posting| (posting.term, posting.doc));
    }

    fn spill(&mut self, most: usize) -> Result<()> {
        self.sort();
        let file = match self.spilled.take() {
            Some(file) => file,
            None => io::scratch()?,
        };
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        for posting in &self.held {
            let written = writer.write_all(&posting.to_bytes());
            written.map_err(|source| Error::io(SCRATCH, source))?;
        }
        let file = writer.into_inner().map_err(|error| Error::io(SCRATCH, error.into_error()))?;
        self.spilled = Some(file);
        let length = (self.held.len() * POSTING_BYTES) as u64;
        self.ends.push(self.ends.last().copied().unwrap_or(0) + length);
        self.held.clear();
        self.held.shrink_to(most);
        Ok(())
    }

    /// All postings by term; reading spilled ones takes about a quarter of `memory` bytes.
    pub(in crate::index) fn into_lists(mut self, memory: usize) -> Lists {
        self.sort();
        let share = (memory / 4 / self.ends.len().max(1)).clamp(4 << 10, 1 << 20);
        let capacity = share / POSTING_BYTES * POSTING_BYTES;
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let files = starts
            .zip(&self.ends)
            .map(|(at, &end)| FileRun { at, end, buffer: Vec::new(), position: 0, capacity })
            .collect();
        Lists { file: self.spilled, files, held: self.held, position: 0 }
    }
}

/// Sorted postings, read term by term.
pub(in crate::index) struct Lists {
    file: Option<File>,
    files: Vec<FileRun>,
    held: Vec<Posting>,
    position: usize,
}

impl Lists {
    /// Hands the postings of `term` to `each`, documents ascending. Terms must be asked for in
    /// ascending order, none left out.
    pub(in crate::index) fn each(
        &mut self,
        term: TermId,
        mut each: impl FnMut(DocId, f32) -> Result<()>,
    ) -> Result<()> {
        if let Some(file) = &mut self.file {
            for run in &mut self.files {
                while let Some(posting) = run.peek(file)?.filter(|posting| posting.term == term) {
                    each(posting.doc, posting.weight)?;
                    run.position += POSTING_BYTES;
                }
            }
        }
        while let Some(posting) = self.held.get(self.position).filter(|held| held.term == term) {
            each(posting.doc, posting.weight)?;
            self.position += 1;
        }
        Ok(())
    }
}

/// What is left of one run in the scratch file.
struct FileRun {
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    position: usize,
    capacity: usize,
}

impl FileRun {
    fn peek(&mut self, file: &mut File) -> Result<Option<Posting>> {
        if self.position == self.buffer.len() {
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            self.buffer.resize(left.min(self.capacity), 0);
            self.position = 0;
            if self.buffer.is_empty() {
                return Ok(None);
            }
            let read =
                file.seek(SeekFrom::Start(self.at)).and_then(|_| file.read_exact(&mut self.buffer));
            read.map_err(|source| Error::io(SCRATCH, source))?;
            self.at += self.buffer.len() as u64;
        }
        Ok(Some(Posting::from_bytes(&self.buffer[self.position..])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spilled_runs_read_like_memory() {
        let postings = (0..5000u32).flat_map(|doc| {
            [3u32, 1].map(|term| Posting {
                term: TermId(term + doc % 2),
                doc: DocId(doc),
                weight: doc as f32 + 0.5,
            })
        });
        let read = |memory: usize| {
            let mut runs = Runs::default();
            postings.clone().for_each(|posting| runs.push(posting, memory).unwrap());
            let spilled = runs.ends.len();
            let mut lists = runs.into_lists(memory);
            let mut all = Vec::new();
            for term in 0..6 {
                lists
                    .each(TermId(term), |doc, weight| {
                        all.push((term, doc, weight));
                        Ok(())
                    })
                    .unwrap();
            }
            (spilled, all)
        };
        let (none, whole) = read(1 << 20);
        let (some, parts) = read(0);
        assert_eq!(none, 0);
        assert!(some > 5);
        assert_eq!(whole.len(), 10_000);
        assert_eq!(whole, parts);
    }
}
