//! Models under their names on a hub, `org/name` or `org/name@revision`: where they are in the cache that
//! Hugging Face's libraries share, and, with the cargo feature `hub`, how they are downloaded into it.
//!
//! The cache holds `models--org--name/refs/REVISION` (a commit), `blobs/HASH` and
//! `snapshots/COMMIT/FILE`, links to blobs. A model that is known to be complete (`whole`) is used
//! without a request.

#[cfg(feature = "hub")]
mod fetch;
#[cfg(feature = "hub")]
mod http;
mod whole;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::carried;
use crate::error::{Error, Result};

/// The revision of a name that does not give one.
const MAIN: &str = "main";
/// Where downloads come from, unless `HF_ENDPOINT` is set.
#[cfg(feature = "hub")]
const ENDPOINT: &str = "https://huggingface.co";

/// What a directory is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A network, with all its files.
    Model,
    /// Only a tokenizer.
    Tokenizer,
}

/// A model on the hub.
#[derive(Clone, Debug, PartialEq)]
struct Name {
    /// `org/name`.
    repository: String,
    /// A branch, a tag or a commit.
    revision: String,
}

/// The progress of a download.
#[derive(Clone, Debug)]
pub struct Download<'a> {
    /// The model, `org/name@commit`.
    pub model: &'a str,
    /// The file in it.
    pub file: &'a str,
    /// Bytes that have arrived.
    pub done: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

type Teller = Box<dyn Fn(&Download) + Send + Sync>;
static TELLER: OnceLock<Teller> = OnceLock::new();

/// Sets, once, what the progress of downloads is reported to.
pub fn tell_downloads(teller: impl Fn(&Download) + Send + Sync + 'static) {
    let _ = TELLER.set(Box::new(teller));
}

impl Name {
    /// A name of the form `org/name` or `org/name@revision`; `None` for anything else.
    fn parse(path: &Path) -> Option<Name> {
        let text = path.to_str()?;
        let (repository, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let (org, name) = repository.split_once('/')?;
        let is_part = |part: &str| {
            let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(is_known)
        };
        let is_sound = is_part(org) && is_part(name) && revision.split('/').all(is_part);
        is_sound.then(|| Name { repository: repository.into(), revision: revision.into() })
    }

    /// Its folder in the cache.
    fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(format!("models--{}", self.repository.replace('/', "--")))
    }

    /// The commit that the cache has for the revision, or the revision itself if it is a commit.
    fn commit(&self, folder: &Path) -> Option<String> {
        let known = fs::read_to_string(folder.join("refs").join(&self.revision)).ok();
        let known = known.map(|text| text.trim().to_owned()).filter(|commit| is_commit(commit));
        known.or_else(|| is_commit(&self.revision).then(|| self.revision.clone()))
    }
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The cache of Hugging Face's libraries; `None` if no home directory is known either.
fn cache() -> Option<PathBuf> {
    let of = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("HF_HUB_CACHE")
        .or_else(|| of("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| of("XDG_CACHE_HOME").map(|home| home.join("huggingface/hub")))
        .or_else(|| of("HOME").map(|home| home.join(".cache/huggingface/hub")))
}

/// The directory that a path, the name of an embedded folder (`l0:NAME`) or a name on the hub means. A path
/// that exists is used as it is, and so is anything that does not have the form of a name.
///
/// # Errors
/// [`Error::Format`] for a folder that is not embedded, naming those that are, and for a name that neither a
/// directory nor the cache has, or that is incomplete in the cache, saying where it was looked for and what
/// to do; with the feature `hub`, [`Error::Format`] and [`Error::Io`] of the download.
pub fn resolve(path: &Path, need: Need) -> Result<PathBuf> {
    if let Some(found) = carried::resolve(path) {
        return found;
    }
    if super::exists(path) {
        return Ok(path.to_owned());
    }
    let Some(name) = Name::parse(path) else { return Ok(path.to_owned()) };
    let Some(cache) = cache() else {
        let reason = "expected a model directory, found none of that name; nor is there a cache of Hugging \
                      Face: neither HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME nor HOME is set";
        return Err(Error::format(path, reason));
    };
    let folder = name.folder(&cache);
    let snapshot = |commit: &str| folder.join("snapshots").join(commit);
    let commit = name.commit(&folder).filter(|commit| snapshot(commit).is_dir());
    let lack = commit.as_ref().map(|commit| whole::lack(&folder, commit, need));
    if let (Some(commit), Some(None)) = (&commit, &lack) {
        return Ok(snapshot(commit));
    }
    #[cfg(feature = "hub")]
    if !is_offline() {
        return fetch::fetch(&name, &folder, need).map_err(|error| asked(path, error));
    }
    Err(match (commit, lack.flatten()) {
        (Some(commit), Some(lack)) => partial(path, &name, &snapshot(&commit), &lack),
        _ => absent(path, &name, &folder),
    })
}

/// A hub's refusal, with the reason for asking it: the name may be a mistyped path.
#[cfg(feature = "hub")]
fn asked(path: &Path, error: Error) -> Error {
    match error {
        Error::Format { path: url, reason } => {
            let host = http::endpoint();
            let reason = format!(
                "no such directory is here, nor is all of it in the cache of Hugging Face, so {host} was \
                 asked: {url}: {reason}"
            );
            Error::format(path, reason)
        }
        other => other,
    }
}

fn partial(path: &Path, name: &Name, snapshot: &Path, lack: &str) -> Error {
    let Name { repository, revision } = name;
    let revision = match revision.as_str() {
        MAIN => String::new(),
        revision => format!(" --revision {revision}"),
    };
    let online = if cfg!(feature = "hub") {
        "unset HF_HUB_OFFLINE to have the rest downloaded, or "
    } else {
        ""
    };
    let reason = format!(
        "expected all of the model, found a part of it in the cache of Hugging Face: {} lacks {lack}; \
         {online}bring the rest with `hf download {repository}{revision}`, or name that directory to take \
         it as it is",
        snapshot.display()
    );
    Error::format(path, reason)
}

fn absent(path: &Path, name: &Name, folder: &Path) -> Error {
    let Name { repository, revision } = name;
    let remedy = if cfg!(feature = "hub") {
        "HF_HUB_OFFLINE is set: unset it to have it downloaded".to_owned()
    } else {
        format!(
            "download it with `hf download {repository}`, or build l0 with the feature `hub`, \
             which downloads"
        )
    };
    let reason = format!(
        "expected a model directory, found none of that name; nor is its revision {revision} in the cache \
         of Hugging Face, {}; {remedy}",
        folder.display()
    );
    Error::format(path, reason)
}

#[cfg(feature = "hub")]
fn is_offline() -> bool {
    let value = env::var("HF_HUB_OFFLINE").unwrap_or_default().to_lowercase();
    matches!(value.as_str(), "1" | "true" | "yes" | "on")
}

/// `org/name@commit` for a snapshot in a cache, whose path has both; `None` for other folders.
pub fn name_of(folder: &Path) -> Option<String> {
    let commit = folder.file_name()?.to_str().filter(|name| is_commit(name))?;
    let snapshots = folder.parent()?;
    let model = snapshots.parent()?.file_name()?.to_str()?.strip_prefix("models--")?;
    // an organisation's name has no `--`
    let is_ours = snapshots.file_name()? == "snapshots";
    is_ours.then(|| format!("{}@{commit}", model.replacen("--", "/", 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_apart_from_paths() {
        let parsed = |text: &str| {
            let name = Name::parse(Path::new(text));
            name.map(|name| format!("{} {}", name.repository, name.revision))
        };
        assert_eq!(parsed("org/name").unwrap(), "org/name main");
        assert_eq!(parsed("org/a.b-c_1@v1.0").unwrap(), "org/a.b-c_1 v1.0");
        assert_eq!(parsed("org/name@refs/pr/1").unwrap(), "org/name refs/pr/1");
        for path in [
            "bm25",
            "name",
            "/abs/name",
            "./name",
            "../name",
            "a/b/c",
            "org/",
            "/name",
            "org/name@",
            "org/name@..",
            "org/name@a/../b",
            "org/na me",
            "org/name@a@b",
            "l0:tiny",
            "",
        ] {
            assert_eq!(parsed(path), None, "{path}");
        }
    }

    #[test]
    fn snapshots_have_names() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let path = PathBuf::from("/c/models--org--a--b/snapshots").join(commit);
        assert_eq!(name_of(&path).unwrap(), format!("org/a--b@{commit}"));
        assert_eq!(name_of(&path.join("query")), None);
        assert_eq!(name_of(Path::new("/c/models--org--a/snapshots/main")), None);
        assert_eq!(name_of(&Path::new("/models/x").join(commit)), None);
    }
}
