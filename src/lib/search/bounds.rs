//! Bounds of blocks: the largest score that the lists of a query can reach in each, as sums of u16.
//!
//! The loops here touch every block of an index once per list. They are written twice where a processor
//! has an instruction for the heart of them: AVX-512 spreads bytes to the bits of a map. Both give the
//! same numbers; which is taken is asked once per query.

use crate::index::{BLOCK, WORD};

/// What a processor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The best that this processor has.
    pub(super) fn best() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            let has = [
                is_x86_feature_detected!("avx2"),
                is_x86_feature_detected!("bmi1"),
                is_x86_feature_detected!("bmi2"),
                is_x86_feature_detected!("lzcnt"),
                is_x86_feature_detected!("popcnt"),
            ];
            let has_more = [
                is_x86_feature_detected!("avx512f"),
                is_x86_feature_detected!("avx512bw"),
                is_x86_feature_detected!("avx512vl"),
                is_x86_feature_detected!("avx512vbmi2"),
            ];
            match (has.contains(&false), has_more.contains(&false)) {
                (false, false) => return Isa::Avx512,
                (false, true) => return Isa::Avx2,
                _ => {}
            }
        }
        Isa::Portable
    }
}

/// What a bound adds to a sum, rounded down.
#[inline(always)]
pub(super) fn weighted(bound: u8, step: u16) -> u16 {
    // the upper half of a product of two u16, which processors have as one instruction
    (((u32::from(bound) << 8) * u32::from(step)) >> 16) as u16
}

/// A list that has a map of its blocks.
pub(super) struct Mapped<'a> {
    /// Where its runs are, a bit a block.
    pub(super) map: &'a [[u8; 8]],
    /// The largest bound of each run; those that are lacking count as 0.
    pub(super) maxima: &'a [u8],
    /// What a bound counts.
    pub(super) step: u16,
    /// Filled here: the rank of the first run in or after each word.
    pub(super) first: &'a mut [u32],
    /// The rank of the next run; at the end the number of runs.
    pub(super) rank: usize,
}

/// Lists that are added together, so that sums stay in registers.
#[cfg(target_arch = "x86_64")]
const TOGETHER: usize = 8;

/// Adds what the lists can add in each block to the sums, as many as the words of the maps tell of.
#[inline(always)]
pub(super) fn add_maps(isa: Isa, sums: &mut [u16], lists: &mut [Mapped]) {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 {
        for lists in lists.chunks_mut(TOGETHER) {
            // SAFETY: `Isa::best` found the instructions.
            unsafe { avx512::add_maps(sums, lists) };
        }
        return;
    }
    let _ = isa;
    for list in lists {
        for (at, sums) in sums.as_chunks_mut().0.iter_mut().enumerate() {
            list.add_word(at, sums);
        }
    }
}

impl Mapped<'_> {
    /// Takes the next word, and the maxima of its runs.
    #[inline(always)]
    fn word(&mut self, at: usize) -> (u64, &[u8]) {
        let word = self.map.get(at).map_or(0, |word| u64::from_le_bytes(*word));
        let maxima = self.maxima.get(self.rank..).unwrap_or_default();
        if let Some(first) = self.first.get_mut(at) {
            *first = self.rank as u32;
        }
        self.rank += word.count_ones() as usize;
        (word, maxima)
    }

    /// Adds the maxima of the runs of one word.
    #[inline(always)]
    fn add_word(&mut self, at: usize, sums: &mut [u16; WORD]) {
        let step = self.step;
        let (mut word, maxima) = self.word(at);
        if word == u64::MAX
            && let Some(maxima) = maxima.first_chunk::<WORD>()
        {
            for (sum, &bound) in sums.iter_mut().zip(maxima) {
                *sum = sum.saturating_add(weighted(bound, step));
            }
            return;
        }
        for &bound in maxima.iter().take(word.count_ones() as usize) {
            let sum = &mut sums[word.trailing_zeros() as usize % WORD];
            *sum = sum.saturating_add(weighted(bound, step));
            word &= word - 1;
        }
    }
}

/// Adds the parts of a run that is a map of places: query weight · (scale · impact).
#[inline(always)]
pub(super) fn add_run(
    isa: Isa,
    scores: &mut [f32; BLOCK],
    mut map: u64,
    impacts: &[u8],
    scale: f32,
    query_weight: f32,
) {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 {
        // SAFETY: `Isa::best` found the instructions.
        unsafe { avx512::add_run(scores, map, impacts, scale, query_weight) };
        return;
    }
    let _ = isa;
    for &impact in impacts {
        let weight = scale * f32::from(impact);
        scores[map.trailing_zeros() as usize % BLOCK] += super::part(query_weight, weight);
        map &= map.wrapping_sub(1);
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{BLOCK, Mapped, WORD};

    /// As [`super::add_maps`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,popcnt")]
    pub(super) fn add_maps(sums: &mut [u16], lists: &mut [Mapped]) {
        for (at, sums) in sums.as_chunks_mut::<WORD>().0.iter_mut().enumerate() {
            let (low, high) = sums.split_at_mut(WORD / 2);
            // SAFETY: each reads 32 sums.
            let mut both = unsafe {
                [low.as_ptr(), high.as_ptr()].map(|half| _mm512_loadu_si512(half.cast()))
            };
            for list in &mut *lists {
                let step = _mm512_set1_epi16(list.step as i16);
                let (word, maxima) = list.word(at);
                let bounds = _mm512_maskz_expand_epi8(word, load(maxima));
                let halves =
                    [_mm512_castsi512_si256(bounds), _mm512_extracti64x4_epi64::<1>(bounds)];
                for (sum, half) in both.iter_mut().zip(halves) {
                    let wide = _mm512_slli_epi16::<8>(_mm512_cvtepu8_epi16(half));
                    *sum = _mm512_adds_epu16(*sum, _mm512_mulhi_epu16(wide, step));
                }
            }
            // SAFETY: each writes 32 sums.
            unsafe {
                _mm512_storeu_si512(low.as_mut_ptr().cast(), both[0]);
                _mm512_storeu_si512(high.as_mut_ptr().cast(), both[1]);
            }
        }
    }

    /// The first 64 bytes, or what there is and zeros.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn load(bytes: &[u8]) -> __m512i {
        let have = if bytes.len() >= 64 { u64::MAX } else { (1 << bytes.len()) - 1 };
        // SAFETY: a masked load touches no bytes but those that are there.
        unsafe { _mm512_maskz_loadu_epi8(have, bytes.as_ptr().cast()) }
    }

    /// As [`super::add_run`]: the same products, and 0 where there is none.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,bmi2")]
    pub(super) fn add_run(
        scores: &mut [f32; BLOCK],
        map: u64,
        impacts: &[u8],
        scale: f32,
        query_weight: f32,
    ) {
        let spread = _mm512_maskz_expand_epi8(map, load(impacts));
        let (scale, query_weight) = (_mm512_set1_ps(scale), _mm512_set1_ps(query_weight));
        let quarters = [
            _mm512_extracti32x4_epi32::<0>(spread),
            _mm512_extracti32x4_epi32::<1>(spread),
            _mm512_extracti32x4_epi32::<2>(spread),
            _mm512_extracti32x4_epi32::<3>(spread),
        ];
        for (scores, quarter) in scores.as_chunks_mut::<16>().0.iter_mut().zip(quarters) {
            let impacts = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(quarter));
            let parts = _mm512_mul_ps(query_weight, _mm512_mul_ps(scale, impacts));
            // SAFETY: reads and writes the 16 scores of the chunk.
            unsafe {
                let before = _mm512_loadu_ps(scores.as_ptr());
                _mm512_storeu_ps(scores.as_mut_ptr(), _mm512_add_ps(before, parts));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said_if_portable() {
        if Isa::best() == Isa::Portable {
            eprintln!("skipped: this processor has the portable instructions only");
        }
    }

    proptest! {
        #[test]
        fn all_instructions_give_the_same_sums(
            words in prop::collection::vec(
                prop_oneof![any::<u64>(), Just(u64::MAX), Just(0)], 1..4),
            maxima in prop::collection::vec(1u8.., 0..260),
            before in any::<u16>(),
            steps in prop::collection::vec(any::<u16>(), 1..20),
        ) {
            let map: Vec<[u8; 8]> = words.iter().map(|word| word.to_le_bytes()).collect();
            let sums = |isa| {
                let (mut sums, mut first) = (vec![before; 3 * WORD], vec![[0; 2]; steps.len()]);
                let list = |(&step, first)| Mapped { map: &map, maxima: &maxima, step, first, rank: 0 };
                let firsts = first.iter_mut().map(|first| &mut first[..]);
                let mut lists: Vec<Mapped> = steps.iter().zip(firsts).map(list).collect();
                add_maps(isa, &mut sums, &mut lists);
                let ranks: Vec<usize> = lists.iter().map(|list| list.rank).collect();
                (sums, ranks, first)
            };
            said_if_portable();
            prop_assert_eq!(sums(Isa::best()), sums(Isa::Portable));
        }

        #[test]
        fn all_instructions_give_the_same_scores(
            map in any::<u64>(),
            bytes in prop::collection::vec(1u8.., 64),
            scale in 1e-3f32..1.0,
            query_weight in 1e-3f32..20.0,
        ) {
            let scores = |isa| {
                let mut scores = [0.25; BLOCK];
                let impacts = &bytes[..map.count_ones() as usize];
                add_run(isa, &mut scores, map, impacts, scale, query_weight);
                scores.map(f32::to_bits)
            };
            said_if_portable();
            prop_assert_eq!(scores(Isa::best()), scores(Isa::Portable));
        }
    }
}
