//! AdamW in one pass over each variable: moments and update together, state that can be saved.
//!
//! p ← p (1 − η δ); m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²;
//! p ← p − η m̂ / (√v̂ + ε). As in `torch.optim.AdamW` (Loshchilov and Hutter, arXiv 1711.05101).

use std::{borrow::Cow, cell::RefCell};

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result as Candle, Tensor, Var};
use rayon::prelude::*;

use crate::{
    error::Result,
    nn::{cuda, sum_of_squares},
    train::recipe::OptimizerRecipe,
};

/// A variable with the optimizer's state.
pub struct Slot {
    /// The variable's name.
    pub name: String,
    /// What is updated.
    pub var: Var,
    moments: Moments,
    /// Updates so far.
    pub updates: u64,
    /// Whether weights decay.
    pub decays: bool,
    /// A learning rate of its own, under the stage's schedule.
    pub rate: Option<f64>,
}

impl Slot {
    /// A variable before its first update.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn new(name: &str, var: &Var, rate: Option<f64>) -> Result<Slot> {
        let plain = ["bias", "LayerNorm", "norm", "_ln."];
        // the whole name or its beginning: the attention of a BERT has a `query` of its own
        let beside = name == "theta" || name.starts_with("query.");
        Ok(Slot {
            name: name.to_owned(),
            var: var.clone(),
            moments: Moments::zeros(var)?,
            updates: 0,
            decays: !beside && !plain.iter().any(|part| name.contains(part)),
            rate,
        })
    }

    /// Updates the variable by `gradient`, which is multiplied by `factor` first.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn update(
        &mut self,
        gradient: &Tensor,
        rate: f64,
        factor: f64,
        recipe: &OptimizerRecipe,
    ) -> Result<()> {
        self.updates += 1;
        let power = i32::try_from(self.updates).unwrap_or(i32::MAX);
        let corrections = recipe.betas.map(|beta| 1.0 - beta.powi(power));
        let step = Step {
            betas: recipe.betas,
            rate,
            epsilon: recipe.epsilon,
            decay: if self.decays { recipe.weight_decay } else { 0.0 },
            corrections,
            factor,
        };
        match &mut self.moments {
            Moments::Host([first, second]) => {
                let moments = RefCell::new((first.as_mut_slice(), second.as_mut_slice()));
                self.var.inplace_op2(&gradient.contiguous()?, &Fused { step, moments })?;
            }
            Moments::Device([first, second])
                if cuda::here(gradient) && gradient.dtype() == DType::F32 =>
            {
                let tensors = [self.var.as_tensor(), first, second, &gradient.contiguous()?];
                cuda::adamw(tensors, step.numbers())?;
            }
            Moments::Device(moments) => step.plain(&self.var, moments, gradient)?,
        }
        Ok(())
    }

    /// First and second moments, to be saved.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn moments(&self) -> Result<[Cow<'_, [f32]>; 2]> {
        let host =
            |tensor: &Tensor| -> Result<_> { Ok(Cow::Owned(tensor.flatten_all()?.to_vec1()?)) };
        match &self.moments {
            Moments::Host([first, second]) => Ok([Cow::Borrowed(first), Cow::Borrowed(second)]),
            Moments::Device([first, second]) => Ok([host(first)?, host(second)?]),
        }
    }

    /// Restores saved numbers and moments.
    ///
    /// # Errors
    /// [`crate::Error::Compute`] if they are not of the variable's size.
    pub fn restore(
        &mut self,
        numbers: Vec<f32>,
        moments: [Vec<f32>; 2],
        updates: u64,
    ) -> Result<()> {
        let (shape, device) = (self.var.shape(), self.var.device());
        let tensor = |numbers| Tensor::from_vec(numbers, shape, device);
        self.moments = match (&self.moments, moments) {
            (Moments::Host(_), moments) => Moments::Host(moments),
            (Moments::Device(_), [a, b]) => Moments::Device([tensor(a)?, tensor(b)?]),
        };
        self.updates = updates;
        Ok(self.var.set(&tensor(numbers)?)?)
    }
}

/// First and second moments, of the variable's size.
enum Moments {
    Host([Vec<f32>; 2]),
    Device([Tensor; 2]),
}

impl Moments {
    fn zeros(var: &Var) -> Result<Moments> {
        Ok(match var.device().is_cpu() {
            true => Moments::Host([vec![0.0; var.elem_count()], vec![0.0; var.elem_count()]]),
            false => Moments::Device([var.zeros_like()?, var.zeros_like()?]),
        })
    }
}

#[derive(Clone, Copy)]
struct Step {
    betas: [f64; 2],
    rate: f64,
    epsilon: f64,
    decay: f64,
    corrections: [f64; 2],
    factor: f64,
}

impl Step {
    /// β₁, β₂, 1 − β₁, 1 − β₂, what a weight keeps, the rate over β₁'s correction, the root of 1 over
    /// β₂'s, ε, the factor: what an update is made of.
    fn numbers(self) -> [f32; 9] {
        let Step { betas: [b1, b2], rate, epsilon, decay, corrections: [c1, c2], factor } = self;
        let (b1, b2) = (b1 as f32, b2 as f32);
        let (keep, step) = ((1.0 - rate * decay) as f32, (rate / c1) as f32);
        let root = (1.0 / c2).sqrt() as f32;
        [b1, b2, 1.0 - b1, 1.0 - b2, keep, step, root, epsilon as f32, factor as f32]
    }

    /// By candle's operators, for any device.
    fn plain(self, var: &Var, moments: &mut [Tensor; 2], gradient: &Tensor) -> Candle<()> {
        let gradient = (gradient.detach() * self.factor)?;
        let [b1, b2] = self.betas;
        moments[0] = ((&moments[0] * b1)? + (&gradient * (1.0 - b1))?)?;
        moments[1] = ((&moments[1] * b2)? + (gradient.sqr()? * (1.0 - b2))?)?;
        let [c1, c2] = self.corrections;
        let root = ((&moments[1] / c2)?.sqrt()? + self.epsilon)?;
        let moved = ((&moments[0] * (self.rate / c1))? / root)?;
        let kept = (var.as_tensor() * (1.0 - self.rate * self.decay))?;
        var.set(&(kept - moved)?.detach())
    }
}

/// Numbers a thread takes at a time.
const CELLS: usize = 1 << 14;

struct Fused<'a> {
    step: Step,
    moments: RefCell<(&'a mut [f32], &'a mut [f32])>,
}

impl InplaceOp2 for Fused<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        var: &mut CpuStorage,
        var_layout: &Layout,
        gradient: &CpuStorage,
        layout: &Layout,
    ) -> Candle<()> {
        let (CpuStorage::F32(var), Some((from, to))) = (var, var_layout.contiguous_offsets())
        else {
            candle_core::bail!("adamw: expected a contiguous f32 variable")
        };
        let Some((g_from, g_to)) = layout.contiguous_offsets() else {
            candle_core::bail!("adamw: expected a contiguous gradient")
        };
        let gradient = &gradient.as_slice::<f32>()?[g_from..g_to];
        let mut moments = self.moments.borrow_mut();
        let (first, second) = &mut *moments;
        let [b1, b2, rest1, rest2, kept, step, root, epsilon, factor] = self.step.numbers();
        let cells = var[from..to].par_chunks_mut(CELLS).zip(gradient.par_chunks(CELLS));
        let cells = cells.zip(first.par_chunks_mut(CELLS)).zip(second.par_chunks_mut(CELLS));
        cells.for_each(|(((var, gradient), first), second)| {
            for (((p, g), m), v) in var.iter_mut().zip(gradient).zip(first).zip(second) {
                let g = g * factor;
                *m = b1 * *m + rest1 * g;
                *v = b2 * *v + rest2 * g * g;
                *p = *p * kept - step * *m / (v.sqrt() * root + epsilon);
            }
        });
        Ok(())
    }
}

/// The norm of all gradients together.
///
/// # Errors
/// [`crate::Error::Compute`].
pub fn length(gradients: &[Option<Tensor>]) -> Result<f64> {
    Ok(sum_of_squares(gradients.iter().flatten())?.sqrt())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Two steps of torch.optim.AdamW(lr=0.1, weight_decay=0.5) from [1, −2] along [0.3, 0], [−1, 2],
    /// worked out in float64.
    #[test]
    fn updates_are_those_of_the_formula() {
        let recipe = OptimizerRecipe { weight_decay: 0.5, ..OptimizerRecipe::default() };
        let gradients = [[0.3f32, 0.0], [-1.0, 2.0]];
        let (mut p, mut m, mut v) = ([1.0f64, -2.0], [0.0f64; 2], [0.0f64; 2]);
        for (t, gradient) in (1..).zip(&gradients) {
            for at in 0..2 {
                let g = f64::from(gradient[at]);
                m[at] = 0.9 * m[at] + 0.1 * g;
                v[at] = 0.999 * v[at] + 0.001 * g * g;
                let (m, v) = (m[at] / (1.0 - 0.9f64.powi(t)), v[at] / (1.0 - 0.999f64.powi(t)));
                p[at] = p[at] * (1.0 - 0.1 * 0.5) - 0.1 * m / (v.sqrt() + 1e-8);
            }
        }
        let var = Var::new(&[1.0f32, -2.0], &Device::Cpu).unwrap();
        let mut slot = Slot::new("a.weight", &var, None).unwrap();
        let plain = Var::new(&[1.0f32, -2.0], &Device::Cpu).unwrap();
        let mut moments = [plain.zeros_like().unwrap(), plain.zeros_like().unwrap()];
        for (t, gradient) in (1..).zip(&gradients) {
            let gradient = Tensor::new(gradient, &Device::Cpu).unwrap();
            // a gradient of half the length with factor 2 is the same
            slot.update(&(&gradient * 0.5).unwrap(), 0.1, 2.0, &recipe).unwrap();
            let step = Step {
                betas: recipe.betas,
                rate: 0.1,
                epsilon: 1e-8,
                decay: 0.5,
                corrections: recipe.betas.map(|beta| 1.0 - beta.powi(t)),
                factor: 1.0,
            };
            step.plain(&plain, &mut moments, &gradient).unwrap();
        }
        for got in [&var, &plain] {
            for (got, expected) in got.to_vec1::<f32>().unwrap().iter().zip(p) {
                assert!((f64::from(*got) - expected).abs() < 1e-6, "{got}, not {expected}");
            }
        }
        assert_eq!(slot.updates, 2);
    }

    #[test]
    fn biases_norms_tables_and_thresholds_do_not_decay() {
        let var = Var::new(1.0f32, &Device::Cpu).unwrap();
        let decays = |name: &str| Slot::new(name, &var, None).unwrap().decays;
        for name in [
            "a.bias",
            "a.LayerNorm.weight",
            "a.sa_layer_norm.weight",
            "a.attn_ln.weight",
            "head.norm.weight",
            "theta",
        ] {
            assert!(!decays(name), "{name}");
        }
        assert!(!decays("query.table") && !decays("query.weight"));
        let attention = "bert.encoder.layer.0.attention.self.query.weight";
        assert!(decays(attention) && decays("bert.embeddings.word_embeddings.weight"));
    }
}
