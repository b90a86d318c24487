//! A stage of masked-language modelling.

use std::path::PathBuf;

use serde::Deserialize;

/// A stage in which word pieces are guessed.
///
/// Source: BERT (arXiv 1810.04805, 3.1), whose rule the defaults are. Deviation from its code: the
/// random piece is never a special token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskedLmRecipe {
    /// Separate documents: a file of JSON lines with `_id`, `text` and perhaps `title`; default: those of
    /// the sources.
    pub corpus: Option<PathBuf>,
    /// Which texts of the sources.
    #[serde(default)]
    pub texts: Texts,
    /// Share of a text's word pieces that are guessed, at least one; special tokens never are.
    #[serde(default = "fifteen_percent")]
    pub share: f64,
    /// Of these, the share that `[MASK]` replaces,
    #[serde(default = "eighty_percent")]
    pub mask: f64,
    /// and the share that a random word piece replaces; the rest stays as it is.
    #[serde(default = "ten_percent")]
    pub random: f64,
}

/// Which texts of an example word pieces are hidden in; of several, one a draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Texts {
    /// Its documents.
    #[default]
    Documents,
    /// Its query.
    Queries,
    /// Its documents and its query.
    Both,
}

fn fifteen_percent() -> f64 {
    0.15
}
fn eighty_percent() -> f64 {
    0.8
}
fn ten_percent() -> f64 {
    0.1
}

impl MaskedLmRecipe {
    pub(in crate::train) fn check(&self) -> Result<(), String> {
        let share = |share: f64| (0.0..=1.0).contains(&share);
        if !share(self.share) || self.share == 0.0 {
            return Err(format!("expected share above 0 and up to 1, found {}", self.share));
        }
        if !share(self.mask) || !share(self.random) || self.mask + self.random > 1.0 {
            return Err(format!(
                "expected mask and random from 0 to 1, together at most 1, found {} and {}",
                self.mask, self.random
            ));
        }
        if self.corpus.is_some() && self.texts != Texts::Documents {
            return Err("expected texts = \"documents\" with a corpus, which has no queries".into());
        }
        Ok(())
    }
}
