//! Posting lists: the documents of a term and their weights, read from the mapped bytes.
//!
//! Documents stand at *places*, from 0: the order in which they came, or a better one (`order`).
//! 64 places are a *block*; the postings of a list in one block are a *run*; 16 runs are a *cell*. What
//! was measured on a million documents of 143 terms and queries of six, and what follows from it:
//!
//! - An exact top ten has to score about a hundred blocks (8,000 of 800,000 postings), if the threshold
//!   is known early. So a list begins with what bounds need, in one piece that is read in order: which
//!   blocks it has, and the most that it holds in each, one byte a run.
//! - Jumps cost more than bytes. All that a run needs stands in its cell, mostly within one or two
//!   cache lines, and a cell is found by one offset.
//! - In a good order a run of an average list has two to three postings. The byte that bounds it is one
//!   of its impacts, so that it is stored there and nowhere else: maxima cost nothing but the order of
//!   the postings of a run, which nobody needs.
//! - The k-th largest impacts of a term (k = 10, 100, 1000) are a threshold before the first score.
//! - Impacts are bytes by default: six bits save a tenth of the file and change ranks.
//!
//! The bytes are specified in [`super::file`]; `lists` writes them.

use serde::Serialize;

use super::quantize::Impacts;

/// A document's number in one index, from 0, in the order in which documents came.
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
/// Blocks that one word of a map of blocks tells of.
pub const WORD: usize = 64;
/// Runs in a cell; only the last of a list may hold fewer.
const CELL: usize = 16;
/// Lists with runs in at least one of so many blocks have a map of blocks, others gaps.
const SPARSE: usize = 12;
/// Lists of at least so many postings a run have a map of places for each run, others slots.
const DENSE: usize = 10;
/// In an offset: counts are bytes, since one of them has no room in four bits.
pub(super) const WIDE: u16 = 1 << 15;
/// Zeros behind a list, so that eight bytes can be read wherever a slot begins.
pub(super) const PADDING: usize = 8;
/// A gap of blocks of which this is a part goes on in the next byte.
pub const FAR: u8 = 255;
/// Ranks whose impacts are stored.
pub(super) const RANKS: [usize; 3] = [10, 100, 1000];

/// Bytes that are no list: the index is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What reading a list gives.
pub type Read<T> = Result<T, Broken>;

/// Number of blocks over `docs` places.
pub fn blocks(docs: usize) -> usize {
    docs.div_ceil(BLOCK)
}

/// Whether a list of `runs` runs over `docs` places says by a map where they are.
pub(super) fn is_mapped(runs: usize, docs: usize) -> bool {
    SPARSE * runs >= blocks(docs)
}

/// Whether the runs of a list are maps of places.
pub(super) fn is_dense(postings: usize, runs: usize) -> bool {
    postings >= DENSE * runs
}

/// Runs in a cell: a map of places stands alone.
pub(super) fn cell(dense: bool) -> usize {
    if dense { 1 } else { CELL }
}

/// Cells that share a base of their offsets: those of so many stay below [`WIDE`] bytes.
pub(super) fn based(dense: bool, impacts: Impacts) -> usize {
    match (dense, impacts.is_bound()) {
        (true, _) => 64,
        (false, true) => 8,
        (false, false) => 4,
    }
}

/// The stored postings of one term.
#[derive(Clone, Copy, Debug)]
pub struct PostingList<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) count: u32,
    pub(super) impacts: Impacts,
    pub(super) max: f32,
    pub(super) best: [u8; 3],
    pub(super) docs: u32,
}

impl<'a> PostingList<'a> {
    /// A list without postings.
    pub(super) const EMPTY: PostingList<'static> = PostingList {
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

    /// Whether no document holds the term.
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

    /// What one step of a bound (`u8`) stands for: a weight is at most its bound · unit, but for
    /// rounding of less than 2⁻²³ of itself.
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
    /// [`Broken`], where the bytes end to be a list.
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
    pub(super) fn parts(&self) -> Read<Parts> {
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
    pub(super) fn add(&mut self, more: Parts) {
        self.blocks += more.blocks;
        self.maxima += more.maxima;
        self.offsets += more.offsets;
        self.places += more.places;
        self.impacts += more.impacts;
    }
}

/// A list as runs, each found by its number in the list, its *rank*.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    len: usize,
    ids: Ids<'a>,
    maxima: &'a [u8],
    bases: &'a [[u8; 4]],
    offsets: &'a [[u8; 2]],
    cells: &'a [u8],
    dense: bool,
    impacts: Impacts,
}

/// Which blocks a list has.
#[derive(Clone, Copy, Debug)]
pub enum Ids<'a> {
    /// A bit a block, 64 in a little-endian word.
    Map(&'a [[u8; 8]]),
    /// Bytes: how many blocks are passed over before the next, [`FAR`] for more to come.
    Gaps(&'a [u8]),
}

impl Ids<'_> {
    /// Hands every run to `each` as rank and block, which ascend.
    fn each(&self, docs: usize, mut each: impl FnMut(usize, usize) -> Read<()>) -> Read<()> {
        let mut rank = 0;
        match self {
            Ids::Map(words) => {
                for (at, word) in words.iter().enumerate() {
                    let mut word = u64::from_le_bytes(*word);
                    while word != 0 {
                        each(rank, at * WORD + word.trailing_zeros() as usize)?;
                        word &= word - 1;
                        rank += 1;
                    }
                }
            }
            Ids::Gaps(gaps) => {
                let mut block = 0;
                for &gap in *gaps {
                    block += usize::from(gap);
                    if gap != FAR {
                        if block >= blocks(docs) {
                            return Err(Broken);
                        }
                        each(rank, block)?;
                        block += 1;
                        rank += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The postings of a list in one block.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// How many.
    pub count: usize,
    /// Their places.
    pub slots: Slots<'a>,
    /// Their stored impacts, from a bit of these bytes on; those of [`Slots::Few`] lack the first, if it
    /// is all in [`Run::most`].
    pub impacts: &'a [u8],
    /// Where they begin: 0, unless they are six bits each.
    bit: usize,
    /// The largest bound.
    pub most: u8,
}

/// Where the postings of a run stand in their block.
#[derive(Clone, Copy, Debug)]
pub enum Slots<'a> {
    /// Six bits each from a bit of these bytes on: a posting with the largest bound, then the others
    /// in order.
    Few(&'a [u8], usize),
    /// A bit a place, impacts in order.
    Map(u64),
}

impl<'a> Runs<'a> {
    /// How many.
    #[expect(clippy::len_without_is_empty, reason = "a list without postings is not searched")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Which blocks they are in.
    pub fn ids(&self) -> Ids<'a> {
        self.ids
    }

    /// The largest bound of each run.
    pub fn maxima(&self) -> &'a [u8] {
        self.maxima
    }

    /// Asks for the bytes that say where a run's cell is.
    #[inline(always)]
    pub fn prefetch_offset(&self, rank: usize) {
        prefetch(self.offsets.as_flattened(), rank / cell(self.dense) * 2);
    }

    /// Where the cell of a run is; asks for its bytes.
    ///
    /// # Errors
    /// [`Broken`] for a rank beyond the last.
    #[inline(always)]
    pub fn prefetch_cell(&self, rank: usize) -> Read<Place> {
        let place = self.place(rank).ok_or(Broken)?;
        prefetch(self.cells, place.at as usize);
        prefetch(self.cells, place.at as usize + 64);
        if !self.dense {
            prefetch(self.cells, place.at as usize + 128);
        }
        Ok(place)
    }

    #[inline(always)]
    fn place(&self, rank: usize) -> Option<Place> {
        let cell = rank / cell(self.dense);
        let offset = u16::from_le_bytes(*self.offsets.get(cell)?);
        let based = based(self.dense, self.impacts);
        let base = u32::from_le_bytes(*self.bases.get(cell / based)?);
        let at = base.checked_add(u32::from(offset & !WIDE))?;
        Some(Place { at, rank: rank as u32, wide: offset & WIDE != 0 })
    }

    /// The run of a rank.
    ///
    /// # Errors
    /// [`Broken`] if the bytes are no cell.
    fn run(&self, rank: usize) -> Read<Run<'a>> {
        self.read(self.place(rank).ok_or(Broken)?)
    }

    /// The run at a place.
    ///
    /// # Errors
    /// [`Broken`] if the bytes are no cell.
    #[inline(always)]
    pub fn read(&self, place: Place) -> Read<Run<'a>> {
        match self.dense {
            true => self.mapped(place),
            false => self.slotted(place),
        }
        .ok_or(Broken)
    }

    #[inline(always)]
    fn slotted(&self, place: Place) -> Option<Run<'a>> {
        let rank = place.rank as usize;
        let (inside, most) = (rank % CELL, *self.maxima.get(rank)?);
        let runs = (self.len - (rank - inside)).min(CELL);
        let cell = self.cells.get(place.at as usize..)?;
        let (start, count, total, head) = match place.wide {
            false => {
                let counts = Nibbles(u64::from_le_bytes(*cell.first_chunk()?));
                let (start, count) = (counts.before(inside), counts.at(inside));
                (start, count, counts.before(runs), runs.div_ceil(2))
            }
            true => {
                let counts = cell.get(..runs)?;
                (
                    before(counts, inside),
                    usize::from(counts[inside]) + 1,
                    before(counts, runs),
                    runs,
                )
            }
        };
        let (before, stored) = match self.impacts.is_bound() {
            true => (start - inside, count - 1),
            false => (start, count),
        };
        let bits = self.impacts.bits();
        let (first, bit) = (head + (6 * total).div_ceil(8), bits * before % 8);
        let at = first + bits * before / 8;
        let impacts = cell.get(at..at + (bit + bits * stored).div_ceil(8))?;
        Some(Run { count, slots: Slots::Few(cell.get(head..)?, 6 * start), impacts, bit, most })
    }

    #[inline(always)]
    fn mapped(&self, place: Place) -> Option<Run<'a>> {
        let most = *self.maxima.get(place.rank as usize)?;
        let (map, impacts) = self.cells.get(place.at as usize..)?.split_first_chunk()?;
        let map = u64::from_le_bytes(*map);
        let count = map.count_ones() as usize;
        let impacts = impacts.get(..(count * self.impacts.bits()).div_ceil(8))?;
        Some(Run { count, slots: Slots::Map(map), impacts, bit: 0, most })
    }
}

/// Where a run is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    at: u32,
    rank: u32,
    wide: bool,
}

/// Sixteen counts less 1, four bits each.
#[derive(Clone, Copy)]
struct Nibbles(u64);

impl Nibbles {
    #[inline(always)]
    fn at(self, position: usize) -> usize {
        (self.0 >> (4 * position) & 15) as usize + 1
    }

    /// Sum of the counts in front of a position up to 16.
    #[inline(always)]
    fn before(self, position: usize) -> usize {
        const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;
        let front = if position == 16 { self.0 } else { self.0 & ((1 << (4 * position)) - 1) };
        // at most 240, so that a byte holds it
        let pairs = (front & LOW) + (front >> 4 & LOW);
        (pairs.wrapping_mul(0x0101_0101_0101_0101) >> 56) as usize + position
    }
}

/// Sum of the counts in front of a position, of bytes that are a count less 1.
#[inline(always)]
fn before(counts: &[u8], position: usize) -> usize {
    counts[..position].iter().map(|&count| usize::from(count) + 1).sum()
}

impl Run<'_> {
    /// What is stored of the weight at a position; 0 beyond the end.
    #[inline(always)]
    fn code(&self, impacts: Impacts, position: usize) -> u32 {
        let byte = |at: usize| u32::from(self.impacts.get(at).copied().unwrap_or(0));
        match impacts {
            Impacts::Exact => {
                let codes = self.impacts.as_chunks().0;
                codes.get(position).map_or(0, |&code| u32::from_le_bytes(code))
            }
            Impacts::Linear8(_) => byte(position),
            Impacts::Linear6(_) => {
                let bit = self.bit + 6 * position;
                (byte(bit / 8) | byte(bit / 8 + 1) << 8) >> (bit % 8) & 63
            }
        }
    }

    /// Hands the postings to `each` as slot in the block and weight, in any order.
    ///
    /// # Errors
    /// [`Broken`] if there are too few bytes.
    #[inline(always)]
    pub fn each(&self, impacts: Impacts, mut each: impl FnMut(usize, f32)) -> Read<()> {
        match self.slots {
            Slots::Map(mut map) => {
                for position in 0..self.count {
                    let code = self.code(impacts, position);
                    let slot = map.trailing_zeros() as usize;
                    each(slot, impacts.weight(code));
                    map &= map.wrapping_sub(1);
                }
            }
            Slots::Few(bytes, bit) => {
                // the first impact may stand among the maxima
                let lacking = usize::from(impacts.is_bound());
                for (chunk, from) in (0..self.count).step_by(8).enumerate() {
                    // eight slots are six bytes
                    let at = bit / 8 + 6 * chunk;
                    let word = bytes.get(at..at + 8).and_then(<[u8]>::first_chunk);
                    let mut word = u64::from_le_bytes(*word.ok_or(Broken)?) >> (bit % 8);
                    for position in from..(from + 8).min(self.count) {
                        let code = match position.checked_sub(lacking) {
                            Some(position) => self.code(impacts, position),
                            None => u32::from(self.most),
                        };
                        let slot = (word % BLOCK as u64) as usize;
                        each(slot, impacts.weight(code));
                        word >>= 6;
                    }
                }
            }
        }
        Ok(())
    }

    /// As [`Run::each`], slots ascending.
    fn each_in_order(
        &self,
        impacts: Impacts,
        mut each: impl FnMut(usize, f32) -> Read<()>,
    ) -> Read<()> {
        let (mut map, mut held) = (0u64, [0.0; BLOCK]);
        self.each(impacts, |slot, weight| {
            map |= 1 << slot;
            held[slot] = weight;
        })?;
        if map.count_ones() as usize != self.count {
            return Err(Broken);
        }
        while map != 0 {
            let slot = map.trailing_zeros() as usize;
            each(slot, held[slot])?;
            map &= map - 1;
        }
        Ok(())
    }
}

/// Asks the processor for the bytes at `at`, if there are any.
#[inline(always)]
fn prefetch(bytes: &[u8], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if at < bytes.len() {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address lies inside the slice, and a prefetch changes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, at);
}
