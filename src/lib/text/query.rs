//! The inference-free query: a set of tokens, each with a weight from a table.

use std::{collections::BTreeMap, path::Path};

use sha2::{Digest, Sha256};

use super::{Tokenizer, Vocabulary};
use crate::{
    error::{Error, Result},
    io,
    sparse::{SparseVector, TermId},
};

/// Weight of a token that a table does not name, as in the released OpenSearch models.
const MISSING: f32 = 1.0;

/// ln(1 + (N − df + ½) / (df + ½)): the weight of a term that `df` of `n` documents contain.
///
/// Zero or more for df ≤ n. Source: the `idf.json` of OpenSearch's models, BM25's idf (`docs/method.md`,
/// "Query weights").
pub fn inverse_document_frequency(n: u64, df: u64) -> f32 {
    let (n, df) = (n as f64, df as f64);
    (1.0 + (n - df + 0.5) / (df + 0.5)).ln() as f32
}

/// A weight for every term of a vocabulary: finite, of any sign.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryTable {
    weights: Vec<f32>,
}

impl QueryTable {
    /// Weight 1 for every one of `terms` terms.
    pub fn unit(terms: usize) -> QueryTable {
        QueryTable { weights: vec![1.0; terms] }
    }

    /// From the weights `[V]` in the order of term ids.
    ///
    /// # Errors
    /// [`Error::Weight`] if one is not finite.
    pub fn from_weights(weights: Vec<f32>) -> Result<QueryTable> {
        match (0..).zip(&weights).find(|(_, weight)| !weight.is_finite()) {
            Some((term, &weight)) => Err(Error::Weight { term, weight }),
            None => Ok(QueryTable { weights }),
        }
    }

    /// From a file: `{"token": weight}`, lines `token TAB weight`, or safetensors with one tensor
    /// `weight` `[V]`. A token that the file does not name weighs 1.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] or [`Error::Line`] for what is not a table;
    /// [`Error::Mismatch`] for a token that is not in the vocabulary, or another length.
    pub fn read(file: &Path, vocabulary: &Vocabulary) -> Result<QueryTable> {
        let bytes = io::read_bytes(file)?;
        if file.extension().is_some_and(|extension| extension == "safetensors") {
            return from_safetensors(file, &bytes, vocabulary);
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            Error::format(file, "expected a query table as JSON or text, found no UTF-8")
        })?;
        let named = match text.trim_start().starts_with('{') {
            true => serde_json::from_str::<BTreeMap<String, f32>>(text)
                .map_err(|error| {
                    Error::format(file, format!("expected {{token: weight}}: {error}"))
                })?
                .into_iter()
                .collect(),
            false => token_lines(file, text)?,
        };
        if named.is_empty() {
            return Err(Error::format(file, "expected tokens with weights, found none"));
        }
        let mut weights = vec![MISSING; vocabulary.len()];
        for (token, weight) in named {
            let Some(term) = vocabulary.id(&token) else {
                return Err(mismatch(file, "a token of the vocabulary", &format!("`{token}`")));
            };
            if !weight.is_finite() {
                return Err(Error::format(
                    file,
                    format!("expected a number for `{token}`, found {weight}"),
                ));
            }
            weights[term.index()] = weight;
        }
        Ok(QueryTable { weights })
    }

    /// Weights `[V]` in the order of term ids.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }
}

fn mismatch(file: &Path, expected: &str, got: &str) -> Error {
    Error::Mismatch {
        what: format!("query table {}", file.display()),
        expected: expected.to_owned(),
        got: got.to_owned(),
        remedy: "use the table that came with the tokenizer, or make one with l0-encode idf".into(),
    }
}

fn token_lines(file: &Path, text: &str) -> Result<Vec<(String, f32)>> {
    let mut named = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
        let parsed = line.rsplit_once('\t');
        let parsed = parsed.and_then(|(token, weight)| Some((token, weight.trim().parse().ok()?)));
        let Some((token, weight)) = parsed else {
            let name = file.display().to_string();
            return Err(Error::line(&name, number, "token TAB weight", format!("`{line}`")));
        };
        named.push((token.to_owned(), weight));
    }
    Ok(named)
}

fn from_safetensors(file: &Path, bytes: &[u8], vocabulary: &Vocabulary) -> Result<QueryTable> {
    let bad = |reason: String| Error::format(file, reason);
    let tensors = safetensors::SafeTensors::deserialize(bytes)
        .map_err(|error| bad(format!("not safetensors: {error}")))?;
    let tensor = tensors
        .tensor("weight")
        .map_err(|_| bad(format!("expected a tensor `weight`, found {:?}", tensors.names())))?;
    if tensor.dtype() != safetensors::Dtype::F32 {
        return Err(bad(format!("expected `weight` in F32, found {:?}", tensor.dtype())));
    }
    if tensor.shape() != [vocabulary.len()] {
        let (expected, got) = (format!("[{}]", vocabulary.len()), format!("{:?}", tensor.shape()));
        return Err(mismatch(file, &expected, &got));
    }
    let weights = tensor.data().chunks_exact(4);
    let weights = weights.map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    QueryTable::from_weights(weights.collect())
        .map_err(|error| bad(format!("expected finite weights: {error}")))
}

/// Text to a sparse query by table look-up, without a network.
///
/// q_j = 1[j ∈ tokens(text)] · max(table_j, 0), without special tokens. Source: `docs/method.md`,
/// "Query weights".
pub struct QueryEncoder {
    tokenizer: Tokenizer,
    weights: Vec<f32>,
}

impl QueryEncoder {
    /// Joins a tokenizer with a table over its vocabulary.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the table has another length.
    pub fn new(tokenizer: Tokenizer, table: &QueryTable) -> Result<QueryEncoder> {
        let mut weights = table.weights.clone();
        if weights.len() != tokenizer.vocabulary().len() {
            let expected = format!("{} weights", tokenizer.vocabulary().len());
            return Err(mismatch(Path::new(""), &expected, &weights.len().to_string()));
        }
        for (id, weight) in (0..).zip(&mut weights) {
            *weight = if tokenizer.is_special(TermId(id)) { 0.0 } else { weight.max(0.0) };
        }
        Ok(QueryEncoder { tokenizer, weights })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// SHA-256 of the effective weights, `[V]` little-endian f32, in hex: two tables with the same
    /// fingerprint make the same queries.
    pub fn fingerprint(&self) -> String {
        let bytes: Vec<u8> = self.weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        super::vocabulary::hex(&Sha256::digest(bytes))
    }

    /// The weighted terms of a text; a repeated term counts once.
    ///
    /// # Errors
    /// As [`Tokenizer::pieces`].
    pub fn encode(&self, text: &str) -> Result<SparseVector> {
        let mut terms = self.tokenizer.pieces(text)?;
        terms.sort_unstable();
        terms.dedup();
        let pairs = terms.into_iter().map(|term| (TermId(term), self.weights[term as usize]));
        SparseVector::new(pairs.filter(|&(_, weight)| weight > 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idf_is_that_of_the_published_table() {
        // docs/method.md, "Reference values": the largest value of the published table
        assert!((inverse_document_frequency(8_841_823, 1) - 15.58954).abs() < 1e-5);
        assert!(inverse_document_frequency(10, 10) > 0.0);
    }

    #[test]
    fn lines_of_a_table_are_read_and_bad_ones_named() {
        let file = Path::new("t.txt");
        let read = token_lines(file, "a\t1.5\n\n\t\t2\n").unwrap();
        assert_eq!(read, [("a".to_owned(), 1.5), ("\t".to_owned(), 2.0)]);
        let error = token_lines(file, "a\t1\nb 2\n").unwrap_err();
        assert_eq!(error.to_string(), "t.txt:2: expected token TAB weight, found `b 2`");
    }
}
