//! A model: texts to vectors.

use std::path::Path;

use rayon::prelude::*;

use super::EncodedDocument;
use crate::{
    device::{Compute, Precision},
    encode::{Origin, Role, encodable, network},
    error::Result,
    index::{QuerySide, TableSource},
    model::{ModelDirectory, Overrides, SparseEncoder, shipped},
    sparse::{Prune, SparseVector, TermId},
    text::{QueryEncoder, QueryTable, Reweighting, Tokenizer, Tokens},
    vectors::VectorMeta,
};

/// Texts that are encoded at a time.
const BATCH: usize = 256;

/// A model that turns texts into sparse vectors.
///
/// Documents pass through the network. Queries of an inference-free model are looked up in its query
/// table; a model without a query table encodes queries with the network (Siamese). Vectors are the same
/// bytes for any batch and any number of threads. A model is `Send + Sync`.
///
/// ```
/// let model = l0::Model::shipped()?;
/// let document = model.encode("The moon pulls the water of the oceans.")?;
/// let query = model.encode_query("ocean tides")?;
/// assert!(query.dot(&document) > 0.0);
/// # Ok::<(), l0::Error>(())
/// ```
pub struct Model {
    name: String,
    network: SparseEncoder,
    /// Tokenizer and query table; without a table every term weighs 1.
    lookup: QueryEncoder,
    table: QueryTable,
    table_source: String,
    /// What an index makes of the table with its collection.
    reweighting: Option<Reweighting>,
    queries: Queries,
}

/// What encodes queries.
enum Queries {
    /// The query table.
    Table,
    /// The network of the documents.
    SameNetwork,
    /// The network without the lexical part, which only documents have.
    Network(Box<SparseEncoder>),
}

impl Model {
    /// The model that is part of the library, `l0:default`: English, inference-free.
    ///
    /// ```
    /// assert!(l0::Model::shipped()?.is_inference_free());
    /// # Ok::<(), l0::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Model::open`]; none that depend on the machine.
    pub fn shipped() -> Result<Model> {
        Model::open(shipped::DEFAULT)
    }

    /// A model directory in the layout of Hugging Face or Sentence Transformers; `l0:default` and
    /// `l0:tiny` are the shipped models; with the feature `hub` also the name of a model on the hub (`org/name`).
    ///
    /// ```
    /// let model = l0::Model::open("testdata/toy")?;
    /// assert!(!model.is_inference_free());
    /// # Ok::<(), l0::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) or [`Error::Format`](crate::Error::Format) naming the file that is
    /// missing or damaged; [`Error::Mismatch`](crate::Error::Mismatch) if tokenizer, query table and network
    /// differ in vocabulary.
    pub fn open(path: impl AsRef<Path>) -> Result<Model> {
        shipped::carry();
        let directory = ModelDirectory::open(path.as_ref())?;
        let source = directory.query_table.as_deref().map_or(TableSource::Unit, TableSource::File);
        let QuerySide { tokenizer, table, table_source } =
            QuerySide::load(&directory.encoder, source)?;
        let vocabulary = tokenizer.vocabulary();
        let load =
            |overrides| network(&directory, vocabulary, overrides, Compute::Cpu, Precision::F32);
        let documents = load(Overrides::default())?;
        let queries = match (&directory.query_table, directory.lexical) {
            (Some(_), _) => Queries::Table,
            (None, None) => Queries::SameNetwork,
            (None, Some(_)) => {
                let overrides = Overrides { lexical: Some(0.0), ..Overrides::default() };
                Queries::Network(Box::new(load(overrides)?))
            }
        };
        let name = directory.name();
        let lookup = QueryEncoder::new(tokenizer, &table)?;
        let reweighting = directory.query_table.as_ref().and(directory.reweighting);
        Ok(Model { name, network: documents, lookup, table, table_source, reweighting, queries })
    }

    /// The vector of a document, of at most as many terms as the vocabulary has; a title, if there is one,
    /// goes before the text, separated by a space. Empty for a text without words. Text after the model's
    /// maximum length is ignored.
    ///
    /// ```
    /// let model = l0::Model::shipped()?;
    /// let vector = model.encode("Tides Twice a day the sea rises and falls.")?;
    /// let (term, weight) = vector.iter().next().unwrap();
    /// println!("{} weighs {weight}", model.token(term).unwrap());
    /// assert!(model.encode("")?.is_empty());
    /// # Ok::<(), l0::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Weight`](crate::Error::Weight) if the model yields a weight that is not finite.
    pub fn encode(&self, text: &str) -> Result<EncodedDocument> {
        let mut documents = self.encode_batch(&[text])?;
        Ok(documents.pop().unwrap_or_default())
    }

    /// The vectors of documents, in their order; uses the threads of the current rayon pool.
    ///
    /// ```
    /// let model = l0::Model::shipped()?;
    /// let texts = ["The sea.", "A loaf of bread."];
    /// let vectors = model.encode_batch(&texts)?;
    /// assert_eq!(vectors[1], model.encode(texts[1])?);
    /// # Ok::<(), l0::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub fn encode_batch<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<EncodedDocument>> {
        let tokenizer = self.tokenizer();
        let mut documents = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            let (tokens, vectors) = encoded(&self.network, tokenizer, batch)?;
            documents.extend(tokens.into_iter().zip(vectors).map(|(tokens, vector)| {
                let ids = tokens.ids.into_iter();
                EncodedDocument::new(vector, ids.filter(|&id| !tokenizer.is_special(TermId(id))))
            }));
        }
        Ok(documents)
    }

    /// The weighted terms of a query: a table look-up, or the network if the model has no query table. An index
    /// may have reweighted the table by its collection: [`Searcher::encode_query`](crate::Searcher::encode_query)
    /// looks up the index's own.
    ///
    /// ```
    /// let query = l0::Model::shipped()?.encode_query("ocean tides")?;
    /// assert_eq!(query.nnz(), 2);
    /// # Ok::<(), l0::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub fn encode_query(&self, text: &str) -> Result<SparseVector> {
        match &self.queries {
            Queries::Table => self.lookup.encode(text.trim()),
            Queries::SameNetwork => one(&self.network, self.tokenizer(), text),
            Queries::Network(network) => one(network, self.tokenizer(), text),
        }
    }

    /// Whether queries are looked up in a table instead of passing through the network.
    pub fn is_inference_free(&self) -> bool {
        matches!(self.queries, Queries::Table)
    }

    /// The model's name: the last part of its path, `org/name@commit`, or `l0-default` and `l0-tiny`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The token of a term; `None` for a number that the vocabulary does not have.
    pub fn token(&self, term: TermId) -> Option<&str> {
        let vocabulary = self.tokenizer().vocabulary();
        (term.index() < vocabulary.len()).then(|| vocabulary.token(term))
    }

    pub(super) fn tokenizer(&self) -> &Tokenizer {
        self.lookup.tokenizer()
    }

    /// The query table, and where it comes from.
    pub(super) fn table(&self) -> (&QueryTable, &str) {
        (&self.table, &self.table_source)
    }

    /// What an index makes of the table with its collection.
    pub(super) fn reweighting(&self) -> Option<Reweighting> {
        self.reweighting
    }

    /// The metadata of vectors of documents.
    pub(super) fn meta(&self) -> VectorMeta {
        let vocabulary = self.tokenizer().vocabulary();
        Origin::of_network(&self.name, &self.network).meta(Role::Document, vocabulary, Prune::None)
    }
}

fn one(network: &SparseEncoder, tokenizer: &Tokenizer, text: &str) -> Result<SparseVector> {
    let (_, mut vectors) = encoded(network, tokenizer, &[text])?;
    Ok(vectors.pop().unwrap_or_default())
}

fn encoded<T: AsRef<str> + Sync>(
    network: &SparseEncoder,
    tokenizer: &Tokenizer,
    texts: &[T],
) -> Result<(Vec<Tokens>, Vec<SparseVector>)> {
    let tokens = |text: &T| tokenizer.tokens(text.as_ref().trim(), network.max_tokens);
    let tokens: Vec<Tokens> = texts.par_iter().map(tokens).collect::<Result<_>>()?;
    let ids: Vec<&[u32]> = tokens.iter().map(encodable).collect();
    let vectors = network.encode(&ids)?;
    Ok((tokens, vectors))
}
