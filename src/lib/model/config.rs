//! `config.json`: the sizes of a model under one set of names, and how its family differs from BERT.

mod read;

use std::path::Path;

use super::VocabularyHead;
use crate::{
    error::{Error, Result},
    io, layout,
    nn::{BUCKETS, Half, Packing, Rotation, Span},
};

/// The families of checkpoints that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `BertForMaskedLM`
    Bert,
    /// `DistilBertForMaskedLM`
    DistilBert,
    /// `RobertaForMaskedLM`
    Roberta,
    /// `XLMRobertaForMaskedLM`
    XlmRoberta,
    /// `MPNetForMaskedLM`
    Mpnet,
    /// `ModernBertForMaskedLM`
    ModernBert,
    /// `NewForMaskedLM`, Alibaba's gte as remote code.
    New,
    /// `GteForMaskedLM`, the same in transformers.
    Gte,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Architecture; 8] = [
        Architecture::Bert,
        Architecture::DistilBert,
        Architecture::Roberta,
        Architecture::XlmRoberta,
        Architecture::Mpnet,
        Architecture::ModernBert,
        Architecture::New,
        Architecture::Gte,
    ];

    /// What `config.json` calls it in `model_type`.
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// What `config.json` calls it in `architectures`, with its masked-language head.
    pub fn class(self) -> &'static str {
        self.names().1
    }

    /// What `config.json` calls it in `architectures`, without a head.
    pub fn encoder_class(self) -> String {
        self.class().replace("ForMaskedLM", "Model")
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Architecture::Bert => ("bert", "BertForMaskedLM"),
            Architecture::DistilBert => ("distilbert", "DistilBertForMaskedLM"),
            Architecture::Roberta => ("roberta", "RobertaForMaskedLM"),
            Architecture::XlmRoberta => ("xlm-roberta", "XLMRobertaForMaskedLM"),
            Architecture::Mpnet => ("mpnet", "MPNetForMaskedLM"),
            Architecture::ModernBert => ("modernbert", "ModernBertForMaskedLM"),
            Architecture::New => ("new", "NewForMaskedLM"),
            Architecture::Gte => ("gte", "GteForMaskedLM"),
        }
    }
}

/// Sizes of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// V, tokens in the vocabulary.
    pub vocab_size: usize,
    /// H, width of a hidden state.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads; divides H.
    pub heads: usize,
    /// I, width of the feed-forward network.
    pub intermediate: usize,
    /// Longest text in tokens.
    pub max_positions: usize,
    /// Rows of the token-type table, 0 if there is none.
    pub token_types: usize,
    /// ε of every layer norm.
    pub norm_epsilon: f32,
    /// How its layers are built.
    pub form: Form,
    /// Its vocabulary head; `None` for a masked-language head or no head.
    pub vocabulary_head: Option<VocabularyHead>,
}

/// How the layers of a family are built.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// How positions enter.
    pub positions: Positions,
    /// Whether scores get a bias by relative distance, [`BUCKETS`] for each head.
    pub relative: bool,
    /// What each layer sees.
    pub sees: Vec<LayerAttention>,
    /// Where the norms are.
    pub norms: Norms,
    /// The feed-forward network.
    pub feed: Mlp,
    /// Which parts have a bias.
    pub biases: Biases,
    /// Whether a checkpoint may lack the decoder, which is then the word table.
    pub tied: bool,
}

/// How positions enter.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// A table of embeddings.
    Table {
        /// The row of the first token.
        first: usize,
        /// The padding token, if there is one: it has the row before the first.
        padding: Option<u32>,
    },
    /// Angles by which queries and keys are turned; layers may differ in them.
    Rotary(Vec<Rotary>),
}

/// Angles that decrease from pair to pair: θ^(−2i/d).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    /// θ
    pub theta: f32,
    /// Longer texts than those of the first training, this many times: NTK scaling. 1 for none.
    pub factor: f32,
}

/// What a layer sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerAttention {
    /// Its window.
    pub span: Span,
    /// Which of the [`Rotary`] it turns by, if there are any.
    pub rotary: usize,
}

/// Where the norms of a layer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norms {
    /// After each residual sum.
    Post,
    /// Before attention and before the feed-forward network, and one after the last layer. The first
    /// layer has none before its attention: the embeddings are normed.
    Pre,
}

/// The feed-forward network between its two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mlp {
    /// gelu
    Plain,
    /// The first map is 2I wide: gelu of one half, times the other.
    Gated(Half),
}

/// Whether a part has a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HasBias {
    /// It has one, and it is trained.
    Yes,
    /// It is 0 and not trained.
    No,
}

impl From<bool> for HasBias {
    fn from(has: bool) -> HasBias {
        if has { HasBias::Yes } else { HasBias::No }
    }
}

/// Which parts have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biases {
    /// Every norm.
    pub norms: HasBias,
    /// The four maps of attention.
    pub attention: HasBias,
    /// The first map of the feed-forward network.
    pub up: HasBias,
    /// The second.
    pub down: HasBias,
    /// The head's transform.
    pub head: HasBias,
    /// The decoder.
    pub decoder: HasBias,
}

impl Biases {
    /// Every part has one.
    pub const ALL: Biases = Biases {
        norms: HasBias::Yes,
        attention: HasBias::Yes,
        up: HasBias::Yes,
        down: HasBias::Yes,
        head: HasBias::Yes,
        decoder: HasBias::Yes,
    };
}

impl Form {
    /// BERT's, of so many layers.
    pub fn bert(layers: usize) -> Form {
        Form {
            positions: Positions::Table { first: 0, padding: None },
            relative: false,
            sees: vec![LayerAttention::default(); layers],
            norms: Norms::Post,
            feed: Mlp::Plain,
            biases: Biases::ALL,
            tied: true,
        }
    }
}

impl Rotary {
    /// The angles of the pairs of a head of `width` numbers from one place to the next.
    ///
    /// Of NTK scaling this is the fixed kind: θ times the factor, and all angles over factor^(2/d).
    pub fn frequencies(self, width: usize) -> Vec<f32> {
        let shrunk = self.factor.powf(2.0 / width as f32);
        let theta = self.theta * self.factor;
        let angle = |at: usize| 1.0 / theta.powf((2 * at) as f32 / width as f32) / shrunk;
        (0..width / 2).map(angle).collect()
    }
}

/// An upper bound, so that a wrong number is an error and not a huge allocation.
const MOST_LAYERS: usize = 1000;
/// The same for positions without a table in the file.
const MOST_TURNS: usize = 1 << 17;

/// A word piece between two special tokens.
const LEAST_POSITIONS: usize = 3;

impl Config {
    /// Reads `config.json` in a model's folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for impossible sizes and for kinds of model,
    /// activation or position that are not implemented.
    pub fn load(folder: &Path) -> Result<Config> {
        let file = folder.join(layout::CONFIG);
        let config = read::config(&io::read_text(&file)?);
        let config = config.and_then(|config| config.check().map(|()| config));
        config.map_err(|reason| Error::format(&file, reason))
    }

    /// What is wrong with the sizes, if something is.
    fn check(&self) -> std::result::Result<(), String> {
        let &Config { vocab_size, hidden, heads, intermediate, max_positions, .. } = self;
        let has_types = matches!(
            self.architecture,
            Architecture::Bert | Architecture::Roberta | Architecture::XlmRoberta
        );
        if has_types && self.token_types == 0 {
            return Err("expected type_vocab_size above 0, found 0".into());
        }
        if max_positions < LEAST_POSITIONS {
            let first = self.first_row();
            let (least, got) = (LEAST_POSITIONS + first, max_positions + first);
            return Err(format!(
                "expected max_position_embeddings of {least} or more, found {got}: a text has a special \
                 token at either end"
            ));
        }
        let sizes = [vocab_size, hidden, heads, intermediate];
        let sound = !sizes.contains(&0) && self.layers <= MOST_LAYERS;
        if !sound || !hidden.is_multiple_of(heads) {
            return Err(format!(
                "expected sizes above 0, heads that divide the hidden size and at most {MOST_LAYERS} \
                 layers, found {self:?}"
            ));
        }
        if let Some(head) = &self.vocabulary_head {
            head.check(hidden)?;
        }
        if let Positions::Rotary(rotaries) = &self.form.positions {
            let sound = |rotary: &Rotary| {
                let Rotary { theta, factor } = *rotary;
                theta.is_finite() && theta > 0.0 && factor.is_finite() && factor >= 1.0
            };
            let even = self.head_width().is_multiple_of(2);
            if !even || max_positions > MOST_TURNS || !rotaries.iter().all(sound) {
                return Err(format!(
                    "expected rotary positions of heads of an even width, at most {MOST_TURNS} of them, \
                     with theta above 0 and a factor of 1 or more, found {self:?}"
                ));
            }
        }
        Ok(())
    }

    /// Width of one attention head.
    pub fn head_width(&self) -> usize {
        self.hidden / self.heads
    }

    /// Width of what the first map of the feed-forward network gives.
    pub fn up_width(&self) -> usize {
        if self.form.feed == Mlp::Plain { self.intermediate } else { 2 * self.intermediate }
    }

    fn first_row(&self) -> usize {
        if let Positions::Table { first, .. } = self.form.positions { first } else { 0 }
    }

    /// Rows of the position table, if there is one.
    pub fn position_rows(&self) -> Option<usize> {
        let is_table = matches!(self.form.positions, Positions::Table { .. });
        is_table.then(|| self.max_positions + self.first_row())
    }

    /// Buckets of the relative bias, if there is one.
    pub fn relative_buckets(&self) -> Option<usize> {
        self.form.relative.then_some(BUCKETS)
    }

    /// The place of every token of a document: a row of the position table, or how many tokens come
    /// before it.
    pub fn places(&self, ids: &[u32]) -> Vec<u32> {
        let first = self.first_row() as u32;
        let Positions::Table { padding: Some(padding), .. } = self.form.positions else {
            return (first..).take(ids.len()).collect();
        };
        let mut next = first;
        let place = |&id: &u32| {
            let own = if id == padding { first.saturating_sub(1) } else { next };
            next += u32::from(id != padding);
            own
        };
        ids.iter().map(place).collect()
    }

    /// The places of packed documents.
    pub(super) fn packed_places(&self, ids: &[u32], packing: &Packing) -> Vec<u32> {
        packing.documents().flat_map(|(_, rows)| self.places(&ids[rows])).collect()
    }

    /// The angles that layers turn by, as [`LayerAttention::rotary`] counts them.
    pub(super) fn rotations(&self) -> Vec<Rotation> {
        let Positions::Rotary(rotaries) = &self.form.positions else { return Vec::new() };
        let rotation = |rotary: &Rotary| {
            Rotation::new(&rotary.frequencies(self.head_width()), self.max_positions)
        };
        rotaries.iter().map(rotation).collect()
    }
}
