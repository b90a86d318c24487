//! The models that ship with the programs: their files are in each program that calls [`carry`], which reads
//! them under `l0:NAME` as it reads any other model.

use std::path::Path;

use crate::io::{self, Folder};

/// What is taken where no model is named.
pub const DEFAULT: &str = "l0:default";

/// The names of the small model: it takes that of the larger one where that is missing.
const TINY: &[&str] = if cfg!(shipped_default) { &["tiny"] } else { &["tiny", "default"] };

/// A model that ships with the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shipped {
    /// 6 layers, 384 wide, with a vocabulary head.
    #[cfg(shipped_default)]
    Default,
    /// 2 layers, 128 wide.
    Tiny,
}

/// The files of a folder: those that both models have, and its own.
macro_rules! files {
    ($folder:literal: $($own:literal),*) => {
        files!(all of $folder:
            "config.json",
            "l0.json",
            "model.safetensors",
            "modules.json",
            "query_0_SparseStaticEmbedding/config.json",
            "query_0_SparseStaticEmbedding/model.safetensors",
            "router_config.json",
            "sentence_bert_config.json",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
            $($own),*
        )
    };
    (all of $folder:literal: $($name:literal),*) => {
        &[$((
            $name,
            include_bytes!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/src/lib/model/shipped/", $folder, "/", $name
            )),
        )),*]
    };
}

impl Shipped {
    /// Every one.
    pub const ALL: &[Shipped] = &[
        #[cfg(shipped_default)]
        Shipped::Default,
        Shipped::Tiny,
    ];

    /// Its names and its files.
    fn folder(self) -> &'static Folder {
        match self {
            #[cfg(shipped_default)]
            Shipped::Default => &Folder {
                names: &["default"],
                files: files!["default": "document_1_VocabularyHead/config.json"],
            },
            Shipped::Tiny => &Folder {
                names: TINY,
                files: files!["tiny": "document_1_SpladePooling/config.json", "train_config.toml"],
            },
        }
    }
}

/// Makes the models readable as `l0:NAME`, for the whole program, which has their files in it.
pub fn carry() {
    Shipped::ALL.iter().copied().map(Shipped::folder).for_each(io::carry);
}

/// The name that vectors give a shipped model, `l0-NAME`; none for another path.
pub(super) fn name_of(folder: &Path) -> Option<String> {
    let name = folder.to_str()?.strip_prefix(io::CARRIED)?;
    Some(format!("l0-{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout;

    #[test]
    fn every_file_is_one_of_a_model() {
        for folder in Shipped::ALL.iter().map(|model| model.folder()) {
            for (path, _) in folder.files {
                let name = path.rsplit('/').next().unwrap();
                let lists: [&[&str]; 4] =
                    [&layout::OF_MODEL, &layout::OF_TOKENIZER, &layout::WEIGHTS, &[layout::RECIPE]];
                assert!(lists.iter().any(|list| list.contains(&name)), "{path}");
            }
        }
    }
}
