//! The tokens of the term ids, and the fingerprint by which files are matched.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::sparse::TermId;

/// The tokens of a tokenizer in the order of their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    tokens: Vec<String>,
    ids: BTreeMap<String, TermId>,
    fingerprint: String,
}

impl Vocabulary {
    /// From tokens in the order of their ids, from 0. Of equal tokens the first is found by name.
    pub fn new(tokens: Vec<String>) -> Vocabulary {
        let mut ids = BTreeMap::new();
        let mut hash = Sha256::new();
        for (id, token) in (0..).zip(&tokens) {
            ids.entry(token.clone()).or_insert(TermId(id));
            hash.update(token.as_bytes());
            hash.update(b"\n");
        }
        let fingerprint = hex(&hash.finalize());
        Vocabulary { tokens, ids, fingerprint }
    }

    /// Number of tokens, including special ones; term ids are below it.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// SHA-256 of all tokens in the order of their ids, each followed by a line feed, in hex: what
    /// `sha256sum vocab.txt` prints for a WordPiece model.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// A token's id.
    pub fn id(&self, token: &str) -> Option<TermId> {
        self.ids.get(token).copied()
    }

    /// An id's token; ids come from this vocabulary.
    pub fn token(&self, term: TermId) -> &str {
        self.tokens.get(term.index()).map_or("", String::as_str)
    }

    /// All tokens in the order of their ids.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }
}

/// Bytes in lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_the_hash_of_vocab_txt() {
        let vocabulary = Vocabulary::new(vec!["a".into(), "b".into()]);
        // printf 'a\nb\n' | sha256sum
        let expected = "911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2";
        assert_eq!(vocabulary.fingerprint(), expected);
        assert_eq!(vocabulary.id("b"), Some(TermId(1)));
        assert_eq!(vocabulary.id("c"), None);
        assert_eq!(vocabulary.token(TermId(0)), "a");
    }
}
