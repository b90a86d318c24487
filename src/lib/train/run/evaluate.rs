//! A run's model measured on judged queries, as its user would do it: saved, encoded, indexed, searched
//! and measured by the same parts as the programs.
//!
//! The best model so far is in `DIR/best`, a whole model directory whose `l0.json` has its measure; a
//! resumed run reads it there.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device};
use serde_json::{Map, Value, json};

use super::save::Saved;
use crate::{
    device::{Compute, Precision},
    encode::{EncodeConfig, Role, Text, encode, texts},
    error::{Error, Result},
    eval::{self, IdenticalIds, Measure, SparsityStats},
    index::{Artefacts, BuildConfig, Builder, Index, Order, Weights},
    io::{self, Input, Output, folder},
    layout,
    model::{ModelDirectory, Overrides, SparseEncoder},
    records::{
        QueryBody,
        rejects::Rejects,
        trec::{Qrels, Run, RunWriter},
    },
    search::{Detail, Engine, Method, SearchConfig},
    sparse::{Prune, SparseVector},
    text::{QueryTable, Tokenizer},
    train::{data::texts::beir_file, recipe::EvaluateRecipe},
    vectors::Row,
};

/// Hits a query: enough for every measure with a cutoff that is common.
const HITS: usize = 1000;
/// Tokens that are encoded at a time.
const BATCH_TOKENS: usize = 16_384;
/// Bytes of memory for postings.
const INDEX_MEMORY: u64 = 1 << 30;

/// What a model measured at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// What was measured.
    pub measure: Measure,
    /// The value for each collection, in the order of the recipe.
    pub values: Vec<(String, f64)>,
    /// Mean terms a document, over all collections.
    pub terms: f64,
    /// Count-based FLOPS, mean over the collections.
    pub flops: f64,
    /// Whether it is the best of the run so far.
    pub best: bool,
}

impl Evaluation {
    /// The mean over the collections.
    pub fn mean(&self) -> f64 {
        self.values.iter().map(|(_, value)| value).sum::<f64>() / self.values.len() as f64
    }

    /// What `train.jsonl` and `l0.json` say of it.
    pub fn to_json(&self) -> Map<String, Value> {
        let values: Map<String, Value> =
            self.values.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let mut record = Map::new();
        record.insert("step".into(), self.step.into());
        record.insert("measure".into(), self.measure.to_string().into());
        record.insert("mean".into(), json!(self.mean()));
        record.insert("collections".into(), values.into());
        record.insert("terms".into(), json!(self.terms));
        record.insert("flops".into(), json!(self.flops));
        record
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {} {:.4}", self.step, self.measure, self.mean())?;
        let values = self.values.iter().map(|(name, value)| format!("{name} {value:.4}"));
        write!(f, " ({})", values.collect::<Vec<_>>().join(", "))?;
        write!(f, ", {:.0} terms, {:.2} FLOPS", self.terms, self.flops)?;
        f.write_str(if self.best { ", the best so far" } else { "" })
    }
}

/// One BEIR folder; its documents are read again each time.
struct Collection {
    name: String,
    corpus: PathBuf,
    queries: Vec<Text>,
    qrels: Qrels,
}

/// Judged collections, and the best that was measured on them.
pub struct Evaluator {
    measure: Measure,
    collections: Vec<Collection>,
    device: Device,
    dtype: DType,
    best: Option<f64>,
}

impl Evaluator {
    /// Opens the collections; queries without judgements are left out.
    ///
    /// # Errors
    /// [`Error::Usage`] for a measure that is none; [`Error::Io`], [`Error::Format`] and
    /// [`Error::Line`] for folders that are no collections.
    pub fn open(recipe: &EvaluateRecipe, device: &Device, dtype: DType) -> Result<Evaluator> {
        let collections = recipe.data.iter().map(|folder| Collection::open(folder, &recipe.split));
        let collections = collections.collect::<Result<Vec<_>>>()?;
        let mut names: Vec<&str> = collections.iter().map(|one| one.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let reason = format!(
                "evaluate.data: expected folders of different names, found two `{}`",
                pair[0]
            );
            return Err(Error::Usage(reason));
        }
        Ok(Evaluator {
            measure: recipe.measure.parse()?,
            collections,
            device: device.clone(),
            dtype,
            best: None,
        })
    }

    /// Continues with the best model of the run in `folder`.
    ///
    /// # Errors
    /// [`Error::Format`] if what is there is not a model of l0.
    pub fn resume(&mut self, folder: &Path) -> Result<()> {
        let file = folder.join("best").join(layout::OWN);
        if !file.exists() {
            return Ok(());
        }
        let record: Value = serde_json::from_str(&io::read_text(&file)?)
            .map_err(|error| Error::format(&file, error.to_string()))?;
        let mean = record.pointer("/evaluation/mean").and_then(Value::as_f64);
        self.best = Some(mean.ok_or_else(|| Error::format(&file, "expected evaluation.mean"))?);
        Ok(())
    }

    /// Measures `model` after `step` steps, and keeps it as `folder/best` if it is the best so far.
    ///
    /// # Errors
    /// Those of encoding, indexing and searching.
    pub fn evaluate(
        &mut self,
        mut model: Saved,
        tokenizer: &Tokenizer,
        step: u64,
        folder: &Path,
    ) -> Result<Evaluation> {
        let staged = folder::Staged::create(&folder.join("best"))?;
        model.write(staged.path())?;
        let mut found = self.measured(staged.path(), tokenizer, step)?;
        found.best = self.best.is_none_or(|best| found.mean() > best);
        if found.best {
            self.best = Some(found.mean());
            model.record.insert("evaluation".into(), found.to_json().into());
            model.write(staged.path())?;
            staged.replace()?;
        }
        Ok(found)
    }

    fn measured(&self, folder: &Path, tokenizer: &Tokenizer, step: u64) -> Result<Evaluation> {
        let directory = ModelDirectory::open(folder)?;
        let read = |file| QueryTable::read(file, tokenizer.vocabulary());
        let table = directory.query_table.as_deref().map(read).transpose()?;
        let encoder = if self.device.is_cpu() {
            SparseEncoder::load(&directory, Overrides::default(), Compute::Cpu, Precision::F32)?
        } else {
            SparseEncoder::on_device(&directory, Overrides::default(), &self.device, self.dtype)?
        };
        let side = Side { tokenizer, encoder: &encoder, table: table.as_ref() };
        let (mut values, mut terms, mut flops) = (Vec::new(), [0.0, 0.0], 0.0);
        for collection in &self.collections {
            let (value, documents, cost) = side.measure(collection, self.measure, folder)?;
            values.push((collection.name.clone(), value));
            terms[0] += documents.mean_nnz() * documents.vectors() as f64;
            terms[1] += documents.vectors() as f64;
            flops += cost / self.collections.len() as f64;
        }
        let (measure, terms) = (self.measure, terms[0] / terms[1].max(1.0));
        Ok(Evaluation { step, measure, values, terms, flops, best: false })
    }
}

impl Collection {
    fn open(folder: &Path, split: &str) -> Result<Collection> {
        let mut rejects = Rejects::stop();
        let file = folder.join("qrels").join(format!("{split}.tsv"));
        let qrels = Qrels::read(Input::open(&file)?, &mut rejects)?;
        let input = Input::open(&beir_file(folder, "queries")?)?;
        let queries = texts(Role::Query, vec![input], &mut rejects);
        let queries = queries.collect::<Result<Vec<_>>>()?.into_iter();
        let queries: Vec<Text> =
            queries.filter(|query| qrels.queries().contains_key(&query.id)).collect();
        if queries.is_empty() {
            return Err(Error::format(
                &file,
                "expected judgements of the folder's queries, found none",
            ));
        }
        let path = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Collection { name, corpus: beir_file(folder, "corpus")?, queries, qrels })
    }
}

/// How texts become vectors.
struct Side<'a> {
    tokenizer: &'a Tokenizer,
    encoder: &'a SparseEncoder,
    table: Option<&'a QueryTable>,
}

impl Side<'_> {
    /// The measure's value, the documents' counts, and FLOPS.
    fn measure(
        &self,
        collection: &Collection,
        measure: Measure,
        scratch: &Path,
    ) -> Result<(f64, SparsityStats, f64)> {
        let file = scratch.join("evaluation.l0x");
        let documents = self.index(collection, &file)?;
        let config = SearchConfig { k: HITS, method: Method::Exact, detail: Detail::Hit };
        let engine = Engine::new(vec![Index::open(&file)?], config)?;
        let mut lines = RunWriter::new(Vec::new(), &collection.name, "l0")?;
        let mut vectors = Vec::new();
        for (id, body) in self.queries(collection)? {
            vectors.push(engine.vector(&body)?);
            for (rank, found) in (1..).zip(engine.find(&body)?) {
                let docno = engine.indexes()[found.index].docno(found.hit.doc)?;
                lines.write(&id, docno, rank, found.hit.score)?;
            }
        }
        folder::remove_file(&file)?;
        let cost = eval::flops(&SparsityStats::of(vectors.into_iter().map(Ok))?, &documents);
        let lines = std::io::Cursor::new(lines.into_inner());
        let value = if lines.get_ref().is_empty() {
            0.0
        } else {
            let run = Run::read(Input::from_reader("run", lines)?, &mut Rejects::stop())?;
            eval::evaluate(&collection.qrels, &run, &[measure], IdenticalIds::Keep)?.overall(0)
        };
        Ok((value, documents, cost))
    }

    fn index(&self, collection: &Collection, file: &Path) -> Result<SparsityStats> {
        let vocabulary = self.tokenizer.vocabulary();
        let mut builder = Builder::new(BuildConfig {
            vocabulary_size: vocabulary.len(),
            weights: Weights::U8,
            order: Order::Given,
            memory: INDEX_MEMORY,
        });
        let mut rejects = Rejects::stop();
        let documents = texts(Role::Document, vec![Input::open(&collection.corpus)?], &mut rejects);
        let mut tally = SparsityStats::default();
        let config =
            EncodeConfig { batch_tokens: BATCH_TOKENS, prune: Prune::None, keep_text: false };
        let add = |row: Row, _: &[u32]| {
            tally.add(&row.vector);
            builder.add(&row.id, &row.vector, None)
        };
        encode(documents, self.tokenizer, self.encoder, &config, add, || {})?;
        let unit = QueryTable::unit(vocabulary.len());
        let artefacts = Artefacts {
            vocabulary: vocabulary.fingerprint().to_owned(),
            encoding: None,
            tokenizer: self.tokenizer.to_json().to_vec(),
            query_weights: self.table.unwrap_or(&unit).weights().to_vec(),
            query_source: "the run's".into(),
        };
        let mut output = Output::create(file)?;
        let name = output.name().to_owned();
        builder.finish(&artefacts, &mut output, &name, &mut |_| {})?.finish(None)?;
        output.commit()?;
        Ok(tally)
    }

    /// Queries as the engine takes them: text for the table, vectors out of a Siamese encoder.
    fn queries(&self, collection: &Collection) -> Result<Vec<(String, QueryBody)>> {
        let queries = collection.queries.iter().cloned();
        if self.table.is_some() {
            return Ok(queries.map(|query| (query.id, QueryBody::Text(query.text))).collect());
        }
        let config =
            EncodeConfig { batch_tokens: BATCH_TOKENS, prune: Prune::None, keep_text: false };
        let mut vectors: BTreeMap<String, SparseVector> = BTreeMap::new();
        let add = |row: Row, _: &[u32]| {
            vectors.insert(row.id, row.vector);
            Ok(())
        };
        encode(queries.map(Ok), self.tokenizer, self.encoder, &config, add, || {})?;
        Ok(vectors.into_iter().map(|(id, vector)| (id, QueryBody::Vector(vector))).collect())
    }
}
