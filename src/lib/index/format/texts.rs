//! Titles and texts of documents, kept so that an answer can show them.
//!
//! Sixteen documents make a block: for each its title (length u32, bytes), then its text in the same
//! way; the block is one zstd frame. Offsets of the blocks are in a section of their own.

use std::{
    fs::File,
    io::{Read, Seek, Write},
};

use serde::Serialize;

use super::layout::{FileWriter, Section, u64_at};
use crate::{
    error::{Error, Result},
    io,
};

/// A document's title and text as given; empty if missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoredText {
    /// The title.
    pub title: String,
    /// The text.
    pub text: String,
}

const BLOCK_DOCS: usize = 16;
const LEVEL: i32 = 3;
/// A block that unpacks to more is refused: sixteen lines are never as long.
const MAX_BLOCK_BYTES: u64 = 4 << 30;
const SCRATCH: &str = "temporary file";

/// Compresses texts into a scratch file until their section is written.
#[derive(Debug, Default)]
pub(in crate::index) struct TextWriter {
    block: Vec<u8>,
    docs: usize,
    file: Option<File>,
    offsets: Vec<u64>,
    /// Whether any document has a text: without one there is no section.
    any: bool,
}

impl TextWriter {
    /// Appends the next document's.
    ///
    /// # Errors
    /// [`Error::Io`] if the scratch file cannot be written.
    pub(in crate::index) fn push(&mut self, stored: Option<&StoredText>) -> Result<()> {
        self.any |= stored.is_some();
        let (title, text) = stored.map_or(("", ""), |stored| (&stored.title, &stored.text));
        for part in [title, text] {
            let length = u32::try_from(part.len()).map_err(|_| too_long())?;
            self.block.extend(length.to_le_bytes());
            self.block.extend(part.as_bytes());
        }
        self.docs += 1;
        if self.docs == BLOCK_DOCS { self.end_block() } else { Ok(()) }
    }

    /// Writes both sections, if any document brought a text.
    pub(in crate::index) fn write(mut self, writer: &mut FileWriter) -> Result<()> {
        if !self.any {
            return Ok(());
        }
        if self.docs > 0 {
            self.end_block()?;
        }
        let mut section = writer.begin(Section::Texts);
        if let Some(mut file) = self.file {
            let fail = |source| Error::io(SCRATCH, source);
            file.rewind().map_err(fail)?;
            let mut buffer = vec![0; 1 << 18];
            loop {
                let count = file.read(&mut buffer).map_err(fail)?;
                if count == 0 {
                    break;
                }
                section.write(&buffer[..count])?;
            }
        }
        section.end()?;
        let offsets = std::iter::once(0).chain(self.offsets);
        let bytes: Vec<u8> = offsets.flat_map(u64::to_le_bytes).collect();
        writer.section(Section::TextOffsets, &bytes)
    }

    fn end_block(&mut self) -> Result<()> {
        let fail = |source| Error::io(SCRATCH, source);
        let packed = zstd::bulk::compress(&self.block, LEVEL).map_err(fail)?;
        let mut file = match self.file.take() {
            Some(file) => file,
            None => io::scratch()?,
        };
        file.write_all(&packed).map_err(fail)?;
        self.file = Some(file);
        self.offsets.push(self.offsets.last().copied().unwrap_or(0) + packed.len() as u64);
        self.block.clear();
        self.docs = 0;
        Ok(())
    }
}

fn too_long() -> Error {
    Error::format("input", "a title or text outgrows 4 GiB")
}

/// Number of blocks of `docs` documents.
pub(in crate::index) fn blocks(docs: usize) -> usize {
    docs.div_ceil(BLOCK_DOCS)
}

/// Number of documents in one of the blocks of `docs` documents.
pub(in crate::index) fn block_len(docs: usize, block: usize) -> usize {
    (docs - block * BLOCK_DOCS).min(BLOCK_DOCS)
}

/// The texts of one block of documents, the first of which is a multiple of sixteen; `None` if the
/// bytes of the two sections are damaged.
pub(in crate::index) fn read_block(
    texts: &[u8],
    offsets: &[u8],
    block: usize,
) -> Option<Vec<StoredText>> {
    let row = offsets.get(8 * block..8 * block + 16)?;
    let start = usize::try_from(u64_at(row, 0)).ok()?;
    let end = usize::try_from(u64_at(row, 8)).ok()?;
    let mut bytes = Vec::new();
    let packed = zstd::Decoder::with_buffer(texts.get(start..end)?).ok()?;
    packed.take(MAX_BLOCK_BYTES).read_to_end(&mut bytes).ok()?;
    let mut parts = Parts { rest: &bytes };
    let mut stored = Vec::with_capacity(BLOCK_DOCS);
    while !parts.rest.is_empty() {
        stored.push(StoredText { title: parts.next()?, text: parts.next()? });
    }
    Some(stored)
}

/// The text of one document; `None` if the bytes are damaged.
pub(in crate::index) fn read(texts: &[u8], offsets: &[u8], doc: usize) -> Option<StoredText> {
    let mut block = read_block(texts, offsets, doc / BLOCK_DOCS)?;
    let place = doc % BLOCK_DOCS;
    (place < block.len()).then(|| block.swap_remove(place))
}

/// Strings, each after its length.
struct Parts<'a> {
    rest: &'a [u8],
}

impl Parts<'_> {
    fn next(&mut self) -> Option<String> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.rest = rest;
        String::from_utf8(part.to_vec()).ok()
    }
}
