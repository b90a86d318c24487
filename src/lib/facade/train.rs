//! Training: from a recipe to a model.

use std::path::Path;

use super::Model;
use crate::{
    device::{Compute, Precision},
    error::Result,
    model::shipped,
    train::{
        recipe::{Recipe, change},
        run::trainer::Trainer,
    },
};

/// Trains a model on the processor as a recipe says, writes it to the folder `output` and opens it.
///
/// `changes` are keys of the recipe with other values, as in `stage.0.steps=100`. The log is
/// `train.jsonl` in the folder. The operators that candle computes use its own threads: set
/// `CANDLE_NUM_THREADS=1` in the environment for a repeatable speed.
///
/// ```no_run
/// let model = l0::train("testdata/demo/recipe.toml", &["stage.0.steps=100"], "model")?;
/// println!("{}", model.encode("The sea.")?.nnz());
/// # Ok::<(), l0::Error>(())
/// ```
///
/// # Errors
/// [`Error::Format`](crate::Error::Format) for a recipe or data that cannot be used, and if the loss is not
/// a number; [`Error::Usage`](crate::Error::Usage) if the folder holds another run;
/// [`Error::Io`](crate::Error::Io).
pub fn train(
    recipe: impl AsRef<Path>,
    changes: &[&str],
    output: impl AsRef<Path>,
) -> Result<Model> {
    shipped::carry();
    let (file, output) = (recipe.as_ref(), output.as_ref());
    let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
    let text = change::with_changes(file, &changes)?;
    let on = (&Compute::Cpu.open()?, Compute::Cpu.training_dtype(Precision::F32)?);
    let recipe = Recipe::load(file, &changes)?;
    Trainer::reporting(recipe, &text, output.to_owned(), on, &mut |_| {})?.run(|_| {})?;
    Model::open(output)
}
