//! KL of the student's ranking of a step's passages against the teacher's, over every query of the step.

use candle_core::{D, Device, Tensor, Var};

use super::{loss::log_softmax, objective::Scored};
use crate::{
    error::Result,
    sparse::Prune,
    train::{
        data::distill::{DistillBatch, Hybrid, Pool},
        recipe::distill::DistillRecipe,
    },
};

/// The logarithm of what student scores are multiplied by before their softmax: learned, and of no
/// consequence for a ranking.
pub(in crate::train) struct LogScale(pub Var);

impl LogScale {
    /// 1 at the start.
    pub fn new(device: &Device) -> Result<LogScale> {
        Ok(LogScale(Var::new(0.0f32, device)?))
    }
}

/// What the loss depends on, in addition to the document weights.
pub(in crate::train) struct DistillObjective<'a> {
    pub recipe: &'a DistillRecipe,
    /// What is kept of a document's weights: `TopK` cuts them, other rules are left to the encoder.
    pub prune: Prune,
    /// The step within the stage, from 0.
    pub step: u64,
    pub pool: &'a Pool,
    pub teacher: &'a Hybrid,
    pub batch: &'a DistillBatch,
    /// `[V]`: query weights as they are.
    pub table: &'a Tensor,
    /// Query weights at the start, which say how much words count.
    pub first_table: &'a [f32],
    pub scale: &'a Var,
}

impl DistillObjective<'_> {
    /// The logarithm of what brings the student's scores of document weights `[documents, V]` to the spread
    /// of the teacher's.
    ///
    /// # Errors
    /// [`crate::Error::Compute`] for shapes that do not fit.
    pub fn fitting_scale(&self, weights: &Tensor) -> Result<f32> {
        let (bags, columns) = self.queries(weights.device())?;
        let student = bags.matmul(&self.kept(weights)?.index_select(&columns, 1)?.t()?)?;
        let student = spread(&student.flatten_all()?.to_vec1::<f32>()?, self.batch.documents.len());
        let teacher = self.batch.scores(self.pool, self.teacher);
        let teacher = spread(&teacher, self.batch.documents.len()) * self.recipe.teacher_scale;
        let both = student > 0.0 && teacher > 0.0;
        Ok(if both { (teacher / student).ln() as f32 } else { 0.0 })
    }

    fn kept(&self, weights: &Tensor) -> Result<Tensor> {
        match self.prune {
            Prune::TopK(count) => keep_largest(weights, count),
            _ => Ok(weights.clone()),
        }
    }

    /// `[queries, terms]`, the weights of each query, and which terms these are.
    fn queries(&self, device: &Device) -> Result<(Tensor, Tensor)> {
        let (columns, bags) = self.bags();
        let shape = (self.batch.queries.len(), columns.len());
        let (columns, bags) =
            (Tensor::new(columns, device)?, Tensor::from_vec(bags, shape, device)?);
        Ok((bags.broadcast_mul(&self.table.index_select(&columns, 0)?)?, columns))
    }

    /// The loss of document weights `[documents, V]`.
    ///
    /// # Errors
    /// [`crate::Error::Compute`] for shapes that do not fit.
    pub fn of(&self, weights: &Tensor) -> Result<Scored> {
        let device = weights.device();
        let kept = self.kept(weights)?;
        let (queries, columns) = self.queries(device)?;
        let scores = queries.matmul(&kept.index_select(&columns, 1)?.t()?)?;
        let scores = scores.broadcast_mul(&self.scale.exp()?)?;
        let own = self.batch.scores(self.pool, self.teacher);
        let counts = self.batch.weights(
            self.pool,
            self.teacher,
            &own,
            self.first_table,
            self.recipe.paraphrase,
        );
        let shape = (self.batch.queries.len(), self.batch.documents.len());
        let teacher = (Tensor::from_vec(own, shape, device)? * self.recipe.teacher_scale)?;
        let loss = weighted_kl(&scores, &teacher, &Tensor::new(counts, device)?)?;
        let mut parts = vec![("kl", f64::from(loss.to_scalar::<f32>()?))];
        let (mut loss, mut lambda) = (loss, 0.0);
        if let Some(recipe) = &self.recipe.regularizer {
            lambda = recipe.lambda_at(self.step);
            let paid = recipe.regularizer()?.loss(&kept, 1, None)?;
            parts.push(("regularizer", f64::from(paid.to_scalar::<f32>()?)));
            loss = (loss + (paid * lambda)?)?;
        }
        Ok(Scored { loss, parts, lambda, weights: Some(kept.detach()) })
    }

    /// The terms of all queries, ascending, and `[queries, terms]` of 0 and 1. Terms without a weight at the
    /// start are left out, so that they never get one: they are in almost every text.
    fn bags(&self) -> (Vec<u32>, Vec<f32>) {
        let of = |&query: &usize| {
            let terms = self.pool.terms[query].iter().copied();
            terms.filter(|&term| self.first_table[term as usize] > 0.0)
        };
        let mut columns: Vec<u32> = self.batch.queries.iter().flat_map(of).collect();
        columns.sort_unstable();
        columns.dedup();
        let mut bags = vec![0.0; self.batch.queries.len() * columns.len()];
        let rows = bags.chunks_exact_mut(columns.len().max(1)).zip(&self.batch.queries);
        for (row, query) in rows {
            for term in of(query) {
                if let Ok(at) = columns.binary_search(&term) {
                    row[at] = 1.0;
                }
            }
        }
        (columns, bags)
    }
}

/// The standard deviation of numbers within rows of `columns`.
fn spread(scores: &[f32], columns: usize) -> f64 {
    let rows = scores.chunks_exact(columns.max(1));
    let squares = rows.map(|row| {
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / row.len() as f64;
        row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>()
    });
    (squares.sum::<f64>() / scores.len().max(1) as f64).sqrt()
}

/// The `count` largest weights of each row of `[B, V]` and all that equal the last of them; 0 elsewhere.
fn keep_largest(weights: &Tensor, count: usize) -> Result<Tensor> {
    let rows = weights.detach().to_vec2::<f32>()?;
    let last = |mut row: Vec<f32>| {
        row.retain(|&weight| weight > 0.0);
        if row.len() <= count {
            return 0.0;
        }
        *row.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1
    };
    let floors: Vec<f32> = rows.into_iter().map(last).collect();
    let floors = Tensor::new(floors, weights.device())?.unsqueeze(1)?;
    let kept = weights.detach().broadcast_ge(&floors)?.to_dtype(weights.dtype())?;
    Ok((weights * kept)?)
}

/// Σ_q c_q KL(softmax t_q ‖ softmax s_q) / Σ_q c_q of student and teacher `[Q, N]`.
fn weighted_kl(student: &Tensor, teacher: &Tensor, counts: &Tensor) -> Result<Tensor> {
    let target = log_softmax(&teacher.detach())?;
    let gap = (&target - log_softmax(student)?)?;
    let each = (target.exp()? * gap)?.sum(D::Minus1)?;
    Ok(((each * counts)?.sum_all()? / counts.sum_all()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_weights_stay_and_take_the_gradient() {
        let weights = Var::new(&[[0.5f32, 0.0, 2.0, 1.0], [0.0, 0.25, 0.0, 0.0]], &Device::Cpu);
        let weights = weights.unwrap();
        let kept = keep_largest(&weights, 2).unwrap();
        let expected = [[0.0, 0.0, 2.0, 1.0], [0.0, 0.25, 0.0, 0.0]];
        assert_eq!(kept.to_vec2::<f32>().unwrap(), expected);
        let gradients = kept.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&weights).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(gradient[0], [0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn a_query_counts_by_its_weight() {
        let tensor = |rows: [[f32; 2]; 2]| Tensor::new(&rows, &Device::Cpu).unwrap();
        let (student, teacher) =
            (tensor([[0.0, 1.0], [2.0, 2.0]]), tensor([[0.0, 1.0], [0.0, 2.0]]));
        let loss = |counts: [f32; 2]| {
            let counts = Tensor::new(&counts, &Device::Cpu).unwrap();
            weighted_kl(&student, &teacher, &counts).unwrap().to_scalar::<f32>().unwrap()
        };
        let p = 1.0 / (1.0 + (-2.0f64).exp());
        let second = (p * (2.0 * p).ln() + (1.0 - p) * (2.0 * (1.0 - p)).ln()) as f32;
        assert!(loss([1.0, 0.0]).abs() < 1e-6);
        assert!((loss([1.0, 3.0]) - 0.75 * second).abs() < 1e-6);
    }
}
