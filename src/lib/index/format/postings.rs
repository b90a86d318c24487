//! Posting lists: the documents of a term and their weights, read from the mapped bytes.
//!
//! Documents have *places*, from 0: the order of the input, or a better one (`order`).
//! 64 places are a *block*; the postings of a list in one block are a *run*; 16 runs are a *cell*. What
//! was measured on a million documents of 143 terms and queries of six, and what follows from it:
//!
//! - An exact top ten has to score about a hundred blocks (8,000 of 800,000 postings), if the threshold
//!   is known early. So a list begins with what bounds need, in one piece that is read sequentially: which
//!   blocks it has, and the most that it holds in each, one byte per run.
//! - Random access costs more than bytes. All that a run needs is in its cell, mostly within one or two
//!   cache lines, and a cell is found by one offset.
//! - In a good order a run of an average list has two to three postings. The byte that bounds it is one
//!   of its impacts, so that it is stored only there: maxima cost nothing but the order of
//!   the postings of a run, which nothing needs.
//! - The k-th largest impacts of a term (k = 10, 100, 1000) are a threshold before the first score.
//! - Impacts are bytes by default: six bits save a tenth of the file and change ranks.
//!
//! The bytes are specified in [`super::file`]; `lists` writes them.

use serde::Serialize;

use super::{
    cells::{Ids, Runs},
    quantize::Impacts,
};

/// A document's number in one index, from 0, in the order of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct DocId(pub u32);

impl DocId {
    /// As an index into a table over the documents.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Places in a block.
pub const BLOCK: usize = 64;
/// Blocks in one word of a map of blocks.
pub const WORD: usize = 64;
/// Runs in a cell; only the last of a list may hold fewer.
pub(in crate::index) const CELL: usize = 16;
/// Lists with runs in at least one of so many blocks have a map of blocks, others gaps.
const SPARSE: usize = 12;
/// Lists of at least so many postings per run have a map of places for each run, others slots.
const DENSE: usize = 10;
/// In an offset: counts are bytes, since one of them does not fit into four bits.
pub(in crate::index) const WIDE: u16 = 1 << 15;
/// Zeros after a list, so that eight bytes can be read wherever a slot begins.
pub(in crate::index) const PADDING: usize = 8;
/// A gap of blocks that continues in the next byte.
pub const FAR: u8 = 255;
/// Ranks whose impacts are stored.
pub(in crate::index) const RANKS: [usize; 3] = [10, 100, 1000];

/// Bytes that are not a list: the index is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// The result of reading a list.
pub type Read<T> = Result<T, Broken>;

/// Number of blocks over `docs` places.
pub fn blocks(docs: usize) -> usize {
    docs.div_ceil(BLOCK)
}

/// Whether a list of `runs` runs over `docs` places has a map of blocks.
pub(in crate::index) fn is_mapped(runs: usize, docs: usize) -> bool {
    SPARSE * runs >= blocks(docs)
}

/// Whether the runs of a list are maps of places.
pub(in crate::index) fn is_dense(postings: usize, runs: usize) -> bool {
    postings >= DENSE * runs
}

/// Runs in a cell. A map of places is a run in a cell of its own.
pub(in crate::index) fn cell(dense: bool) -> usize {
    if dense { 1 } else { CELL }
}

/// Cells that share a base of their offsets: those of so many stay below [`WIDE`] bytes.
pub(in crate::index) fn based(dense: bool, impacts: Impacts) -> usize {
    match (dense, impacts.is_bound()) {
        (true, _) => 64,
        (false, true) => 8,
        (false, false) => 4,
    }
}

/// The stored postings of one term.
#[derive(Clone, Copy, Debug)]
pub struct PostingList<'a> {
    pub(in crate::index) bytes: &'a [u8],
    pub(in crate::index) count: u32,
    pub(in crate::index) impacts: Impacts,
    pub(in crate::index) max: f32,
    pub(in crate::index) best: [u8; 3],
    pub(in crate::index) docs: u32,
}

impl<'a> PostingList<'a> {
    /// A list without postings.
    pub(in crate::index) const EMPTY: PostingList<'static> = PostingList {
        bytes: &[],
        count: 0,
        impacts: Impacts::Exact,
        max: 0.0,
        best: [0; 3],
        docs: 0,
    };

    /// Number of postings.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether no document has the term.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The largest weight, 0 for an empty list.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// How its weights are stored.
    pub fn impacts(&self) -> Impacts {
        self.impacts
    }

    /// The weight of one step of a bound (`u8`): a weight is at most its bound · unit, up to a
    /// relative rounding error below 2⁻²³.
    pub fn unit(&self) -> f64 {
        self.impacts.unit(self.max)
    }

    /// A weight that at least `k` postings reach, as near to the k-th largest as is stored; 0 if
    /// nothing is known.
    pub fn reached(&self, k: usize) -> f32 {
        let known = RANKS.iter().zip(self.best).find(|(rank, _)| k <= **rank);
        known.map_or(0.0, |(_, best)| (f64::from(best) * self.unit() * (1.0 - 1e-6)) as f32)
    }

    /// Its runs.
    ///
    /// # Errors
    /// [`Broken`] if there are too few bytes.
    pub fn runs(&self) -> Read<Runs<'a>> {
        self.parse().ok_or(Broken)
    }

    fn parse(&self) -> Option<Runs<'a>> {
        if self.count == 0 {
            let (ids, impacts) = (Ids::Gaps(&[]), self.impacts);
            let (bases, offsets) = (&[][..], &[][..]);
            let (len, maxima, cells, dense) = (0, &[][..], &[][..], false);
            return Some(Runs { len, ids, maxima, bases, offsets, cells, dense, impacts });
        }
        let (head, rest) = self.bytes.split_first_chunk()?;
        let len = u32::from_le_bytes(*head) as usize;
        if len == 0 || len > self.len() {
            return None;
        }
        let (ids, rest) = match is_mapped(len, self.docs as usize) {
            true => {
                let words = blocks(self.docs as usize).div_ceil(WORD);
                let (map, rest) = rest.split_at_checked(8 * words)?;
                (Ids::Map(map.as_chunks().0), rest)
            }
            false => {
                let (length, rest) = rest.split_first_chunk()?;
                let (gaps, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                (Ids::Gaps(gaps), rest)
            }
        };
        let (maxima, rest) = rest.split_at_checked(len)?;
        let dense = is_dense(self.len(), len);
        let cells = len.div_ceil(cell(dense));
        let bases = 4 * cells.div_ceil(based(dense, self.impacts));
        let (bases, rest) = rest.split_at_checked(bases)?;
        let (offsets, cells) = rest.split_at_checked(2 * cells)?;
        let (bases, offsets) = (bases.as_chunks().0, offsets.as_chunks().0);
        let impacts = self.impacts;
        Some(Runs { len, ids, maxima, bases, offsets, cells, dense, impacts })
    }

    /// Hands every posting to `each` as place and weight; places ascend and are places of the
    /// index.
    ///
    /// # Errors
    /// [`Broken`] if the bytes are not a list.
    pub fn each(&self, mut each: impl FnMut(u32, f32)) -> Read<()> {
        let (runs, docs) = (self.runs()?, self.docs as usize);
        let mut read = 0;
        runs.ids.each(docs, |rank, block| {
            let run = runs.run(rank)?;
            let first = block * BLOCK;
            read += run.count;
            run.each_in_order(runs.impacts, |slot, weight| {
                let place = u32::try_from(first + slot).ok().filter(|place| *place < self.docs);
                each(place.ok_or(Broken)?, weight);
                Ok(())
            })
        })?;
        if read == self.len() { Ok(()) } else { Err(Broken) }
    }

    /// The weight at a place, if the list has it.
    ///
    /// # Errors
    /// As [`PostingList::each`].
    pub fn weight_at(&self, place: u32) -> Read<Option<f32>> {
        let (runs, mut found) = (self.runs()?, None);
        let (wanted, slot_wanted) = (place as usize / BLOCK, place as usize % BLOCK);
        runs.ids.each(self.docs as usize, |rank, block| {
            if block == wanted {
                runs.run(rank)?.each(runs.impacts, |slot, weight| {
                    if slot == slot_wanted {
                        found = Some(weight);
                    }
                })?;
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// What it is made of.
    ///
    /// # Errors
    /// As [`PostingList::each`].
    pub(in crate::index) fn parts(&self) -> Read<Parts> {
        let runs = self.runs()?;
        if runs.len == 0 {
            return Ok(Parts::default());
        }
        let offsets = 4 * runs.bases.len() + 2 * runs.offsets.len();
        let ids = self.bytes.len() - runs.maxima.len() - offsets - runs.cells.len();
        let mut impacts = self.len();
        if !runs.dense && runs.impacts.is_bound() {
            impacts -= runs.len; // no more than the postings, see `parse`
        }
        let impacts = impacts * runs.impacts.bits() / 8;
        Ok(Parts {
            blocks: ids as u64,
            maxima: runs.maxima.len() as u64,
            offsets: offsets as u64,
            places: runs.cells.len().saturating_sub(impacts) as u64,
            impacts: impacts as u64,
        })
    }
}

/// What lists are made of, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Parts {
    /// Which blocks they have.
    pub blocks: u64,
    /// The largest bound in each; unless weights are f32, an impact that few lists store again.
    pub maxima: u64,
    /// Where cells begin.
    pub offsets: u64,
    /// Postings in each block, and their places.
    pub places: u64,
    /// The other impacts.
    pub impacts: u64,
}

impl Parts {
    /// Adds those of another list.
    pub(in crate::index) fn add(&mut self, more: Parts) {
        self.blocks += more.blocks;
        self.maxima += more.maxima;
        self.offsets += more.offsets;
        self.places += more.places;
        self.impacts += more.impacts;
    }
}
