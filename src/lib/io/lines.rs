//! The lines of a text, bounded in length and checked to be UTF-8.

use std::io::{self, BufRead};

use crate::error::{Error, Result};

/// The longest line that is read, in bytes: a longer one is refused before it fills the memory.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// One line of a text input, without its end (`\n` or `\r\n`) and without a byte order mark.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// From 1.
    pub number: u64,
    /// The text.
    pub text: String,
}

/// The lines of an input. A line that is too long or not UTF-8 is an [`Error::Line`], and the next
/// call continues after it; an [`Error::Io`] is the last item.
pub struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    number: u64,
    done: bool,
}

impl Lines {
    /// The lines of `reader`, with a name for messages.
    pub(super) fn new(name: String, reader: Box<dyn BufRead + Send>) -> Lines {
        Lines { name, reader, number: 0, done: false }
    }

    /// The input's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next line as bytes, for callers that show what was refused; [`Lines::check`] makes a
    /// [`Line`] of it.
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
                let reason = format!("{source} behind line {}", self.number);
                Some(Err(Error::io(&self.name, io::Error::new(source.kind(), reason))))
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
    /// [`Error::Line`] if it is too long or not UTF-8.
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
    /// The length of the line in the input, including its end.
    pub length: usize,
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::io::Input;

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
            ["1 a", "x:2: expected UTF-8 text, found byte 0xff at column 2", "3 d"]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_named_and_the_next_is_read() {
        let mut bytes = vec![b'x'; MAX_LINE_BYTES + 1];
        bytes.extend(b"\nnext\n");
        let found = format!("{} bytes", MAX_LINE_BYTES + 2);
        assert_eq!(
            lines(&bytes),
            [format!("x:1: expected a line of at most 64 MiB, found {found}"), "2 next".to_owned()]
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
}
