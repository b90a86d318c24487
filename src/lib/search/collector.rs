//! The best places so far, for a search that meets many: scores first, documents only where scores tie.

use super::Hit;
use crate::{error::Result, index::Index};

/// Keeps the `k` best places under the order of [`Hit`], and some more until they are weeded out.
pub(super) struct Collector<'a> {
    index: &'a Index,
    k: usize,
    /// How many are held before they are weeded out.
    room: usize,
    /// Bits of the score, which are in its order, and the place.
    held: Vec<(u32, u32)>,
    /// The k-th best score, once it is known.
    worst: f32,
}

impl<'a> Collector<'a> {
    pub(super) fn new(index: &'a Index, k: usize) -> Collector<'a> {
        // places of an index: no more than its documents are ever held
        let room = k.saturating_add(k / 8 + 2);
        let held = Vec::with_capacity(room.min(index.len() + 1));
        Collector { index, k, room, held, worst: 0.0 }
    }

    /// A score that `k` places reach; 0 while that is not known.
    pub(super) fn worst(&self) -> f32 {
        self.worst
    }

    /// Takes a place whose score is above 0 and not below [`Collector::worst`].
    #[inline(always)]
    pub(super) fn push(&mut self, place: u32, score: f32) -> Result<()> {
        self.held.push((score.to_bits(), place));
        if self.held.len() < self.room { Ok(()) } else { self.compact() }
    }

    /// Keeps `k`.
    #[inline(never)]
    fn compact(&mut self) -> Result<()> {
        let (_, &mut (worst, _), _) =
            self.held.select_nth_unstable_by(self.k - 1, |a, b| b.0.cmp(&a.0));
        let ties = |held: &(u32, u32)| held.0 == worst;
        let better = self.held.iter().filter(|held| held.0 > worst).count();
        if self.held.iter().filter(|held| ties(held)).count() > self.k - better {
            // of equals the lower documents stay
            let mut equal = Vec::new();
            for &(_, place) in self.held.iter().filter(|held| ties(held)) {
                equal.push((self.index.placed(place)?, place));
            }
            equal.sort_unstable();
            self.held.retain(|held| held.0 > worst);
            let stay = equal.iter().take(self.k - better);
            self.held.extend(stay.map(|&(_, place)| (worst, place)));
        }
        self.held.truncate(self.k);
        self.worst = f32::from_bits(worst);
        Ok(())
    }

    /// The hits, best first.
    pub(super) fn into_hits(mut self) -> Result<Vec<Hit>> {
        if self.held.len() > self.k {
            self.compact()?;
        }
        let hit = |&(score, place): &(u32, u32)| {
            Ok(Hit { doc: self.index.placed(place)?, score: f32::from_bits(score) })
        };
        let mut hits = self.held.iter().map(hit).collect::<Result<Vec<_>>>()?;
        hits.sort_unstable();
        Ok(hits)
    }
}
