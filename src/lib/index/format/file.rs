//! The `.l0x` file: one complete index, mapped into memory, never read as a whole.
//!
//! # Bytes, format version 3
//!
//! All numbers are little-endian. This page is all that a reader needs.
//!
//! | part | bytes |
//! |---|---|
//! | header | magic `89 4C 30 58 0D 0A 1A 0A`, format version u32, 52 zero bytes: 64 in all |
//! | sections | each at a multiple of 64, filled up with zeros to the next; in the order below |
//! | table | a row per section: kind u32, CRC-32 u32, start u64, length u64 |
//! | trailer | length of the file u64, rows in the table u32, CRC-32 u32, the magic again |
//!
//! A section's length does not count the zeros that fill it up, its CRC-32 (IEEE, as gzip) does. The
//! CRC-32 of the trailer is that of header, table and the trailer's first 12 bytes. Sections that a
//! reader does not know are ignored.
//!
//! | kind | section | bytes |
//! |---|---|---|
//! | 1 | tokenizer | Hugging Face `tokenizer.json` |
//! | 2 | query table | a query weight per term, f32 `[V]` |
//! | 3 | texts | may be missing. zstd frames of 16 documents each: title (length u32, UTF-8), text (alike) |
//! | 4 | text offsets | with 3: where each frame starts, and the end, u64 `[⌈N/16⌉ + 1]` |
//! | 5 | document ids | UTF-8, back to back, in the order of documents |
//! | 6 | document id offsets | where each id starts, and the end, `[N + 1]`: u32 if all ids have less than 4 GiB, else u64 |
//! | 10 | order | may be missing. The document at each place, u32 `[N]`; without it place and document are the same |
//! | 7 | postings | the lists of all terms back to back, terms ascending |
//! | 8 | terms | `[V]` rows of 24 bytes: start of the list u64, postings u32, largest weight f32, scale f32, three bounds, a zero |
//! | 9 | metadata | JSON, [`Metadata`] |
//!
//! Impacts are f32 weights, or with `"weights": "u8"` bytes 1..=255, with `"u6"` six bits 1..=63: weight =
//! scale · impact, computed in f32. The *bound* of a posting is a byte: its impact, or for f32 the least whole number of units
//! that is not below the weight, unit = largest weight / 255 · (1 + 10⁻¹²) in f64. The three bounds of a
//! term are the largest that 10, 100 and 1000 of its postings reach (for f32: of whole units below the
//! weight), 0 if there are fewer postings.
//!
//! 64 places are a *block*, `B` = ⌈N/64⌉; the postings of a list in one block are a *run*. A list of `R`
//! runs is empty for no postings, else
//!
//! | part | bytes |
//! |---|---|
//! | runs | `R`, u32 |
//! | blocks, if 12 · `R` ≥ `B` | a bit per block, the first in the lowest bit of the first byte: ⌈B/64⌉ words of 8 bytes |
//! | blocks, else | their bytes u32; a byte per run: the blocks skipped since the one before (at first: since the start); for 255 and more, a byte of 255 counts 255 and another byte follows |
//! | maxima | largest bound in each run, u8 `[R]` |
//! | bases | where every eighth cell begins (f32: every fourth), counted from the first, u32 |
//! | offsets | where each cell begins, less its base, u16; the highest bit says that its counts are bytes |
//! | cells | one for 16 runs; the last for what is left |
//! | | 8 zeros |
//!
//! A cell is the number of postings less 1 of each run, four bits each, or bytes if one of its runs has
//! more than 16; a slot (place in the block) for each posting of all runs, 6 bits; the impacts. The
//! first posting of a run is one with the largest bound, of equals the first; the others follow in
//! order. With u8 and u6 weights its impact is the maximum of the run and is stored only there. Bits are
//! packed from the lowest of the first byte; counts, slots and impacts begin at whole bytes.
//!
//! In a list of at least 10 postings per run, a cell is one run: a bit per place, u64, and all impacts in
//! order; every 64th has a base, and the highest bit of an offset is 0. A list ends where that of the
//! next term begins, the last with the section. The scale of f32 weights is 1.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::{
    docnos,
    layout::{Frame, MAGIC, Section, u32_at, u64_at},
    metadata::Metadata,
    postings::{Broken, DocId, PostingList, Read},
    quantize::{Impacts, Weights},
    texts::{self, StoredText},
};
use crate::{
    error::{Error, Result},
    io,
    sparse::{SparseVector, TermId},
};

pub(in crate::index) const TERM_ROW: usize = 24;

/// An index, open for search.
#[derive(Debug)]
pub struct Index {
    name: String,
    map: io::Mapped,
    pub(in crate::index) frame: Frame,
    metadata: Metadata,
    text_blocks_read: AtomicU64,
}

impl Index {
    /// Whether a file or an object begins as an index does, of which only the first bytes are read; a pipe
    /// does not.
    ///
    /// # Errors
    /// As [`io::read_head`].
    pub fn is(path: &Path) -> Result<bool> {
        if path == Path::new("-") || !io::is_file(path)? {
            return Ok(false);
        }
        Ok(io::read_head(path, MAGIC.len())? == MAGIC)
    }

    /// Maps a file and checks its frame: magic, version, lengths, the checksums of header and
    /// metadata. The contents of the sections are trusted; [`Index::verify`] checks them.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`] for a file that is not an index or is damaged,
    /// [`Error::Mismatch`] for one of another format version.
    pub fn open(path: &Path) -> Result<Index> {
        let map = io::map(path)?;
        let name = path.display().to_string();
        let frame = Frame::read(&map, &name)?;
        frame.check(&map, Section::Metadata, &name)?;
        let json = &map[frame.range(Section::Metadata)];
        let metadata: Metadata = serde_json::from_slice(json)
            .map_err(|error| Error::format(&name, format!("section `metadata`: {error}")))?;
        Index::of(name, map, frame, metadata)
    }

    /// An index whose frame was checked.
    pub(in crate::index) fn of(
        name: String,
        map: io::Mapped,
        frame: Frame,
        metadata: Metadata,
    ) -> Result<Index> {
        let text_blocks_read = AtomicU64::new(0);
        let index = Index { name, map, frame, metadata, text_blocks_read };
        index.check_lengths()?;
        Ok(index)
    }

    fn check_lengths(&self) -> Result<()> {
        let docs = self.len();
        let terms = self.metadata.vocabulary_size;
        let wanted = [
            (Section::QueryTable, terms.checked_mul(4)),
            (Section::Terms, terms.checked_mul(TERM_ROW)),
            (Section::DocnoOffsets, Some(self.docno_width() * (docs + 1))),
            (Section::TextOffsets, Some(8 * (texts::blocks(docs) + 1))),
            (Section::Order, Some(4 * docs)),
        ];
        for (section, wanted) in wanted {
            let got = self.section(section).len();
            let missing = matches!(section, Section::TextOffsets | Section::Order) && got == 0;
            if wanted != Some(got) && !missing {
                return Err(self.damaged(section, "its length does not fit the metadata"));
            }
        }
        Ok(())
    }

    /// The path it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is made of.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.metadata.docs as usize
    }

    /// Whether it has no documents.
    pub fn is_empty(&self) -> bool {
        self.metadata.docs == 0
    }

    /// The tokenizer, as JSON.
    pub fn tokenizer(&self) -> &[u8] {
        self.section(Section::Tokenizer)
    }

    /// The query weights, `[V]`.
    pub fn query_weights(&self) -> Vec<f32> {
        let rows = self.section(Section::QueryTable).as_chunks().0;
        rows.iter().map(|&row| f32::from_le_bytes(row)).collect()
    }

    /// The id that the user gave a document.
    ///
    /// # Errors
    /// [`Error::Format`] if the ids are damaged or the index has no such document.
    pub fn docno(&self, doc: DocId) -> Result<&str> {
        let (offsets, width) = (self.section(Section::DocnoOffsets), self.docno_width());
        let offset = |row: usize| {
            let row = offsets.get(row * width..(row + 1) * width)?;
            let mut bytes = [0; 8];
            bytes[..width].copy_from_slice(row);
            usize::try_from(u64::from_le_bytes(bytes)).ok()
        };
        let read = || {
            let (start, end) = (offset(doc.index())?, offset(doc.index() + 1)?);
            std::str::from_utf8(self.section(Section::Docnos).get(start..end)?).ok()
        };
        read()
            .ok_or_else(|| self.damaged(Section::Docnos, &format!("no id for document {}", doc.0)))
    }

    /// Bytes of an offset of a document id.
    fn docno_width(&self) -> usize {
        docnos::width(self.section(Section::Docnos).len() as u64)
    }

    /// Title and text of a document, if the index keeps them.
    ///
    /// # Errors
    /// [`Error::Format`] if the texts are damaged.
    pub fn text(&self, doc: DocId) -> Result<Option<StoredText>> {
        let offsets = self.section(Section::TextOffsets);
        if offsets.is_empty() {
            return Ok(None);
        }
        self.text_blocks_read.fetch_add(1, Ordering::Relaxed);
        let stored = texts::read(self.section(Section::Texts), offsets, doc.index());
        stored
            .map(Some)
            .ok_or_else(|| self.damaged(Section::Texts, &format!("no text for document {}", doc.0)))
    }

    /// Blocks of texts that [`Index::text`] has decompressed since the index was opened: 0 for a search whose
    /// output shows no text.
    pub fn text_blocks_read(&self) -> u64 {
        self.text_blocks_read.load(Ordering::Relaxed)
    }

    /// The postings of a term; an empty list for one outside the vocabulary.
    ///
    /// # Errors
    /// [`Error::Format`] if the table of terms is damaged.
    pub fn list(&self, term: TermId) -> Result<PostingList<'_>> {
        let rows = self.section(Section::Terms);
        let Some(row) = rows.get(term.index() * TERM_ROW..(term.index() + 1) * TERM_ROW) else {
            return Ok(PostingList::EMPTY);
        };
        let read = || {
            let postings = self.section(Section::Postings);
            let start = usize::try_from(u64_at(row, 0)).ok()?;
            let end = match rows.get((term.index() + 1) * TERM_ROW..) {
                Some(next) if !next.is_empty() => usize::try_from(u64_at(next, 0)).ok()?,
                _ => postings.len(),
            };
            let count = u32_at(row, 8);
            let (max, scale) = (f32_at(row, 12), f32_at(row, 16));
            let impacts = match self.metadata.weights {
                Weights::F32 => Impacts::Exact,
                Weights::U8 => Impacts::Linear8(scale),
                Weights::U6 => Impacts::Linear6(scale),
            };
            let best = [row[20], row[21], row[22]];
            let bytes = postings.get(start..end)?;
            Some(PostingList { bytes, count, impacts, max, best, docs: self.metadata.docs })
        };
        read().ok_or_else(|| self.damaged(Section::Terms, &format!("term {} has no list", term.0)))
    }

    /// The document at a place; `None` if the order is damaged or the place is beyond the last.
    #[inline]
    pub fn doc_at(&self, place: u32) -> Option<DocId> {
        let order: &[[u8; 4]] = self.section(Section::Order).as_chunks().0;
        let doc = match order.is_empty() {
            true => place,
            false => u32::from_le_bytes(*order.get(place as usize)?),
        };
        (doc < self.metadata.docs).then_some(DocId(doc))
    }

    /// The document at a place.
    ///
    /// # Errors
    /// [`Error::Format`] if the order is damaged.
    #[inline]
    pub fn placed(&self, place: u32) -> Result<DocId> {
        let lost = || self.damaged(Section::Order, &format!("place {place} has no document"));
        self.doc_at(place).ok_or_else(lost)
    }

    /// The place of a document; reads all of the order if there is one.
    pub fn place_of(&self, doc: DocId) -> Option<u32> {
        let order: &[[u8; 4]] = self.section(Section::Order).as_chunks().0;
        match order.is_empty() {
            true => Some(doc.0),
            false => {
                order.iter().position(|row| u32::from_le_bytes(*row) == doc.0).map(|at| at as u32)
            }
        }
    }

    /// The weight of a term in a document, if it has the term; slow where the index has an order.
    ///
    /// # Errors
    /// As [`Index::postings`].
    pub fn weight(&self, term: TermId, doc: DocId) -> Result<Option<f32>> {
        match self.place_of(doc) {
            Some(place) => self.whole(term, self.list(term)?.weight_at(place)),
            None => Ok(None),
        }
    }

    /// The postings of a term in the order of documents.
    ///
    /// # Errors
    /// [`Error::Format`] if the list or the order is damaged.
    pub fn postings(&self, term: TermId) -> Result<Vec<(DocId, f32)>> {
        let (list, mut found) = (self.list(term)?, Vec::new());
        let read = list.each(|place, weight| found.push((place, weight)));
        self.whole(term, read)?;
        let placed = |(place, weight)| Ok((self.placed(place)?, weight));
        let mut found: Vec<(DocId, f32)> = found.into_iter().map(placed).collect::<Result<_>>()?;
        found.sort_unstable_by_key(|posting| posting.0);
        Ok(found)
    }

    /// The stored vectors of some documents; reads all lists.
    ///
    /// # Errors
    /// [`Error::Format`] if a list or the order is damaged.
    pub fn vectors(&self, docs: &[DocId]) -> Result<Vec<SparseVector>> {
        let rows: BTreeMap<DocId, u32> = docs.iter().copied().zip(0..).collect();
        let row = |place| Ok(rows.get(&self.placed(place)?).copied().unwrap_or(u32::MAX));
        let wanted = (0..self.metadata.docs).map(row).collect::<Result<Vec<u32>>>()?;
        let terms: Vec<TermId> = (0..).map(TermId).take(self.metadata.vocabulary_size).collect();
        let of_term = |&term: &TermId| {
            let mut found = Vec::new();
            let read = self.list(term)?.each(|place, weight| {
                if let Some(&at) = wanted.get(place as usize).filter(|at| **at != u32::MAX) {
                    found.push((at as usize, term, weight));
                }
            });
            self.whole(term, read.map(|()| found))
        };
        let found: Vec<Vec<(usize, TermId, f32)>> =
            terms.par_iter().map(of_term).collect::<Result<_>>()?;
        let mut pairs = vec![Vec::new(); docs.len()];
        for (at, term, weight) in found.into_iter().flatten() {
            pairs[at].push((term, weight));
        }
        pairs.into_iter().map(SparseVector::new).collect()
    }

    /// The terms with the longest lists, the longest first, of equals the lower.
    ///
    /// # Errors
    /// [`Error::Format`] if the table of terms is damaged.
    pub fn longest(&self, count: usize) -> Result<Vec<TermId>> {
        let terms = (0..).map(TermId).take(self.metadata.vocabulary_size);
        let length = |term| Ok((Reverse(self.list(term)?.len()), term));
        let mut terms: Vec<(Reverse<usize>, TermId)> = terms.map(length).collect::<Result<_>>()?;
        terms.sort_unstable();
        Ok(terms.into_iter().take(count).map(|(_, term)| term).collect())
    }

    /// What was read of a term's list, or that it is damaged.
    ///
    /// # Errors
    /// [`Error::Format`] for [`Broken`].
    pub fn whole<T>(&self, term: TermId, read: Read<T>) -> Result<T> {
        read.map_err(|broken| self.broken(term, broken))
    }

    /// The error for a list that cannot be read.
    pub fn broken(&self, term: TermId, _: Broken) -> Error {
        let reason = format!("the list of term {} cannot be read", term.0);
        self.damaged(Section::Postings, &reason)
    }

    /// The bytes of a section, empty for one that is missing.
    pub(in crate::index) fn section(&self, section: Section) -> &[u8] {
        &self.map[self.frame.range(section)]
    }

    /// All bytes of the file.
    pub(in crate::index) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The error for a section that does not hold what it should.
    pub(in crate::index) fn damaged(&self, section: Section, reason: &str) -> Error {
        Error::format(&self.name, format!("section `{}` is damaged: {reason}", section.name()))
    }
}

fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_bits(u32_at(bytes, at))
}
