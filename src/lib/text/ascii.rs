//! A fast path for plain ASCII under a BERT tokenizer: the same ids in a tenth of the time.
//!
//! The tokenizer crate keeps an alignment for every character, which a query does not need. A text
//! with any other character, with a control character or with the beginning of a special token takes
//! the crate's path. A property test compares the two.

#![expect(clippy::disallowed_types, reason = "a map that is looked up and never iterated")]

use std::collections::HashMap;

use serde::Deserialize;

/// The parts of a `tokenizer.json` that decide whether the fast path gives the same ids.
#[derive(Deserialize)]
struct Described {
    normalizer: Normalizer,
    pre_tokenizer: Kind,
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Kind {
    r#type: String,
}

#[derive(Deserialize)]
struct Normalizer {
    r#type: String,
    clean_text: bool,
    lowercase: bool,
}

#[derive(Deserialize)]
struct Model {
    r#type: Option<String>,
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
}

#[derive(Deserialize)]
struct Added {
    content: String,
}

/// WordPiece over words of ASCII.
pub(super) struct AsciiWordPiece {
    /// Pieces that begin a word.
    first: HashMap<Box<[u8]>, u32>,
    /// Pieces that continue one, without their prefix.
    further: HashMap<Box<[u8]>, u32>,
    unknown: u32,
    lowercase: bool,
    longest_word: usize,
    /// Bytes that may begin a special token.
    stops: [bool; 128],
}

impl AsciiWordPiece {
    /// From a `tokenizer.json` and its tokens in the order of ids; `None` if it is not BERT's.
    pub(super) fn new(json: &[u8], tokens: &[String]) -> Option<AsciiWordPiece> {
        let described: Described = serde_json::from_slice(json).ok()?;
        let bert = described.normalizer.r#type == "BertNormalizer"
            && described.normalizer.clean_text
            && described.pre_tokenizer.r#type == "BertPreTokenizer"
            && described.model.r#type.as_deref() == Some("WordPiece");
        let prefix = &described.model.continuing_subword_prefix;
        if !bert || prefix.is_empty() {
            return None;
        }
        let mut stops = [false; 128];
        for added in &described.added_tokens {
            let byte = *added.content.as_bytes().first()?;
            if byte.is_ascii() {
                stops[usize::from(byte.to_ascii_lowercase())] = true;
                stops[usize::from(byte.to_ascii_uppercase())] = true;
            }
        }
        let key = |token: &str| token.as_bytes().to_vec().into_boxed_slice();
        let ids = (0..).zip(tokens);
        // a word may itself begin with the prefix's characters, so every token can be a first piece
        let first = ids.clone().map(|(id, token)| (key(token), id)).collect();
        let further = ids.filter_map(|(id, token)| Some((key(token.strip_prefix(prefix)?), id)));
        Some(AsciiWordPiece {
            first,
            further: further.collect(),
            unknown: tokens.iter().position(|token| *token == described.model.unk_token)? as u32,
            lowercase: described.normalizer.lowercase,
            longest_word: described.model.max_input_chars_per_word,
            stops,
        })
    }

    /// The word pieces of a text; `None` if the text needs the crate's path.
    pub(super) fn pieces(&self, text: &str) -> Option<Vec<u32>> {
        let plain = |&byte: &u8| match byte {
            b'\t' | b'\n' | b'\r' => true,
            b' '..=b'~' => !self.stops[usize::from(byte)],
            _ => false,
        };
        if !text.as_bytes().iter().all(plain) {
            return None;
        }
        let lowered = self.lowercase.then(|| text.to_ascii_lowercase());
        let bytes = lowered.as_deref().unwrap_or(text).as_bytes();
        let mut pieces = Vec::with_capacity(bytes.len() / 4 + 1);
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let punctuation = byte.is_ascii_punctuation();
            if punctuation || byte.is_ascii_whitespace() {
                self.split(&bytes[start..at], &mut pieces);
                if punctuation {
                    self.split(&bytes[at..=at], &mut pieces);
                }
                start = at + 1;
            }
        }
        self.split(&bytes[start..], &mut pieces);
        Some(pieces)
    }

    /// The longest piece first; a word with a part that no piece covers is unknown as a whole.
    fn split(&self, word: &[u8], pieces: &mut Vec<u32>) {
        let before = pieces.len();
        let mut rest = if word.len() > self.longest_word { &[][..] } else { word };
        let mut map = &self.first;
        while let Some((id, length)) =
            (1..=rest.len()).rev().find_map(|length| Some((*map.get(&rest[..length])?, length)))
        {
            pieces.push(id);
            rest = &rest[length..];
            map = &self.further;
        }
        if !rest.is_empty() || word.len() > self.longest_word {
            pieces.truncate(before);
            pieces.push(self.unknown);
        }
    }
}
