//! Text to token ids, byte for byte as Hugging Face's `tokenizers` does it.

use std::{collections::BTreeSet, path::Path};

use serde::Deserialize;
use tokenizers::models::{ModelWrapper, wordpiece::WordPiece};

use super::{Vocabulary, ascii::AsciiWordPiece};
use crate::{
    error::{Error, Result, caught},
    io, layout,
    sparse::TermId,
};

/// A text as the encoder reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokens {
    /// Token ids, including special tokens, truncated to the requested length.
    pub ids: Vec<u32>,
    /// Tokens of the whole text, including special tokens, before truncation.
    pub whole: usize,
    /// Word pieces (tokens without the special ones) of the whole text.
    pub pieces: usize,
}

impl Tokens {
    /// Whether the text was truncated.
    pub fn truncated(&self) -> bool {
        self.whole > self.ids.len()
    }
}

/// A model's tokenizer without its padding and truncation, which l0 does itself.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    short: Option<AsciiWordPiece>,
    json: Vec<u8>,
    vocabulary: Vocabulary,
    special: BTreeSet<u32>,
    mask: Option<TermId>,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
}

/// What the files next to a `tokenizer.json` say about it.
#[derive(Default, Deserialize)]
struct Beside {
    mask_token: Option<Name>,
    do_lower_case: Option<bool>,
}

/// A token by its name, or with its properties.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Plain(String),
    Described { content: String },
}

impl Beside {
    fn read(folder: &Path, file: &str) -> Result<Beside> {
        let file = folder.join(file);
        if !io::exists(&file) {
            return Ok(Beside::default());
        }
        serde_json::from_str(&io::read_text(&file)?)
            .map_err(|error| Error::format(&file, error.to_string()))
    }

    fn mask(self) -> Option<String> {
        Some(match self.mask_token? {
            Name::Plain(name) | Name::Described { content: name } => name,
        })
    }
}

impl Tokenizer {
    /// From a model directory (`tokenizer.json`, or `vocab.txt` of an uncased or cased BERT), which
    /// may be the name of a shipped model or one on the hub (`io::hub`), or from a `tokenizer.json` itself.
    /// It says which tokens are special and surround a text; the name of the mask token is in the files
    /// next to it.
    ///
    /// # Errors
    /// As [`io::hub::resolve`]; [`Error::Io`] if there is none, [`Error::Format`] if it is not a tokenizer.
    pub fn load(path: &Path) -> Result<Tokenizer> {
        let path = &io::hub::resolve(path, io::hub::Need::Tokenizer)?;
        let (json, vocab) = (path.join(layout::TOKENIZER), path.join(layout::VOCABULARY));
        if !io::is_folder(path) || io::exists(&json) {
            let file = if io::is_folder(path) { json } else { path.to_path_buf() };
            let mut found = Tokenizer::from_json(&io::read_bytes(&file)?)
                .map_err(|reason| Error::format(&file, reason.to_string()))?;
            for name in [layout::TOKENIZER_CONFIG, layout::SPECIAL_TOKENS] {
                let mask = Beside::read(file.parent().unwrap_or(path), name)?.mask();
                found.mask = mask.and_then(|name| found.vocabulary.id(&name)).or(found.mask);
            }
            return Ok(found);
        }
        if !io::exists(&vocab) {
            return Err(Error::format(
                path,
                "expected tokenizer.json or vocab.txt in it, found neither",
            ));
        }
        Tokenizer::from_vocab_txt(path)
    }

    /// From the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is wrong; the caller adds the file's name.
    pub fn from_json(json: &[u8]) -> Result<Tokenizer> {
        let bad = |error: tokenizers::Error| Error::Usage(format!("not a tokenizer: {error}"));
        // the crate panics on some strings that are not valid JSON
        let parsed = caught(|| tokenizers::Tokenizer::from_bytes(json));
        let parsed = parsed.ok_or_else(|| Error::Usage("not a tokenizer: damaged".into()))?;
        let mut inner = parsed.map_err(bad)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(bad)?;
        let vocabulary = Vocabulary::new(tokens_by_id(&inner)?);
        let special = inner.get_added_tokens_decoder().into_iter();
        let mut special: BTreeSet<u32> =
            special.filter(|(_, token)| token.special).map(|(id, _)| id).collect();
        let (prefix, suffix) = template(&inner).map_err(bad)?;
        special.extend(prefix.iter().chain(&suffix));
        let mask = ["[MASK]", "<mask>"].iter().find_map(|name| vocabulary.id(name));
        let mask = mask.filter(|mask| special.contains(&mask.0));
        let (short, json) = (AsciiWordPiece::new(json, vocabulary.tokens()), json.to_vec());
        Ok(Tokenizer { inner, short, json, vocabulary, special, mask, prefix, suffix })
    }

    /// A BERT tokenizer from `vocab.txt` alone, as models before 2020 have it.
    fn from_vocab_txt(folder: &Path) -> Result<Tokenizer> {
        let file = folder.join(layout::VOCABULARY);
        let bad = |error: tokenizers::Error| Error::format(&file, error.to_string());
        let lower = Beside::read(folder, layout::TOKENIZER_CONFIG)?.do_lower_case.unwrap_or(true);
        let tokens = io::read_text(&file)?;
        let id = |token: &str| {
            let at = tokens.lines().position(|line| line == token);
            at.map(|at| (token.to_owned(), at as u32)).ok_or_else(|| {
                Error::format(&file, format!("expected a token {token}, found none"))
            })
        };
        let (cls, sep, unk) = (id("[CLS]")?, id("[SEP]")?, id("[UNK]")?);
        let name = file.to_string_lossy();
        let model = WordPiece::from_file(&name).unk_token(unk.0).build().map_err(bad)?;
        let mut inner = tokenizers::Tokenizer::new(model);
        let normalizer = tokenizers::normalizers::BertNormalizer::new(true, true, None, lower);
        inner.with_normalizer(Some(normalizer)).map_err(bad)?;
        inner.with_pre_tokenizer(Some(tokenizers::pre_tokenizers::bert::BertPreTokenizer));
        inner
            .with_post_processor(Some(tokenizers::processors::bert::BertProcessing::new(sep, cls)));
        let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].into_iter();
        let special = special.filter(|token| tokens.lines().any(|line| line == *token));
        let special = special.map(|token| tokenizers::AddedToken::from(token, true));
        inner.add_special_tokens(special.collect::<Vec<_>>()).map_err(bad)?;
        Tokenizer::from_json(inner.to_string(false).map_err(bad)?.as_bytes())
    }

    /// The bytes of the `tokenizer.json` it was made from, to be stored in an index.
    pub fn to_json(&self) -> &[u8] {
        &self.json
    }

    /// The tokens of the ids.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Whether a term is a special token (`[CLS]`, `[UNK]` …), which no query has.
    pub fn is_special(&self, term: TermId) -> bool {
        self.special.contains(&term.0)
    }

    /// The token that replaces a hidden one (`[MASK]`), if the tokenizer has it.
    pub fn mask(&self) -> Option<TermId> {
        self.mask
    }

    /// The text of a token by itself: a WordPiece continuation without its `##`, other tokens
    /// decoded and trimmed; `None` for bytes that are not text.
    pub fn surface(&self, term: TermId) -> Option<String> {
        if self.is_word_piece() {
            let token = self.vocabulary.token(term);
            return Some(token.strip_prefix("##").unwrap_or(token).to_owned());
        }
        let text = self.inner.decode(&[term.0], false).ok()?;
        let text = text.trim();
        (!text.contains(char::REPLACEMENT_CHARACTER)).then(|| text.to_owned())
    }

    /// Whether a token begins a word: it is not a WordPiece continuation, or it has the mark that other
    /// vocabularies use for a space before it.
    pub fn begins_word(&self, term: TermId) -> bool {
        let token = self.vocabulary.token(term);
        if self.is_word_piece() {
            !token.starts_with("##")
        } else {
            token.starts_with(['Ġ', '▁'])
        }
    }

    /// Whether it is a WordPiece model, which `vocab.txt` can hold.
    pub fn is_word_piece(&self) -> bool {
        matches!(self.inner.get_model(), ModelWrapper::WordPiece(_))
    }

    /// The word pieces of a text, without special tokens and without truncation.
    ///
    /// # Errors
    /// [`Error::Format`] if the tokenizer refuses the text, which a sound one never does.
    pub fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        if let Some(pieces) = self.short.as_ref().and_then(|short| short.pieces(text)) {
            return Ok(pieces);
        }
        let encoding = self.inner.encode_fast(text, false);
        let encoding = encoding.map_err(|error| Error::format("tokenizer", error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids that an encoder reads: word pieces between the special tokens of the model, truncated to
    /// `max_tokens` by leaving out the last word pieces.
    ///
    /// # Errors
    /// As [`Tokenizer::pieces`].
    pub fn tokens(&self, text: &str, max_tokens: usize) -> Result<Tokens> {
        let pieces = self.pieces(text)?;
        let around = self.prefix.len() + self.suffix.len();
        let kept = pieces.len().min(max_tokens.saturating_sub(around));
        let ids = [&self.prefix[..], &pieces[..kept], &self.suffix[..]].concat();
        Ok(Tokens { ids, whole: pieces.len() + around, pieces: pieces.len() })
    }

    /// How many special tokens every text gets.
    pub fn special_around(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }
}

fn tokens_by_id(inner: &tokenizers::Tokenizer) -> Result<Vec<String>> {
    let mut pairs: Vec<(u32, String)> =
        inner.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect();
    pairs.sort();
    for (expected, (id, token)) in (0..).zip(&pairs) {
        if *id != expected {
            return Err(Error::Usage(format!(
                "expected a token with id {expected}, found {id} (`{token}`)"
            )));
        }
    }
    Ok(pairs.into_iter().map(|(_, token)| token).collect())
}

/// The special tokens before and after a text, found by encoding an example.
fn template(inner: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>), tokenizers::Error> {
    let bare = inner.encode_fast("a", false)?.get_ids().to_vec();
    let whole = inner.encode_fast("a", true)?.get_ids().to_vec();
    let around = whole.len() - bare.len();
    let at = (0..=around).find(|&at| whole[at..].starts_with(&bare)).unwrap_or(0);
    Ok((whole[..at].to_vec(), whole[at + bare.len()..].to_vec()))
}
