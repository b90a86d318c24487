//! What a model directory has in addition to its tensors: Hugging Face's files, and those of Sentence
//! Transformers if there are any.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Activation, shipped};
use crate::{
    error::{Error, Result},
    io::{self, hub::Need},
    layout,
    sparse::{Prune, SparseVector, TermId},
    text::{Lexical, Reweighting},
};

/// Where a model's parts are, and the conventions it was trained under.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelDirectory {
    /// The directory itself.
    pub path: PathBuf,
    /// Where `config.json`, the tensors and the tokenizer are: the directory or a folder in it.
    pub encoder: PathBuf,
    /// The activation that the files name; `None` if they do not, as in a bare Hugging Face directory.
    pub activation: Option<Activation>,
    /// The longest text the files allow, if they say.
    pub max_tokens: Option<usize>,
    /// Where the query table is, for an inference-free model.
    pub query_table: Option<PathBuf>,
    /// The threshold that document weights must pass, if one was trained.
    pub cutoff: Option<Cutoff>,
    /// What is added for the terms a document has, if the model was trained with it.
    pub lexical: Option<Lexical>,
    /// What is kept of a document's weights, if the model was trained for it.
    pub prune: Prune,
    /// How an index fits the query table to its collection's document frequencies.
    pub reweighting: Option<Reweighting>,
}

/// A trained threshold: weights at or below it are left out.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cutoff {
    /// One for all weights.
    All(f32),
    /// A share of the document's largest weight.
    Largest(f32),
    /// One for each term.
    Term(Vec<f32>),
}

impl Cutoff {
    /// Removes the weights that do not pass.
    ///
    /// # Errors
    /// None for a valid vector.
    pub fn apply(&self, vector: &SparseVector) -> Result<SparseVector> {
        let largest = vector.weights().iter().copied().fold(0.0, f32::max);
        let passes = |term: TermId, weight: f32| match self {
            Cutoff::All(level) => weight > *level,
            Cutoff::Largest(share) => weight > share * largest,
            Cutoff::Term(levels) => levels.get(term.index()).is_none_or(|level| weight > *level),
        };
        SparseVector::new(vector.iter().filter(|&(term, weight)| passes(term, weight)))
    }

    fn is_finite(&self) -> bool {
        match self {
            Cutoff::All(level) | Cutoff::Largest(level) => level.is_finite(),
            Cutoff::Term(levels) => levels.iter().all(|level| level.is_finite()),
        }
    }

    /// The threshold as a short text that differs for different thresholds.
    pub fn digest(&self) -> String {
        match self {
            Cutoff::All(level) => format!("{level}"),
            Cutoff::Largest(share) => format!("{share}*largest"),
            Cutoff::Term(levels) => {
                let bytes: Vec<u8> = levels.iter().flat_map(|level| level.to_le_bytes()).collect();
                format!("terms:{:08x}", crc32fast::hash(&bytes))
            }
        }
    }

    /// The threshold as plain pruning, for programs that do not know it. Pruning keeps weights equal to
    /// its level and a threshold does not, hence the next number above; for a share of the largest
    /// weight this is exact up to the last bit of a product.
    pub fn as_pruning(&self) -> Folded {
        let above = |level: f32| level.max(0.0).next_up();
        match self {
            Cutoff::All(level) => Folded::Same(Prune::AbsValue(above(*level))),
            Cutoff::Largest(share) if above(*share) <= 1.0 => {
                Folded::Same(Prune::MaxRatio(above(*share)))
            }
            Cutoff::Largest(_) => Folded::More(Prune::MaxRatio(1.0)),
            Cutoff::Term(levels) => {
                let least = levels.iter().copied().fold(f32::MAX, f32::min);
                Folded::More(Prune::AbsValue(above(least)))
            }
        }
    }
}

/// A threshold as a plain pruning rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Folded {
    /// It keeps the same weights.
    Same(Prune),
    /// No rule does; this one, the closest, keeps all weights that pass, and some more.
    More(Prune),
}

#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

#[derive(Deserialize)]
struct Router {
    types: BTreeMap<String, String>,
    structure: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Pooling {
    pooling_strategy: Option<String>,
    activation_function: Option<String>,
}

#[derive(Deserialize)]
struct Transformer {
    max_seq_length: Option<usize>,
}

/// The part of `l0.json` that an encoder needs.
#[derive(Deserialize)]
struct Own {
    activation: Option<u8>,
    threshold: Option<Cutoff>,
    lexical: Option<Lexical>,
    prune: Option<String>,
    query_weights: Option<OfQueries>,
}

/// The default for how an index uses a model's query table.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OfQueries {
    /// The table as it is.
    Model,
    /// The table, reweighted by the collection.
    Corpus,
}

impl ModelDirectory {
    /// Reads the small files of a model directory, which may be the name of a shipped model or one on the hub
    /// (`io::hub`).
    ///
    /// # Errors
    /// As [`io::hub::resolve`]; [`Error::Io`]; [`Error::Format`] for a convention that is not implemented;
    /// [`Error::Mismatch`] if two files disagree on the activation.
    pub fn open(path: &Path) -> Result<ModelDirectory> {
        let path = &io::hub::resolve(path, Need::Model)?;
        let mut found = ModelDirectory::silent(path)?;
        let modules = path.join(layout::MODULES);
        if io::exists(&modules) {
            for module in parse::<Vec<Module>>(&modules)? {
                found.module(&path.join(module.path), &module.r#type, &modules)?;
            }
        } else {
            found.transformer(path)?;
        }
        found.own(&path.join(layout::OWN))?;
        found.query_table = found.query_table.or_else(|| {
            let names = layout::NAMED_TABLES.iter();
            names.map(|name| path.join(name)).find(|file| io::exists(file))
        });
        Ok(found)
    }

    /// The directory of an encoder, with any head or none: where the tensors are and how long a text
    /// may be, without pooling, activation or tables.
    ///
    /// # Errors
    /// As [`io::hub::resolve`]; [`Error::Io`]; [`Error::Format`] for modules that do not begin with a
    /// transformer.
    pub fn of_encoder(path: &Path) -> Result<ModelDirectory> {
        let path = &io::hub::resolve(path, Need::Model)?;
        let mut found = ModelDirectory::silent(path)?;
        let modules = path.join(layout::MODULES);
        if !io::exists(&modules) {
            found.transformer(path)?;
            return Ok(found);
        }
        match parse::<Vec<Module>>(&modules)?.first() {
            Some(first) if first.r#type.ends_with("Transformer") => {
                found.transformer(&path.join(&first.path))?;
                Ok(found)
            }
            _ => Err(Error::format(
                &modules,
                "expected a Transformer as the first module of a base; a sparse model has its own head: leave model.head out",
            )),
        }
    }

    /// A directory without any conventions.
    fn silent(path: &Path) -> Result<ModelDirectory> {
        if !io::is_folder(path) {
            let reason = "expected a model directory, found none of that name; l0:default and l0:tiny ship with l0";
            return Err(Error::format(path, reason));
        }
        Ok(ModelDirectory {
            path: path.to_owned(),
            encoder: path.to_owned(),
            activation: None,
            max_tokens: None,
            query_table: None,
            cutoff: None,
            lexical: None,
            prune: Prune::None,
            reweighting: None,
        })
    }

    /// The model's name: `org/name@commit` if it is of the hub, `l0-NAME` if it ships with the program, else
    /// the last part of its path.
    pub fn name(&self) -> String {
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        if let Some(name) = io::hub::name_of(&path).or_else(|| shipped::name_of(&path)) {
            return name;
        }
        path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    fn module(&mut self, folder: &Path, kind: &str, file: &Path) -> Result<()> {
        match kind.rsplit('.').next().unwrap_or_default() {
            "Router" | "Asym" => self.router(folder),
            "MLMTransformer" | "Transformer" => self.transformer(folder),
            "SpladePooling" => self.pooling(folder),
            // config.json of the encoder describes it
            "VocabularyHead" => Ok(()),
            "SparseStaticEmbedding" | "IDF" => {
                let mut files = layout::TABLES.iter().map(|name| folder.join(name));
                self.query_table = files.find(|file| io::exists(file));
                match self.query_table {
                    Some(_) => Ok(()),
                    // without its table an inference-free model would be taken for a Siamese one
                    None => Err(Error::format(
                        folder,
                        "expected the query table, model.safetensors or idf.json, found neither",
                    )),
                }
            }
            "Pooling" | "Normalize" => Err(Error::format(
                file,
                "expected a sparse model, found a sentence encoder; `l0-train from-dense` makes a sparse \
                 one of it",
            )),
            _ => Err(Error::format(
                file,
                format!(
                    "expected modules Router, MLMTransformer, SpladePooling, VocabularyHead or \
                     SparseStaticEmbedding, found `{kind}`"
                ),
            )),
        }
    }

    fn router(&mut self, folder: &Path) -> Result<()> {
        let file = folder.join(layout::ROUTER);
        let router: Router = parse(&file)?;
        for route in ["query", "document"] {
            let Some(names) = router.structure.get(route) else {
                return Err(Error::format(
                    &file,
                    format!("expected a route `{route}`, found none"),
                ));
            };
            for name in names {
                let Some(kind) = router.types.get(name) else {
                    return Err(Error::format(&file, format!("expected the type of `{name}`")));
                };
                self.module(&folder.join(name), kind, &file)?;
            }
        }
        Ok(())
    }

    fn transformer(&mut self, folder: &Path) -> Result<()> {
        self.encoder = folder.to_owned();
        let file = folder.join(layout::TRANSFORMER);
        if io::exists(&file) {
            self.max_tokens = parse::<Transformer>(&file)?.max_seq_length;
        }
        Ok(())
    }

    fn pooling(&mut self, folder: &Path) -> Result<()> {
        let file = folder.join(layout::CONFIG);
        let pooling: Pooling = parse(&file)?;
        let strategy = pooling.pooling_strategy.as_deref().unwrap_or("max");
        if strategy != "max" {
            return Err(Error::format(
                &file,
                format!("expected pooling_strategy max, found `{strategy}`"),
            ));
        }
        self.activation = Some(match pooling.activation_function.as_deref().unwrap_or("relu") {
            "relu" => Activation::SPLADE,
            "log1p_relu" => Activation::L0,
            other => {
                let reason =
                    format!("expected activation_function relu or log1p_relu, found `{other}`");
                return Err(Error::format(&file, reason));
            }
        });
        Ok(())
    }

    fn own(&mut self, file: &Path) -> Result<()> {
        if !io::exists(file) {
            return Ok(());
        }
        let own: Own = parse(file)?;
        if own.threshold.as_ref().is_some_and(|cutoff| !cutoff.is_finite()) {
            return Err(Error::format(file, "expected a threshold of finite numbers"));
        }
        self.cutoff = own.threshold;
        if let Some(lexical) = &own.lexical {
            lexical.check().map_err(|error| Error::format(file, error.to_string()))?;
        }
        self.lexical = own.lexical;
        if let Some(prune) = own.prune {
            self.prune =
                prune.parse().map_err(|error: Error| Error::format(file, error.to_string()))?;
        }
        if let Some(OfQueries::Corpus) = own.query_weights {
            self.reweighting = Some(Reweighting::OF_A_MODEL);
        }
        let Some(depth) = own.activation else { return Ok(()) };
        let own = Activation::new(depth).map_err(|error| Error::format(file, error.to_string()))?;
        // Sentence Transformers has no word for depths 3 and 4, so only 1 and 2 can disagree
        if let Some(other) = self.activation.filter(|&other| other != own && depth <= 2) {
            return Err(Error::Mismatch {
                what: format!("activation in {}", file.display()),
                expected: other.to_string(),
                got: own.to_string(),
                remedy: "the pooling's config.json says otherwise; set both alike".into(),
            });
        }
        self.activation = Some(own);
        Ok(())
    }
}

pub(super) fn parse<T: DeserializeOwned>(file: &Path) -> Result<T> {
    serde_json::from_str(&io::read_text(file)?)
        .map_err(|error| Error::format(file, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutoffs_leave_out_what_does_not_pass() {
        let vector = SparseVector::new([(1, 0.2), (4, 0.5), (7, 1.0)].map(|(t, w)| (TermId(t), w)));
        let vector = vector.unwrap();
        for (text, expected) in [
            (r#"{"all":0.2}"#, &[4u32, 7][..]),
            (r#"{"largest":0.5}"#, &[7]),
            (r#"{"term":[0,0,0,0,0.9,0,0,0]}"#, &[1, 7]),
        ] {
            let cutoff: Cutoff = serde_json::from_str(text).unwrap();
            let kept = cutoff.apply(&vector).unwrap();
            assert_eq!(kept.terms().iter().map(|term| term.0).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_threshold_is_folded_into_pruning_where_a_rule_can_express_it() {
        let vector = [(1, 0.2), (4, 0.5), (7, 1.0), (8, 0.75)].map(|(t, w)| (TermId(t), w));
        let vector = SparseVector::new(vector).unwrap();
        for cutoff in [0.0, 0.1, 0.2, 0.5, 1.0, 2.0].map(Cutoff::All) {
            let Folded::Same(prune) = cutoff.as_pruning() else { panic!("{cutoff:?}") };
            assert_eq!(prune.apply(&vector), cutoff.apply(&vector).unwrap(), "{prune}");
            assert_eq!(prune.to_string().parse::<Prune>().unwrap(), prune);
        }
        for cutoff in [0.0, 0.2, 0.5, 0.75, 0.9].map(Cutoff::Largest) {
            let Folded::Same(prune) = cutoff.as_pruning() else { panic!("{cutoff:?}") };
            assert_eq!(prune.apply(&vector), cutoff.apply(&vector).unwrap(), "{prune}");
            assert_eq!(prune.to_string().parse::<Prune>().unwrap(), prune);
        }
        for cutoff in
            [Cutoff::Term(vec![0.3, 0.1, 0.2, 0.6, 0.6, 0.4, 0.4, 0.4, 0.8]), Cutoff::Largest(1.0)]
        {
            let Folded::More(prune) = cutoff.as_pruning() else { panic!("{cutoff:?}") };
            let (more, kept) = (prune.apply(&vector), cutoff.apply(&vector).unwrap());
            assert!(kept.terms().iter().all(|term| more.terms().contains(term)));
            assert!(more.nnz() > kept.nnz());
        }
    }
}
