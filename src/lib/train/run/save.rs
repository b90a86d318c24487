//! The model directory that other programs load: Hugging Face's files, Sentence Transformers'
//! files, the query table in up to three spellings, and l0's own `l0.json`, in one flat folder.
//!
//! Source: `docs/formats.md`, "Model directories", where each loader was run. The class paths are those
//! of Sentence Transformers 5, which version 6 reads too. A vocabulary head is not one of their classes:
//! `l0_head.py` has it, with a router that finds it in both versions.

mod card;

use std::path::{Path, PathBuf};

use candle_core::Var;
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Result},
    io::{self, Output, folder},
    layout,
    model::{Architecture, Cutoff, HEAD_KEY, VocabularyHead},
    sparse::{Activation, Prune, TermId},
    text::{Lexical, Reweighting, Tokenizer},
    train::tensors::{self, Named, Numbers, Width},
};

/// The contents of a directory.
pub struct Saved<'a> {
    /// The directory the run began with, for its config and tokenizer.
    pub base: &'a Path,
    /// Variables under Hugging Face's names.
    pub variables: Vec<(String, &'a Var)>,
    /// The vocabulary head, if it has one.
    pub head: Option<&'a VocabularyHead>,
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Query weights `[V]`; `None` for a Siamese encoder.
    pub table: Option<Vec<f32>>,
    /// Whether the model was trained to rank at all.
    pub ranks: bool,
    /// Whether the table is unchanged.
    pub frozen: bool,
    /// The activation.
    pub activation: Activation,
    /// Tokens of a document that are read.
    pub max_tokens: usize,
    /// The threshold that weights must pass.
    pub cutoff: Option<Cutoff>,
    /// What is added for the terms a document has.
    pub lexical: Option<Lexical>,
    /// What is kept of a document's weights.
    pub prune: Prune,
    /// Whether an index reweights the query table by its collection, and how.
    pub reweighting: Option<Reweighting>,
    /// Further keys of `l0.json`.
    pub record: Map<String, Value>,
    /// The recipe, as TOML.
    pub recipe: &'a str,
    /// How much room it may take.
    pub size: Size,
    /// The text of the model card, in place of the generated one.
    pub card: Option<&'a str>,
}

/// How much room a directory may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Tensors in f32, and the query table in every spelling that some loader knows.
    Whole,
    /// Tensors in f16, the table as Sentence Transformers spells it, the tokenizer without spaces.
    Small,
    /// As [`Size::Small`], matrices in I8 with a scale per row, which l0's programs alone read.
    Byte,
}

/// A key of `config.json`. Without its `quant_method` transformers and Sentence Transformers refuse the
/// model; without the key they take the bytes for the weights.
const QUANTIZED: &str = "quantization_config";

const QUERY: &str = "query_0_SparseStaticEmbedding";
const POOLING: &str = "document_1_SpladePooling";
const HEAD: &str = "document_1_VocabularyHead";
/// The module that gives Sentence Transformers a vocabulary head.
const MODULE: &str = include_str!("l0_head.py");

impl Saved<'_> {
    /// Writes all files, each atomically, the weights last.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] if the base's small files are not JSON.
    pub fn write(&self, folder: &Path) -> Result<()> {
        folder::make(folder)?;
        self.config(folder)?;
        self.tokenizer_files(folder)?;
        self.sentence_transformers(folder)?;
        if let Some(table) = &self.table {
            self.table_files(folder, table)?;
        }
        let mut record = self.record.clone();
        record.insert("activation".into(), self.activation.depth().into());
        if let Some(cutoff) = &self.cutoff {
            record.insert("threshold".into(), json!(cutoff));
        }
        if let Some(lexical) = &self.lexical {
            record.insert("lexical".into(), json!(lexical));
        }
        if self.prune != Prune::None {
            record.insert("prune".into(), self.prune.to_string().into());
        }
        if self.reweighting.is_some() {
            record.insert("query_weights".into(), "corpus".into());
        }
        let fingerprint = self.tokenizer.vocabulary().fingerprint();
        record.insert("vocabulary".into(), fingerprint.into());
        write_json(&folder.join(layout::OWN), &Value::Object(record))?;
        if !self.recipe.is_empty() {
            folder::write(&folder.join(layout::RECIPE), self.recipe.as_bytes())?;
        }
        folder::write(&folder.join(layout::CARD), self.card().as_bytes())?;
        // last: a folder without it is not a model, so an interrupt leaves no model without its conventions
        let all = self.variables.iter().map(|(name, var)| Named::variable(name.clone(), var));
        write_tensors(&folder.join(layout::TENSORS), all.collect(), self.width())
    }

    fn has_vocab_txt(&self) -> bool {
        self.size == Size::Whole && self.tokenizer.is_word_piece()
    }

    fn width(&self) -> Width {
        match self.size {
            Size::Whole => Width::Full,
            Size::Small => Width::Half,
            Size::Byte => Width::Byte,
        }
    }

    fn config(&self, folder: &Path) -> Result<()> {
        let mut config = read_json(&self.base.join(layout::CONFIG))?;
        let architecture = self.architecture(&config);
        let class = match self.head {
            Some(head) => {
                config.insert(HEAD_KEY.into(), json!(head));
                architecture.encoder_class()
            }
            None => {
                config.remove(HEAD_KEY);
                architecture.class().to_owned()
            }
        };
        config.insert("architectures".into(), json!([class]));
        let untied = self.variables.iter().any(|(name, _)| {
            name.ends_with("decoder.weight") || name.ends_with("projector.weight")
        });
        config.insert("tie_word_embeddings".into(), (!untied).into());
        for key in ["_name_or_path", "dtype", "torch_dtype", QUANTIZED] {
            config.remove(key);
        }
        if self.size == Size::Byte {
            config.insert(QUANTIZED.into(), json!({"format": "l0-int8"}));
        }
        let dtype = if self.size == Size::Small { "float16" } else { "float32" };
        config.insert("torch_dtype".into(), dtype.into());
        write_json(&folder.join(layout::CONFIG), &Value::Object(config))
    }

    fn architecture(&self, config: &Map<String, Value>) -> Architecture {
        let kind = config.get("model_type").and_then(Value::as_str);
        let known = Architecture::ALL.into_iter().find(|known| Some(known.name()) == kind);
        known.unwrap_or(Architecture::Bert)
    }

    /// The class that every version of transformers has for the tokenizer; the base may name one that only
    /// the newest has.
    fn tokenizer_class(&self, own: Option<&Value>) -> Result<Value> {
        use Architecture::{Bert, DistilBert, Gte, New};
        let config = read_json(&self.base.join(layout::CONFIG))?;
        let of_bert = [Bert, DistilBert, New, Gte].contains(&self.architecture(&config));
        if of_bert && self.tokenizer.is_word_piece() {
            return Ok("BertTokenizer".into());
        }
        let own = own.filter(|own| own.as_str() != Some("TokenizersBackend"));
        Ok(own.cloned().unwrap_or_else(|| "PreTrainedTokenizerFast".into()))
    }

    /// The names of special tokens, as the base has them in one of two files; BERT's if it has none.
    fn special_names(&self, config: &Map<String, Value>) -> Result<Map<String, Value>> {
        let file = self.base.join(layout::SPECIAL_TOKENS);
        if io::exists(&file) {
            return read_json(&file);
        }
        let named = |(name, value): (&String, &Value)| {
            let is_name = name.ends_with("_token") && (value.is_string() || value.is_object());
            is_name.then(|| (name.clone(), value.clone()))
        };
        let own: Map<String, Value> = config.iter().filter_map(named).collect();
        if !own.is_empty() {
            return Ok(own);
        }
        let kinds = ["cls", "mask", "pad", "sep", "unk"].into_iter();
        let pairs =
            kinds.map(|kind| (format!("{kind}_token"), format!("[{}]", kind.to_uppercase())));
        let known = pairs.filter(|(_, token)| self.tokenizer.vocabulary().id(token).is_some());
        Ok(known.map(|(kind, token)| (kind, token.into())).collect())
    }

    fn tokenizer_files(&self, folder: &Path) -> Result<()> {
        let name = folder.join(layout::TOKENIZER);
        let mut tokenizer: Map<String, Value> = serde_json::from_slice(self.tokenizer.to_json())
            .map_err(|error| Error::format(&name, error.to_string()))?;
        // both are up to the caller: a stored limit would truncate silently
        tokenizer.insert("truncation".into(), Value::Null);
        tokenizer.insert("padding".into(), Value::Null);
        match self.size {
            Size::Whole => write_json(&name, &Value::Object(tokenizer))?,
            Size::Small | Size::Byte => {
                folder::write(&name, Value::Object(tokenizer).to_string().as_bytes())?;
            }
        }
        let base = self.base.join(layout::TOKENIZER_CONFIG);
        let mut config = if io::exists(&base) { read_json(&base)? } else { Map::new() };
        let special = self.special_names(&config)?;
        let class = self.tokenizer_class(config.get("tokenizer_class"))?;
        config.insert("tokenizer_class".into(), class);
        config.insert("model_max_length".into(), self.max_tokens.into());
        write_json(&folder.join(layout::TOKENIZER_CONFIG), &Value::Object(config))?;
        write_json(&folder.join(layout::SPECIAL_TOKENS), &Value::Object(special))?;
        if !self.has_vocab_txt() {
            return Ok(());
        }
        let tokens = self.tokenizer.vocabulary().tokens();
        let lines: String = tokens.iter().map(|token| format!("{token}\n")).collect();
        folder::write(&folder.join(layout::VOCABULARY), lines.as_bytes())
    }

    fn sentence_transformers(&self, folder: &Path) -> Result<()> {
        let class = |name: &str| format!("sentence_transformers.sparse_encoder.models.{name}");
        let (transformer, pooling) = match (self.head, &self.table) {
            (Some(_), Some(_)) => ("sentence_transformers.models.Transformer".to_owned(), HEAD),
            (Some(_), None) => {
                ("sentence_transformers.models.Transformer".to_owned(), "1_VocabularyHead")
            }
            (None, Some(_)) => (class("MLMTransformer"), POOLING),
            (None, None) => (class("MLMTransformer"), "1_SpladePooling"),
        };
        let (router_class, pooling_class) = match self.head {
            Some(_) => ("l0_head.Router", "l0_head.VocabularyHead".to_owned()),
            None => ("sentence_transformers.models.Router", class("SpladePooling")),
        };
        let modules = match self.table {
            Some(_) => json!([{"idx": 0, "name": "0", "path": "", "type": router_class}]),
            None => json!([
                {"idx": 0, "name": "0", "path": "", "type": transformer},
                {"idx": 1, "name": "1", "path": pooling, "type": pooling_class},
            ]),
        };
        write_json(&folder.join(layout::MODULES), &modules)?;
        if self.table.is_some() {
            let router = json!({
                "types": {QUERY: class("SparseStaticEmbedding"), "": transformer,
                    pooling: pooling_class},
                "structure": {"query": [QUERY], "document": ["", pooling]},
                "parameters": {"default_route": "document", "allow_empty_key": true},
            });
            write_json(&folder.join(layout::ROUTER), &router)?;
        }
        let versions = json!({"sentence_transformers": "5.1.2", "transformers": "4.56.2",
            "pytorch": "2.8.0"});
        let config = json!({"model_type": "SparseEncoder", "__version__": versions,
            "prompts": {"query": "", "document": ""}, "default_prompt_name": null,
            "similarity_fn_name": "dot"});
        write_json(&folder.join(layout::PROMPTS), &config)?;
        let transformer = json!({"max_seq_length": self.max_tokens, "do_lower_case": false});
        write_json(&folder.join(layout::TRANSFORMER), &transformer)?;
        let pooling = folder.join(pooling);
        folder::make(&pooling)?;
        write_json(&pooling.join(layout::CONFIG), &self.pooling_config())?;
        match self.head {
            Some(_) => folder::write(&folder.join(layout::HEAD_MODULE), MODULE.as_bytes()),
            None => Ok(()),
        }
    }

    fn pooling_config(&self) -> Value {
        let terms = self.tokenizer.vocabulary().len();
        match self.head {
            // the files of the model itself have everything else
            Some(_) => json!({"word_embedding_dimension": terms}),
            None => {
                // Sentence Transformers has no word for three and four logarithms; l0.json has
                let function = if self.activation.depth() == 1 { "relu" } else { "log1p_relu" };
                json!({"pooling_strategy": "max", "activation_function": function,
                    "word_embedding_dimension": terms})
            }
        }
    }

    /// The effective weights: relu of the table, special tokens 0, every token named, since a
    /// token that is missing weighs 1 to some readers and 0 to others.
    fn table_files(&self, folder: &Path, table: &[f32]) -> Result<()> {
        let special = |id: u32| self.tokenizer.is_special(TermId(id));
        let weights: Vec<f32> = (0..)
            .zip(table)
            .map(|(id, weight)| if special(id) { 0.0 } else { weight.max(0.0) })
            .collect();
        let mut files = vec![layout::TOKENIZER, layout::TOKENIZER_CONFIG, layout::SPECIAL_TOKENS];
        if self.size == Size::Whole {
            self.table_by_names(folder, &weights)?;
        }
        if self.has_vocab_txt() {
            files.push(layout::VOCABULARY);
        }
        let query = folder.join(QUERY);
        folder::make(&query)?;
        let shape = vec![weights.len()];
        let table = Named { name: "weight".into(), shape, numbers: Numbers::Host(weights.into()) };
        write_tensors(&query.join(layout::TENSORS), vec![table], Width::Full)?;
        write_json(&query.join(layout::CONFIG), &json!({"frozen": self.frozen}))?;
        for name in files {
            folder::write(&query.join(name), &io::read_bytes(&folder.join(name))?)?;
        }
        Ok(())
    }

    /// The table in the spellings that name each token.
    fn table_by_names(&self, folder: &Path, weights: &[f32]) -> Result<()> {
        let tokens = self.tokenizer.vocabulary().tokens();
        let pairs = || tokens.iter().zip(weights);
        let named: Map<String, Value> =
            pairs().map(|(token, weight)| (token.clone(), json!(weight))).collect();
        write_json(&folder.join(layout::IDF), &Value::Object(named))?;
        let lines: String = pairs().map(|(token, weight)| format!("{token}\t{weight}\n")).collect();
        folder::write(&folder.join(layout::QUERY_WEIGHTS), lines.as_bytes())
    }
}

fn read_json(file: &Path) -> Result<Map<String, Value>> {
    serde_json::from_str(&io::read_text(file)?)
        .map_err(|error| Error::format(file, error.to_string()))
}

fn write_tensors(file: &Path, all: Vec<Named>, width: Width) -> Result<()> {
    let mut output = Output::create(file)?;
    tensors::write(&all, width, file, &mut output)?;
    output.commit()
}

fn write_json(file: &PathBuf, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::format(file, error.to_string()))?;
    folder::write(file, format!("{text}\n").as_bytes())
}
