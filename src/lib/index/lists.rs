//! Postings to the bytes of a list, which [`super::file`] specifies and `postings` reads.

use super::{
    codec,
    postings::{BASED, BLOCK, BLOCKS, MAPPED, PADDING, RANKS, TABLED, WINDOW, is_plain, windows},
    quantize::Impacts,
};
use crate::error::{Error, Result};

/// A list that is ready to be written.
#[derive(Debug, PartialEq)]
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u32,
    /// The largest weight as it is stored.
    pub(super) max: f32,
    /// Bounds that are not above the 10th, 100th and 1000th largest weight; 0 if there are fewer.
    pub(super) best: [u8; 3],
}

/// The bytes of the postings of one term, places ascending, in an index of `docs` places.
///
/// # Errors
/// [`Error::Format`] for a list above 4 GiB.
pub(super) fn encode(postings: &[(u32, f32)], docs: u32, impacts: Impacts) -> Result<Encoded> {
    let mut raw = Vec::with_capacity(postings.len() * impacts.width());
    let stored: Vec<f32> =
        postings.iter().map(|&(_, weight)| impacts.push(weight, &mut raw)).collect();
    let max = stored.iter().copied().fold(0.0, f32::max);
    let unit = impacts.unit(max);
    let bounds: Vec<u8> =
        (0..stored.len()).map(|position| impacts.read(&raw, position, unit).0).collect();
    let list = List { postings, raw: &raw, bounds: &bounds, width: impacts.width() };
    let bytes = match is_plain(postings.len(), docs as usize) {
        true => list.plain(),
        false => list.windowed(windows(docs as usize))?,
    };
    let best = best(stored.iter().map(|&weight| impacts.floor(weight, unit)));
    Ok(Encoded { bytes, count: postings.len() as u32, max, best })
}

/// The bytes that 10, 100 and 1000 of `floors` reach.
fn best(floors: impl Iterator<Item = u8>) -> [u8; 3] {
    let mut counts = [0usize; 256];
    floors.for_each(|floor| counts[usize::from(floor)] += 1);
    RANKS.map(|rank| {
        let mut reached = 0;
        let at = counts.iter().rposition(|count| {
            reached += count;
            reached >= rank
        });
        at.unwrap_or(0) as u8
    })
}

/// Postings with their stored bytes.
struct List<'a> {
    postings: &'a [(u32, f32)],
    raw: &'a [u8],
    bounds: &'a [u8],
    width: usize,
}

impl<'a> List<'a> {
    fn plain(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut base = 0;
        let raw = self.raw.chunks(codec::BLOCK * self.width);
        for (postings, raw) in self.postings.chunks(codec::BLOCK).zip(raw) {
            let places: Vec<u32> = postings.iter().map(|posting| posting.0).collect();
            let bits_at = bytes.len();
            bytes.push(0);
            bytes[bits_at] = codec::encode(base, &places, &mut bytes);
            bytes.extend(raw);
            base = places[places.len() - 1].saturating_add(1);
        }
        bytes
    }

    fn windowed(&self, windows: usize) -> Result<Vec<u8>> {
        let (mut maxima, mut bases, mut offsets) = (vec![0; windows], vec![], vec![]);
        let mut cells = Vec::new();
        let (mut base, mut rest) = (0, self.part(0, self.postings.len()));
        for (window, max) in maxima.iter_mut().enumerate() {
            if window % BASED == 0 {
                base = cells.len();
                let base = u32::try_from(base).map_err(|_| {
                    Error::format("index", "a posting list outgrows 4 GiB; build several indexes")
                })?;
                bases.extend(base.to_le_bytes());
            }
            // eight cells of at most 1 + 32 + 16 · (8 + 64 · 4) bytes
            offsets.extend(((cells.len() - base) as u16).to_le_bytes());
            let here = rest.before(((window + 1) * WINDOW) as u64);
            if !here.postings.is_empty() {
                *max = here.bound();
                here.cell(&mut cells);
            }
            rest = rest.part(here.postings.len(), rest.postings.len());
        }
        cells.extend([0; PADDING]);
        Ok([maxima, bases, offsets, cells].concat())
    }

    fn part(&self, from: usize, to: usize) -> List<'a> {
        List {
            postings: &self.postings[from..to],
            raw: &self.raw[from * self.width..to * self.width],
            bounds: &self.bounds[from..to],
            width: self.width,
        }
    }

    /// The postings at places below `end`.
    fn before(&self, end: u64) -> List<'a> {
        let count = self.postings.partition_point(|posting| u64::from(posting.0) < end);
        self.part(0, count)
    }

    fn bound(&self) -> u8 {
        self.bounds.iter().copied().max().unwrap_or(0)
    }

    fn cell(&self, bytes: &mut Vec<u8>) {
        let count = self.postings.len();
        if count < TABLED {
            bytes.push(count as u8);
            let slots = self.postings.iter().map(|posting| u64::from(posting.0) % WINDOW as u64);
            pack(slots, 10, bytes);
            bytes.extend(self.raw);
            return;
        }
        bytes.push(0);
        let first = self.postings[0].0 as u64 / WINDOW as u64 * WINDOW as u64;
        let mut blocks = Vec::with_capacity(BLOCKS);
        let mut rest = self.part(0, count);
        for block in 1..=BLOCKS as u64 {
            let here = rest.before(first + block * BLOCK as u64);
            rest = rest.part(here.postings.len(), rest.postings.len());
            blocks.push(here);
        }
        bytes.extend(blocks.iter().map(List::bound));
        bytes.extend(blocks.iter().map(|block| block.postings.len() as u8));
        blocks.iter().for_each(|block| block.block(bytes));
    }

    fn block(&self, bytes: &mut Vec<u8>) {
        let slots = self.postings.iter().map(|posting| u64::from(posting.0) % BLOCK as u64);
        if self.postings.len() < MAPPED {
            pack(slots, 6, bytes);
        } else {
            bytes.extend(slots.fold(0u64, |map, slot| map | 1 << slot).to_le_bytes());
        }
        bytes.extend(self.raw);
    }
}

/// Appends numbers of `bits` bits each, the first in the lowest bits of the first byte.
fn pack(numbers: impl Iterator<Item = u64>, bits: u32, bytes: &mut Vec<u8>) {
    let (mut held, mut filled) = (0u64, 0);
    for number in numbers {
        held |= number << filled;
        filled += bits;
        while filled >= 8 {
            bytes.push((held & 0xff) as u8);
            held >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        bytes.push((held & 0xff) as u8);
    }
}
