//! Postings to the bytes of a list, which [`super::file`] specifies and `postings` reads.

use std::ops::Range;

use super::{
    postings::{BLOCK, FAR, PADDING, RANKS, WIDE, WORD, based, blocks, cell, is_dense, is_mapped},
    quantize::Impacts,
};
use crate::error::{Error, Result};

/// A list that is ready to be written.
#[derive(Debug, PartialEq)]
pub(in crate::index) struct Encoded {
    pub(in crate::index) bytes: Vec<u8>,
    pub(in crate::index) count: u32,
    /// The largest weight, as stored.
    pub(in crate::index) max: f32,
    /// Bounds not above the 10th, 100th and 1000th largest weight; 0 if there are fewer.
    pub(in crate::index) best: [u8; 3],
}

/// The bytes of the postings of one term, places ascending, in an index of `docs` places.
///
/// # Errors
/// [`Error::Format`] for a list above 4 GiB.
pub(in crate::index) fn encode(
    postings: &[(u32, f32)],
    docs: u32,
    impacts: Impacts,
) -> Result<Encoded> {
    let codes: Vec<u32> = postings.iter().map(|&(_, weight)| impacts.code(weight)).collect();
    let max = codes.iter().map(|&code| impacts.weight(code)).fold(0.0, f32::max);
    let unit = impacts.unit(max);
    let bounds: Vec<u8> = codes.iter().map(|&code| impacts.bound(code, unit)).collect();
    let best = best(codes.iter().map(|&code| impacts.floor(code, unit)));
    let list = List { postings, codes: &codes, bounds: &bounds, impacts };
    Ok(Encoded { bytes: list.bytes(docs as usize)?, count: postings.len() as u32, max, best })
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

/// Postings with what is stored of their weights.
struct List<'a> {
    postings: &'a [(u32, f32)],
    codes: &'a [u32],
    bounds: &'a [u8],
    impacts: Impacts,
}

impl List<'_> {
    fn bytes(&self, docs: usize) -> Result<Vec<u8>> {
        let runs = self.runs();
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let block = |run: &Range<usize>| self.postings[run.start].0 as usize / BLOCK;
        let mut bytes = (runs.len() as u32).to_le_bytes().to_vec();
        match is_mapped(runs.len(), docs) {
            true => bytes.extend(map(runs.iter().map(block), blocks(docs).div_ceil(WORD))),
            false => {
                let gaps = gaps(runs.iter().map(block));
                bytes.extend((gaps.len() as u32).to_le_bytes());
                bytes.extend(gaps);
            }
        }
        bytes.extend(runs.iter().map(|run| self.bounds[self.first(run)]));
        self.cells(&runs, &mut bytes)?;
        bytes.extend([0; PADDING]);
        Ok(bytes)
    }

    /// The postings of each block that has any.
    fn runs(&self) -> Vec<Range<usize>> {
        let same = |a: &(u32, f32), b: &(u32, f32)| a.0 / BLOCK as u32 == b.0 / BLOCK as u32;
        let mut start = 0;
        let lengths = self.postings.chunk_by(same).map(<[_]>::len);
        lengths.map(|length| (start, start += length).0..start).collect()
    }

    /// The first posting of a run with the largest bound.
    fn first(&self, run: &Range<usize>) -> usize {
        run.clone().rev().max_by_key(|&at| self.bounds[at]).unwrap_or(run.start)
    }

    /// Appends bases, offsets and cells.
    fn cells(&self, runs: &[Range<usize>], bytes: &mut Vec<u8>) -> Result<()> {
        let (mut bases, mut offsets, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        let dense = is_dense(self.postings.len(), runs.len());
        let (mut base, based) = (0, based(dense, self.impacts));
        for (number, runs) in runs.chunks(cell(dense)).enumerate() {
            if number % based == 0 {
                base = cells.len();
                let base = u32::try_from(base).map_err(|_| too_long())?;
                bases.extend(base.to_le_bytes());
            }
            let wide = !dense && runs.iter().any(|run| run.len() > 16);
            // see `based`: the blocks between are fewer than the bit that says wide
            let offset = (cells.len() - base) as u16 | if wide { WIDE } else { 0 };
            offsets.extend(offset.to_le_bytes());
            match dense {
                true => runs.iter().for_each(|run| self.map(run, &mut cells)),
                false => self.slots(runs, wide, &mut cells),
            }
        }
        if u32::try_from(cells.len()).is_err() {
            return Err(too_long());
        }
        bytes.extend(bases);
        bytes.extend(offsets);
        bytes.extend(cells);
        Ok(())
    }

    fn map(&self, run: &Range<usize>, bytes: &mut Vec<u8>) {
        let map = run.clone().fold(0u64, |map, at| map | 1 << self.slot(at));
        bytes.extend(map.to_le_bytes());
        self.pack_impacts(run.clone(), bytes);
    }

    fn slots(&self, runs: &[Range<usize>], wide: bool, bytes: &mut Vec<u8>) {
        let counts = runs.iter().map(|run| run.len() as u64 - 1);
        pack(counts, if wide { 8 } else { 4 }, bytes);
        let (mut slots, mut stored) = (Vec::new(), Vec::new());
        for run in runs {
            let first = self.first(run);
            let others = run.clone().filter(|&at| at != first);
            for at in std::iter::once(first).chain(others) {
                slots.push(self.slot(at));
                if at != first || !self.impacts.is_bound() {
                    stored.push(at);
                }
            }
        }
        pack(slots.into_iter(), 6, bytes);
        self.pack_impacts(stored.into_iter(), bytes);
    }

    fn pack_impacts(&self, stored: impl Iterator<Item = usize>, bytes: &mut Vec<u8>) {
        let codes = stored.map(|at| u64::from(self.codes[at]));
        pack(codes, self.impacts.bits() as u32, bytes);
    }

    fn slot(&self, at: usize) -> u64 {
        u64::from(self.postings[at].0) % BLOCK as u64
    }
}

fn too_long() -> Error {
    Error::format("index", "a posting list outgrows 4 GiB; build several indexes")
}

/// A bit per block.
fn map(blocks: impl Iterator<Item = usize>, words: usize) -> Vec<u8> {
    let mut map = vec![0u64; words];
    blocks.for_each(|block| map[block / WORD] |= 1 << (block % WORD));
    map.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// The blocks skipped before each.
fn gaps(blocks: impl Iterator<Item = usize>) -> Vec<u8> {
    let (mut bytes, mut next) = (Vec::new(), 0);
    for block in blocks {
        let gap = block - next;
        bytes.extend(std::iter::repeat_n(FAR, gap / usize::from(FAR)));
        bytes.push((gap % usize::from(FAR)) as u8);
        next = block + 1;
    }
    bytes
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::format::{postings::PostingList, quantize::Weights};

    /// What is written of these places is read again, with every kind of weight.
    #[track_caller]
    fn check(docs: u32, places: impl Iterator<Item = u32>) {
        let weight = |at: usize| 0.1 + (at * 7 % 61) as f32;
        let postings: Vec<(u32, f32)> =
            places.enumerate().map(|(at, place)| (place, weight(at))).collect();
        for weights in [Weights::U8, Weights::U6, Weights::F32] {
            let impacts = Impacts::fit(weights, 61.0);
            let Encoded { bytes, count, max, best } = encode(&postings, docs, impacts).unwrap();
            let list = PostingList { bytes: &bytes, count, impacts, max, best, docs };
            let mut read = Vec::new();
            list.each(|place, weight| read.push((place, weight))).unwrap();
            let stored = |weight| impacts.weight(impacts.code(weight));
            let wanted: Vec<(u32, f32)> =
                postings.iter().map(|&(place, weight)| (place, stored(weight))).collect();
            assert_eq!(read, wanted, "{weights}");
            for &(place, weight) in wanted.iter().step_by(97) {
                assert_eq!(list.weight_at(place).unwrap(), Some(weight));
            }
        }
    }

    #[test]
    fn gaps_of_blocks_go_on_where_a_byte_ends() {
        for gap in [0, 1, 254, 255, 256, 509, 510, 511, 2000] {
            let block = |number: u32| number * (gap + 1) * BLOCK as u32;
            check(3_000_000, (0..20).map(|number| block(number) + number));
            check(3_000_000, std::iter::once(block(1) + 63));
        }
    }

    #[test]
    fn cells_and_their_bases_end_anywhere() {
        for runs in [1, 15, 16, 17, 63, 64, 65, 128, 129, 257, 600] {
            for each in [1, 2, 3, 9, 10, 16, 17, 30, 64] {
                let places = (0..runs).flat_map(|run| (0..each).map(move |at| run * 64 + at));
                check(600 * 64, places.clone());
                check(1 << 22, places);
            }
        }
    }

    #[test]
    fn one_full_run_among_small_ones_has_wide_counts() {
        check(
            64 * 500,
            (0..400).flat_map(|run| {
                let count = if run == 37 { 64 } else { 1 + run % 3 };
                (0..count).map(move |at| run * 64 + at)
            }),
        );
    }
}
