//! Which files make a model: their names in its folders, and which of them a part of a model needs.
//!
//! Loading (`model`, `text`), saving (`train`), downloads and checks for completeness (`io::hub`) use this one
//! description. It names files and reads none.

/// The network, of a part its settings.
pub const CONFIG: &str = "config.json";
/// What l0 adds: activation, threshold, lexical part, pruning.
pub const OWN: &str = "l0.json";
/// The parts of a model, as Sentence Transformers lists them.
pub const MODULES: &str = "modules.json";
/// The parts that queries and documents take.
pub const ROUTER: &str = "router_config.json";
/// How many tokens of a text are read.
pub const TRANSFORMER: &str = "sentence_bert_config.json";
/// Prompts and similarity, of Sentence Transformers.
pub const PROMPTS: &str = "config_sentence_transformers.json";
/// A query table, by the names of tokens.
pub const IDF: &str = "idf.json";
/// The same as lines of token and weight.
pub const QUERY_WEIGHTS: &str = "query_token_weights.txt";
/// A tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// A tokenizer of models before 2020: a word piece per line.
pub const VOCABULARY: &str = "vocab.txt";
/// Settings of a tokenizer.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The names of special tokens.
pub const SPECIAL_TOKENS: &str = "special_tokens_map.json";
/// Tensors.
pub const TENSORS: &str = "model.safetensors";
/// Tensors as PyTorch pickles them.
pub const PICKLE: &str = "pytorch_model.bin";
/// The model card.
pub const CARD: &str = "README.md";
/// The recipe that a model was trained with.
pub const RECIPE: &str = "train_config.toml";
/// The vocabulary head as a module of Sentence Transformers.
pub const HEAD_MODULE: &str = "l0_head.py";

/// A network's weights: one of these, the first that there is.
pub const WEIGHTS: [&str; 2] = [TENSORS, PICKLE];
/// A tokenizer: one of these, the first that there is.
pub const TOKENIZERS: [&str; 2] = [TOKENIZER, VOCABULARY];
/// The query table of a part: one of these, the first that there is.
pub const TABLES: [&str; 2] = [TENSORS, IDF];
/// The query table of a model without parts: one of these, the first that there is.
pub const NAMED_TABLES: [&str; 2] = [IDF, QUERY_WEIGHTS];

/// All that is read of a tokenizer.
pub const OF_TOKENIZER: [&str; 4] = [TOKENIZER, TOKENIZER_CONFIG, VOCABULARY, SPECIAL_TOKENS];
/// All that is read of a model in addition to its tokenizer and one file of weights.
pub const OF_MODEL: [&str; 8] =
    [CONFIG, PROMPTS, TRANSFORMER, MODULES, ROUTER, IDF, QUERY_WEIGHTS, OWN];

/// What a part of a kind, as [`MODULES`] names it, must have in its folder: one file of each group.
pub fn needed_by(kind: &str) -> &'static [&'static [&'static str]] {
    match kind.rsplit('.').next().unwrap_or_default() {
        _ if is_router(kind) => &[&[ROUTER]],
        "MLMTransformer" | "Transformer" => &[&[CONFIG], &WEIGHTS, &TOKENIZERS],
        "SparseStaticEmbedding" | "IDF" => &[&TABLES],
        "SpladePooling" | "Pooling" => &[&[CONFIG]],
        _ => &[],
    }
}

/// Whether a part of this kind leads to others by [`ROUTER`].
pub fn is_router(kind: &str) -> bool {
    kind.ends_with("Router") || kind.ends_with("Asym")
}
