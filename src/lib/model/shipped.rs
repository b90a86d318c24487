//! The model that ships with the programs: its files are in each program that asks for them.

use std::path::PathBuf;

use crate::io;

/// The name of the model, and of its folder below [`io::CARRIED`].
macro_rules! name {
    () => {
        "l0-tiny"
    };
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$((
            concat!(name!(), "/", $name),
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/model/", $name)),
        )),*]
    };
}

/// The directory of the shipped model, which is read like any other.
pub fn shipped() -> PathBuf {
    io::carry(files![
        "config.json",
        "document_1_SpladePooling/config.json",
        "l0.json",
        "model.safetensors",
        "modules.json",
        "query_0_SparseStaticEmbedding/config.json",
        "query_0_SparseStaticEmbedding/model.safetensors",
        "router_config.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]);
    PathBuf::from(io::CARRIED).join(name!())
}
