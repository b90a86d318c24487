//! What a run begins with: the base it trains, its data, and a slot for each variable.

use std::path::PathBuf;

use candle_core::{DType, Device};

use super::{
    super::{
        adamw::Slot,
        evaluate::Evaluator,
        masked::Pieces,
        parts::{Table, Theta},
        recipe::{HeadKind, ModelRecipe, Recipe},
        source::Mixture,
        stage::StageRecipe,
    },
    Trainer,
};
use crate::{
    error::{Error, Result},
    model::{Checkpoint, ModelDirectory, TensorEncoder},
    ops::Activation,
    text::{LexicalPart, QueryTable, Tokenizer},
};

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
        let Base { directory, checkpoint, tokenizer } = Base::read(&recipe.model)?;
        let encoder = TensorEncoder::new(checkpoint, device, dtype)?;
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
        Ok(Trainer {
            activation: Activation::new(recipe.model.activation)?,
            slots: slots(&recipe, &encoder, table.as_ref(), theta.as_ref())?,
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
            mixture,
            ahead: None,
            evaluator,
            corpora,
            pieces,
        })
    }
}

impl Base {
    /// Reads a base and looks whether its parts and the recipe belong together.
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
                "model.max_tokens: want 3 to {longest}, got {}",
                recipe.max_tokens
            )));
        }
        Ok(Base { directory, checkpoint, tokenizer })
    }
}

/// The lexical part with the terms that the table of the start asks for.
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
) -> Result<Vec<Slot>> {
    let mut slots = Vec::new();
    for (name, var) in encoder.variables() {
        slots.push(Slot::new(&name, var, None)?);
    }
    for (name, var) in table.into_iter().flat_map(Table::variables) {
        slots.push(Slot::new(name, var, recipe.query.lr)?);
    }
    if let Some(Theta { var, .. }) = theta {
        let stages = recipe.stage.iter().filter_map(StageRecipe::retrieval);
        let rates = stages.filter_map(|stage| stage.threshold.as_ref());
        slots.push(Slot::new("theta", var, rates.map(|threshold| threshold.lr).next())?);
    }
    Ok(slots)
}
