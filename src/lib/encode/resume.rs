//! Work that survives a kill: finished parts next to the output, and the proof that they belong to it.
//!
//! While `OUT` is being made with `--resume`, the folder `OUT.parts` holds parts of up to a few
//! thousand rows, each put in place whole. A later run reads the input again from the beginning,
//! checks that the documents of the parts are the same, and encodes what is left. At the end all
//! rows pass through one writer, so `OUT` has the bytes of an undisturbed run; then the folder goes.
//! Everything unfinished is in the folder, `OUT` itself too, so that a kill leaves nothing elsewhere.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

pub use super::manifest::Settings;
use super::{
    Source, Text, carried, finish,
    manifest::{FORMAT, Manifest},
};
use crate::{
    error::{Error, Result},
    io::{Input, Output, map},
    text::DocumentFrequencies,
    vectors::{self, Form, Row, VectorMeta, Writer},
};

/// A part is closed after this many rows or this much time, whatever comes first.
const PART_ROWS: u64 = 4096;
const PART_EVERY: Duration = Duration::from_secs(5);

/// The parts of one output.
pub struct Journal {
    folder: PathBuf,
    settings: Settings,
    meta: VectorMeta,
    keep_text: bool,
    empty_counts: Option<DocumentFrequencies>,
    parts: Vec<Manifest>,
    open: Option<Open>,
}

/// The part being written.
struct Open {
    writer: Writer,
    rows: u64,
    counted: Option<DocumentFrequencies>,
    since: Instant,
}

impl Journal {
    /// Opens the parts next to `output`; `settings` is everything besides the input that decides what
    /// the rows are; `empty_counts` are the document frequencies before the first document.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the parts were made with other settings or by a version that kept them in
    /// another form; [`Error::Format`] for a part that was damaged; [`Error::Io`].
    pub fn open(
        output: &Path,
        settings: Settings,
        meta: VectorMeta,
        keep_text: bool,
        empty_counts: Option<DocumentFrequencies>,
    ) -> Result<Journal> {
        // next to the file that will be replaced, not next to a link to it
        let linked = fs::canonicalize(output).ok().filter(|_| output.is_symlink());
        let mut name = linked.unwrap_or_else(|| output.to_path_buf()).into_os_string();
        name.push(".parts");
        let folder = PathBuf::from(name);
        let (parts, open) = (Vec::new(), None);
        let mut journal = Journal { folder, settings, meta, keep_text, empty_counts, parts, open };
        loop {
            let file = journal.file("json", journal.parts.len());
            if !file.exists() {
                return Ok(journal);
            }
            let manifest = Manifest::read(&file, &journal.folder)?;
            if let Some((name, expected, got)) = journal.settings.difference(&manifest.settings) {
                return Err(Error::Mismatch {
                    what: format!("unfinished work in {}: {name}", journal.folder.display()),
                    expected,
                    got,
                    remedy: "finish it with the options it was begun with, or remove the folder"
                        .into(),
                });
            }
            if manifest.first != journal.rows() {
                let (rows, found, folder) =
                    (journal.rows(), manifest.first, journal.folder.display());
                let reason = format!(
                    "expected the part after {rows} rows, found that after {found}; remove {folder} to begin again"
                );
                return Err(Error::format(&file, reason));
            }
            journal.check(&manifest)?;
            journal.parts.push(manifest);
        }
    }

    /// Whether the next part's rows are as they were written: reported now, not after the long work.
    fn check(&self, manifest: &Manifest) -> Result<()> {
        let file = self.file("arrow", self.parts.len());
        let found = InputHash::of_bytes(&map(&file)?).hex();
        if found == manifest.rows_sha256 {
            return Ok(());
        }
        let reason =
            format!("not as it was written; remove {} to begin again", self.folder.display());
        Err(Error::format(&file, reason))
    }

    /// Rows in finished parts.
    pub fn rows(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.first + part.rows)
    }

    fn create_folder(&self) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(|source| Error::io(&self.folder, source))
    }

    fn file(&self, extension: &str, part: usize) -> PathBuf {
        self.folder.join(format!("part-{part:06}.{extension}"))
    }

    /// The hash that the input must have after the finished rows.
    fn input_sha256(&self) -> Option<&str> {
        self.parts.last().map(|part| part.input_sha256.as_str())
    }

    /// Adds a row with the distinct terms of its text, up to which `input_sha256` is the hash.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn push(
        &mut self,
        row: &Row,
        terms: &[u32],
        input_sha256: impl FnOnce() -> String,
    ) -> Result<()> {
        if self.open.is_none() {
            self.create_folder()?;
            let output = Output::create(&self.file("arrow", self.parts.len()))?;
            let writer = Writer::new(output, Form::Arrow, &self.meta, self.keep_text)?;
            let (counted, since) = (self.empty_counts.clone(), Instant::now());
            self.open = Some(Open { writer, rows: 0, counted, since });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.writer.write(row)?;
        open.rows += 1;
        if let Some(counted) = &mut open.counted {
            counted.add(terms.iter().copied());
        }
        if open.rows >= PART_ROWS || open.since.elapsed() >= PART_EVERY {
            self.close(input_sha256())?;
        }
        Ok(())
    }

    fn close(&mut self, input_sha256: String) -> Result<()> {
        let Some(Open { writer, rows, counted, .. }) = self.open.take() else { return Ok(()) };
        finish(writer, counted.as_ref())?;
        let rows_sha256 = InputHash::of_bytes(&map(&self.file("arrow", self.parts.len()))?).hex();
        let (settings, first) = (self.settings.clone(), self.rows());
        let format = FORMAT;
        let manifest = Manifest { format, settings, first, rows, input_sha256, rows_sha256 };
        let file = self.file("json", self.parts.len());
        let mut output = Output::create(&file)?;
        serde_json::to_writer(&mut output, &manifest)
            .map_err(|error| Error::io(&file, error.into()))?;
        output.commit()?;
        self.parts.push(manifest);
        Ok(())
    }

    /// Writes all rows to `target`, puts it in place and removes the parts.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a part that was damaged.
    pub fn finish(mut self, target: &Path, form: Form, input_sha256: String) -> Result<()> {
        self.close(input_sha256)?;
        self.create_folder()?;
        let output = Output::create_from(&self.folder, target)?;
        let mut writer = Writer::new(output, form, &self.meta, self.keep_text)?;
        let mut counted = self.empty_counts.clone();
        for (part, manifest) in self.parts.iter().enumerate() {
            let input = Input::open(&self.file("arrow", part))?;
            let name = input.name().to_owned();
            let part_read = vectors::open(input, None)?;
            let mut count = 0;
            for row in part_read.rows {
                writer.write(&row?)?;
                count += 1;
            }
            if count != manifest.rows {
                let reason = format!("expected {} rows, found {count}", manifest.rows);
                return Err(Error::format(name, reason));
            }
            if let Some(counted) = &mut counted {
                let more = carried(&name, &part_read.ending, &self.meta)?;
                let absent =
                    "expected document frequencies, found none; remove the folder of parts";
                counted.merge(&more.ok_or_else(|| Error::format(name, absent))?)?;
            }
        }
        finish(writer, counted.as_ref())?;
        self.remove()
    }

    /// From the last part to the first, so that a kill leaves parts that follow one another.
    fn remove(self) -> Result<()> {
        for part in (0..self.parts.len()).rev() {
            let file = self.file("json", part);
            fs::remove_file(&file).map_err(|source| Error::io(&file, source))?;
        }
        fs::remove_dir_all(&self.folder).map_err(|source| Error::io(&self.folder, source))
    }
}

/// A running hash over texts; cheap compared with encoding them.
#[derive(Clone, Default)]
pub struct InputHash(Sha256);

impl InputHash {
    /// The hash of some bytes alone.
    pub fn of_bytes(bytes: &[u8]) -> InputHash {
        InputHash(Sha256::new_with_prefix(bytes))
    }

    /// Adds a text.
    pub fn add(&mut self, text: &Text) {
        for part in [&text.id, &text.title, &text.text] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part.as_bytes());
        }
    }

    /// The hash so far, in hex.
    pub fn hex(&self) -> String {
        self.0.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Reads past the texts whose rows are finished, and checks that they are the same.
///
/// # Errors
/// [`Error::Mismatch`] if the input changed; the first error of the input.
pub fn skip_finished(journal: &Journal, texts: &mut impl Source) -> Result<InputHash> {
    let mut hash = InputHash::default();
    let mut read = 0;
    for text in texts.by_ref().take(journal.rows() as usize) {
        hash.add(&text?);
        read += 1;
    }
    match journal.input_sha256() {
        Some(expected) if read != journal.rows() || hash.hex() != expected => {
            Err(Error::Mismatch {
                what: format!("input behind the unfinished work in {}", journal.folder.display()),
                expected: format!("{} documents with SHA-256 {expected}", journal.rows()),
                got: format!("{read} with {}", hash.hex()),
                remedy: "resume with the same input, or remove the folder to begin again".into(),
            })
        }
        _ => Ok(hash),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Shard, *};
    use crate::io::read_text;

    fn settings() -> Settings {
        let meta = VectorMeta { max_tokens: Some(64), ..VectorMeta::default() };
        Settings::new(&meta, "f00d".into(), Shard::WHOLE, false)
    }

    fn open(output: &Path, settings: Settings) -> Result<Journal> {
        Journal::open(output, settings, VectorMeta::default(), false, None)
    }

    /// An output with one finished part of one row.
    fn begun(folder: &Path) -> PathBuf {
        let output = folder.join("out.arrow");
        let mut journal = open(&output, settings()).unwrap();
        journal.push(&Row { id: "a".into(), ..Row::default() }, &[], String::new).unwrap();
        journal.close("beef".into()).unwrap();
        output
    }

    #[track_caller]
    fn check(output: &Path, settings: Settings, message: &str) {
        let error = open(output, settings).err().unwrap();
        assert!(matches!(error, Error::Mismatch { .. }), "{error:?}");
        assert!(error.to_string().contains(message), "{error}");
    }

    #[test]
    fn only_work_with_the_same_settings_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let output = begun(folder.path());
        assert_eq!(open(&output, settings()).unwrap().rows(), 1);
        let mut other = settings();
        other.max_tokens = Some(9);
        check(&output, other, "out.arrow.parts: max_tokens: expected 9, found 64; finish it with");
        let mut other = settings();
        other.model = "b".into();
        check(&output, other, "out.arrow.parts: model: expected b, found ;");
    }

    #[test]
    fn work_of_an_earlier_version_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let output = begun(folder.path());
        let file = folder.path().join("out.arrow.parts/part-000000.json");
        let text = read_text(&file).unwrap();
        assert!(text.starts_with(r#"{"format":2,"settings":{"role":"","#), "{text}");
        let newer = text.replacen("2", "3", 1);
        let debug = r#"{"settings":"VectorMeta { role: \"document\" }, shard 0/1","first":0,
            "rows":1,"input_sha256":"beef","rows_sha256":""}"#;
        for (manifest, found) in [(debug, "that of an earlier version"), (newer.as_str(), "3")] {
            fs::write(&file, manifest).unwrap();
            let message = format!(
                "out.arrow.parts: format: expected 2, found {found}; finish it with the version of l0 that \
                 began it, or remove the folder to begin again"
            );
            check(&output, settings(), &message);
        }
        fs::write(&file, &text[..text.len() / 2]).unwrap();
        let error = open(&output, settings()).err().unwrap();
        assert!(error.to_string().ends_with("out.arrow.parts to begin again"), "{error}");
    }
}
