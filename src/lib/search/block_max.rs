//! Block-max search: exact, and scores only the blocks that can hold a hit, the best first.
//!
//! 1. Every list says the most that it holds in each window of 1024 places, as one byte; the bytes of
//!    all lists, weighted, are added in u16. Short lists are read whole for that.
//! 2. Windows are taken by descending sum. In each, the lists say the most of each block of 64 places,
//!    and blocks whose sum can enter the hits are scored into 64 accumulators.
//! 3. It ends when the best window left cannot enter. Until there are k hits, the threshold is the
//!    largest weighted k-th impact of a term, which k documents are known to reach.
//!
//! What the next windows need is asked for while one is scored.
//!
//! Why rounding cannot lose a hit. One unit of a sum is 1/`scale` of a score. `step` is a lane's
//! query weight · unit · scale · 256, rounded up, times 1 + (n + 16) · 2⁻²³ for n lanes: more than the
//! n − 1 roundings of an f32 sum, and those of the stored weight and the product, can add. A bound byte
//! `x` adds ⌊x · step / 256⌋ + 1, which is above its part; sums saturate. A block is passed over if its
//! sum is *below* ⌊threshold · scale · (1 − 10⁻⁶)⌋, so that a tie is never lost, whatever the order in
//! which blocks are taken. The scores of a query whose largest is below 10⁻³⁰ may round by more than
//! that; it is answered by scoring everything.
//!
//! Source: block-max pruning as in Ding and Suel 2011 and Mallia, Suel, Tonellotto 2024; here over
//! inverted lists, in two levels.

use std::collections::BinaryHeap;

use super::{Hit, TopK, exhaustive, part};
use crate::{
    error::{Error, Result},
    index::{
        BLOCK, BLOCKS, Broken, Cell, Form, Impacts, Index, PostingList, Read, Table, WINDOW,
        Windowed, windows,
    },
    sparse::{SparseVector, TermId},
};

/// The most that all lanes add up to, in units of a sum.
const FULL: f64 = 60_000.0;
/// Below, products may leave the range in which f32 rounds by 2⁻²⁴.
const LEAST: f64 = 1e-30;

/// The best hits of one index.
///
/// # Errors
/// [`crate::Error::Format`] if the index is damaged.
pub(super) fn search(index: &Index, query: &SparseVector, k: usize) -> Result<Vec<Hit>> {
    let mut lists = Vec::with_capacity(query.nnz());
    for (term, query_weight) in query.iter() {
        let list = index.list(term)?;
        if !list.is_empty() {
            lists.push((term, query_weight, list));
        }
    }
    let reach = |(_, weight, list): &(TermId, f32, PostingList)| f64::from(*weight) * most(list);
    let total: f64 = lists.iter().map(reach).sum();
    if k == 0 || lists.is_empty() {
        return Ok(Vec::new());
    }
    if !(LEAST..f64::MAX).contains(&total) {
        return exhaustive::search(index, query, k);
    }
    let scale = FULL / total;
    let slack = 1.0 + (lists.len() + 16) as f64 * f64::from(f32::EPSILON);
    let mut lanes = Vec::with_capacity(lists.len());
    let mut floor = 0.0f32;
    for (term, query_weight, list) in lists {
        let step = (f64::from(query_weight) * list.unit() * scale * 256.0 * slack).ceil() as u16;
        let lane = Lane::new(list, query_weight, step, windows(index.len()));
        lanes.push((term, index.whole(term, lane)?));
        floor = floor.max(part(query_weight, list.reached(k)));
    }
    let hunt = Hunt { index, lanes: &lanes, floor, scale, top: TopK::new(k) };
    // one dispatch for all: what is inlined below is compiled for this processor
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut bounds = vec![0; windows(index.len())];
            for (_, lane) in &lanes {
                add_weighted(&mut bounds, lane.maxima(), lane.step);
            }
            hunt.run(&bounds)
        },
    )
}

/// The largest weight that the bounds of a list can stand for.
fn most(list: &PostingList) -> f64 {
    255.0 * list.unit()
}

/// One list of the query.
struct Lane<'a> {
    query_weight: f32,
    step: u16,
    impacts: Impacts,
    unit: f64,
    postings: Postings<'a>,
}

enum Postings<'a> {
    Plain(Plain),
    Windowed(Windowed<'a>),
}

/// A list that was read whole.
struct Plain {
    /// Place, bound, part of the score.
    postings: Vec<(u32, u8, f32)>,
    /// Where the postings of each window begin, and the end.
    starts: Vec<u32>,
    /// The largest bound in each window.
    maxima: Vec<u8>,
}

impl Plain {
    fn new(list: PostingList, query_weight: f32, windows: usize) -> Read<Plain> {
        let mut postings = Vec::with_capacity(list.len());
        let (mut starts, mut maxima) = (vec![0; windows + 1], vec![0; windows]);
        list.each(|place, bound, weight| {
            let window = place as usize / WINDOW;
            starts[window + 1] += 1;
            maxima[window] = bound.max(maxima[window]);
            postings.push((place, bound, part(query_weight, weight)));
        })?;
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        Ok(Plain { postings, starts, maxima })
    }
}

impl<'a> Lane<'a> {
    fn new(list: PostingList<'a>, query_weight: f32, step: u16, windows: usize) -> Read<Lane<'a>> {
        let postings = match list.form()? {
            Form::Windowed(windowed) => Postings::Windowed(windowed),
            Form::Plain => Postings::Plain(Plain::new(list, query_weight, windows)?),
        };
        Ok(Lane { query_weight, step, impacts: list.impacts(), unit: list.unit(), postings })
    }

    /// The largest bound in each window.
    fn maxima(&self) -> &[u8] {
        match &self.postings {
            Postings::Plain(plain) => &plain.maxima,
            Postings::Windowed(list) => list.maxima(),
        }
    }
}

/// What a bound adds to a sum; 0 only for 0.
#[inline(always)]
fn weighted(bound: u8, step: u16) -> u16 {
    // the upper half of a product of two u16, which processors have as one instruction
    let whole = ((u32::from(bound) << 8) * u32::from(step)) >> 16;
    (whole as u16).wrapping_add(u16::from(bound != 0))
}

/// Adds a row of bounds to the sums.
#[inline(always)]
fn add_weighted(sums: &mut [u16], bounds: &[u8], step: u16) {
    for (sum, &bound) in sums.iter_mut().zip(bounds) {
        *sum = sum.saturating_add(weighted(bound, step));
    }
}

/// What a lane has in the window at hand.
enum Here<'a> {
    /// A part of [`Window::few`]: what is left of it.
    Few(usize, usize),
    /// The blocks, and where the bytes of each begin.
    Table(Table<'a>, [u16; BLOCKS]),
}

/// The window at hand.
struct Window<'a> {
    number: usize,
    bounds: [u16; BLOCKS],
    /// By lane; those without postings here are left out.
    here: Vec<(usize, Here<'a>)>,
    /// Slot in the window and part of the score.
    few: Vec<(u16, f32)>,
}

struct Hunt<'a> {
    index: &'a Index,
    /// In ascending order of terms.
    lanes: &'a [(TermId, Lane<'a>)],
    /// What a score must reach.
    floor: f32,
    /// Units of a sum in a score of 1.
    scale: f64,
    top: TopK,
}

impl<'a> Hunt<'a> {
    #[inline(always)]
    fn run(mut self, bounds: &[u16]) -> Result<Vec<Hit>> {
        let least = self.least();
        let windows = (0u32..).zip(bounds).filter(|(_, bound)| **bound > 0 && **bound >= least);
        let mut queue: BinaryHeap<(u16, u32)> =
            windows.map(|(window, bound)| (*bound, window)).collect::<Vec<_>>().into();
        let mut ahead = [queue.pop(), queue.pop(), queue.pop()];
        let mut window = Window { number: 0, bounds: [0; BLOCKS], here: vec![], few: vec![] };
        while let Some((_, number)) = ahead[0].filter(|(bound, _)| *bound >= self.least()) {
            ahead = [ahead[1], ahead[2], queue.pop()];
            self.prefetch(ahead[0], ahead[2]);
            window.number = number as usize;
            let mut blocks = self.enter(&mut window)?;
            while blocks != 0 {
                let block = blocks.trailing_zeros() as usize;
                blocks &= blocks - 1;
                if window.bounds[block] >= self.least() {
                    self.score(block, &mut window)?;
                }
            }
        }
        Ok(self.top.into_hits())
    }

    /// The least sum of bounds with which a document can still enter.
    #[inline(always)]
    fn least(&self) -> u16 {
        // a score that outgrew f32 has bounds from there on
        let floor = f64::from(self.floor.min(f32::MAX));
        (floor * self.scale * (1.0 - 1e-6)) as u16
    }

    #[inline(always)]
    fn prefetch(&self, next: Option<(u16, u32)>, later: Option<(u16, u32)>) {
        for (_, lane) in self.lanes {
            if let Postings::Windowed(list) = &lane.postings {
                if let Some((_, window)) = later {
                    list.prefetch_place(window as usize);
                }
                if let Some((_, window)) = next {
                    list.prefetch_cell(window as usize);
                }
            }
        }
    }

    /// Gathers what the lanes have in a window; the blocks that can hold a hit, as bits.
    ///
    /// Small cells count with their largest bound until it is known that they must be read.
    #[inline(always)]
    fn enter(&self, window: &mut Window<'a>) -> Result<u32> {
        window.bounds = [0; BLOCKS];
        window.here.clear();
        window.few.clear();
        let (number, mut rest) = (window.number, 0u16);
        for (place, (term, lane)) in self.lanes.iter().enumerate() {
            let most = lane.maxima()[number];
            if most == 0 {
                continue;
            }
            match lane.table(number).map_err(|broken| self.broken(*term, broken))? {
                Some(table) => {
                    add_weighted(&mut window.bounds, table.maxima, lane.step);
                    window.here.push((place, Here::Table(table, [0; BLOCKS])));
                }
                None => {
                    rest = rest.saturating_add(weighted(most, lane.step));
                    window.here.push((place, Here::Few(0, 0)));
                }
            }
        }
        let most = window.bounds.iter().copied().fold(0, u16::max);
        if most.saturating_add(rest) < self.least() {
            return Ok(0);
        }
        self.read_few(window)?;
        let (mut blocks, least) = (0, self.least());
        for (block, &bound) in window.bounds.iter().enumerate() {
            blocks |= u32::from(bound > 0 && bound >= least) << block;
        }
        if blocks != 0 {
            self.locate(window, blocks);
        }
        Ok(blocks)
    }

    /// Reads the small cells of a window.
    #[inline(always)]
    fn read_few(&self, window: &mut Window<'a>) -> Result<()> {
        let Window { number, bounds, here, few } = window;
        for (place, here) in here {
            let (term, lane) = &self.lanes[*place];
            if let Here::Few(from, to) = here {
                *from = few.len();
                let read = lane.read_few(*number, bounds, few);
                read.map_err(|broken| self.broken(*term, broken))?;
                *to = few.len();
            }
        }
        Ok(())
    }

    /// Finds where the bytes of each block begin, and asks for those that will be read.
    #[inline(always)]
    fn locate(&self, window: &mut Window<'a>, blocks: u32) {
        for (place, here) in &mut window.here {
            if let Here::Table(table, starts) = here {
                *starts = table.starts(self.lanes[*place].1.impacts);
                let mut blocks = blocks;
                while blocks != 0 {
                    table.prefetch(starts[blocks.trailing_zeros() as usize]);
                    blocks &= blocks - 1;
                }
            }
        }
    }

    /// Scores the documents of one block, and offers those that can enter.
    #[inline(always)]
    fn score(&mut self, block: usize, window: &mut Window<'a>) -> Result<()> {
        let mut scores = [0.0f32; BLOCK];
        for (place, here) in &mut window.here {
            let (term, lane) = &self.lanes[*place];
            match here {
                Here::Few(at, end) => {
                    let first = (block * BLOCK) as u16;
                    while let Some(&(slot, part)) = window.few[..*end].get(*at) {
                        if usize::from(slot) / BLOCK > block {
                            break;
                        }
                        if slot >= first {
                            scores[usize::from(slot) % BLOCK] += part;
                        }
                        *at += 1;
                    }
                }
                Here::Table(table, starts) => {
                    let at = usize::from(starts[block]);
                    let count = usize::from(table.counts[block]);
                    let read = table.each(at, count, lane.impacts, lane.unit, |slot, _, weight| {
                        scores[slot % BLOCK] += part(lane.query_weight, weight);
                    });
                    read.map_err(|broken| self.broken(*term, broken))?;
                }
            }
        }
        // scores are not negative, so that their bits are in the same order
        let best = scores.iter().map(|score| score.to_bits() as i32).fold(0, i32::max);
        if best >= self.floor.to_bits() as i32 {
            self.offer(window.number * BLOCKS + block, &scores)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn offer(&mut self, block: usize, scores: &[f32; BLOCK]) -> Result<()> {
        for (place, &score) in (block as u32 * BLOCK as u32..).zip(scores) {
            if score >= self.floor && score > 0.0 {
                let doc = self.index.placed(place)?;
                self.top.push(Hit { doc, score });
                self.floor = self.floor.max(self.top.threshold());
            }
        }
        Ok(())
    }

    #[cold]
    fn broken(&self, term: TermId, broken: Broken) -> Error {
        self.index.broken(term, broken)
    }
}

impl<'a> Lane<'a> {
    /// The blocks of a window; none if the lane has a small cell there.
    #[inline(always)]
    fn table(&self, number: usize) -> Read<Option<Table<'a>>> {
        match &self.postings {
            Postings::Plain(_) => Ok(None),
            Postings::Windowed(list) => match list.cell(number)? {
                Some(Cell::Table(table)) => Ok(Some(table)),
                _ => Ok(None),
            },
        }
    }

    /// Reads a small cell; adds its bounds to those of the blocks.
    #[inline(always)]
    fn read_few(
        &self,
        number: usize,
        bounds: &mut [u16; BLOCKS],
        few: &mut Vec<(u16, f32)>,
    ) -> Read<()> {
        let mut most = [0u8; BLOCKS];
        match &self.postings {
            Postings::Plain(plain) => {
                let here = plain.starts[number] as usize..plain.starts[number + 1] as usize;
                for &(place, bound, part) in &plain.postings[here] {
                    let slot = (place % WINDOW as u32) as u16;
                    let most = &mut most[usize::from(slot) / BLOCK % BLOCKS];
                    *most = bound.max(*most);
                    few.push((slot, part));
                }
            }
            Postings::Windowed(list) => {
                if let Some(Cell::Few(cell)) = list.cell(number)? {
                    few.reserve(cell.len());
                    cell.each(self.impacts, self.unit, |slot, bound, weight| {
                        let most = &mut most[usize::from(slot) / BLOCK % BLOCKS];
                        *most = bound.max(*most);
                        few.push((slot, part(self.query_weight, weight)));
                    })?;
                }
            }
        }
        add_weighted(bounds, &most, self.step);
        Ok(())
    }
}
