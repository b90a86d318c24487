//! What a document costs on the processor: the layers, and the layers with the vocabulary head.
//!
//!     cargo bench --bench encode
//!
//! Models of random numbers, in the sizes of MiniLM-L6 and BERT-tiny. The bias of the vocabulary decides
//! how many terms get a weight: with 0 nearly all, the worst case; with one far below 0 few, as in a
//! trained model. Where several threads take part, times of one document are those of one thread.

use l0::internal::model::{
    Activation, Architecture, Config, Form, HeadParts, Layer, Length, Linear, Matrix, Norm, Pooled,
    Pooling, VocabularyHead, Weights, cpu::CpuEncoder,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() {
    divan::main();
}

const MINILM: Size = Size { hidden: 384, layers: 6, heads: 12 };
const TINY: Size = Size { hidden: 128, layers: 2, heads: 2 };
const TOKENS: [usize; 2] = [128, 256];
/// Few terms get a weight.
const TRAINED: f32 = -2.0;

#[derive(Clone, Copy)]
struct Size {
    hidden: usize,
    layers: usize,
    heads: usize,
}

impl Size {
    fn parts(self, bias: f32) -> (Config, Weights) {
        let Size { hidden, layers, heads } = self;
        let config = Config {
            architecture: Architecture::Bert,
            vocab_size: 30_522,
            hidden,
            layers,
            heads,
            intermediate: 4 * hidden,
            max_positions: 512,
            token_types: 1,
            norm_epsilon: 1e-12,
            form: Form::bert(layers),
            vocabulary_head: None,
        };
        let random = &mut ChaCha8Rng::seed_from_u64(1);
        let layers = (0..layers).map(|_| Layer {
            query_key_value: (0..3).map(|_| linear(random, hidden, hidden)).collect(),
            attention_out: linear(random, hidden, hidden),
            attention_norm: Some(norm(hidden)),
            up: linear(random, 4 * hidden, hidden),
            down: linear(random, hidden, 4 * hidden),
            out_norm: norm(hidden),
        });
        let layers = layers.collect();
        let weights = Weights {
            words: matrix(random, config.vocab_size, hidden),
            positions: matrix(random, 512, hidden),
            token_types: matrix(random, 1, hidden),
            relative: None,
            embedding_norm: norm(hidden),
            layers,
            final_norm: None,
            head: HeadParts::MaskedLanguage {
                transform: linear(random, hidden, hidden),
                norm: norm(hidden),
            },
            untied_decoder: None,
            decoder_bias: vec![bias; config.vocab_size],
            lexical_scale: None,
        };
        (config, weights)
    }
}

/// The same with a vocabulary head: mean pooling, length 1, and the word table as rows of its own.
fn with_vocabulary_head((mut config, mut weights): (Config, Weights)) -> (Config, Weights) {
    let pooled = Pooled { pooling: Pooling::Mean, dense: Vec::new(), length: Length::One };
    config.vocabulary_head = Some(VocabularyHead::of(pooled));
    weights.head = HeadParts::Vocabulary { dense: Vec::new(), map: None };
    weights.untied_decoder = Some(weights.words.clone());
    (config, weights)
}

/// Numbers whose deviation is BERT's at the start, 0.02.
fn matrix(random: &mut ChaCha8Rng, rows: usize, columns: usize) -> Matrix {
    let data = (0..rows * columns).map(|_| random.random_range(-0.035..0.035)).collect();
    Matrix { data, columns }
}

fn linear(random: &mut ChaCha8Rng, out: usize, into: usize) -> Linear {
    Linear { weight: matrix(random, out, into), bias: vec![0.0; out] }
}

fn norm(width: usize) -> Norm {
    Norm { weight: vec![1.0; width], bias: vec![0.0; width] }
}

fn ids(tokens: usize) -> Vec<u32> {
    (0..tokens as u32).map(|at| at * 7919 % 30_522).collect()
}

fn layers(bencher: divan::Bencher, encoder: &CpuEncoder, tokens: usize) {
    let ids = ids(tokens);
    bencher.bench(|| encoder.hidden_states(&ids));
}

fn whole(bencher: divan::Bencher, encoder: &CpuEncoder, tokens: usize) {
    let ids = ids(tokens);
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let encode = || encoder.encode(&[&ids[..]], Activation::L0).expect("finite weights");
    bencher.bench(|| one.install(encode));
}

/// Documents that are encoded together, on all threads.
const BATCH: usize = 32;

fn batch(bencher: divan::Bencher, encoder: &CpuEncoder, tokens: usize) {
    let ids = ids(tokens);
    let documents = vec![&ids[..]; BATCH];
    let counter = divan::counter::ItemsCount::new(BATCH);
    let encode = || encoder.encode(&documents, Activation::L0).expect("finite weights");
    bencher.counter(counter).bench(encode);
}

#[divan::bench(args = TOKENS)]
fn minilm_batch_masked_language_head(bencher: divan::Bencher, tokens: usize) {
    let (config, weights) = MINILM.parts(TRAINED);
    batch(bencher, &CpuEncoder::new(config, weights), tokens);
}

/// The bias leaves some hundred terms of a document, as in a model that was trained.
#[divan::bench(args = TOKENS)]
fn minilm_batch_vocabulary_head(bencher: divan::Bencher, tokens: usize) {
    let (config, weights) = with_vocabulary_head(MINILM.parts(-0.05));
    batch(bencher, &CpuEncoder::new(config, weights), tokens);
}

#[divan::bench(args = TOKENS)]
fn minilm_layers_f32(bencher: divan::Bencher, tokens: usize) {
    let (config, weights) = MINILM.parts(0.0);
    layers(bencher, &CpuEncoder::new(config, weights), tokens);
}

#[divan::bench(args = TOKENS)]
fn minilm_layers_bf16(bencher: divan::Bencher, tokens: usize) {
    let (config, weights) = MINILM.parts(0.0);
    layers(bencher, &CpuEncoder::in_bf16(config, weights), tokens);
}

#[divan::bench(args = TOKENS)]
fn minilm_all_terms_f32(bencher: divan::Bencher, tokens: usize) {
    let (config, weights) = MINILM.parts(0.0);
    whole(bencher, &CpuEncoder::new(config, weights), tokens);
}

#[divan::bench(args = TOKENS)]
fn minilm_few_terms_f32(bencher: divan::Bencher, tokens: usize) {
    let (config, weights) = MINILM.parts(TRAINED);
    whole(bencher, &CpuEncoder::new(config, weights), tokens);
}

#[divan::bench(args = TOKENS)]
fn minilm_few_terms_bf16(bencher: divan::Bencher, tokens: usize) {
    let (config, weights) = MINILM.parts(TRAINED);
    whole(bencher, &CpuEncoder::in_bf16(config, weights), tokens);
}

#[divan::bench(args = TOKENS)]
fn tiny_few_terms_f32(bencher: divan::Bencher, tokens: usize) {
    let (config, weights) = TINY.parts(TRAINED);
    whole(bencher, &CpuEncoder::new(config, weights), tokens);
}

#[divan::bench(args = TOKENS)]
fn tiny_few_terms_bf16(bencher: divan::Bencher, tokens: usize) {
    let (config, weights) = TINY.parts(TRAINED);
    whole(bencher, &CpuEncoder::in_bf16(config, weights), tokens);
}
