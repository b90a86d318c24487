//! The model card, `README.md` of a directory.

use super::{Saved, Size};
use crate::model::Folded;

/// What the card of [`Size::Byte`] says.
const BYTES: &str = "The matrices of `model.safetensors` are I8 with a scale per row: read by l0's programs \
                     only; `l0-train export` with type f32 gives a directory that Sentence Transformers loads.";

/// What the card of a vocabulary head says.
const MODULE: &str = "\nSentence Transformers gives the vectors of l0-encode, with the lexical part, threshold and \
                      pruning of `l0.json`: `SparseEncoder(DIR, trust_remote_code=True)` runs `l0_head.py`.\n";

impl Saved<'_> {
    pub(super) fn card(&self) -> String {
        match (self.card, self.size) {
            (None, _) => self.made_card(),
            (Some(card), Size::Whole | Size::Small) => card.to_owned(),
            (Some(card), Size::Byte) => format!("{}\n\n{BYTES}\n", card.trim_end()),
        }
    }

    fn made_card(&self) -> String {
        let side = match (&self.table, self.ranks) {
            (_, false) => {
                "a base to train on from: it has guessed hidden word pieces, and ranked nothing"
            }
            (Some(_), true) => {
                "inference-free: a query is the set of its word pieces, weighted by its table"
            }
            (None, true) => "Siamese: queries go through the encoder too",
        };
        let logit = match self.head {
            Some(_) => "logit of each term, computed from one vector per document",
            None => "largest logit of each term over the tokens",
        };
        let activation = match self.activation.depth() {
            0 => "relu".to_owned(),
            depth => format!("{depth} nested ln(1 + ·)"),
        };
        let notes = match (self.head, self.size) {
            (Some(_), Size::Whole | Size::Small) => MODULE.to_owned(),
            _ => self.without_module(),
        };
        let (library, bytes) = match self.size {
            Size::Whole | Size::Small => ("library_name: sentence-transformers\n", String::new()),
            Size::Byte => ("", format!("\n{BYTES}\n")),
        };
        let record = serde_json::to_string_pretty(&self.record).unwrap_or_default();
        format!(
            "---\ntags:\n- sparse-encoder\n- splade\n{library}---\n\n\
             # Sparse retrieval model\n\nMade with l0-train. Document weights are the {logit}, through \
             {activation}; {side}.\n{notes}{bytes}\n\
             ## Training\n\n```json\n{record}\n```\n\n```toml\n{}\n```\n",
            self.recipe.trim()
        )
    }

    /// What other programs leave out.
    fn without_module(&self) -> String {
        let elsewhere = self.cutoff.as_ref().map(|cutoff| match cutoff.as_pruning() {
            Folded::Same(prune) => format!("for other programs it is the pruning rule `{prune}`"),
            Folded::More(prune) => format!(
                "no plain pruning rule does the same. `{prune}` is the closest: it keeps all that pass, \
                 and more. For exact documents elsewhere, encode with l0-encode and index its vectors, \
                 or train with `share = \"all\"`"
            ),
        });
        let cutoff = elsewhere.map_or(String::new(), |elsewhere| {
            format!(
                "\nDocument weights must pass the trained threshold in `l0.json`. l0-encode applies \
                 it; {elsewhere}.\n"
            )
        });
        let lexical = self.lexical.map_or("", |_| {
            "\nThe lexical part in `l0.json` is added to the network's weights: a share of BM25's term \
             frequency for the terms a document has. l0-encode adds it; other programs give the \
             network's weights alone.\n"
        });
        format!("{lexical}{cutoff}")
    }
}
