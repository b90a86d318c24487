//! Models that several tests begin with.

use std::{fs, path::Path};

use safetensors::SafeTensors;

/// The files of the small model that ships with the programs.
pub const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib/model/shipped/tiny");

/// A toy model as `BertModel` or `DistilBertModel` saves it, in a folder of `above`: no
/// prefix, the pooler of a BERT, no head.
pub fn headless(above: &Path, toy: &str, prefix: &str) -> String {
    let (toy, folder) = (Path::new("testdata").join(toy), above.join("headless"));
    fs::create_dir_all(&folder).unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"] {
        fs::copy(toy.join(name), folder.join(name)).unwrap();
    }
    let bytes = fs::read(toy.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let bare = tensors.tensors().into_iter();
    let bare =
        bare.filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor)));
    let mut bare: Vec<_> = bare.collect();
    if prefix == "bert." {
        let pooler = tensors.tensor("bert.embeddings.LayerNorm.bias").unwrap();
        bare.push(("pooler.dense.bias".to_owned(), pooler));
    }
    let bytes = safetensors::serialize(bare, None).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    folder.to_str().unwrap().to_owned()
}
