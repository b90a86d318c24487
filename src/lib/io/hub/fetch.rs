//! Downloads into the cache, in this order: blobs, each complete and checked; links to them; l0's list of
//! files; the name of the revision.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{
    Download, Name, Need, TELLER,
    http::{Failed, Hub, Tries},
    is_commit,
    whole::{self, Module, Router},
};
use crate::{
    error::{Error, Result},
    io::{BUFFER_BYTES, folder},
    layout,
};

/// A hub's description of a revision.
#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Clone, Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Clone, Deserialize)]
struct Lfs {
    sha256: String,
    size: Option<u64>,
}

/// A file and its bytes, which the cache names by their hash.
struct Blob {
    file: String,
    size: u64,
    /// SHA-256 of the bytes, 64 digits, or git's SHA-1 of them, 40.
    hash: String,
}

/// A revision that is being downloaded.
struct Fetch<'a> {
    hub: Hub,
    name: &'a Name,
    commit: String,
    /// `models--org--name`.
    folder: &'a Path,
    files: BTreeMap<String, Sibling>,
}

/// Downloads the files of a model that are needed and missing; returns its snapshot.
///
/// # Errors
/// [`Error::Format`] naming the address, its answer and the remedy, or the file whose hash is not the one
/// that the hub states; [`Error::Io`].
pub(super) fn fetch(name: &Name, folder: &Path, need: Need) -> Result<PathBuf> {
    let hub = Hub::from_environment();
    let Name { repository, revision } = name;
    let revision = revision.replace('/', "%2F");
    let url = hub.address(&format!("api/models/{repository}/revision/{revision}?blobs=true"));
    let info: Info = parse(&url, &hub.text(&url, repository)?)?;
    if !is_commit(&info.sha) {
        return Err(Error::format(&url, format!("expected a commit, found `{}`", info.sha)));
    }
    folder::make(&folder.join("blobs"))?;
    // one process downloads, the others wait and find it
    let _alone = folder::wait_for(folder)?;
    let files = info.siblings.into_iter().filter(|file| is_below(&file.rfilename));
    let files = files.map(|file| (file.rfilename.clone(), file)).collect();
    let fetch = Fetch { hub, name, commit: info.sha, folder, files };
    let wanted = fetch.wanted(need)?;
    let blobs = wanted.iter().map(|file| fetch.blob(file)).collect::<Result<Vec<_>>>()?;
    blobs.iter().try_for_each(|blob| fetch.download(blob))?;
    let snapshot = fetch.link(&blobs)?;
    if need == Need::Model {
        // so that the next run knows the snapshot is complete
        let list = whole::list(folder, &fetch.commit);
        folder::make(list.parent().unwrap_or(folder))?;
        let files: String = wanted.iter().map(|file| format!("{file}\n")).collect();
        folder::write(&list, files.as_bytes())?;
    }
    fetch.name_revision()?;
    Ok(snapshot)
}

/// Whether a path stays within its folder.
fn is_below(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn parse<T: DeserializeOwned>(url: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::format(url, error.to_string()))
}

impl Fetch<'_> {
    /// The model as others name it.
    fn model(&self) -> String {
        format!("{}@{}", self.name.repository, self.commit)
    }

    fn url(&self, file: &str) -> String {
        let file =
            file.replace('%', "%25").replace(' ', "%20").replace('#', "%23").replace('?', "%3F");
        self.hub.address(&format!("{}/resolve/{}/{file}", self.name.repository, self.commit))
    }

    /// The files that are needed, in byte order.
    fn wanted(&self, need: Need) -> Result<BTreeSet<String>> {
        let mut wanted = BTreeSet::new();
        let folders = match need {
            Need::Tokenizer => BTreeSet::from([String::new()]),
            Need::Model => self.folders()?,
        };
        let is_there = |file: &String| self.files.contains_key(file);
        for folder in folders {
            let at = |name: &&str| format!("{folder}{name}");
            wanted.extend(layout::OF_TOKENIZER.iter().map(at).filter(is_there));
            if need == Need::Model {
                wanted.extend(layout::OF_MODEL.iter().map(at).filter(is_there));
                wanted.extend(layout::WEIGHTS.iter().map(at).find(is_there));
            }
        }
        let has = |names: &[&str]| {
            let ends =
                |file: &String| names.iter().any(|name| file.rsplit('/').next() == Some(name));
            wanted.iter().any(ends)
        };
        let network = || has(&[layout::CONFIG]) && has(&layout::WEIGHTS);
        if !has(&layout::TOKENIZERS) || (need == Need::Model && !network()) {
            let files: Vec<&str> = self.files.keys().take(20).map(String::as_str).collect();
            let reason = format!(
                "expected a model: config.json, tokenizer.json or vocab.txt, model.safetensors or \
                 pytorch_model.bin; found {}",
                files.join(", ")
            );
            return Err(Error::format(self.hub.address(&self.name.repository), reason));
        }
        Ok(wanted)
    }

    /// The folders of a model, `""` and what its modules name, each with a `/` at the end.
    fn folders(&self) -> Result<BTreeSet<String>> {
        let mut folders = BTreeSet::from([String::new()]);
        if let Some(modules) = self.small::<Vec<Module>>(layout::MODULES)? {
            let paths =
                modules.into_iter().map(|module| module.path).filter(|path| !path.is_empty());
            folders.extend(paths.map(|path| format!("{}/", path.trim_end_matches('/'))));
        }
        let mut below = Vec::new();
        for folder in &folders {
            if let Some(router) = self.small::<Router>(&format!("{folder}router_config.json"))? {
                let names = router.structure.into_values().flatten();
                below.extend(names.map(|name| format!("{folder}{name}/")));
            }
        }
        folders.extend(below);
        Ok(folders)
    }

    /// A small file that names others; `None` if the model does not have it.
    fn small<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>> {
        if !self.files.contains_key(file) {
            return Ok(None);
        }
        let blob = self.blob(file)?;
        self.download(&blob)?;
        let text = crate::io::read_text(&self.place(&blob))?;
        parse(&self.url(file), &text).map(Some)
    }

    fn blob(&self, file: &str) -> Result<Blob> {
        let bad =
            |what: &str| Error::format(self.url(file), format!("expected {what}, found none"));
        let known = self.files.get(file).ok_or_else(|| bad("the file"))?;
        let (hash, size, digits) = match &known.lfs {
            Some(lfs) => (Some(&lfs.sha256), lfs.size.or(known.size), 64),
            None => (known.blob_id.as_ref(), known.size, 40),
        };
        let is_hash = |hash: &&String| {
            hash.len() == digits && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let hash =
            hash.filter(is_hash).ok_or_else(|| bad("its hash in what the hub says"))?.clone();
        let size = size.ok_or_else(|| bad("its size in what the hub says"))?;
        Ok(Blob { file: file.to_owned(), size, hash })
    }

    fn place(&self, blob: &Blob) -> PathBuf {
        self.folder.join("blobs").join(&blob.hash)
    }

    /// Downloads a blob unless the cache has it; continues where an earlier attempt stopped.
    fn download(&self, blob: &Blob) -> Result<()> {
        let target = self.place(blob);
        if fs::metadata(&target).is_ok_and(|there| there.len() == blob.size) {
            return Ok(());
        }
        let partial = target.with_extension("l0.incomplete");
        let fail = |source| Error::io(&partial, source);
        let options =
            File::options().read(true).write(true).create(true).truncate(false).open(&partial);
        let mut file = options.map_err(fail)?;
        if file.metadata().map_err(fail)?.len() > blob.size {
            file.set_len(0).map_err(fail)?;
        }
        let mut have = file.metadata().map_err(fail)?.len();
        let (mut furthest, mut tries) = (have, Tries::default());
        while have < blob.size {
            let failed = self.go_on(blob, &mut file);
            have = file.metadata().map_err(fail)?.len();
            let reason = match failed {
                Ok(()) if have >= blob.size => break,
                Ok(()) => "the connection ended early".to_owned(),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Passing(reason)) => reason,
            };
            if have > furthest {
                furthest = have;
                tries.forget();
            }
            tries.pause().map_err(|tries| {
                let reason = format!(
                    "{reason}, with {have} of {} bytes there after {tries} tries that came no further; run \
                     it again to go on from there",
                    blob.size
                );
                Error::format(self.url(&blob.file), reason)
            })?;
        }
        let found = hash(&mut file, blob).map_err(fail)?;
        if found != blob.hash {
            fs::remove_file(&partial).map_err(fail)?;
            let reason = format!(
                "expected bytes of hash {}, found {found}; what came was thrown away: run it again",
                blob.hash
            );
            return Err(Error::format(self.url(&blob.file), reason));
        }
        file.sync_all().map_err(fail)?;
        fs::rename(&partial, &target).map_err(fail)
    }

    /// Appends the rest of a blob to a file, as far as it arrives.
    fn go_on(&self, blob: &Blob, file: &mut File) -> Result<(), Failed> {
        let fail = |source| Failed::Final(Error::io(self.folder, source));
        let have = file.seek(SeekFrom::End(0)).map_err(fail)?;
        let (begins, mut body) =
            self.hub.open(&self.url(&blob.file), have, &self.name.repository)?;
        file.set_len(begins).map_err(fail)?;
        let mut done = file.seek(SeekFrom::Start(begins)).map_err(fail)?;
        let model = self.model();
        let mut buffer = vec![0; BUFFER_BYTES];
        while done < blob.size {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(Failed::Passing(error.to_string())),
            };
            // nothing after the stated length is read; the hash decides
            let count = count.min(usize::try_from(blob.size - done).unwrap_or(count));
            file.write_all(&buffer[..count]).map_err(fail)?;
            done += count as u64;
            if let Some(tell) = TELLER.get() {
                tell(&Download { model: &model, file: &blob.file, done, total: blob.size });
            }
        }
        Ok(())
    }

    /// Makes the snapshot of links to blobs.
    fn link(&self, blobs: &[Blob]) -> Result<PathBuf> {
        let snapshot = self.folder.join("snapshots").join(&self.commit);
        for blob in blobs {
            let link = snapshot.join(&blob.file);
            folder::make(link.parent().unwrap_or(&snapshot))?;
            let up = "../".repeat(2 + blob.file.matches('/').count());
            place(&format!("{up}blobs/{}", blob.hash), &self.place(blob), &link)
                .map_err(|source| Error::io(&link, source))?;
        }
        Ok(snapshot)
    }

    /// Records which commit the revision is.
    fn name_revision(&self) -> Result<()> {
        if is_commit(&self.name.revision) {
            return Ok(());
        }
        let file = self.folder.join("refs").join(&self.name.revision);
        folder::make(file.parent().unwrap_or(self.folder))?;
        folder::write(&file, self.commit.as_bytes())
    }
}

/// Links to a blob, or copies it on a file system without links.
fn place(to: &str, blob: &Path, link: &Path) -> std::io::Result<()> {
    if link.exists() {
        return Ok(());
    }
    // a broken link is in the way
    let _ = fs::remove_file(link);
    #[cfg(unix)]
    {
        let _ = blob;
        std::os::unix::fs::symlink(to, link)
    }
    #[cfg(not(unix))]
    {
        let _ = to;
        fs::copy(blob, link).map(drop)
    }
}

/// The hash of a file's bytes, of the same kind as the blob's.
fn hash(file: &mut File, blob: &Blob) -> std::io::Result<String> {
    file.rewind()?;
    let mut sha256 = Sha256::new();
    let mut sha1 = Sha1::new_with_prefix(format!("blob {}\0", blob.size));
    let is_sha256 = blob.hash.len() == 64;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        if is_sha256 { sha256.update(&buffer[..count]) } else { sha1.update(&buffer[..count]) }
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(if is_sha256 { hex(&sha256.finalize()) } else { hex(&sha1.finalize()) })
}
