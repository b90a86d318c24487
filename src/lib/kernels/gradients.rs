//! The backward passes of what `slices` computes, on slices.

use pulp::Arch;

use super::slices::{LANES, erf, exp, sum, sum_of_squares};

/// The gradient through gelu: `x` becomes g · (Φ(x) + x φ(x)).
pub(crate) fn gelu_backward(x: &mut [f32], g: &[f32]) {
    const DENSITY: f32 = 0.398_942_3; // 1/√(2π)
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let all = x; // moved: see `slices`
            for (x, g) in all.iter_mut().zip(g) {
                let below = 0.5 * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
                *x = g * (below + *x * DENSITY * exp(-0.5 * *x * *x));
            }
        },
    );
}

/// The gradient through layer norm: `x` becomes dx; the gradients of scale and shift are added to
/// `sums`. With n = (x − mean)/σ and d = g · scale: dx = (d − mean(d) − n · mean(d · n))/σ.
pub(crate) fn layer_norm_backward(
    x: &mut [f32],
    scale: &[f32],
    g: &[f32],
    epsilon: f32,
    sums: (&mut [f32], &mut [f32]),
) {
    let (dscale, dshift) = sums;
    let h = scale.len() as f32;
    let d = vec![0.0; scale.len()];
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let (all, mut d, dscale, dshift) = (x, d, dscale, dshift); // moved: see `slices`
            for (x, g) in all.chunks_exact_mut(scale.len()).zip(g.chunks_exact(scale.len())) {
                let mean = sum(x) / h;
                x.iter_mut().for_each(|value| *value -= mean);
                let factor = 1.0 / (sum_of_squares(x) / h + epsilon).sqrt();
                for at in 0..scale.len() {
                    x[at] *= factor;
                    dscale[at] += g[at] * x[at];
                    dshift[at] += g[at];
                    d[at] = g[at] * scale[at];
                }
                let mean = sum(&d) / h;
                let along = dot(&d, x) / h;
                for (x, d) in x.iter_mut().zip(&d) {
                    *x = (d - mean - *x * along) * factor;
                }
            }
        },
    );
}

/// The gradient through softmax: with p the probabilities and g the gradient of each row, `g`
/// becomes p · (g − Σ p g) · scale.
pub(crate) fn softmax_backward(g: &mut [f32], p: &[f32], columns: usize, scale: f32) {
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let all = g; // moved: see `slices`
            for (g, p) in all.chunks_exact_mut(columns).zip(p.chunks_exact(columns)) {
                let along = dot(g, p);
                for (g, p) in g.iter_mut().zip(p) {
                    *g = p * (*g - along) * scale;
                }
            }
        },
    );
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (mut left, mut right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in (&mut left).zip(&mut right) {
        for at in 0..LANES {
            lanes[at] += a[at] * b[at];
        }
    }
    let rest = left.remainder().iter().zip(right.remainder());
    lanes.iter().sum::<f32>() + rest.map(|(a, b)| a * b).sum::<f32>()
}
