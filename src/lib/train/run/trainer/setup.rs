//! The start of a run: the base it trains, its data, and a slot for each variable.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use candle_core::{DType, Device, Tensor};

use super::Trainer;
use crate::{
    error::{Error, Result},
    model::{Checkpoint, DenseEncoder, Length, ModelDirectory, TensorEncoder},
    sparse::Activation,
    text::{LexicalPart, QueryTable, Tokenizer},
    train::{
        data::{
            distill::{Hybrid, Neighbourhood, Pool, pooled_states},
            masked::Pieces,
            mixture::Mixture,
            teacher,
        },
        recipe::{
            HeadKind, LexicalScale, ModelRecipe, QueryKind, Recipe, distill::Trained,
            stage::StageRecipe,
        },
        run::{
            adamw::Slot,
            distill::LogScale,
            evaluate::Evaluator,
            parts::{Table, Theta},
        },
    },
};

/// The longest silence while a pool is encoded.
const EVERY: Duration = Duration::from_secs(30);

/// The model that a run starts from.
struct Base {
    directory: ModelDirectory,
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
}

impl Trainer {
    /// Sets a run up: reads base, tokenizer and query table, opens the data.
    ///
    /// # Errors
    /// As [`Checkpoint::load`] or [`Checkpoint::load_with_new_head`], [`crate::text::QueryTable::read`]
    /// and [`Mixture::open`]; [`Error::Usage`] for stages whose thresholds are not of one kind.
    pub fn new(
        recipe: Recipe,
        text: &str,
        folder: PathBuf,
        device: &Device,
        dtype: DType,
    ) -> Result<Trainer> {
        Trainer::reporting(recipe, text, folder, (device, dtype), &mut |_| {})
    }

    /// As [`Trainer::new`], with a line for `say` now and then while a pool is encoded.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn reporting(
        recipe: Recipe,
        text: &str,
        folder: PathBuf,
        (device, dtype): (&Device, DType),
        say: &mut dyn FnMut(&str),
    ) -> Result<Trainer> {
        let Base { directory, checkpoint, tokenizer } = Base::read(&recipe.model)?;
        let mut encoder = TensorEncoder::new(checkpoint, device, dtype)?;
        if recipe.model.lexical_scale == LexicalScale::Learned {
            encoder.scale_lexical()?;
        }
        let table = Table::open(&recipe, &directory, &tokenizer, encoder.words())?;
        let lexical = lexical(&recipe, table.as_ref(), &tokenizer, &encoder)?;
        let theta = Theta::open(&recipe, tokenizer.vocabulary().len(), device)?;
        let mixture = Mixture::open(&recipe.data, recipe.seed)?;
        let open = |recipe| Evaluator::open(recipe, device, dtype);
        let evaluator = recipe.evaluate.as_ref().map(open).transpose()?;
        let corpora = (1u64..).zip(&recipe.stage).map(|(at, stage)| {
            let seed = recipe.seed.wrapping_add(at << 32);
            stage.corpus().map(|path| Mixture::of_corpus(path, seed)).transpose()
        });
        let corpora = corpora.collect::<Result<_>>()?;
        let hides = recipe.stage.iter().any(|stage| stage.retrieval().is_none());
        let pieces = hides.then(|| Pieces::of(&tokenizer)).transpose()?;
        let weights = table.as_ref().map(|table| table.weights(encoder.words())).transpose()?;
        let distillation = Distillation::open(&recipe, &directory, &tokenizer, weights, say)?;
        Ok(Trainer {
            activation: Activation::new(recipe.model.activation)?,
            slots: slots(&recipe, &encoder, table.as_ref(), theta.as_ref(), distillation.as_ref())?,
            text: text.to_owned(),
            base: directory.encoder,
            step: 0,
            recipe,
            folder,
            tokenizer,
            encoder,
            table,
            theta,
            drops_lexical: directory.lexical.is_some() && lexical.is_none(),
            lexical,
            prune: directory.prune,
            reweighting: directory.reweighting,
            mixture,
            ahead: None,
            evaluator,
            corpora,
            pieces,
            distillation,
        })
    }
}

/// What stages of kind `distill` learn from.
pub(super) struct Distillation {
    pub pool: Pool,
    pub teacher: Hybrid,
    pub near: Neighbourhood,
    /// Query weights at the start.
    pub first_table: Vec<f32>,
    /// `[documents, width]`: the passages pooled by the base, if a stage trains only the head.
    pub states: Option<Tensor>,
    pub scale: LogScale,
}

impl Distillation {
    /// Reads the pool, has the teacher encode it and finds each query's neighbours; `None` for a recipe
    /// without a pool.
    fn open(
        recipe: &Recipe,
        base: &ModelDirectory,
        tokenizer: &Tokenizer,
        table: Option<Tensor>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Option<Distillation>> {
        let (Some(pool_recipe), Some(table)) = (&recipe.pool, table) else { return Ok(None) };
        let device = table.device().clone();
        let first_table = table.to_vec1::<f32>()?;
        let own = || DenseEncoder::of_head(&base.encoder);
        let encoder = match &pool_recipe.teacher.dense {
            None => own()?,
            Some(name) => teacher::dense(name, tokenizer)?,
        };
        let longest = encoder.max_tokens.min(recipe.model.max_tokens);
        if pool_recipe.max_tokens > longest {
            return Err(Error::Usage(format!(
                "pool.max_tokens: expected 3 to {longest}, as teacher and model read, found {}",
                pool_recipe.max_tokens
            )));
        }
        let pool = Pool::read(pool_recipe, tokenizer)?;
        let mut next = Instant::now() + EVERY;
        let report = |done: usize, total: usize| {
            if Instant::now() >= next {
                say(&format!("pool: {done} of {total} texts encoded"));
                next = Instant::now() + EVERY;
            }
        };
        let teacher = Hybrid::new(&pool, pool_recipe, &encoder, &first_table, report)?;
        let (documents, queries) = (pool.documents.len(), pool.queries.len());
        say(&format!(
            "pool: looking for the neighbours of {queries} queries among {documents} passages"
        ));
        let nearest = teacher.neighbours(&pool.terms, pool_recipe.teacher.candidates);
        let near = Neighbourhood::new(&pool, nearest, &first_table);
        if near.is_empty() {
            return Err(Error::Usage(
                "pool.queries: expected a text with a word that has a query weight, found none"
                    .into(),
            ));
        }
        let mut stages = recipe.stage.iter().filter_map(StageRecipe::distillation);
        let states = stages.any(|stage| stage.train == Trained::Head).then(|| -> Result<Tensor> {
            // if the teacher is the base, it has pooled them already, to length 1
            let states = match (&pool_recipe.teacher.dense, encoder.length()) {
                (None, Length::One) => teacher.documents().to_vec(),
                _ => pooled_states(&own()?, &pool.documents, |_| {}),
            };
            let width = states.len() / pool.documents.len();
            Ok(Tensor::from_vec(states, (pool.documents.len(), width), &device)?)
        });
        let (states, scale) = (states.transpose()?, LogScale::new(&device)?);
        Ok(Some(Distillation { pool, teacher, near, first_table, states, scale }))
    }
}

impl Base {
    /// Reads a base and checks that its parts match the recipe.
    fn read(recipe: &ModelRecipe) -> Result<Base> {
        let (directory, checkpoint) = match recipe.head {
            None => {
                let directory = ModelDirectory::open(&recipe.base)?;
                let checkpoint = Checkpoint::load(&directory.encoder)?;
                (directory, checkpoint)
            }
            Some(HeadKind::New) => {
                let directory = ModelDirectory::of_encoder(&recipe.base)?;
                let checkpoint = Checkpoint::load_with_new_head(&directory.encoder)?;
                (directory, checkpoint)
            }
        };
        let tokenizer = Tokenizer::load(&directory.encoder)?;
        let terms = tokenizer.vocabulary().len();
        if checkpoint.config.vocab_size != terms {
            return Err(Error::Mismatch {
                what: format!("vocabulary of {}", directory.path.display()),
                expected: format!("{} tokens, as the model has", checkpoint.config.vocab_size),
                got: format!("{terms} in its tokenizer"),
                remedy: "use the tokenizer that came with the model".into(),
            });
        }
        let longest = checkpoint.config.max_positions;
        if recipe.max_tokens > longest || recipe.max_tokens < 3 {
            return Err(Error::Usage(format!(
                "model.max_tokens: expected 3 to {longest}, found {}",
                recipe.max_tokens
            )));
        }
        Ok(Base { directory, checkpoint, tokenizer })
    }
}

/// The lexical part with the terms that the initial table has.
fn lexical(
    recipe: &Recipe,
    table: Option<&Table>,
    tokenizer: &Tokenizer,
    encoder: &TensorEncoder,
) -> Result<Option<LexicalPart>> {
    let Some(lexical) = recipe.model.lexical else { return Ok(None) };
    let Some(table) = table else {
        return Err(Error::Usage(
            "model.lexical wants a query table: queries have no such part".into(),
        ));
    };
    if recipe.query.kind == QueryKind::Learned {
        // a term whose weight is 0 now may have one later; while it is 0 its part counts for nothing
        return LexicalPart::new(lexical, tokenizer, None).map(Some);
    }
    let weights = table.weights(encoder.words())?.to_vec1::<f32>()?;
    let table = QueryTable::from_weights(weights)?;
    LexicalPart::new(lexical, tokenizer, Some(&table)).map(Some)
}

/// One for each variable: the encoder's, the query table's, the threshold's.
fn slots(
    recipe: &Recipe,
    encoder: &TensorEncoder,
    table: Option<&Table>,
    theta: Option<&Theta>,
    distillation: Option<&Distillation>,
) -> Result<Vec<Slot>> {
    let mut slots = Vec::new();
    for (name, var) in encoder.variables() {
        slots.push(Slot::new(&name, var, recipe.optimizer.rate_of(&name))?);
    }
    for (name, var) in table.into_iter().flat_map(Table::variables) {
        slots.push(Slot::new(name, var, recipe.query.lr.or(recipe.optimizer.rate_of(name)))?);
    }
    if let Some(Distillation { scale: LogScale(var), .. }) = distillation {
        let name = "distill.log_scale";
        slots.push(Slot::new(name, var, recipe.optimizer.rate_of(name))?);
    }
    if let Some(Theta { var, .. }) = theta {
        let stages = recipe.stage.iter().filter_map(StageRecipe::retrieval);
        let rates = stages.filter_map(|stage| stage.threshold.as_ref());
        slots.push(Slot::new("theta", var, rates.map(|threshold| threshold.lr).next())?);
    }
    Ok(slots)
}
