//! Documents to weights on the processor.

use rayon::prelude::*;

use super::attention::Attention;
use crate::{
    error::Result,
    model::{Activation, Config, Layer, Linear, Norm, Weights},
    ops::{
        packed::{Best, Finish, Kind, PackedLinear, WIDTH},
        screen::{Scratch, Screen, States},
        slices::layer_norm,
    },
    sparse::{SparseVector, TermId},
};

/// Terms that are scored at a time, whole panels: with H = 384 their bytes stay in a core's cache.
const TILE: usize = 24 * WIDTH;

/// A masked-language model that turns token ids into sparse vectors.
pub struct CpuEncoder {
    config: Config,
    /// Tables, norms and the decoder's rows; what is packed is taken out.
    weights: Weights,
    layers: Vec<Packed>,
    head: Option<Head>,
}

/// A layer, its matrices packed.
struct Packed {
    /// `[3H, H]`
    query_key_value: PackedLinear,
    attention_out: PackedLinear,
    attention_norm: Norm,
    up: PackedLinear,
    down: PackedLinear,
    out_norm: Norm,
}

struct Head {
    transform: PackedLinear,
    screen: Screen,
}

/// Room for the computation of one document, to be used again for the next.
struct Buffers {
    query_key_value: Vec<f32>,
    context: Vec<f32>,
    wide: Vec<f32>,
    attention: Attention,
}

impl CpuEncoder {
    /// From a checkpoint's parts; everything is computed in f32.
    pub fn new(config: Config, weights: Weights) -> CpuEncoder {
        CpuEncoder::of_kind(Kind::F32, config, weights)
    }

    /// As [`CpuEncoder::new`], but in the products of the layers and of the head's transform both
    /// sides are rounded to bf16. Sums and all else are f32, the decoder too: its screen leaves so
    /// few products that bf16 would gain nothing.
    pub fn in_bf16(config: Config, weights: Weights) -> CpuEncoder {
        CpuEncoder::of_kind(Kind::Bf16, config, weights)
    }

    fn of_kind(kind: Kind, config: Config, mut weights: Weights) -> CpuEncoder {
        let layers = std::mem::take(&mut weights.layers).into_iter();
        let layers = layers.map(|layer| Packed::new(kind, layer)).collect();
        let head = (!weights.decoder_bias.is_empty()).then(|| Head {
            transform: pack(kind, std::mem::take(&mut weights.head)),
            screen: Screen::new(&weights.decoder().data, &weights.decoder_bias),
        });
        CpuEncoder { config, weights, layers, head }
    }

    /// The weights of each document: `documents` are token ids, special ones included, each at most
    /// as long as the model reads.
    ///
    /// max over tokens of the logits, then the activation (paper.md 1.1). Special tokens take part
    /// in the maximum, as in the released code. A document without tokens has no weights, and a
    /// model without a head has none for any.
    ///
    /// # Errors
    /// [`crate::Error::Weight`] if the model yields a weight that is not finite.
    pub fn encode(
        &self,
        documents: &[&[u32]],
        activation: Activation,
    ) -> Result<Vec<SparseVector>> {
        let Some(head) = &self.head else {
            return Ok(vec![SparseVector::default(); documents.len()]);
        };
        let states: Vec<States> = documents
            .par_iter()
            .map_init(|| self.buffers(), |buffers, ids| self.ready(head, ids, buffers))
            .collect();
        let terms = self.config.vocab_size;
        let tiles: Vec<Vec<f32>> = (0..terms.div_ceil(TILE))
            .into_par_iter()
            .map_init(Scratch::default, |scratch, tile| {
                let from = tile * TILE;
                self.tile_logits(&head.screen, &states, from, TILE.min(terms - from), scratch)
            })
            .collect();
        let vector = |document: usize| {
            let logits = (0..).step_by(TILE).zip(&tiles).flat_map(|(from, tile)| {
                let width = TILE.min(terms - from);
                (from as u32..).map(TermId).zip(tile[document * width..][..width].iter().copied())
            });
            activation.vector(logits)
        };
        (0..documents.len()).into_par_iter().map(vector).collect()
    }

    /// `[documents, width]`: the largest logit over the tokens of each document for the terms
    /// `from .. from + width`, right where it is above 0. The bias does not depend on the token, so
    /// it is added afterwards.
    fn tile_logits(
        &self,
        screen: &Screen,
        documents: &[States],
        from: usize,
        width: usize,
        scratch: &mut Scratch,
    ) -> Vec<f32> {
        let h = self.config.hidden;
        let rows = &self.weights.decoder().data[from * h..][..width * h];
        let bias = &self.weights.decoder_bias[from..][..width];
        let (mut best, mut tokens) = (vec![0.0; documents.len() * width], vec![0; width]);
        for (states, best) in documents.iter().zip(best.chunks_exact_mut(width)) {
            let taken = Best { values: &mut *best, tokens: &mut tokens };
            screen.largest(states, from / WIDTH, rows, taken, scratch);
            best.iter_mut().zip(bias).for_each(|(best, bias)| *best += bias);
        }
        best
    }

    /// The hidden states after the head's transform, ready for the decoder.
    fn ready(&self, head: &Head, ids: &[u32], buffers: &mut Buffers) -> States {
        let states = self.states(ids, buffers);
        let mut out = vec![0.0; states.len()];
        head.transform.apply(&states, &mut out, Finish::Gelu);
        self.norm(&mut out, &self.weights.head_norm);
        head.screen.states(out)
    }

    /// `[T, H]`: the last layer's hidden states.
    pub fn hidden_states(&self, ids: &[u32]) -> Vec<f32> {
        self.states(ids, &mut self.buffers())
    }

    fn states(&self, ids: &[u32], buffers: &mut Buffers) -> Vec<f32> {
        let Weights { words, positions, token_types, embedding_norm, .. } = &self.weights;
        let mut x = Vec::with_capacity(ids.len() * self.config.hidden);
        for (at, &id) in ids.iter().enumerate() {
            let parts =
                words.row(id as usize).iter().zip(token_types.row(0)).zip(positions.row(at));
            x.extend(parts.map(|((word, kind), position)| word + kind + position));
        }
        self.norm(&mut x, embedding_norm);
        for layer in &self.layers {
            self.layer(&mut x, layer, buffers);
        }
        x
    }

    fn layer(&self, x: &mut [f32], layer: &Packed, buffers: &mut Buffers) {
        let Buffers { query_key_value, context, wide, attention } = buffers;
        let rows = x.len() / self.config.hidden;
        query_key_value.resize(rows * layer.query_key_value.outputs(), 0.0);
        layer.query_key_value.apply(x, query_key_value, Finish::Overwrite);
        context.resize(x.len(), 0.0);
        attention.apply(query_key_value, context);
        layer.attention_out.apply(context, x, Finish::Add);
        self.norm(x, &layer.attention_norm);
        wide.resize(rows * layer.up.outputs(), 0.0);
        layer.up.apply(x, wide, Finish::Gelu);
        layer.down.apply(wide, x, Finish::Add);
        self.norm(x, &layer.out_norm);
    }

    fn norm(&self, x: &mut [f32], norm: &Norm) {
        layer_norm(x, &norm.weight, &norm.bias, self.config.norm_epsilon);
    }

    fn buffers(&self) -> Buffers {
        Buffers {
            query_key_value: Vec::new(),
            context: Vec::new(),
            wide: Vec::new(),
            attention: Attention::new(self.config.heads, self.config.head_width()),
        }
    }
}

impl Packed {
    fn new(kind: Kind, layer: Layer) -> Packed {
        Packed {
            query_key_value: pack(kind, Linear::side_by_side(layer.query_key_value)),
            attention_out: pack(kind, layer.attention_out),
            attention_norm: layer.attention_norm,
            up: pack(kind, layer.up),
            down: pack(kind, layer.down),
            out_norm: layer.out_norm,
        }
    }
}

fn pack(kind: Kind, linear: Linear) -> PackedLinear {
    PackedLinear::new(kind, &linear.weight.data, linear.weight.columns, linear.bias)
}
