//! The two sides of a product as kernels read them.

use pulp::Arch;
use rayon::prelude::*;

use super::{
    Kind, bf16,
    tile::{Step, WIDTH},
};

/// Steps in k, and rows, that the largest kernel takes at once: words are padded to it.
const TILE: usize = 16;

/// Weights `[N, K]` in panels of 16 columns.
pub(crate) struct Panels {
    kind: Kind,
    columns: usize,
    steps: usize,
    data: Vec<Step>,
}

impl Panels {
    /// Panels of f32 without columns yet.
    pub fn empty() -> Panels {
        Panels { kind: Kind::F32, columns: 0, steps: 0, data: Vec::new() }
    }

    /// W `[N, K]`, row-major, as f32 or rounded to bf16.
    pub fn of_weights(kind: Kind, weights: &[f32], k: usize) -> Panels {
        let columns = weights.len() / k;
        let number = |column: usize, at: usize| weights[column * k + at];
        match kind {
            Kind::F32 => Panels::pack(kind, columns, k, |column, at| number(column, at).to_bits()),
            _ => Panels::pack(kind, columns, k, |column, at| bf16::rounded(number(column, at))),
        }
    }

    /// W `[N, K]`, row-major, of bytes.
    pub fn of_bytes(weights: &[i8], k: usize) -> Panels {
        let columns = weights.len() / k;
        let number = |column: usize, at: usize| u32::from(weights[column * k + at].cast_unsigned());
        Panels::pack(Kind::Int8, columns, k, number)
    }

    /// `number` gives the bits of a column's number.
    fn pack(
        kind: Kind,
        columns: usize,
        k: usize,
        number: impl Fn(usize, usize) -> u32 + Sync,
    ) -> Panels {
        let each = kind.numbers();
        let steps = kind.steps(k);
        let mut data = vec![Step::default(); columns.div_ceil(WIDTH) * steps];
        data.par_chunks_mut(steps).enumerate().for_each(|(panel, data)| {
            for column in panel * WIDTH..columns.min((panel + 1) * WIDTH) {
                for at in 0..k {
                    let shift = at % each * (32 / each);
                    data[at / each].0[column % WIDTH] |= number(column, at) << shift;
                }
            }
        });
        Panels { kind, columns, steps, data }
    }

    /// Replaces W: columns are the rows of `x`, from `from` on; rows of `x` are `stride` long.
    pub fn refill_from_rows(&mut self, x: &[f32], stride: usize, from: usize, k: usize) {
        self.reset(x.len() / stride, k);
        for (column, row) in x.chunks_exact(stride).enumerate() {
            let panel = &mut self.data[column / WIDTH * k..][..k];
            for (step, number) in panel.iter_mut().zip(&row[from..]) {
                step.0[column % WIDTH] = number.to_bits();
            }
        }
    }

    /// Replaces W: k runs down the rows of `x`, and the columns are those of `x`.
    pub fn refill_from_columns(&mut self, x: &[f32], stride: usize, from: usize, columns: usize) {
        let k = x.len() / stride;
        self.reset(columns, k);
        for (at, row) in x.chunks_exact(stride).enumerate() {
            for (panel, numbers) in row[from..][..columns].chunks(WIDTH).enumerate() {
                let step = &mut self.data[panel * k + at].0;
                step.iter_mut().zip(numbers).for_each(|(word, number)| *word = number.to_bits());
            }
        }
    }

    fn reset(&mut self, columns: usize, k: usize) {
        (self.kind, self.columns, self.steps) = (Kind::F32, columns, k);
        let size = columns.div_ceil(WIDTH) * k;
        // old numbers are overwritten, except in the last panel, whose rest must be finite
        self.data.resize(size, Step::default());
        if !columns.is_multiple_of(WIDTH) {
            self.data[size - k..].fill(Step::default());
        }
    }

    /// What its words hold.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// N.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many panels.
    pub fn count(&self) -> usize {
        self.columns.div_ceil(WIDTH)
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    pub(super) fn data(&self) -> &[Step] {
        &self.data
    }
}

impl Kind {
    /// Numbers in a word.
    fn numbers(self) -> usize {
        match self {
            Kind::F32 => 1,
            Kind::Bf16 => 2,
            Kind::Int8 => 4,
        }
    }

    /// Words for k numbers; of f32, which no tile takes, none is padding.
    fn steps(self, k: usize) -> usize {
        match self {
            Kind::F32 => k,
            kind => k.div_ceil(kind.numbers()).next_multiple_of(TILE),
        }
    }
}

/// x `[T, K]` as words.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(super) words: &'a [u32],
    pub(super) stride: usize,
    pub(super) count: usize,
}

impl<'a> Rows<'a> {
    /// `count` rows of f32, `stride` from one to the next.
    pub fn of_floats(x: &'a [f32], stride: usize, count: usize) -> Rows<'a> {
        // SAFETY: f32 and u32 have one size and alignment, and every pattern of bits is a u32.
        let words = unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), x.len()) };
        Rows { words, stride, count }
    }
}

/// Rows of bf16 or bytes, made for a product: zeros fill them up in k and to whole tiles of rows.
#[derive(Default)]
pub(crate) struct Words {
    data: Vec<u32>,
    stride: usize,
    count: usize,
}

impl Words {
    /// x `[T, K]` rounded to bf16.
    pub fn round(&mut self, x: &[f32], k: usize) {
        self.reset(Kind::Bf16, x.len() / k, k);
        let (stride, data) = (self.stride, &mut self.data[..]);
        Arch::new().dispatch(
            #[inline(always)]
            move || {
                let all = data; // moved: see `slices`
                for (words, row) in all.chunks_exact_mut(stride).zip(x.chunks_exact(k)) {
                    let (pairs, last) = row.as_chunks::<2>();
                    for (word, &[first, second]) in words.iter_mut().zip(pairs) {
                        *word = bf16::pair(first, second);
                    }
                    if let &[last] = last {
                        words[pairs.len()] = bf16::pair(last, 0.0);
                    }
                }
            },
        );
    }

    /// `count` rows of `k` bytes each, all 0.
    pub fn bytes(count: usize, k: usize) -> Words {
        let mut words = Words::default();
        words.reset(Kind::Int8, count, k);
        words
    }

    /// Writes a row of bytes.
    pub fn set_bytes(&mut self, row: usize, bytes: &[u8]) {
        let words = &mut self.data[row * self.stride..][..self.stride];
        let (fours, rest) = bytes.as_chunks::<4>();
        for (word, &four) in words.iter_mut().zip(fours) {
            *word = u32::from_le_bytes(four);
        }
        if !rest.is_empty() {
            let mut four = [0; 4];
            four[..rest.len()].copy_from_slice(rest);
            words[fours.len()] = u32::from_le_bytes(four);
        }
    }

    fn reset(&mut self, kind: Kind, count: usize, k: usize) {
        (self.stride, self.count) = (kind.steps(k), count);
        self.data.clear();
        self.data.resize(self.stride * count.next_multiple_of(TILE), 0);
    }

    /// All of them.
    pub fn rows(&self) -> Rows<'_> {
        Rows { words: &self.data, stride: self.stride, count: self.count }
    }
}
