//! Queries against an index.

use std::path::Path;

use crate::{
    error::{Error, Result},
    index::{DocId, Index, QuerySide, StoredText},
    search::{self, Method},
    sparse::{SparseVector, TermId},
    text::QueryEncoder,
};

/// A document that answers a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The document's number in the index, from 0, in the order in which documents were added.
    pub doc: DocId,
    /// The id it was added with.
    pub id: String,
    /// Σ over shared terms of query weight · document weight, above 0.
    pub score: f32,
}

/// What one term adds to a score.
#[derive(Clone, Debug, PartialEq)]
pub struct TermScore {
    /// The token.
    pub token: String,
    /// Its weight in the query.
    pub query: f32,
    /// Its weight in the document, as the index stores it.
    pub document: f32,
}

/// An open index. One searcher serves any number of threads.
///
/// The file is mapped, not read: opening takes milliseconds. An index carries its tokenizer and query
/// table, so that a query needs neither a model nor another file.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("sea.l0x");
/// # let model = l0::Model::shipped()?;
/// # let mut index = l0::IndexWriter::create(&path, &model)?;
/// # let text = "The moon pulls the water of the oceans.";
/// # index.add_with_text("tides", &model.encode(text)?, "Tides", text)?;
/// # index.finish()?;
/// let searcher = l0::Searcher::open(&path)?;
/// for hit in searcher.search("what moves the oceans", 10)? {
///     let title = searcher.text(hit.doc)?.map(|stored| stored.title);
///     println!("{}\t{:.4}\t{}", hit.id, hit.score, title.unwrap_or_default());
/// }
/// # assert_eq!(searcher.search("what moves the oceans", 10)?[0].id, "tides");
/// # Ok::<(), l0::Error>(())
/// ```
pub struct Searcher {
    index: Index,
    queries: QueryEncoder,
}

impl Searcher {
    /// Opens an index file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a file that is not an index or is damaged; [`Error::Mismatch`]
    /// for an index of another format version.
    pub fn open(path: impl AsRef<Path>) -> Result<Searcher> {
        let index = Index::open(path.as_ref())?;
        let QuerySide { tokenizer, table, .. } = QuerySide::of(&index)?;
        Ok(Searcher { queries: QueryEncoder::new(tokenizer, &table)?, index })
    }

    /// The at most `k` best documents for a question: score descending, then document ascending.
    ///
    /// # Errors
    /// [`Error::Format`] if the index turns out to be damaged.
    pub fn search(&self, question: &str, k: usize) -> Result<Vec<Hit>> {
        self.search_vector(&self.encode_query(question)?, k)
    }

    /// As [`Searcher::search`], for a query that is a vector: made by a model that encodes queries with
    /// its network, or by hand.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("sea.l0x");
    /// # let model = l0::Model::shipped()?;
    /// # let mut index = l0::IndexWriter::create(&path, &model)?;
    /// # index.add("tides", &model.encode("The moon pulls the water of the oceans.")?)?;
    /// # index.finish()?;
    /// let searcher = l0::Searcher::open(&path)?;
    /// let query = searcher.encode_query("moon")?;
    /// assert_eq!(searcher.search_vector(&query, 10)?, searcher.search("moon", 10)?);
    /// # Ok::<(), l0::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Searcher::search`]; [`Error::Usage`] for a term that the vocabulary does not have.
    pub fn search_vector(&self, query: &SparseVector, k: usize) -> Result<Vec<Hit>> {
        self.search_by(query, k, Method::Exact)
    }

    /// As [`Searcher::search_vector`], by another method.
    ///
    /// # Errors
    /// As [`Searcher::search_vector`]; [`Error::Format`] if [`Method::Approx`] is asked for and the index
    /// was not calibrated.
    pub fn search_by(&self, query: &SparseVector, k: usize, method: Method) -> Result<Vec<Hit>> {
        let terms = self.queries.tokenizer().vocabulary().len();
        if let Some(term) = query.terms().last().filter(|term| term.index() >= terms) {
            let found = term.0;
            let message = format!("query: expected term numbers below {terms}, found {found}");
            return Err(Error::Usage(message));
        }
        if k == 0 {
            return Ok(Vec::new());
        }
        let hits = search::search(&self.index, query, k, method)?.into_iter();
        hits.map(|search::Hit { doc, score }| Ok(Hit { doc, id: self.id(doc)?.to_owned(), score }))
            .collect()
    }

    /// The weighted terms of a question, from the query table in the index.
    ///
    /// # Errors
    /// [`Error::Usage`] if the tokenizer refuses the text.
    pub fn encode_query(&self, question: &str) -> Result<SparseVector> {
        self.queries.encode(question)
    }

    /// The terms that made a score, the largest part first.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("sea.l0x");
    /// # let model = l0::Model::shipped()?;
    /// # let mut index = l0::IndexWriter::create(&path, &model)?;
    /// # index.add("tides", &model.encode("The moon pulls the water of the oceans.")?)?;
    /// # index.finish()?;
    /// let searcher = l0::Searcher::open(&path)?;
    /// let query = searcher.encode_query("moon and ocean")?;
    /// let hit = &searcher.search_vector(&query, 1)?[0];
    /// let parts = searcher.explain(&query, hit.doc)?;
    /// let sum: f32 = parts.iter().map(|part| part.query * part.document).sum();
    /// assert!((sum - hit.score).abs() < 1e-4);
    /// # Ok::<(), l0::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Format`] if the index is damaged.
    pub fn explain(&self, query: &SparseVector, doc: DocId) -> Result<Vec<TermScore>> {
        let mut parts = Vec::new();
        for (term, weight) in query.iter() {
            if let (Some(document), Some(token)) = (self.index.weight(term, doc)?, self.token(term))
            {
                parts.push(TermScore { token: token.to_owned(), query: weight, document });
            }
        }
        let part = |score: &TermScore| score.query * score.document;
        parts.sort_by(|a, b| part(b).total_cmp(&part(a))); // stable: of equals the lower term
        Ok(parts)
    }

    /// The id that a document was added with.
    ///
    /// # Errors
    /// [`Error::Format`] if the index has no such document or is damaged.
    pub fn id(&self, doc: DocId) -> Result<&str> {
        self.index.docno(doc)
    }

    /// Title and text of a document; `None` if the index does not store them.
    ///
    /// # Errors
    /// As [`Searcher::id`].
    pub fn text(&self, doc: DocId) -> Result<Option<StoredText>> {
        self.index.text(doc)
    }

    /// The token of a term; `None` for a number that the vocabulary does not have.
    pub fn token(&self, term: TermId) -> Option<&str> {
        let vocabulary = self.queries.tokenizer().vocabulary();
        (term.index() < vocabulary.len()).then(|| vocabulary.token(term))
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether the index has no document.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
}
