//! A list as runs: the place of each in its cell, and its postings.
//!
//! [`super::postings`] explains what runs and cells are, and why.

use super::{
    postings::{BLOCK, Broken, CELL, FAR, Read, WIDE, WORD, based, blocks, cell},
    quantize::Impacts,
};

/// A list as runs, each found by its number in the list, its *rank*.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    pub(in crate::index) len: usize,
    pub(in crate::index) ids: Ids<'a>,
    pub(in crate::index) maxima: &'a [u8],
    pub(in crate::index) bases: &'a [[u8; 4]],
    pub(in crate::index) offsets: &'a [[u8; 2]],
    pub(in crate::index) cells: &'a [u8],
    pub(in crate::index) dense: bool,
    pub(in crate::index) impacts: Impacts,
}

/// Which blocks a list has.
#[derive(Clone, Copy, Debug)]
pub enum Ids<'a> {
    /// A bit per block, 64 in a little-endian word.
    Map(&'a [[u8; 8]]),
    /// Bytes: how many blocks are skipped before the next, [`FAR`] if another byte follows.
    Gaps(&'a [u8]),
}

impl Ids<'_> {
    /// Hands every run to `each` as rank and block, which ascend.
    pub(in crate::index) fn each(
        &self,
        docs: usize,
        mut each: impl FnMut(usize, usize) -> Read<()>,
    ) -> Read<()> {
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

/// The slots of a run's postings in their block.
#[derive(Clone, Copy, Debug)]
pub enum Slots<'a> {
    /// Six bits each from a bit of these bytes on: a posting with the largest bound, then the others
    /// in order.
    Few(&'a [u8], usize),
    /// A bit per place, impacts in order.
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

    /// Prefetches the bytes that say where a run's cell is.
    #[inline(always)]
    pub fn prefetch_offset(&self, rank: usize) {
        prefetch(self.offsets.as_flattened(), rank / cell(self.dense) * 2);
    }

    /// Where the cell of a run is; prefetches its bytes.
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
    pub(in crate::index) fn run(&self, rank: usize) -> Read<Run<'a>> {
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
                // the first impact may be among the maxima
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
    pub(in crate::index) fn each_in_order(
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

/// Prefetches the bytes at `at`, if there are any.
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
