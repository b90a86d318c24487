//! Documents to weights on the processor.

use rayon::prelude::*;

use super::attention::{Attention, Distances};
use crate::{
    error::Result,
    kernels::{
        packed::{Best, Finish, Kind, PackedLinear, WIDTH},
        screen::{Int8Filter, Scratch, States},
        slices::{gated, layer_norm},
    },
    model::{
        Activation, Config, HeadParts, Layer, LayerAttention, Linear, Mlp, Norm, Norms, Weights,
        vocabulary::{Pooler, applied},
    },
    nn::Rotation,
    sparse::{SparseVector, TermId},
};

/// Terms that are scored at a time, whole panels: with H = 384 their bytes stay in a core's cache.
const TILE: usize = 24 * WIDTH;
/// Documents that go through the decoder of a vocabulary head together: its rows are read once
/// for all of them.
const POOLED: usize = 32;

/// A masked-language model that turns token ids into sparse vectors.
pub struct CpuEncoder {
    config: Config,
    /// Tables, norms and the decoder's rows; what is packed is taken out.
    weights: Weights,
    layers: Vec<Packed>,
    head: Option<Head>,
    rotations: Vec<Rotation>,
    distances: Option<Distances>,
}

/// A layer, its matrices packed.
struct Packed {
    sees: LayerAttention,
    /// `[3H, H]`
    query_key_value: PackedLinear,
    attention_out: PackedLinear,
    attention_norm: Option<Norm>,
    up: PackedLinear,
    down: PackedLinear,
    out_norm: Norm,
}

enum Head {
    MaskedLanguage(MaskedLanguage),
    Vocabulary(Vocabulary),
}

struct MaskedLanguage {
    transform: PackedLinear,
    norm: Norm,
    screen: Int8Filter,
}

struct Vocabulary {
    pooler: Pooler,
    map: Option<PackedLinear>,
    decoder: PackedLinear,
}

/// Buffers for the computation of one document, reused for the next.
struct Buffers {
    query_key_value: Vec<f32>,
    context: Vec<f32>,
    wide: Vec<f32>,
    /// Both halves of a gated layer.
    both: Vec<f32>,
    /// The normed states, if the states themselves are still needed.
    normed: Vec<f32>,
    attention: Attention,
}

impl CpuEncoder {
    /// From a checkpoint's parts; everything is computed in f32.
    pub fn new(config: Config, weights: Weights) -> CpuEncoder {
        CpuEncoder::of_kind(Kind::F32, config, weights)
    }

    /// As [`CpuEncoder::new`], but in the products of the layers and of the head's transform both
    /// sides are rounded to bf16. Sums and everything else are f32, including the decoder: its screen
    /// leaves so few products that bf16 would gain nothing.
    pub fn in_bf16(config: Config, weights: Weights) -> CpuEncoder {
        CpuEncoder::of_kind(Kind::Bf16, config, weights)
    }

    fn of_kind(kind: Kind, config: Config, mut weights: Weights) -> CpuEncoder {
        let layers = std::mem::take(&mut weights.layers).into_iter().zip(&config.form.sees);
        let layers = layers.map(|(layer, &sees)| Packed::new(kind, layer, sees)).collect();
        let (longest, width) = (config.max_positions, config.head_width());
        let distances = weights.relative.as_ref();
        let distances = distances.map(|bias| Distances::new(bias, longest, width));
        let head = Head::new(kind, &config, &mut weights);
        let rotations = config.rotations();
        CpuEncoder { config, weights, layers, head, rotations, distances }
    }

    /// The weights of each document: `documents` are token ids, special ones included, each at most
    /// as long as the model reads.
    ///
    /// The largest logit over the tokens, then the activation (`docs/method.md`, "Document weights").
    /// Special tokens take part in the maximum, as in the released code. A document without tokens has no
    /// weights, and a model without a head has none for any.
    ///
    /// # Errors
    /// [`crate::Error::Weight`] if the model yields a weight that is not finite.
    pub fn encode(
        &self,
        documents: &[&[u32]],
        activation: Activation,
    ) -> Result<Vec<SparseVector>> {
        match &self.head {
            None => Ok(vec![SparseVector::default(); documents.len()]),
            Some(Head::MaskedLanguage(head)) => self.largest(head, documents, activation),
            Some(Head::Vocabulary(head)) => self.pooled(head, documents, activation),
        }
    }

    /// The weights of each document by a vocabulary head: each is pooled by itself, and the rows of
    /// the decoder's product do not depend on each other.
    fn pooled(
        &self,
        head: &Vocabulary,
        documents: &[&[u32]],
        activation: Activation,
    ) -> Result<Vec<SparseVector>> {
        let terms = self.config.vocab_size;
        let vector = |buffers: &mut Buffers, ids: &&[u32]| {
            if ids.is_empty() {
                return Vec::new();
            }
            let vector = head.pooler.vector(&self.states(ids, buffers), self.config.hidden);
            head.map.as_ref().map_or_else(|| vector.clone(), |map| applied(map, &vector))
        };
        let pooled: Vec<Vec<f32>> =
            documents.par_iter().map_init(|| self.buffers(), vector).collect();
        let weights = |pooled: &[Vec<f32>]| -> Vec<Result<SparseVector>> {
            let (x, some) = (pooled.concat(), pooled.iter().filter(|one| !one.is_empty()).count());
            let mut logits = vec![0.0; some * terms];
            head.decoder.apply(&x, &mut logits, Finish::Overwrite);
            let mut rows = logits.chunks_exact(terms);
            let of = |one: &Vec<f32>| {
                let row = if one.is_empty() { None } else { rows.next() };
                let logits = row.unwrap_or_default().iter().copied();
                activation.vector((0..).map(TermId).zip(logits))
            };
            pooled.iter().map(of).collect()
        };
        pooled.par_chunks(POOLED).flat_map_iter(weights).collect()
    }

    /// The weights of each document by a masked-language head.
    fn largest(
        &self,
        head: &MaskedLanguage,
        documents: &[&[u32]],
        activation: Activation,
    ) -> Result<Vec<SparseVector>> {
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
        screen: &Int8Filter,
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
    fn ready(&self, head: &MaskedLanguage, ids: &[u32], buffers: &mut Buffers) -> States {
        let states = self.states(ids, buffers);
        let mut out = vec![0.0; states.len()];
        head.transform.apply(&states, &mut out, Finish::Gelu);
        self.norm(&mut out, &head.norm);
        head.screen.states(out)
    }

    /// `[T, H]`: the last layer's hidden states.
    pub fn hidden_states(&self, ids: &[u32]) -> Vec<f32> {
        self.states(ids, &mut self.buffers())
    }

    fn states(&self, ids: &[u32], buffers: &mut Buffers) -> Vec<f32> {
        let mut x = self.embedded(ids);
        self.norm(&mut x, &self.weights.embedding_norm);
        for layer in &self.layers {
            match self.config.form.norms {
                Norms::Post => self.post_norm(&mut x, layer, buffers),
                Norms::Pre => self.pre_norm(&mut x, layer, buffers),
            }
        }
        if let Some(norm) = &self.weights.final_norm {
            self.norm(&mut x, norm);
        }
        x
    }

    /// The sum of each token's embeddings.
    fn embedded(&self, ids: &[u32]) -> Vec<f32> {
        let Weights { words, positions, token_types, .. } = &self.weights;
        let mut x = Vec::with_capacity(ids.len() * self.config.hidden);
        if self.config.position_rows().is_none() {
            for &id in ids {
                let parts = words.row(id as usize).iter().zip(token_types.row(0));
                x.extend(parts.map(|(word, kind)| word + kind));
            }
            return x;
        }
        for (&id, place) in ids.iter().zip(self.config.places(ids)) {
            let parts = words.row(id as usize).iter().zip(token_types.row(0));
            let parts = parts.zip(positions.row(place as usize));
            x.extend(parts.map(|((word, kind), position)| word + kind + position));
        }
        x
    }

    fn post_norm(&self, x: &mut [f32], layer: &Packed, buffers: &mut Buffers) {
        self.attend(x, layer, buffers);
        layer.attention_out.apply(&buffers.context, x, Finish::Add);
        if let Some(norm) = &layer.attention_norm {
            self.norm(x, norm);
        }
        self.widen(x, layer, buffers);
        layer.down.apply(&buffers.wide, x, Finish::Add);
        self.norm(x, &layer.out_norm);
    }

    fn pre_norm(&self, x: &mut [f32], layer: &Packed, buffers: &mut Buffers) {
        let mut normed = std::mem::take(&mut buffers.normed);
        normed.clear();
        normed.extend_from_slice(x);
        if let Some(norm) = &layer.attention_norm {
            self.norm(&mut normed, norm);
        }
        self.attend(&normed, layer, buffers);
        layer.attention_out.apply(&buffers.context, x, Finish::Add);
        normed.copy_from_slice(x);
        self.norm(&mut normed, &layer.out_norm);
        self.widen(&normed, layer, buffers);
        layer.down.apply(&buffers.wide, x, Finish::Add);
        buffers.normed = normed;
    }

    /// Attention over x, into `buffers.context`.
    fn attend(&self, x: &[f32], layer: &Packed, buffers: &mut Buffers) {
        let Buffers { query_key_value, context, attention, .. } = buffers;
        let hidden = self.config.hidden;
        query_key_value.resize(3 * x.len(), 0.0);
        layer.query_key_value.apply(x, query_key_value, Finish::Overwrite);
        if let Some(rotation) = self.rotations.get(layer.sees.rotary) {
            rotation.turn(query_key_value, 3 * hidden, 2 * hidden);
        }
        context.resize(x.len(), 0.0);
        attention.apply(query_key_value, context, layer.sees.span, self.distances.as_ref());
    }

    /// The states between the two maps of the feed-forward network, into `buffers.wide`.
    fn widen(&self, x: &[f32], layer: &Packed, buffers: &mut Buffers) {
        let Buffers { wide, both, .. } = buffers;
        let width = self.config.intermediate;
        wide.resize(x.len() / self.config.hidden * width, 0.0);
        match self.config.form.feed {
            Mlp::Plain => layer.up.apply(x, wide, Finish::Gelu),
            Mlp::Gated(half) => {
                both.resize(2 * wide.len(), 0.0);
                layer.up.apply(x, both, Finish::Overwrite);
                gated(both, half.from(width), wide, width);
            }
        }
    }

    fn norm(&self, x: &mut [f32], norm: &Norm) {
        layer_norm(x, &norm.weight, &norm.bias, self.config.norm_epsilon);
    }

    fn buffers(&self) -> Buffers {
        Buffers {
            query_key_value: Vec::new(),
            context: Vec::new(),
            wide: Vec::new(),
            both: Vec::new(),
            normed: Vec::new(),
            attention: Attention::new(self.config.heads, self.config.head_width()),
        }
    }
}

impl Head {
    /// Takes the parts that are packed out of the weights; `None` for a model without a head.
    fn new(kind: Kind, config: &Config, weights: &mut Weights) -> Option<Head> {
        match (std::mem::take(&mut weights.head), &config.vocabulary_head) {
            (HeadParts::None, _) | (HeadParts::Vocabulary { .. }, None) => None,
            (HeadParts::MaskedLanguage { transform, norm }, _) => {
                let screen = Int8Filter::new(&weights.decoder().data, &weights.decoder_bias);
                let transform = pack(kind, transform);
                Some(Head::MaskedLanguage(MaskedLanguage { transform, norm, screen }))
            }
            (HeadParts::Vocabulary { dense, map }, Some(head)) => {
                let pooler = Pooler::new(kind, head.pooled.clone(), dense);
                let map = map.map(|weight| pack(Kind::F32, Linear::without_bias(weight)));
                let bias = std::mem::take(&mut weights.decoder_bias);
                let rows = weights.decoder();
                let decoder = PackedLinear::new(Kind::F32, &rows.data, rows.columns, bias);
                weights.untied_decoder = None;
                Some(Head::Vocabulary(Vocabulary { pooler, map, decoder }))
            }
        }
    }
}

impl Packed {
    fn new(kind: Kind, layer: Layer, sees: LayerAttention) -> Packed {
        Packed {
            sees,
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
