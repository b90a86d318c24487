//! The numbers of an encoder, as plain f32.

/// A row-major matrix, `rows × columns`.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    /// Row after row.
    pub data: Vec<f32>,
    /// Length of a row.
    pub columns: usize,
}

impl Matrix {
    /// One row.
    pub fn row(&self, at: usize) -> &[f32] {
        &self.data[at * self.columns..][..self.columns]
    }
}

/// y = x Wᵀ + b, W `[out, in]`.
#[derive(Clone, Debug, Default)]
pub struct Linear {
    /// W.
    pub weight: Matrix,
    /// b, `[out]`.
    pub bias: Vec<f32>,
}

impl Linear {
    /// y = x Wᵀ
    #[must_use]
    pub fn without_bias(weight: Matrix) -> Linear {
        let bias = vec![0.0; weight.data.len() / weight.columns.max(1)];
        Linear { weight, bias }
    }

    /// Several maps of one input as one: `[N₁ + N₂ + …, in]`.
    #[must_use]
    pub fn side_by_side(parts: impl IntoIterator<Item = Linear>) -> Linear {
        let mut all = Linear::default();
        for part in parts {
            all.weight.columns = part.weight.columns;
            all.weight.data.extend(part.weight.data);
            all.bias.extend(part.bias);
        }
        all
    }
}

/// Scale and shift of a layer norm, `[H]` each.
#[derive(Clone, Debug, Default)]
pub struct Norm {
    /// Scale.
    pub weight: Vec<f32>,
    /// Shift.
    pub bias: Vec<f32>,
}

/// One transformer layer. What [`super::Biases`] says is not there is 0.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// Query, key and value, each `[H, H]`, or all as one, `[3H, H]`, as the file has them.
    pub query_key_value: Vec<Linear>,
    /// After attention, `[H, H]`.
    pub attention_out: Linear,
    /// After the first residual, or before attention ([`super::Norms`]).
    pub attention_norm: Option<Norm>,
    /// `[I, H]`, or `[2I, H]` ([`super::Mlp`]).
    pub up: Linear,
    /// `[H, I]`
    pub down: Linear,
    /// After the second residual, or before the feed-forward network.
    pub out_norm: Norm,
}

/// Everything an encoder needs.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// `[V, H]`
    pub words: Matrix,
    /// `[P, H]`; empty where places are angles.
    pub positions: Matrix,
    /// `[types, H]`, of which row 0 is used; one row of zeros where the architecture has none.
    pub token_types: Matrix,
    /// After the embeddings.
    pub embedding_norm: Norm,
    /// `[buckets, heads]`, where scores have a bias by distance.
    pub relative: Option<Matrix>,
    /// In order.
    pub layers: Vec<Layer>,
    /// After the last layer, if norms come before their parts.
    pub final_norm: Option<Norm>,
    /// What lies between hidden states and decoder.
    pub head: HeadParts,
    /// The decoder where it is not the word table.
    pub untied_decoder: Option<Matrix>,
    /// `[V]`
    pub decoder_bias: Vec<f32>,
    /// `[V]`: what the lexical part of each term is multiplied by, if that was trained.
    pub lexical_scale: Option<Vec<f32>>,
}

/// What lies between hidden states and decoder.
#[derive(Clone, Debug, Default)]
pub enum HeadParts {
    /// The model has no head.
    #[default]
    None,
    /// A masked-language head: every state is transformed, and the largest logit counts.
    MaskedLanguage {
        /// `[H, H]`, then gelu.
        transform: Linear,
        /// After it.
        norm: Norm,
    },
    /// A vocabulary head ([`super::VocabularyHead`]): states are pooled first.
    Vocabulary {
        /// The maps of [`super::Pooled::dense`].
        dense: Vec<Linear>,
        /// In front of the decoder, `[rank, width]`.
        map: Option<Matrix>,
    },
}

impl Weights {
    /// `[V, H]`: one row a term.
    pub fn decoder(&self) -> &Matrix {
        self.untied_decoder.as_ref().unwrap_or(&self.words)
    }
}
