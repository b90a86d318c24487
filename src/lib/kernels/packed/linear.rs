//! y = x Wᵀ + b with packed weights.

use super::{Isa, Kind, Panels, Rows, Sink, WIDTH, Words, isa::floats};
use crate::kernels::slices;

/// W and b, packed.
pub(crate) struct PackedLinear {
    panels: Panels,
    /// Filled up to whole panels.
    bias: Vec<f32>,
    inputs: usize,
    isa: Isa,
}

/// What becomes of x Wᵀ + b.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// It is the output.
    Overwrite,
    /// gelu of it is.
    Gelu,
    /// It is added to what is there.
    Add,
}

impl PackedLinear {
    /// Packs W `[N, K]`, row-major, and b `[N]`.
    pub fn new(kind: Kind, weight: &[f32], inputs: usize, mut bias: Vec<f32>) -> PackedLinear {
        let panels = Panels::of_weights(kind, weight, inputs);
        assert_eq!(panels.columns(), bias.len(), "outputs of a layer");
        bias.resize(panels.count() * WIDTH, 0.0);
        PackedLinear { panels, bias, inputs, isa: Isa::best(kind) }
    }

    /// N.
    pub fn outputs(&self) -> usize {
        self.panels.columns()
    }

    /// x `[T, K]` → `out` `[T, N]`.
    pub fn apply(&self, x: &[f32], out: &mut [f32], finish: Finish) {
        let (count, columns) = (x.len() / self.inputs, self.outputs());
        assert_eq!(out.len(), count * columns, "room for a layer's output");
        let mut rounded = Words::default();
        let rows = match self.panels.kind() {
            Kind::F32 => Rows::of_floats(x, self.inputs, count),
            _ => {
                rounded.round(x, self.inputs);
                rounded.rows()
            }
        };
        let mut target = Target { bias: &self.bias, out, columns, finish };
        floats(self.isa, rows, &self.panels, 0..self.panels.count(), &mut target);
    }
}

struct Target<'a> {
    bias: &'a [f32],
    out: &'a mut [f32],
    columns: usize,
    finish: Finish,
}

impl Sink<f32> for Target<'_> {
    #[inline(always)]
    fn put(&mut self, row: usize, panel: usize, sums: &[f32; WIDTH]) {
        let from = panel * WIDTH;
        let bias = &self.bias[from..][..WIDTH];
        let mut y = *sums;
        y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        if self.finish == Finish::Gelu {
            y.iter_mut().for_each(|y| *y = slices::gelu_of(*y));
        }
        let target = &mut self.out[row * self.columns + from..(row + 1) * self.columns];
        match (target.first_chunk_mut::<WIDTH>(), self.finish) {
            (Some(target), Finish::Add) => target.iter_mut().zip(y).for_each(|(t, y)| *t += y),
            (Some(target), _) => *target = y,
            (None, Finish::Add) => target.iter_mut().zip(y).for_each(|(t, y)| *t += y),
            (None, _) => target.copy_from_slice(&y[..target.len()]),
        }
    }
}
