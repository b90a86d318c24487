//! Block-max search: scores only the blocks that can hold a hit, the best first.
//!
//! 1. Every list has its largest impact in each block of 64 places, as one byte; the bytes of all lists,
//!    weighted, are added in u16 ([`super::bounds`]). All this is read sequentially.
//! 2. Groups of 16 blocks are taken by their largest sum, descending. In each, the blocks whose sum can
//!    enter the hits are scored into 64 accumulators.
//! 3. It ends when the best group left cannot enter. Until there are k hits, the threshold is the
//!    largest weighted k-th impact of a term, which k documents are known to reach.
//!
//! What the next groups need is prefetched while one is scored: first where its cells are, then the
//! cells. The large tables are kept by the thread from one query to the next.
//!
//! Why rounding cannot lose a hit. One unit of a sum is 1/`scale` of a score. `step` is a lane's
//! query weight · unit · scale · 256 · (1 + (n + 16) · 2⁻²³) for n lanes, rounded up; the last factor is
//! more than the n − 1 roundings of an f32 sum, and those of the stored weight and the product, can add.
//! A bound byte `x` adds ⌊x · step / 256⌋, which is less than 1 below its part; sums saturate. So a block
//! is skipped only if its sum is below ⌊threshold · scale · (1 − 10⁻⁶)⌋ − n: a tie is never lost,
//! whatever the order in which blocks are taken. A query whose bounds add up to less than 10⁻³⁰ may
//! round by more than that, and one of more than 4096 terms would make steps too coarse; they are
//! answered by scoring everything.
//!
//! With a reach above 1 the threshold of the k hits at hand counts as that much larger: what is then
//! skipped may have held a hit whose score is below reach · threshold, and no other. Scores stay
//! exact, and there are as many hits as with exact search.
//!
//! Source: block-max pruning as in Ding and Suel 2011 and Mallia, Suel, Tonellotto 2024; here over
//! inverted lists.

use std::{cell::RefCell, cmp::Ordering};

use super::{
    Hit,
    bounds::{Isa, Mapped, add_maps, add_run, weighted},
    collector::Collector,
    exhaustive, part,
};
use crate::{
    error::{Error, Result},
    index::{
        BLOCK, Broken, FAR, Ids, Impacts, Index, Place, PostingList, Read, Runs, Slots, WORD,
        blocks,
    },
    sparse::{SparseVector, TermId},
};

/// The largest sum over all lanes, in units of a sum.
const FULL: f64 = 60_000.0;
/// Below, products may leave the range in which f32 rounds by 2⁻²⁴.
const LEAST: f64 = 1e-30;
/// More terms than these are answered by scoring everything.
const LANES: usize = 4096;
/// Blocks in a group.
const GROUP: usize = 16;

/// Bits of a bound that the order of groups does not look at.
const COARSE: u32 = 7;

/// Groups in progress at once: found, then located, then scored.
const STAGES: usize = SCORED + 1;
const PLACED: usize = 3;
const SCORED: usize = 7;

/// By how much a threshold is overstated: 1 for exact hits.
pub(super) type Reach = f64;

thread_local! {
    static TABLES: RefCell<Tables> = RefCell::default();
}

/// The best hits of one index.
///
/// # Errors
/// [`crate::Error::Format`] if the index is damaged.
pub(super) fn search(
    index: &Index,
    query: &SparseVector,
    k: usize,
    reach: Reach,
) -> Result<Vec<Hit>> {
    let mut lists = Vec::with_capacity(query.nnz());
    for (term, query_weight) in query.iter() {
        let list = index.list(term)?;
        if !list.is_empty() {
            lists.push((term, query_weight, list));
        }
    }
    // as if all bounds went to 255, so that a step has room in 16 bits
    let most =
        |(_, weight, list): &(TermId, f32, PostingList)| f64::from(*weight) * 255.0 * list.unit();
    let total: f64 = lists.iter().map(most).sum();
    if k == 0 || lists.is_empty() {
        return Ok(Vec::new());
    }
    if !(LEAST..f64::MAX).contains(&total) || lists.len() > LANES {
        return exhaustive::search(index, query, k);
    }
    let scale = FULL / total;
    let slack = 1.0 + (lists.len() + 16) as f64 * f64::from(f32::EPSILON);
    let (mut lanes, mut floor) = (Vec::with_capacity(lists.len()), 0.0f32);
    for (term, query_weight, list) in lists {
        let step = (f64::from(query_weight) * list.unit() * scale * 256.0 * slack).ceil() as u16;
        let runs = index.whole(term, list.runs())?;
        let impacts = list.impacts();
        lanes.push(TermCursor { term, query_weight, step, runs, impacts });
        floor = floor.max(part(query_weight, list.reached(k)));
    }
    TABLES.with_borrow_mut(|tables| {
        let mut hunt = BlockMaxSearch {
            index,
            lanes: &lanes,
            floor,
            least: 0,
            units: scale * (1.0 - 1e-6),
            reach,
            best: Collector::new(index, k),
        };
        hunt.raise(floor, 1.0);
        hunt.run_best(tables)?;
        hunt.best.into_hits()
    })
}

/// One list of the query.
struct TermCursor<'a> {
    term: TermId,
    query_weight: f32,
    step: u16,
    runs: Runs<'a>,
    impacts: Impacts,
}

/// Buffers of a search, kept from one search to the next.
#[derive(Default)]
struct Tables {
    /// The bound of each block.
    bounds: Vec<u16>,
    /// By lane.
    ranks: Vec<Ranks>,
    /// The largest bound of each group, and its number.
    groups: Vec<(u16, u32)>,
    /// `groups`, those with the largest bounds first.
    queue: Vec<(u16, u32)>,
    stages: [Stage; STAGES],
}

/// How the rank of a run is found by its block.
#[derive(Default)]
struct Ranks {
    /// The rank of the first run in or after each word of blocks, and the number of runs.
    first: Vec<u32>,
    /// The block of each run, for a list without a map.
    blocks: Vec<u32>,
}

/// What is wanted of a group of blocks.
#[derive(Default)]
struct Stage {
    /// By lane: the runs in the group, a bit a block, and the rank of the first.
    here: Vec<(u16, u32)>,
    /// Blocks, and where the picks of each end.
    blocks: Vec<(u32, u32)>,
    picks: Vec<BlockRef>,
}

/// A run to be scored.
struct BlockRef {
    lane: u32,
    rank: u32,
    place: Place,
}

impl Ranks {
    /// The runs in a group of blocks: a bit a block, and the rank of the first.
    #[inline(always)]
    fn group(&self, ids: Ids, group: usize) -> (u16, u32) {
        let word = group * GROUP / WORD;
        match ids {
            Ids::Map(words) => {
                let (map, bit) = (u64::from_le_bytes(words[word]), group * GROUP % WORD);
                let before = (map & ((1 << bit) - 1)).count_ones();
                ((map >> bit) as u16, self.first[word] + before)
            }
            Ids::Gaps(_) => {
                let (mut map, mut first) = (0, self.first[word]);
                for &block in &self.blocks[first as usize..self.first[word + 1] as usize] {
                    match (block as usize / GROUP).cmp(&group) {
                        Ordering::Less => first += 1,
                        Ordering::Equal => map |= 1 << (block as usize % GROUP),
                        Ordering::Greater => break,
                    }
                }
                (map, first)
            }
        }
    }
}

impl TermCursor<'_> {
    /// Adds what a list without a map can add in each block to the bounds; fills `ranks`.
    #[inline(always)]
    fn mark(&self, gaps: &[u8], bounds: &mut [u16], ranks: &mut Ranks) -> Read<()> {
        let (mut block, mut words) = (0, 0);
        let mut maxima = self.runs.maxima().iter();
        for &gap in gaps {
            block += usize::from(gap);
            if gap == FAR {
                continue;
            }
            let (bound, most) = bounds.get_mut(block).zip(maxima.next()).ok_or(Broken)?;
            *bound = bound.saturating_add(weighted(*most, self.step));
            while words <= block / WORD {
                ranks.first[words] = ranks.blocks.len() as u32;
                words += 1;
            }
            ranks.blocks.push(block as u32);
            block += 1;
        }
        ranks.first[words..].fill(ranks.blocks.len() as u32);
        if maxima.len() == 0 { Ok(()) } else { Err(Broken) }
    }

    /// Adds the parts of one run.
    #[inline(always)]
    fn score(&self, isa: Isa, place: Place, scores: &mut [f32; BLOCK]) -> Read<()> {
        let run = self.runs.read(place)?;
        match (run.slots, self.impacts) {
            (Slots::Map(map), Impacts::Linear8(scale)) => {
                add_run(isa, scores, map, run.impacts, scale, self.query_weight);
                Ok(())
            }
            (Slots::Few(bytes, bit), Impacts::Linear8(scale)) => {
                let mut add = |slot: u64, impact: u8| {
                    let part = part(self.query_weight, scale * f32::from(impact));
                    scores[slot as usize % BLOCK] += part;
                };
                let (mut impact, mut rest) = (run.most, run.impacts.iter());
                let (mut at, mut left) = (bit / 8, run.count);
                loop {
                    let word = bytes.get(at..at + 8).and_then(<[u8]>::first_chunk);
                    let mut word = u64::from_le_bytes(*word.ok_or(Broken)?) >> (bit % 8);
                    for _ in 0..left.min(8) {
                        add(word, impact);
                        word >>= 6;
                        impact = rest.next().copied().unwrap_or(0);
                    }
                    if left <= 8 {
                        return Ok(());
                    }
                    (at, left) = (at + 6, left - 8);
                }
            }
            _ => run.each(self.impacts, |slot, weight| {
                scores[slot % BLOCK] += part(self.query_weight, weight);
            }),
        }
    }
}

struct BlockMaxSearch<'a> {
    index: &'a Index,
    /// In ascending order of terms.
    lanes: &'a [TermCursor<'a>],
    /// What a score must reach.
    floor: f32,
    /// The least sum of bounds with which a document can still enter.
    least: u16,
    /// Units of a sum in a score of 1.
    units: f64,
    /// By how much the threshold of the hits at hand is overstated.
    reach: Reach,
    best: Collector<'a>,
}

impl BlockMaxSearch<'_> {
    /// Runs what is compiled for this processor.
    fn run_best(&mut self, tables: &mut Tables) -> Result<()> {
        match Isa::best() {
            Isa::Portable => self.run(Isa::Portable, tables),
            // SAFETY: `Isa::best` found the instructions.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { self.run_avx2(tables) },
            // SAFETY: `Isa::best` found the instructions.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { self.run_avx512(tables) },
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn run_avx2(&mut self, tables: &mut Tables) -> Result<()> {
        self.run(Isa::Avx2, tables)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi2")]
    fn run_avx512(&mut self, tables: &mut Tables) -> Result<()> {
        self.run(Isa::Avx512, tables)
    }

    #[inline(always)]
    fn run(&mut self, isa: Isa, tables: &mut Tables) -> Result<()> {
        let words = blocks(self.index.len()).div_ceil(WORD);
        let Tables { bounds, ranks, groups, queue, stages } = tables;
        bounds.clear();
        bounds.resize(words * WORD, 0);
        if ranks.len() < self.lanes.len() {
            ranks.resize_with(self.lanes.len(), Ranks::default);
        }
        self.mark(isa, bounds, ranks)?;
        best_first(bounds, self.least, groups, queue);
        let (mut end, mut step) = (queue.len(), 0);
        while step < end + SCORED {
            if let Some(&(bound, group)) = queue[..end].get(step) {
                let stage = &mut stages[step % STAGES];
                stage.blocks.clear();
                stage.picks.clear();
                if bound >= self.least {
                    self.find(group as usize, bounds, ranks, stage);
                } else if bound >> COARSE < self.least >> COARSE {
                    end = step; // no later group has a larger bound
                }
            }
            if (PLACED..end + PLACED).contains(&step) {
                self.place(&mut stages[(step - PLACED) % STAGES])?;
            }
            if step >= SCORED {
                self.score(isa, &stages[(step - SCORED) % STAGES], bounds)?;
            }
            step += 1;
        }
        Ok(())
    }

    /// Adds up the bounds of all blocks; fills `ranks`.
    #[inline(always)]
    fn mark(&self, isa: Isa, bounds: &mut [u16], ranks: &mut [Ranks]) -> Result<()> {
        let words = bounds.len() / WORD;
        let (mut maps, mut owners) = (Vec::with_capacity(self.lanes.len()), Vec::new());
        for (lane, ranks) in self.lanes.iter().zip(ranks) {
            ranks.blocks.clear();
            ranks.first.resize(words + 1, 0);
            let (maxima, step) = (lane.runs.maxima(), lane.step);
            match lane.runs.ids() {
                Ids::Gaps(gaps) => {
                    let read = lane.mark(gaps, bounds, ranks);
                    read.map_err(|broken| self.broken(lane, broken))?;
                }
                Ids::Map(map) => {
                    maps.push(Mapped { map, maxima, step, first: &mut ranks.first, rank: 0 });
                    owners.push(lane);
                }
            }
        }
        add_maps(isa, bounds, &mut maps);
        for (map, lane) in maps.iter_mut().zip(owners) {
            map.first[words] = map.rank as u32;
            if map.rank != lane.runs.len() {
                return Err(self.broken(lane, Broken));
            }
        }
        Ok(())
    }

    /// Raises the threshold.
    #[inline(always)]
    fn raise(&mut self, floor: f32, reach: Reach) {
        self.floor = self.floor.max(floor);
        // a score that outgrew f32 has bounds from there on
        let least = (f64::from(self.floor.min(f32::MAX)) * self.units * reach) as u16;
        // each lane's part of a sum is rounded down; there are at most `LANES`
        self.least = least.saturating_sub(self.lanes.len() as u16);
    }

    /// Finds the runs of the blocks of a group that can hold a hit.
    #[inline(always)]
    fn find(&self, group: usize, bounds: &[u16], ranks: &[Ranks], stage: &mut Stage) {
        stage.here.clear();
        let lanes = self.lanes.iter().zip(ranks);
        stage.here.extend(lanes.map(|(lane, ranks)| ranks.group(lane.runs.ids(), group)));
        for (at, block) in (group * GROUP..(group + 1) * GROUP).enumerate() {
            if bounds[block] < self.least {
                continue;
            }
            for (lane, (map, first)) in (0..).zip(&stage.here) {
                if map >> at & 1 == 1 {
                    let rank = first + (map & ((1 << at) - 1)).count_ones();
                    self.lanes[lane as usize].runs.prefetch_offset(rank as usize);
                    stage.picks.push(BlockRef { lane, rank, place: Place::default() });
                }
            }
            // a bound of 0 may be a small weight, but a block without runs holds nothing
            let end = stage.picks.len() as u32;
            if end > stage.blocks.last().map_or(0, |block| block.1) {
                stage.blocks.push((block as u32, end));
            }
        }
    }

    /// Finds the cells of the runs, and prefetches them.
    #[inline(always)]
    fn place(&self, stage: &mut Stage) -> Result<()> {
        for pick in &mut stage.picks {
            let lane = &self.lanes[pick.lane as usize];
            let place = lane.runs.prefetch_cell(pick.rank as usize);
            pick.place = place.map_err(|broken| self.broken(lane, broken))?;
        }
        Ok(())
    }

    /// Scores the documents of the blocks, and offers those that can enter.
    #[inline(always)]
    fn score(&mut self, isa: Isa, stage: &Stage, bounds: &[u16]) -> Result<()> {
        let mut from = 0;
        for &(block, to) in &stage.blocks {
            let picks = &stage.picks[from..to as usize];
            from = to as usize;
            if bounds[block as usize] < self.least {
                continue;
            }
            let mut scores = [0.0f32; BLOCK];
            for pick in picks {
                let lane = &self.lanes[pick.lane as usize];
                let read = lane.score(isa, pick.place, &mut scores);
                read.map_err(|broken| self.broken(lane, broken))?;
            }
            self.offer(block as usize, &scores)?;
        }
        Ok(())
    }

    /// Offers the documents of a block that can enter.
    #[inline(always)]
    fn offer(&mut self, block: usize, scores: &[f32; BLOCK]) -> Result<()> {
        for (chunk, scores) in scores.as_chunks::<16>().0.iter().enumerate() {
            // scores are not negative, so that their bits are in the same order
            let best = scores.iter().map(|score| score.to_bits() as i32).fold(0, i32::max);
            if best < self.floor.to_bits() as i32 {
                continue;
            }
            for (place, &score) in (block * BLOCK + chunk * 16..).zip(scores) {
                if score >= self.floor && score > 0.0 {
                    let place = u32::try_from(place).unwrap_or(u32::MAX); // no document is there
                    self.best.push(place, score)?;
                    if self.best.worst() > self.floor {
                        self.raise(self.best.worst(), self.reach);
                    }
                }
            }
        }
        Ok(())
    }

    #[cold]
    fn broken(&self, lane: &TermCursor, broken: Broken) -> Error {
        self.index.broken(lane.term, broken)
    }
}

/// Groups whose largest bound is at least `least`, by that bound, descending to a 512th of its range.
#[inline(always)]
fn best_first(
    bounds: &[u16],
    least: u16,
    groups: &mut Vec<(u16, u32)>,
    queue: &mut Vec<(u16, u32)>,
) {
    let mut starts = [0u32; (u16::MAX >> COARSE) as usize + 2];
    groups.clear();
    for (group, bounds) in (0..).zip(bounds.as_chunks::<GROUP>().0) {
        let bound = bounds.iter().copied().fold(0, u16::max);
        if bound >= least {
            groups.push((bound, group));
            starts[usize::from((u16::MAX - bound) >> COARSE) + 1] += 1;
        }
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    queue.clear();
    queue.resize(groups.len(), (0, 0));
    for &(bound, group) in &*groups {
        let start = &mut starts[usize::from((u16::MAX - bound) >> COARSE)];
        queue[*start as usize] = (bound, group);
        *start += 1;
    }
}
