//! An input with its name, its kind and how far it was read.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;

use super::{BUFFER_BYTES, Lines, stores};
use crate::error::{Error, Result};

/// The kind of an input by its first bytes, after decompression of gzip or zstd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// `PAR1`
    Parquet,
    /// `ARROW1`
    ArrowFile,
    /// `FF FF FF FF`
    ArrowStream,
    /// Everything else, including an empty input.
    Text,
}

/// An open input that knows its name and its kind.
pub struct Input {
    name: String,
    content: Content,
    reader: Box<dyn BufRead + Send>,
    plain: Option<File>,
    consumed: Consumed,
    stop: Stop,
}

/// How much of an input was read so far, for progress and the time left.
#[derive(Clone, Debug, Default)]
pub struct Consumed {
    bytes: Arc<AtomicU64>,
    total: Option<u64>,
}

impl Consumed {
    /// For work of a known size in some unit, none of it done.
    pub fn of(total: u64) -> Consumed {
        Consumed { bytes: Arc::default(), total: Some(total) }
    }

    /// Counts more done.
    pub fn add(&self, more: u64) {
        self.bytes.fetch_add(more, Ordering::Relaxed);
    }

    /// The share of the stored bytes that was read, 0 to 1; none for a pipe.
    pub fn share(&self) -> Option<f64> {
        let total = self.total.filter(|&total| total > 0)?;
        Some((self.bytes.load(Ordering::Relaxed) as f64 / total as f64).min(1.0))
    }

    /// Sets the share that was read, if bytes do not show it.
    pub fn come_to(&self, share: f64) {
        if let Some(total) = self.total {
            self.bytes.store((share * total as f64) as u64, Ordering::Relaxed);
        }
    }
}

struct Counted<R> {
    reader: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Ends the wait of an input for more.
///
/// Work that has failed would else hang on a pipe or a terminal that says nothing: its reader goes on as at
/// the end. Of what comes later on standard input nothing is taken; others can read it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the wait, and all later reading of the input where it could wait.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Standard input, for which the wait can be ended.
struct Stdin {
    stop: Stop,
    #[cfg(unix)]
    file: File,
    #[cfg(not(unix))]
    file: io::Stdin,
}

impl Stdin {
    #[cfg(unix)]
    fn open(stop: Stop) -> io::Result<Stdin> {
        use std::os::fd::AsFd;
        Ok(Stdin { stop, file: io::stdin().as_fd().try_clone_to_owned()?.into() })
    }

    #[cfg(not(unix))]
    fn open(stop: Stop) -> io::Result<Stdin> {
        Ok(Stdin { stop, file: io::stdin() })
    }

    /// Waits until there is something, the end included.
    #[cfg(unix)]
    fn wait(&self) {
        use std::os::fd::AsRawFd;
        const MILLISECONDS: i32 = 100;
        let mut asked =
            libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, which is open, and the place for its answer.
        let mut answers = || unsafe { libc::poll(&raw mut asked, 1, MILLISECONDS) };
        loop {
            // 0 says that nothing came; an error is reported by the read after it
            if self.stop.is_set() || answers() != 0 {
                return;
            }
        }
    }

    #[cfg(not(unix))]
    fn wait(&self) {}
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait();
        if self.stop.is_set() { Ok(0) } else { self.file.read(buffer) }
    }
}

impl Input {
    /// Opens a path, an object of a store, or standard input for `-`; gzip and zstd are taken off.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened or its first bytes cannot be read; [`Error::Format`] for a
    /// directory, and for an object with what its store answered.
    pub fn open(path: &Path) -> Result<Input> {
        if path == Path::new("-") {
            let stop = Stop::default();
            let stdin = Stdin::open(stop.clone()).map_err(|source| Error::io("<stdin>", source))?;
            let reader = BufReader::with_capacity(BUFFER_BYTES, stdin);
            let input = Input::sniff("<stdin>".into(), Box::new(reader), None)?;
            return Ok(Input { stop, ..input });
        }
        if let Some(address) = stores::address(path) {
            let object = stores::open(address)?;
            let consumed = Consumed::of(object.bytes);
            let counted = Counted { reader: object.body, bytes: Arc::clone(&consumed.bytes) };
            let reader = BufReader::with_capacity(BUFFER_BYTES, counted);
            let input = Input::sniff(address.to_owned(), Box::new(reader), None)?;
            return Ok(Input { consumed, ..input });
        }
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        let kind = file.metadata().map_err(|source| Error::io(path, source))?;
        if kind.is_dir() {
            return Err(Error::format(path, "expected a file, found a directory"));
        }
        let plain = if kind.is_file() { file.try_clone().ok() } else { None };
        let consumed =
            Consumed { bytes: Arc::default(), total: kind.is_file().then_some(kind.len()) };
        let counted = Counted { reader: file, bytes: Arc::clone(&consumed.bytes) };
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
        let (consumed, stop) = (Consumed::default(), Stop::default());
        Ok(Input { name, content, reader, plain, consumed, stop })
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

    /// What ends the wait for more of it; of an input that never waits, it does nothing.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// The bytes, from the first on.
    pub fn into_reader(self) -> Box<dyn BufRead + Send> {
        self.reader
    }

    /// The lines of a text input.
    pub fn lines(self) -> Lines {
        Lines::new(self.name, self.reader)
    }

    /// A file that can be read at any position: the input itself, or, for a pipe, an object and
    /// compressed bytes, a nameless temporary copy.
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

/// The first bytes (up to eight, fewer only at the end), and a reader that begins with them.
fn peek(mut reader: Box<dyn BufRead + Send>) -> io::Result<(Vec<u8>, Box<dyn BufRead + Send>)> {
    let mut head = vec![0; 8];
    let mut filled = 0;
    // a terminal or a slow pipe may give only one line, whose first bytes decide
    while filled < head.len() && !head[..filled].contains(&b'\n') {
        match reader.read(&mut head[filled..]) {
            Ok(0) => {
                // a terminal would be asked again
                reader = Box::new(io::empty());
                break;
            }
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(filled);
    let whole = io::Cursor::new(head.clone()).chain(reader);
    Ok((head, Box::new(whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
