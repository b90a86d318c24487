//! The model of a recipe: what a run starts from.

use std::path::PathBuf;

use serde::Deserialize;

use crate::text::Lexical;

/// What is trained.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecipe {
    /// The directory to start from.
    pub base: PathBuf,
    /// `new` for a base without a masked-language head; default: the base's own.
    pub head: Option<HeadKind>,
    /// Tokens of a document that are read.
    #[serde(default = "two_hundred_fifty_six")]
    pub max_tokens: usize,
    /// Logarithms of the activation, 0 to 4; 0 is relu alone.
    #[serde(default = "two")]
    pub activation: u8,
    /// Share of numbers dropped out.
    #[serde(default)]
    pub dropout: f32,
    /// What is added for the terms a document has.
    pub lexical: Option<Lexical>,
    /// Whether the lexical part of each term has a scale that is trained.
    #[serde(default)]
    pub lexical_scale: LexicalScale,
}

/// The factor of the lexical part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LexicalScale {
    /// Nothing, or what the base has.
    #[default]
    Fixed,
    /// A number for each term, trained from 1 or from what the base has.
    Learned,
}

/// Where the head comes from, if not from the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// Made: [`crate::model::Checkpoint::load_with_new_head`].
    New,
}

fn two() -> u8 {
    2
}
fn two_hundred_fifty_six() -> usize {
    256
}
