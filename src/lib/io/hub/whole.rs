//! Whether a model in the cache is complete.
//!
//! Other tools fetch file by file, and a missing file is not always noticed: without its modules, its query
//! table or `l0.json` an inference-free model is taken for a Siamese one, or a threshold is not applied.
//! So a snapshot is used only if one of these says which files the model has:
//!
//! - l0's own list of what was downloaded, `.l0/COMMIT` next to the snapshots;
//! - `modules.json`, which names the parts, as `router_config.json` does; all they name must be there, and
//!   `l0.json` too if `README.md` mentions it, as the cards of l0's models do where it matters;
//! - `.no_exist/COMMIT/modules.json`, with which Hugging Face's library records that there is no such file;
//! - `.gitattributes`, which nothing asks for by itself: only a download of all files brings it. (A
//!   `README.md` proves nothing: model cards are fetched alone.) As it comes early in such a download, no
//!   file may be unfinished: there is no `.incomplete` among the blobs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use super::Need;
use crate::layout::{self, is_router};

/// A part of a model as `modules.json` names it.
#[derive(Deserialize)]
pub(super) struct Module {
    pub path: String,
    #[serde(default)]
    r#type: String,
}

/// What `router_config.json` says: parts by route, and of what kind each is.
#[derive(Deserialize)]
pub(super) struct Router {
    pub structure: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    types: BTreeMap<String, String>,
}

/// Where l0's list of a commit's files is, in the model's folder of the cache.
pub(super) fn list(folder: &Path, commit: &str) -> PathBuf {
    folder.join(".l0").join(commit)
}

/// What a commit's snapshot, in the model's folder of the cache, lacks or is not known to have; `None` if it
/// is complete.
pub(super) fn lack(folder: &Path, commit: &str, need: Need) -> Option<String> {
    let snapshot = folder.join("snapshots").join(commit);
    if need == Need::Tokenizer {
        let below = fs::read_dir(&snapshot).into_iter().flatten().flatten();
        let mut folders = below.map(|entry| entry.path()).filter(|path| path.is_dir());
        let is_there = any(&snapshot, &layout::TOKENIZERS).is_none()
            || folders.any(|folder| any(&folder, &layout::TOKENIZERS).is_none());
        return (!is_there).then(|| either(&layout::TOKENIZERS));
    }
    if let Ok(files) = fs::read_to_string(list(folder, commit)) {
        let mut lost = files.lines().filter(|file| !snapshot.join(file).exists());
        return lost.next().map(str::to_owned);
    }
    if snapshot.join(layout::MODULES).exists() {
        return named(&snapshot);
    }
    let has_none = folder.join(".no_exist").join(commit).join(layout::MODULES).exists();
    if !has_none && !is_download_of_all(folder, &snapshot) {
        return Some("modules.json, if the model has one: nothing there says".into());
    }
    part(&snapshot, "", "Transformer")
}

/// Whether all files were asked for, and none is unfinished.
fn is_download_of_all(folder: &Path, snapshot: &Path) -> bool {
    let blobs = fs::read_dir(folder.join("blobs")).into_iter().flatten().flatten();
    let is_partial = |path: PathBuf| path.extension().is_some_and(|end| end == "incomplete");
    snapshot.join(".gitattributes").exists() && !blobs.map(|blob| blob.path()).any(is_partial)
}

/// What is missing of the files that `modules.json`, and the files it leads to, name.
fn named(snapshot: &Path) -> Option<String> {
    let card = fs::read(snapshot.join(layout::CARD)).unwrap_or_default();
    let is_ours = memchr::memmem::find(&card, b"`l0.json`").is_some();
    if is_ours && !snapshot.join(layout::OWN).exists() {
        return Some(layout::OWN.into());
    }
    // the loader reports what cannot be read
    let modules: Vec<Module> = parse(&snapshot.join(layout::MODULES))?;
    modules.iter().find_map(|module| part(snapshot, &module.path, &module.r#type))
}

/// What is missing of a part in a folder of the snapshot.
fn part(snapshot: &Path, at: &str, kind: &str) -> Option<String> {
    let folder = snapshot.join(at);
    if let Some(lost) = layout::needed_by(kind).iter().find_map(|names| any(&folder, names)) {
        return Some(if at.is_empty() { lost } else { format!("{lost} in {at}") });
    }
    if !is_router(kind) {
        return None;
    }
    let router: Router = parse(&folder.join(layout::ROUTER))?;
    router.structure.values().flatten().find_map(|name| {
        // a router in a router is not followed: it could lead to itself
        let kind = router.types.get(name).filter(|kind| !is_router(kind))?;
        part(snapshot, Path::new(at).join(name).to_str()?, kind)
    })
}

/// The names, if a folder has no file of these names.
fn any(folder: &Path, names: &[&str]) -> Option<String> {
    (!names.iter().any(|name| folder.join(name).exists())).then(|| either(names))
}

fn either(names: &[&str]) -> String {
    names.join(" or ")
}

fn parse<T: DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const BARE: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];
    const MODULES: &str = r#"[{"path":"","type":"a.Router"}]"#;
    const ROUTER: &str = r#"{"types":{"":"a.MLMTransformer","q":"a.SparseStaticEmbedding","p":"a.SpladePooling"},
        "structure":{"query":["q"],"document":["","p"]}}"#;

    const AROUND: &str = r#"{"types":{"":"a.Router"},"structure":{"query":[""]}}"#;

    /// Files of a model's folder in the cache, `+` for the snapshot's.
    fn lacks(files: &[(&str, &str)], need: Need) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let name = name.replace('+', &format!("snapshots/{COMMIT}/"));
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        lack(folder.path(), COMMIT, need)
    }

    fn of_bare(more: &[(&str, &str)]) -> Option<String> {
        let bare = BARE.map(|name| format!("+{name}"));
        let mut files: Vec<(&str, &str)> = bare.iter().map(|name| (name.as_str(), "{}")).collect();
        files.extend(more);
        lacks(&files, Need::Model)
    }

    #[test]
    fn a_bare_model_is_taken_where_something_says_that_it_is_whole() {
        let unknown = "modules.json, if the model has one";
        assert!(of_bare(&[]).unwrap().starts_with(unknown));
        assert!(of_bare(&[("+README.md", ""), ("+idf.json", "")]).unwrap().starts_with(unknown));
        assert_eq!(of_bare(&[("+.gitattributes", "")]), None);
        let broken_off = [("+.gitattributes", ""), ("blobs/a.incomplete", "")];
        assert!(of_bare(&broken_off).unwrap().starts_with(unknown));
        let asked = format!(".no_exist/{COMMIT}/modules.json");
        assert_eq!(of_bare(&[(&asked, "")]), None);
        let of_another = format!(".no_exist/{}/modules.json", COMMIT.replace('0', "1"));
        assert!(of_bare(&[(&of_another, "")]).unwrap().starts_with(unknown));
        // what a query table has is no network
        let table = [("+config.json", ""), ("+tokenizer.json", ""), ("+q/model.safetensors", "")];
        let table = [&table[..], &[("+.gitattributes", "")]].concat();
        assert_eq!(lacks(&table, Need::Model).unwrap(), "model.safetensors or pytorch_model.bin");
    }

    #[test]
    fn all_that_modules_and_routers_name_is_wanted() {
        let whole = [
            ("+modules.json", MODULES),
            ("+router_config.json", ROUTER),
            ("+q/model.safetensors", ""),
            ("+p/config.json", ""),
        ];
        assert_eq!(of_bare(&whole), None);
        for (at, lost) in [
            (1, "router_config.json"),
            (2, "model.safetensors or idf.json in q"),
            (3, "config.json in p"),
        ] {
            let mut part = whole.to_vec();
            part.remove(at);
            assert_eq!(of_bare(&part).unwrap(), lost);
            part.push(("+.gitattributes", ""));
            assert_eq!(of_bare(&part).unwrap(), lost, "a download of all that is not all");
        }
        let network = lacks(&whole, Need::Model).unwrap();
        assert_eq!(network, "config.json");
        let plain =
            r#"[{"path":"0","type":"a.MLMTransformer"},{"path":"p","type":"a.SpladePooling"}]"#;
        let plain = [("+modules.json", plain), ("+p/config.json", "")];
        assert_eq!(of_bare(&plain).unwrap(), "config.json in 0", "the network is in its folder");
    }

    #[test]
    fn our_own_conventions_are_wanted_where_the_card_speaks_of_them() {
        let plain = r#"[{"path":"","type":"a.MLMTransformer"}]"#;
        let card = "the trained threshold in `l0.json`";
        let mut files = vec![("+modules.json", plain), ("+README.md", card)];
        assert_eq!(of_bare(&files).unwrap(), "l0.json");
        files.push(("+l0.json", "{}"));
        assert_eq!(of_bare(&files), None);
    }

    #[test]
    fn our_own_list_names_what_must_be_there() {
        let list = format!(".l0/{COMMIT}");
        assert_eq!(of_bare(&[(&list, "config.json\nmodel.safetensors\n")]), None);
        assert_eq!(of_bare(&[(&list, "config.json\nq/idf.json\n")]).unwrap(), "q/idf.json");
    }

    #[test]
    fn what_cannot_be_read_is_left_to_the_loader() {
        for (modules, router) in [
            ("[", ROUTER),
            ("{}", ROUTER),
            (MODULES, "{"),
            (MODULES, "[]"),
            ("", ""),
            (MODULES, AROUND),
        ] {
            let files = [("+modules.json", modules), ("+router_config.json", router)];
            assert_eq!(of_bare(&files), None, "{modules} {router}");
        }
    }

    #[test]
    fn a_tokenizer_may_stand_in_a_folder() {
        assert_eq!(lacks(&[("+vocab.txt", "")], Need::Tokenizer), None);
        assert_eq!(lacks(&[("+q/tokenizer.json", "")], Need::Tokenizer), None);
        let lost = lacks(&[("+config.json", "")], Need::Tokenizer).unwrap();
        assert_eq!(lost, "tokenizer.json or vocab.txt");
    }
}
