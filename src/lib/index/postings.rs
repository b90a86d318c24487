//! Posting lists: the documents of a term and their weights, read from the mapped bytes.
//!
//! Documents stand at *places*, from 0: the order in which they came, or a better one (`order`).
//! 64 places are a block, 16 blocks a window. What was measured, and what follows from it:
//!
//! - Of a million documents an exact top ten has to score about a hundred blocks of 64 (8,000 of
//!   800,000 postings), if the threshold is known early. So a list says the most that it holds in a
//!   window, then in a block, one byte each, and a search reads first the windows' bytes (1 KB a
//!   term), then the blocks' of the windows that are left. Jumps cost more than bytes.
//! - A rare list is its own bound. Read whole it costs less than a table of its windows would, in
//!   time and in bytes; it is written *plain*.
//! - The k-th largest impacts of a term (k = 10, 100, 1000) are a threshold before the first score.
//! - Within a block a document is 6 bits; ten and more are a bitmap of 64. Impacts are bytes: fewer
//!   bits lose ranks.
//!
//! The bytes are specified in [`super::file`]; `lists` writes them.

use serde::Serialize;

use super::{codec, quantize::Impacts};

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
/// Blocks in a window.
pub const BLOCKS: usize = 16;
/// Places in a window.
pub const WINDOW: usize = BLOCK * BLOCKS;
/// Lists of at most so many postings a window are plain.
pub(super) const PLAIN: usize = 6;
/// Cells of fewer postings have no table of blocks.
pub(super) const TABLED: usize = 48;
/// Blocks of fewer postings list their slots, the others are bitmaps.
pub(super) const MAPPED: usize = 10;
/// Windows that share a base of their offsets: the largest cells of so many stay below 64 KiB.
pub(super) const BASED: usize = 8;
/// Zeros behind a list in windows, so that eight bytes can be read wherever a block begins.
pub(super) const PADDING: usize = 8;
/// Ranks whose impacts are stored.
pub(super) const RANKS: [usize; 3] = [10, 100, 1000];

/// Bytes that are no list: the index is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What reading a list gives.
pub type Read<T> = Result<T, Broken>;

/// Number of windows over `docs` places.
pub fn windows(docs: usize) -> usize {
    docs.div_ceil(WINDOW)
}

/// Whether a list of `count` postings is plain.
pub(super) fn is_plain(count: usize, docs: usize) -> bool {
    count <= PLAIN * windows(docs)
}

/// Bytes of a block of `count` postings: its slots, its impacts.
#[inline]
pub(super) fn block_len(count: usize, width: usize) -> usize {
    let slots = if count < MAPPED { (6 * count).div_ceil(8) } else { 8 };
    slots + count * width
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

/// How a list is laid out.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    /// To be read whole: [`PostingList::each`].
    Plain,
    /// Window by window.
    Windowed(Windowed<'a>),
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

    /// How it is laid out.
    ///
    /// # Errors
    /// [`Broken`] if there are too few bytes.
    pub fn form(&self) -> Read<Form<'a>> {
        if is_plain(self.len(), self.docs as usize) {
            return Ok(Form::Plain);
        }
        let windows = windows(self.docs as usize);
        let split = |bytes: &'a [u8], at: usize| bytes.split_at_checked(at).ok_or(Broken);
        let (maxima, rest) = split(self.bytes, windows)?;
        let (bases, rest) = split(rest, 4 * windows.div_ceil(BASED))?;
        let (offsets, cells) = split(rest, 2 * windows)?;
        let (bases, offsets) = (bases.as_chunks().0, offsets.as_chunks().0);
        Ok(Form::Windowed(Windowed { maxima, bases, offsets, cells, impacts: self.impacts }))
    }

    /// Hands every posting to `each` as place, bound and weight; places ascend and are places of the
    /// index.
    ///
    /// # Errors
    /// [`Broken`], where the bytes end to be a list.
    pub fn each(&self, mut each: impl FnMut(u32, u8, f32)) -> Read<()> {
        match self.form()? {
            Form::Plain => self.each_plain(each),
            Form::Windowed(list) => {
                for window in 0..list.maxima.len() {
                    let first = (window * WINDOW) as u32;
                    let docs = self.docs - first;
                    let mut outside = false;
                    list.each_in(window, self.unit(), |slot, bound, weight| {
                        match u32::from(slot) < docs {
                            true => each(first + u32::from(slot), bound, weight),
                            false => outside = true,
                        }
                    })?;
                    if outside {
                        return Err(Broken);
                    }
                }
                Ok(())
            }
        }
    }

    /// The weight at a place, if the list has it.
    ///
    /// # Errors
    /// As [`PostingList::each`].
    pub fn weight_at(&self, place: u32) -> Read<Option<f32>> {
        let mut found = None;
        match self.form()? {
            Form::Plain => self.each(|at, _, weight| {
                if at == place {
                    found = Some(weight);
                }
            })?,
            Form::Windowed(list) => {
                let (window, wanted) = (place as usize / WINDOW, (place as usize % WINDOW) as u16);
                list.each_in(window, self.unit(), |slot, _, weight| {
                    if slot == wanted {
                        found = Some(weight);
                    }
                })?;
            }
        }
        Ok(found)
    }

    /// What it is made of.
    ///
    /// # Errors
    /// As [`PostingList::each`].
    pub(super) fn parts(&self) -> Read<Parts> {
        let Form::Windowed(list) = self.form()? else {
            return Ok(Parts { plain: self.bytes.len() as u64, ..Parts::default() });
        };
        let mut parts = Parts {
            windows: (self.bytes.len() - list.cells.len() + PADDING) as u64,
            ..Parts::default()
        };
        for window in 0..list.maxima.len() {
            match list.cell(window)? {
                None => {}
                Some(Cell::Few(few)) => {
                    parts.few += (1 + few.slots.len() + few.impacts.len()) as u64
                }
                Some(Cell::Table(table)) => {
                    parts.tables += 1 + 2 * BLOCKS as u64;
                    for &count in table.counts {
                        let count = usize::from(count);
                        parts.slots += block_len(count, 0) as u64;
                        parts.impacts += (count * self.impacts.width()) as u64;
                    }
                }
            }
        }
        Ok(parts)
    }

    fn each_plain(&self, mut each: impl FnMut(u32, u8, f32)) -> Read<()> {
        let (mut bytes, mut left, mut base) = (self.bytes, self.len(), 0u32);
        let (width, unit) = (self.impacts.width(), self.unit());
        let mut places = [0; codec::BLOCK];
        while left > 0 {
            let count = left.min(codec::BLOCK);
            let (&bits, rest) = bytes.split_first().ok_or(Broken)?;
            let places = &mut places[..count];
            codec::decode(rest, bits, base, places).ok_or(Broken)?;
            let rest = rest.get(codec::encoded_len(count, bits)..).ok_or(Broken)?;
            let (impacts, rest) = rest.split_at_checked(count * width).ok_or(Broken)?;
            let last = places[count - 1];
            if last >= self.docs {
                return Err(Broken);
            }
            for (position, &place) in places.iter().enumerate() {
                let (bound, weight) = self.impacts.read(impacts, position, unit);
                each(place, bound, weight);
            }
            (bytes, left, base) = (rest, left - count, last + 1);
        }
        Ok(())
    }
}

/// What lists are made of, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Parts {
    /// Plain lists.
    pub plain: u64,
    /// Of the others: what stands in front of the cells.
    pub windows: u64,
    /// Cells of a few postings, whole.
    pub few: u64,
    /// Maxima and counts of the other cells' blocks.
    pub tables: u64,
    /// Places in those blocks.
    pub slots: u64,
    /// Impacts in those blocks.
    pub impacts: u64,
}

impl Parts {
    /// Adds those of another list.
    pub(super) fn add(&mut self, more: Parts) {
        self.plain += more.plain;
        self.windows += more.windows;
        self.few += more.few;
        self.tables += more.tables;
        self.slots += more.slots;
        self.impacts += more.impacts;
    }
}

/// A list that can be entered at any window.
#[derive(Clone, Copy, Debug)]
pub struct Windowed<'a> {
    maxima: &'a [u8],
    bases: &'a [[u8; 4]],
    offsets: &'a [[u8; 2]],
    cells: &'a [u8],
    impacts: Impacts,
}

/// What a list has in one window.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// A few postings, to be read together.
    Few(Few<'a>),
    /// Many, block by block.
    Table(Table<'a>),
}

/// A few postings of a window.
#[derive(Clone, Copy, Debug)]
pub struct Few<'a> {
    count: usize,
    slots: &'a [u8],
    impacts: &'a [u8],
}

/// The blocks of a window.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// The largest bound in each block, 0 for none.
    pub maxima: &'a [u8; BLOCKS],
    /// Postings in each block.
    pub counts: &'a [u8; BLOCKS],
    data: &'a [u8],
}

impl<'a> Windowed<'a> {
    /// The largest bound in each window, 0 for a window without postings.
    pub fn maxima(&self) -> &'a [u8] {
        self.maxima
    }

    fn start(&self, window: usize) -> Option<usize> {
        let base = u32::from_le_bytes(*self.bases.get(window / BASED)?);
        let offset = u16::from_le_bytes(*self.offsets.get(window)?);
        Some(base as usize + usize::from(offset))
    }

    /// What it has in a window, if anything.
    ///
    /// # Errors
    /// [`Broken`] if the bytes are no cell.
    #[inline(always)]
    pub fn cell(&self, window: usize) -> Read<Option<Cell<'a>>> {
        if self.maxima.get(window).copied().unwrap_or(0) == 0 {
            return Ok(None);
        }
        let read = || {
            let (&count, rest) = self.cells.get(self.start(window)?..)?.split_first()?;
            if count == 0 {
                let (maxima, rest) = rest.split_first_chunk()?;
                let (counts, data) = rest.split_first_chunk()?;
                return Some(Cell::Table(Table { maxima, counts, data }));
            }
            let count = usize::from(count);
            let (slots, rest) = rest.split_at_checked((10 * count).div_ceil(8))?;
            let impacts = rest.get(..count * self.impacts.width())?;
            Some(Cell::Few(Few { count, slots, impacts }))
        };
        read().map(Some).ok_or(Broken)
    }

    /// Asks for the bytes that say where a window's cell is.
    #[inline]
    pub fn prefetch_place(&self, window: usize) {
        prefetch(self.maxima, window);
        prefetch(self.offsets.as_flattened(), 2 * window);
        prefetch(self.bases.as_flattened(), window / BASED * 4);
    }

    /// Asks for the beginning of a window's cell.
    #[inline]
    pub fn prefetch_cell(&self, window: usize) {
        if let Some(start) = self.start(window) {
            prefetch(self.cells, start);
            prefetch(self.cells, start + 64);
        }
    }

    /// Hands the postings of a window to `each` as slot in the window, bound and weight.
    fn each_in(&self, window: usize, unit: f64, mut each: impl FnMut(u16, u8, f32)) -> Read<()> {
        match self.cell(window)? {
            None => Ok(()),
            Some(Cell::Few(few)) => few.each(self.impacts, unit, each),
            Some(Cell::Table(table)) => {
                let mut at = 0;
                for (block, &count) in table.counts.iter().enumerate() {
                    let first = (block * BLOCK) as u16;
                    let count = usize::from(count);
                    table.each(at, count, self.impacts, unit, |slot, bound, weight| {
                        each(first + slot as u16, bound, weight);
                    })?;
                    at += block_len(count, self.impacts.width());
                }
                Ok(())
            }
        }
    }
}

impl Few<'_> {
    /// Hands the postings to `each` as slot in the window, bound and weight; slots ascend.
    ///
    /// # Errors
    /// [`Broken`] if they do not.
    #[inline(always)]
    pub fn each(
        &self,
        impacts: Impacts,
        unit: f64,
        mut each: impl FnMut(u16, u8, f32),
    ) -> Read<()> {
        let mut lowest = 0;
        for (group, slots) in self.slots.chunks(5).enumerate() {
            // four slots of ten bits
            let mut word = match *slots {
                [a, b, c, d, e] => u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]),
                _ => slots.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
            };
            for position in 4 * group..(4 * group + 4).min(self.count) {
                let slot = (word & (WINDOW as u64 - 1)) as u16;
                if slot < lowest {
                    return Err(Broken);
                }
                lowest = slot + 1;
                word >>= 10;
                let (bound, weight) = impacts.read(self.impacts, position, unit);
                each(slot, bound, weight);
            }
        }
        Ok(())
    }

    /// Number of postings.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.count
    }
}

impl Table<'_> {
    /// Where the bytes of each block begin.
    #[inline(always)]
    pub fn starts(&self, impacts: Impacts) -> [u16; BLOCKS] {
        let (mut starts, mut sum) = ([0; BLOCKS], 0u16);
        for (start, &count) in starts.iter_mut().zip(self.counts) {
            *start = sum;
            // sixteen blocks of at most 255 postings stay below 64 KiB
            sum += block_len(usize::from(count), impacts.width()) as u16;
        }
        starts
    }

    /// Asks for the bytes of the block that begins at `start`.
    #[inline(always)]
    pub fn prefetch(&self, start: u16) {
        prefetch(self.data, usize::from(start));
    }

    /// Hands the `count` postings of the block that begins at byte `at` to `each`, as slot in the
    /// block, bound and weight; slots ascend.
    ///
    /// # Errors
    /// [`Broken`] if the bytes are no block.
    #[inline(always)]
    pub fn each(
        &self,
        at: usize,
        count: usize,
        impacts: Impacts,
        unit: f64,
        mut each: impl FnMut(usize, u8, f32),
    ) -> Read<()> {
        if count == 0 {
            return Ok(());
        }
        let block = self.data.get(at..).ok_or(Broken)?;
        let mut word = u64::from_le_bytes(*block.first_chunk().ok_or(Broken)?);
        let slots = block_len(count, 0);
        let bytes = block.get(slots..slots + count * impacts.width()).ok_or(Broken)?;
        if count >= MAPPED {
            if word.count_ones() as usize != count {
                return Err(Broken);
            }
            for position in 0..count {
                let (bound, weight) = impacts.read(bytes, position, unit);
                each(word.trailing_zeros() as usize, bound, weight);
                word &= word.wrapping_sub(1);
            }
            return Ok(());
        }
        let mut lowest = 0;
        for position in 0..count {
            let slot = (word & (BLOCK as u64 - 1)) as usize;
            if slot < lowest {
                return Err(Broken);
            }
            lowest = slot + 1;
            let (bound, weight) = impacts.read(bytes, position, unit);
            each(slot, bound, weight);
            word >>= 6;
        }
        Ok(())
    }
}

/// Asks the processor for the bytes at `at`, if there are any.
#[inline]
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
