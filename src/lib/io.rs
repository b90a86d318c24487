//! The door to files and pipes: inputs known by their first bytes, outputs that appear whole or not at all.
//!
//! The only module that opens files. `-` is standard input or output. It knows compression and the
//! difference between a pipe and a file, and nothing of what the bytes mean.

#![expect(clippy::disallowed_methods, reason = "the one module that opens files")]

pub mod folder;

use std::{
    fs::{self, File, Permissions},
    io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;
use memmap2::Mmap;
use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, Result};

/// The longest line that is read, in bytes: a longer one is refused before it fills the memory.
pub const MAX_LINE_BYTES: usize = 64 << 20;

const BUFFER_BYTES: usize = 256 << 10;

/// What the first bytes say an input is, after gzip or zstd was taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// `PAR1`
    Parquet,
    /// `ARROW1`
    ArrowFile,
    /// `FF FF FF FF`
    ArrowStream,
    /// Everything else, nothing at all included.
    Text,
}

/// An open input that knows its name and its kind.
pub struct Input {
    name: String,
    content: Content,
    reader: Box<dyn BufRead + Send>,
    plain: Option<File>,
    consumed: Consumed,
}

/// How much of an input was read so far, for progress and the time left.
#[derive(Clone, Debug, Default)]
pub struct Consumed {
    bytes: Arc<AtomicU64>,
    total: Option<u64>,
}

impl Consumed {
    /// The share of the stored bytes that was read, 0 to 1; none for a pipe.
    pub fn share(&self) -> Option<f64> {
        let total = self.total.filter(|&total| total > 0)?;
        Some((self.bytes.load(Ordering::Relaxed) as f64 / total as f64).min(1.0))
    }
}

struct Counted {
    file: File,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Input {
    /// Opens a path, or standard input for `-`; gzip and zstd are taken off.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened or its first bytes cannot be read.
    pub fn open(path: &Path) -> Result<Input> {
        if path == Path::new("-") {
            return Input::sniff("<stdin>".into(), Box::new(BufReader::new(io::stdin())), None);
        }
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        let kind = file.metadata().map_err(|source| Error::io(path, source))?;
        if kind.is_dir() {
            return Err(Error::format(path, "want a file, got a directory"));
        }
        let plain = if kind.is_file() { file.try_clone().ok() } else { None };
        let consumed =
            Consumed { bytes: Arc::default(), total: kind.is_file().then_some(kind.len()) };
        let counted = Counted { file, bytes: Arc::clone(&consumed.bytes) };
        let reader = BufReader::with_capacity(BUFFER_BYTES, counted);
        let input = Input::sniff(path.display().to_string(), Box::new(reader), plain)?;
        Ok(Input { consumed, ..input })
    }

    /// From a reader that is open already, under a name for messages.
    pub fn from_reader(name: &str, reader: impl Read + Send + 'static) -> Result<Input> {
        Input::sniff(name.to_owned(), Box::new(BufReader::new(reader)), None)
    }

    fn sniff(
        name: String,
        reader: Box<dyn BufRead + Send>,
        mut plain: Option<File>,
    ) -> Result<Input> {
        let fail = |source| Error::io(&name, source);
        let (mut head, mut reader) = peek(reader).map_err(fail)?;
        if head.starts_with(&[0x1f, 0x8b]) {
            let inner = BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(reader));
            (head, reader) = peek(Box::new(inner)).map_err(fail)?;
            plain = None;
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let decoder = zstd::Decoder::with_buffer(reader).map_err(fail)?;
            (head, reader) =
                peek(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))).map_err(fail)?;
            plain = None;
        }
        let content = match head.as_slice() {
            [b'P', b'A', b'R', b'1', ..] => Content::Parquet,
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Content::ArrowFile,
            [0xff, 0xff, 0xff, 0xff, ..] => Content::ArrowStream,
            _ => Content::Text,
        };
        // a second descriptor is kept only where a table needs it: corpora come in hundreds of files
        let plain = plain.filter(|_| matches!(content, Content::Parquet | Content::ArrowFile));
        Ok(Input { name, content, reader, plain, consumed: Consumed::default() })
    }

    /// The path as the user gave it, or `<stdin>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the first bytes say.
    pub fn content(&self) -> Content {
        self.content
    }

    /// A view of how far the reading has come.
    pub fn consumed(&self) -> Consumed {
        self.consumed.clone()
    }

    /// The bytes, from the first on.
    pub fn into_reader(self) -> Box<dyn BufRead + Send> {
        self.reader
    }

    /// The lines of a text input.
    pub fn lines(self) -> Lines {
        Lines { name: self.name, reader: self.reader, number: 0, done: false }
    }

    /// A file that can be read at any position: the input itself, or, for a pipe and for compressed
    /// bytes, a nameless temporary copy.
    ///
    /// # Errors
    /// [`Error::Io`] if the copy fails.
    pub fn into_seekable(mut self) -> Result<File> {
        let fail = |source| Error::io(&self.name, source);
        if let Some(mut file) = self.plain {
            file.rewind().map_err(fail)?;
            return Ok(file);
        }
        let mut copy = tempfile::tempfile().map_err(fail)?;
        io::copy(&mut self.reader, &mut copy).map_err(fail)?;
        copy.rewind().map_err(fail)?;
        Ok(copy)
    }
}

/// The first bytes (up to eight, fewer only at the end), and a reader that still has them.
fn peek(mut reader: Box<dyn BufRead + Send>) -> io::Result<(Vec<u8>, Box<dyn BufRead + Send>)> {
    let mut head = vec![0; 8];
    let mut filled = 0;
    // a terminal or a slow pipe may give one line only: what decides stands in its first bytes
    while filled < head.len() && !head[..filled].contains(&b'\n') {
        match reader.read(&mut head[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(filled);
    let whole = io::Cursor::new(head.clone()).chain(reader);
    Ok((head, Box::new(whole)))
}

/// One line of a text input, without its end (`\n` or `\r\n`) and without a byte order mark.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// From 1.
    pub number: u64,
    /// The text.
    pub text: String,
}

/// The lines of an input. A line that is too long or no UTF-8 is an [`Error::Line`] and the next
/// call goes on behind it; after an [`Error::Io`] there is nothing more.
pub struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    number: u64,
    done: bool,
}

impl Lines {
    /// The input's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next line as it stands, for whoever must show what was refused; [`Lines::check`] makes
    /// a [`Line`] of it.
    pub fn next_raw(&mut self) -> Option<Result<RawLine>> {
        if self.done {
            return None;
        }
        match self.read_line() {
            Ok((_, 0)) => {
                self.done = true;
                None
            }
            Ok((bytes, length)) => {
                self.number += 1;
                Some(Ok(RawLine { number: self.number, bytes, length }))
            }
            Err(source) => {
                self.done = true;
                Some(Err(Error::io(&self.name, source)))
            }
        }
    }

    fn read_line(&mut self) -> io::Result<(Vec<u8>, usize)> {
        let mut line = Vec::new();
        let mut length = 0;
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            let (taken, ended) = match memchr::memchr(b'\n', buffer) {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            length += taken;
            if length <= MAX_LINE_BYTES {
                line.extend_from_slice(&buffer[..taken]);
            } else {
                line = Vec::new();
            }
            self.reader.consume(taken);
            if ended {
                return Ok((line, length));
            }
        }
    }

    /// A line's text, without its end and without a byte order mark.
    ///
    /// # Errors
    /// [`Error::Line`] if it is too long or no UTF-8.
    pub fn check(&self, raw: RawLine) -> Result<Line> {
        let RawLine { number, mut bytes, length } = raw;
        let bad = |wanted: &str, found: String| Error::line(&self.name, number, wanted, found);
        if length > MAX_LINE_BYTES {
            let wanted = format!("a line of at most {} MiB", MAX_LINE_BYTES >> 20);
            return Err(bad(&wanted, format!("{length} bytes")));
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if number == 1 && bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
            bytes.drain(..3);
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Line { number, text }),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let byte = error.as_bytes()[at];
                Err(bad("UTF-8 text", format!("byte 0x{byte:02x} at column {}", at + 1)))
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Result<Line>> {
        self.next_raw().map(|raw| self.check(raw?))
    }
}

/// A line before it was checked.
#[derive(Clone, Debug)]
pub struct RawLine {
    /// From 1.
    pub number: u64,
    /// The bytes with their end; empty if the line is longer than [`MAX_LINE_BYTES`].
    pub bytes: Vec<u8>,
    /// The length of the line in the input, its end included.
    pub length: usize,
}

/// A whole small file as text.
///
/// # Errors
/// [`Error::Io`]; a file that is no UTF-8 is [`Error::Format`].
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|_| Error::format(path, "want UTF-8 text"))
}

/// A whole file.
///
/// # Errors
/// [`Error::Io`].
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| Error::io(path, source))
}

/// A file mapped into memory, read only.
///
/// # Errors
/// [`Error::Io`] if it cannot be opened or mapped (a pipe cannot).
pub fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    // SAFETY: the map is read only. A file that another process cuts short while it is mapped ends
    // this one by SIGBUS; our own writers never change a file in place, they rename a new one over it.
    unsafe { Mmap::map(&file) }.map_err(|source| Error::io(path, source))
}

/// Files that exist only until their output is committed.
static TEMPORARIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes the unfinished outputs of this process; for the handler of an interrupt.
pub fn remove_temporaries() {
    if let Ok(mut paths) = TEMPORARIES.lock() {
        for path in paths.drain(..) {
            let _ = fs::remove_file(path);
        }
    }
}

/// An output: standard output, a device or pipe written straight, or a file that is written beside
/// its target and takes the target's name in [`Output::commit`]. Dropped without a commit, it
/// leaves the target as it was.
pub struct Output {
    name: String,
    sink: Sink,
}

enum Sink {
    Stdout(BufWriter<io::Stdout>),
    Direct(BufWriter<File>),
    Beside { writer: BufWriter<File>, temporary: TempPath, target: PathBuf },
}

impl Output {
    /// Opens a path, or standard output for `-`. Call it before the long work: it fails early.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder is missing or not writable.
    pub fn create(path: &Path) -> Result<Output> {
        Output::unfinished_in(None, path)
    }

    /// As [`Output::create`], with the unfinished file in `folder`, which must be on the file system
    /// of `path`.
    ///
    /// # Errors
    /// As [`Output::create`].
    pub fn create_from(folder: &Path, path: &Path) -> Result<Output> {
        Output::unfinished_in(Some(folder), path)
    }

    fn unfinished_in(folder: Option<&Path>, path: &Path) -> Result<Output> {
        if path == Path::new("-") {
            let writer = BufWriter::with_capacity(BUFFER_BYTES, io::stdout());
            return Ok(Output { name: "<stdout>".into(), sink: Sink::Stdout(writer) });
        }
        let fail = |source| Error::io(path, source);
        let name = path.display().to_string();
        // a link is followed: its target is replaced, not the link
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let old = fs::metadata(&target).ok();
        if old.as_ref().is_some_and(|old| old.is_dir()) {
            return Err(Error::format(path, "want a file to write, got a directory"));
        }
        if old.as_ref().is_some_and(|old| !old.is_file()) {
            let file = File::options().write(true).open(&target).map_err(fail)?;
            let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
            return Ok(Output { name, sink: Sink::Direct(writer) });
        }
        let (file, temporary) = unfinished(folder, &target, old.map(|old| old.permissions()))
            .map_err(fail)?
            .into_parts();
        if let Ok(mut paths) = TEMPORARIES.lock() {
            paths.push(temporary.to_path_buf());
        }
        let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Output { name, sink: Sink::Beside { writer, temporary, target } })
    }

    /// The path as the user gave it, or `<stdout>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a person reads this on a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(&self.sink, Sink::Stdout(_)) && io::stdout().is_terminal()
    }

    /// Puts all bytes where they belong: syncs, then renames over the target.
    ///
    /// # Errors
    /// [`Error::Io`], for instance when the disk is full; the target is then as it was.
    pub fn commit(mut self) -> Result<()> {
        let name = self.name.clone();
        let fail = |source| Error::io(&name, source);
        self.flush().map_err(fail)?;
        if let Sink::Beside { writer, temporary, target } = self.sink {
            let file = writer.into_inner().map_err(|error| fail(error.into_error()))?;
            file.sync_all().map_err(fail)?;
            let unfinished = temporary.to_path_buf();
            temporary.persist(&target).map_err(|error| fail(error.error))?;
            if let Ok(mut paths) = TEMPORARIES.lock() {
                paths.retain(|path| *path != unfinished);
            }
            sync_folder(&target);
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Stdout(writer) => writer.write(bytes),
            Sink::Direct(writer) | Sink::Beside { writer, .. } => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Stdout(writer) => writer.flush(),
            Sink::Direct(writer) | Sink::Beside { writer, .. } => writer.flush(),
        }
    }
}

/// A temporary file in `folder` or else beside the target, hidden, with the permissions the target
/// will have.
fn unfinished(
    folder: Option<&Path>,
    target: &Path,
    old: Option<Permissions>,
) -> io::Result<NamedTempFile> {
    let beside = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let prefix = format!(".{name}.tmp.");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(old.unwrap_or_else(|| Permissions::from_mode(0o666)));
    }
    #[cfg(not(unix))]
    let _ = old;
    builder.tempfile_in(folder.unwrap_or(beside))
}

/// Makes a rename survive a power cut; not every file system can, and none needs to for us.
fn sync_folder(target: &Path) {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        let _ = folder.sync_all();
    }
}

/// A nameless temporary file for data that outgrow the memory.
///
/// # Errors
/// [`Error::Io`].
pub fn scratch() -> Result<File> {
    tempfile::tempfile().map_err(|source| Error::io("temporary file", source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let input = Input::from_reader("x", io::Cursor::new(bytes.to_vec())).unwrap();
        input
            .lines()
            .map(|line| match line {
                Ok(line) => format!("{} {}", line.number, line.text),
                Err(error) => error.to_string(),
            })
            .collect()
    }

    #[test]
    fn lines_lose_their_end_and_the_byte_order_mark() {
        assert_eq!(lines(b"a\r\nb\n\nc"), ["1 a", "2 b", "3 ", "4 c"]);
        assert_eq!(lines(b"\xef\xbb\xbfa\n"), ["1 a"]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_line_that_is_no_utf8_is_named_and_the_next_is_read() {
        assert_eq!(
            lines(b"a\nb\xffc\nd\n"),
            ["1 a", "x:2: want UTF-8 text, got byte 0xff at column 2", "3 d"]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_named_and_the_next_is_read() {
        let mut bytes = vec![b'x'; MAX_LINE_BYTES + 1];
        bytes.extend(b"\nnext\n");
        let found = format!("{} bytes", MAX_LINE_BYTES + 2);
        assert_eq!(
            lines(&bytes),
            [format!("x:1: want a line of at most 64 MiB, got {found}"), "2 next".to_owned()]
        );
    }

    #[test]
    fn gzip_and_zstd_are_taken_off() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"one\n").unwrap();
        let mut bytes = gzip.finish().unwrap();
        bytes.extend(bytes.clone()); // two members, as `cat a.gz b.gz` makes them
        assert_eq!(lines(&bytes), ["1 one", "2 one"]);
        assert_eq!(lines(&zstd::encode_all(&b"two\n"[..], 3).unwrap()), ["1 two"]);
    }

    #[test]
    fn the_first_bytes_tell_the_content() {
        for (bytes, content) in [
            (&b"PAR1...."[..], Content::Parquet),
            (b"ARROW1\0\0", Content::ArrowFile),
            (b"\xff\xff\xff\xff....", Content::ArrowStream),
            (b"{}", Content::Text),
            (b"", Content::Text),
        ] {
            let input = Input::from_reader("x", io::Cursor::new(bytes.to_vec())).unwrap();
            assert_eq!(input.content(), content);
        }
    }

    #[test]
    fn an_output_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"whole").unwrap();
        assert!(!path.exists());
        output.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
