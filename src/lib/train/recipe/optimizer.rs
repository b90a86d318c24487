//! The optimizer of a recipe.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::numbers::{above_zero, at_least_zero};

/// AdamW.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerRecipe {
    /// The largest learning rate; a stage may have its own.
    pub lr: f64,
    /// Decay of weights; biases, norms, tables and thresholds have none.
    pub weight_decay: f64,
    /// Decay of the first and second moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// The largest norm of the gradient; larger ones are scaled down to it.
    pub clip: Option<f64>,
    /// Learning rates of variables by the beginning of their names, under each stage's schedule: of several
    /// that fit, the longest name counts.
    pub rates: BTreeMap<String, f64>,
}

impl Default for OptimizerRecipe {
    fn default() -> OptimizerRecipe {
        let betas = [0.9, 0.999];
        let rates = BTreeMap::new();
        OptimizerRecipe { lr: 2e-5, weight_decay: 0.01, betas, epsilon: 1e-8, clip: None, rates }
    }
}

impl OptimizerRecipe {
    /// The variable's own learning rate, if it has one.
    pub fn rate_of(&self, name: &str) -> Option<f64> {
        let fits = self.rates.iter().filter(|(start, _)| name.starts_with(start.as_str()));
        fits.max_by_key(|(start, _)| start.len()).map(|(_, &rate)| rate)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        at_least_zero("optimizer.lr", self.lr)?;
        at_least_zero("optimizer.weight_decay", self.weight_decay)?;
        above_zero("optimizer.epsilon", self.epsilon)?;
        self.clip.map_or(Ok(()), |clip| above_zero("optimizer.clip", clip))?;
        for (name, &rate) in &self.rates {
            at_least_zero(&format!("optimizer.rates.\"{name}\""), rate)?;
        }
        match self.betas.iter().find(|beta| !(0.0..1.0).contains(*beta)) {
            Some(beta) => Err(format!("expected optimizer.betas from 0 to below 1, found {beta}")),
            None => Ok(()),
        }
    }
}
