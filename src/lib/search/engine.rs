//! Queries of any form to answers: the indexes, the query side they carry, and how to search them.

use serde::Serialize;

use super::{Found, Method, promise, search_all};
use crate::{
    error::{Error, Result},
    index::{Index, QuerySide, StoredText},
    records::QueryBody,
    sparse::{SparseVector, TermId},
    text::{QueryEncoder, Vocabulary},
};

/// What is done with every query.
#[derive(Clone, Copy, Debug)]
pub struct SearchConfig {
    /// Hits at most.
    pub k: usize,
    /// How they are found.
    pub method: Method,
    /// What an answer says of each hit.
    pub detail: Detail,
}

/// What an answer says of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Id, score, and the text if it was kept.
    Hit,
    /// Also the terms that made the score.
    Terms,
}

/// One or several indexes, ready to answer.
pub struct Engine {
    indexes: Vec<Index>,
    encoder: QueryEncoder,
    config: SearchConfig,
}

/// What one term adds to a score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The token.
    pub token: String,
    /// Its weight in the query.
    pub query: f32,
    /// Its stored weight in the document.
    pub document: f32,
    /// The product of both.
    pub part: f32,
}

impl Engine {
    /// Takes indexes of one vocabulary, encoding and query table; the tokenizer is the first's.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if they do not belong together, [`Error::Format`] if the tokenizer or the
    /// query table cannot be used, [`Error::Usage`] if there is no index.
    pub fn new(indexes: Vec<Index>, config: SearchConfig) -> Result<Engine> {
        let Some(first) = indexes.first() else {
            return Err(Error::Usage("expected at least one index".into()));
        };
        indexes.iter().try_for_each(|other| first.check_query_side(other))?;
        let QuerySide { tokenizer, table, .. } = QuerySide::of(first)?;
        let encoder = QueryEncoder::new(tokenizer, &table)?;
        Ok(Engine { indexes, encoder, config })
    }

    /// The indexes, in the order given.
    pub fn indexes(&self) -> &[Index] {
        &self.indexes
    }

    /// The tokens of the term ids.
    pub fn vocabulary(&self) -> &Vocabulary {
        self.encoder.tokenizer().vocabulary()
    }

    /// What is done with every query.
    pub fn config(&self) -> SearchConfig {
        self.config
    }

    /// The weighted terms of a query.
    ///
    /// # Errors
    /// [`Error::Usage`] for a term that the vocabulary lacks; [`Error::Weight`] and [`Error::Order`]
    /// for tokens that make no vector.
    pub fn vector(&self, query: &QueryBody) -> Result<SparseVector> {
        let size = self.vocabulary().len();
        match query {
            QueryBody::Text(text) => self.encoder.encode(text),
            QueryBody::Vector(vector) => {
                match vector.terms().last().filter(|term| term.index() >= size) {
                    None => Ok(vector.clone()),
                    Some(term) => {
                        let got = term.0;
                        Err(Error::Usage(format!(
                            "expected term numbers below {size}, found {got}"
                        )))
                    }
                }
            }
            QueryBody::Tokens(tokens) => {
                let term = |token: &str| {
                    let lacking = || Error::Usage(format!("the vocabulary has no token `{token}`"));
                    self.vocabulary().id(token).ok_or_else(lacking)
                };
                let pairs = tokens.iter().map(|(token, weight)| Ok((term(token)?, *weight)));
                SparseVector::from_unordered(pairs.collect::<Result<_>>()?)
            }
        }
    }

    /// What approximate search does and its recall, one line per index; nothing for other methods.
    ///
    /// # Errors
    /// [`Error::Format`] for an index that was not calibrated.
    pub fn promises(&self) -> Result<Vec<String>> {
        let Method::Approx(recall) = self.config.method else { return Ok(Vec::new()) };
        self.indexes.iter().map(|index| promise(index, self.config.k, recall)).collect()
    }

    /// The best hits for a vector, by the configured method: numbers of documents and scores. Ids,
    /// titles and texts are not read.
    ///
    /// # Errors
    /// [`Error::Format`] if an index turns out to be damaged.
    pub fn search(&self, query: &SparseVector) -> Result<Vec<Found>> {
        search_all(&self.indexes, query, self.config.k, self.config.method)
    }

    /// The best hits for a query.
    ///
    /// # Errors
    /// As [`Engine::search`] and [`Engine::vector`].
    pub fn find(&self, query: &QueryBody) -> Result<Vec<Found>> {
        self.search(&self.vector(query)?)
    }

    /// The id of a hit.
    ///
    /// # Errors
    /// As [`Index::docno`].
    pub fn docno(&self, found: &Found) -> Result<&str> {
        self.indexes[found.index].docno(found.hit.doc)
    }

    /// Title and text of a hit, if its index keeps them.
    ///
    /// # Errors
    /// As [`Index::text`].
    pub fn text(&self, found: &Found) -> Result<Option<StoredText>> {
        self.indexes[found.index].text(found.hit.doc)
    }

    /// The terms that made the score of a hit, the largest part first, then the lower term.
    ///
    /// # Errors
    /// As [`Index::weight`].
    pub fn parts(&self, query: &SparseVector, found: &Found) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for (term, weight) in query.iter() {
            if let Some(stored) = self.indexes[found.index].weight(term, found.hit.doc)? {
                parts.push(self.part(term, weight, stored));
            }
        }
        parts.sort_by(|a, b| b.part.total_cmp(&a.part)); // stable: of equals the lower term
        Ok(parts)
    }

    fn part(&self, term: TermId, query: f32, document: f32) -> Part {
        let token = self.vocabulary().token(term).to_owned();
        Part { token, query, document, part: super::part(query, document) }
    }
}
