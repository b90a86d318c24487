//! The vocabulary head of a document: the largest logit over its tokens for every term.

use crate::ops::{
    packed::{Isa, Kind, Panels, Sink, WIDTH, Words, floats, larger},
    screen::{Scratch, Screen, States},
};

/// Terms that are scored at a time, whole panels: with H = 384 their bytes stay in a core's cache.
pub(super) const TILE: usize = 384;

/// What scores terms.
pub(super) enum Decoder {
    /// In f32, exact.
    Screened(Screen),
    /// In bf16.
    Rounded { panels: Panels, isa: Isa },
}

/// The states of a document's tokens, ready to be scored.
pub(super) enum Ready {
    Screened(States),
    Rounded(Words),
}

impl Decoder {
    /// Of weights `[V, H]` and bias `[V]`.
    pub(super) fn new(kind: Kind, weights: &[f32], bias: &[f32]) -> Decoder {
        let h = weights.len() / bias.len();
        match kind {
            Kind::Bf16 => Decoder::Rounded {
                panels: Panels::of_weights(kind, weights, h),
                isa: Isa::best(kind),
            },
            _ => Decoder::Screened(Screen::new(weights, bias)),
        }
    }

    /// States are `[T, H]`.
    pub(super) fn ready(&self, states: Vec<f32>, h: usize) -> Ready {
        match self {
            Decoder::Screened(screen) => Ready::Screened(screen.states(states)),
            Decoder::Rounded { .. } => {
                let mut words = Words::default();
                words.round(&states, h);
                Ready::Rounded(words)
            }
        }
    }

    /// The largest logit, without the bias, for the terms from `from` on, where a tile begins;
    /// −∞ for a term whose logit is surely not above 0. `rows` are the decoder's, of these terms.
    pub(super) fn largest(
        &self,
        ready: &Ready,
        from: usize,
        rows: &[f32],
        best: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let panel = from / WIDTH;
        match (self, ready) {
            (Decoder::Screened(screen), Ready::Screened(states)) => {
                screen.largest(states, panel, rows, best, scratch);
            }
            (Decoder::Rounded { panels, isa }, Ready::Rounded(words)) => {
                best.fill(f32::NEG_INFINITY);
                let range = panel..panel + best.len().div_ceil(WIDTH);
                let mut sink = Largest { first: panel, best };
                floats(*isa, words.rows(), panels, range, &mut sink);
            }
            _ => unreachable!("states were made ready by another decoder"),
        }
    }
}

/// Keeps the largest sum of a column.
struct Largest<'a> {
    first: usize,
    best: &'a mut [f32],
}

impl Sink<f32> for Largest<'_> {
    #[inline(always)]
    fn put(&mut self, _: usize, panel: usize, sums: &[f32; WIDTH]) {
        let best = &mut self.best[(panel - self.first) * WIDTH..];
        match best.first_chunk_mut::<WIDTH>() {
            Some(best) => best.iter_mut().zip(sums).for_each(|(b, &sum)| *b = larger(*b, sum)),
            None => best.iter_mut().zip(sums).for_each(|(b, &sum)| *b = larger(*b, sum)),
        }
    }
}
