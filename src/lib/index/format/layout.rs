//! Sections of bytes in one file, written in order and found again: the frame of `.l0x`, which
//! [`super::file`] specifies. It knows names and checksums of sections, not their contents.

use std::{io::Write, ops::Range};

use crc32fast::Hasher;

use crate::error::{Error, Result};

/// The first and the last eight bytes. A transfer that changes line ends or the eighth bit breaks it.
pub(in crate::index) const MAGIC: [u8; 8] = *b"\x89L0X\r\n\x1a\n";
/// The format version that this code writes, and the only one it reads.
pub(in crate::index) const VERSION: u32 = 3;
const ALIGNMENT: usize = 64;
const HEADER: usize = ALIGNMENT;
const ROW: usize = 24;
const TRAILER: usize = 24;

/// The sections, in the order of the file; the numbers are those in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::index) enum Section {
    Tokenizer = 1,
    QueryTable = 2,
    Texts = 3,
    TextOffsets = 4,
    Docnos = 5,
    DocnoOffsets = 6,
    Postings = 7,
    Terms = 8,
    Metadata = 9,
    Order = 10,
}

impl Section {
    pub(in crate::index) const ALL: [Section; 10] = [
        Section::Tokenizer,
        Section::QueryTable,
        Section::Texts,
        Section::TextOffsets,
        Section::Docnos,
        Section::DocnoOffsets,
        Section::Order,
        Section::Postings,
        Section::Terms,
        Section::Metadata,
    ];

    /// The name in messages and statistics.
    pub(in crate::index) fn name(self) -> &'static str {
        match self {
            Section::Tokenizer => "tokenizer",
            Section::QueryTable => "query table",
            Section::Texts => "texts",
            Section::TextOffsets => "text offsets",
            Section::Docnos => "document ids",
            Section::DocnoOffsets => "document id offsets",
            Section::Order => "order",
            Section::Postings => "postings",
            Section::Terms => "terms",
            Section::Metadata => "metadata",
        }
    }
}

/// Writes sections one after the other, without seeking back.
pub(in crate::index) struct FileWriter<'a> {
    output: &'a mut dyn Write,
    name: String,
    at: u64,
    head: Hasher,
    rows: Vec<u8>,
}

impl<'a> FileWriter<'a> {
    /// Writes the header; `name` is the output's, for messages.
    ///
    /// # Errors
    /// [`Error::Io`], here and below.
    pub(in crate::index) fn new(output: &'a mut dyn Write, name: &str) -> Result<FileWriter<'a>> {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let mut head = Hasher::new();
        head.update(&header);
        let mut writer = FileWriter { output, name: name.to_owned(), at: 0, head, rows: vec![] };
        writer.put(&header)?;
        Ok(writer)
    }

    /// Writes a section whole.
    pub(in crate::index) fn section(&mut self, section: Section, bytes: &[u8]) -> Result<()> {
        let mut open = self.begin(section);
        open.write(bytes)?;
        open.end()
    }

    /// Begins a section that is written in pieces.
    pub(in crate::index) fn begin(&mut self, section: Section) -> OpenSection<'_, 'a> {
        let start = self.at;
        OpenSection { writer: self, section, start, crc: Hasher::new() }
    }

    /// The output's name.
    pub(in crate::index) fn name(&self) -> &str {
        &self.name
    }

    /// The sections written so far, all flushed to the output.
    pub(in crate::index) fn frame(&mut self) -> Result<Frame> {
        self.output.flush().map_err(|source| Error::io(&self.name, source))?;
        let extents = self.rows.chunks_exact(ROW).map(|row| extent(row, self.at as usize));
        let extents = extents.collect::<Option<_>>().expect("the rows of sections written");
        Ok(Frame { extents })
    }

    /// Writes the table of sections and the trailer.
    pub(in crate::index) fn finish(mut self) -> Result<()> {
        let count = (self.rows.len() / ROW) as u32;
        let total = self.at + (self.rows.len() + TRAILER) as u64;
        let mut trailer = std::mem::take(&mut self.rows);
        trailer.extend(total.to_le_bytes());
        trailer.extend(count.to_le_bytes());
        self.head.update(&trailer);
        trailer.extend(self.head.clone().finalize().to_le_bytes());
        trailer.extend(MAGIC);
        self.put(&trailer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.output.write_all(bytes).map_err(|source| Error::io(&self.name, source))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// A section that is being written.
pub(in crate::index) struct OpenSection<'w, 'a> {
    writer: &'w mut FileWriter<'a>,
    section: Section,
    start: u64,
    crc: Hasher,
}

impl OpenSection<'_, '_> {
    /// Bytes written so far.
    pub(in crate::index) fn length(&self) -> u64 {
        self.writer.at - self.start
    }

    pub(in crate::index) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.crc.update(bytes);
        self.writer.put(bytes)
    }

    /// Fills up to the alignment and enters the section in the table.
    pub(in crate::index) fn end(mut self) -> Result<()> {
        let length = self.length();
        let past = (length % ALIGNMENT as u64) as usize;
        self.write(&[0; ALIGNMENT][..(ALIGNMENT - past) % ALIGNMENT])?;
        let rows = &mut self.writer.rows;
        rows.extend((self.section as u32).to_le_bytes());
        rows.extend(self.crc.finalize().to_le_bytes());
        rows.extend(self.start.to_le_bytes());
        rows.extend(length.to_le_bytes());
        Ok(())
    }
}

/// Where a section lies, and the checksum of its bytes and the zeros that fill it up.
#[derive(Clone, Debug)]
struct Extent {
    kind: u32,
    bytes: Range<usize>,
    crc: u32,
}

/// The sections of a file.
#[derive(Debug)]
pub(in crate::index) struct Frame {
    extents: Vec<Extent>,
}

impl Frame {
    /// Reads header, trailer and table, and checks them; the sections themselves are not read.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another format version, [`Error::Format`] for everything else.
    pub(in crate::index) fn read(bytes: &[u8], name: &str) -> Result<Frame> {
        let fail = |reason: &str| Error::format(name, reason);
        if bytes.is_empty() {
            return Err(fail("expected an l0 index, found an empty file"));
        }
        if !bytes.starts_with(&MAGIC) {
            return Err(fail(
                "expected an l0 index, found something else: the first bytes differ; \
                              l0-encode and l0-index make one from a corpus",
            ));
        }
        let cut = || fail("the index is cut short: its closing mark is missing; copy it again");
        if bytes.len() < HEADER + TRAILER {
            return Err(cut());
        }
        check_version(u32_at(bytes, 8), name)?;
        let trailer = bytes.len() - TRAILER;
        if !bytes.ends_with(&MAGIC) || u64_at(bytes, trailer) != bytes.len() as u64 {
            return Err(cut());
        }
        let rows = (u32_at(bytes, trailer + 8) as usize)
            .checked_mul(ROW)
            .and_then(|length| trailer.checked_sub(length))
            .filter(|&rows| rows >= HEADER)
            .ok_or_else(|| fail("the table of sections is damaged"))?;
        let mut head = Hasher::new();
        head.update(&bytes[..HEADER]);
        head.update(&bytes[rows..trailer + 12]);
        if head.finalize() != u32_at(bytes, trailer + 12) {
            return Err(fail("the header or the table of sections is damaged: checksums differ"));
        }
        let extents = bytes[rows..trailer]
            .chunks_exact(ROW)
            .map(|row| extent(row, rows))
            .collect::<Option<_>>()
            .ok_or_else(|| fail("the table of sections points outside the file"))?;
        Ok(Frame { extents })
    }

    /// The place of a section; empty if the file has none.
    pub(in crate::index) fn range(&self, section: Section) -> Range<usize> {
        self.extent(section).map_or(0..0, |extent| extent.bytes.clone())
    }

    /// Compares a section with its checksum.
    ///
    /// # Errors
    /// [`Error::Format`] that names the section.
    pub(in crate::index) fn check(&self, bytes: &[u8], section: Section, name: &str) -> Result<()> {
        let Some(extent) = self.extent(section) else { return Ok(()) };
        let whole = &bytes[extent.bytes.start..filled(extent.bytes.end)];
        if crc32fast::hash(whole) != extent.crc {
            let reason = format!("section `{}` is damaged: checksums differ", section.name());
            return Err(Error::format(name, reason));
        }
        Ok(())
    }

    fn extent(&self, section: Section) -> Option<&Extent> {
        self.extents.iter().find(|extent| extent.kind == section as u32)
    }
}

/// One row of the table; `None` if its section reaches beyond `limit`.
fn extent(row: &[u8], limit: usize) -> Option<Extent> {
    let start = usize::try_from(u64_at(row, 8)).ok()?;
    let length = usize::try_from(u64_at(row, 16)).ok()?;
    let end = start.checked_add(length).filter(|&end| end <= limit)?;
    if start < HEADER || start % ALIGNMENT != 0 || filled(end) > limit {
        return None;
    }
    Some(Extent { kind: u32_at(row, 0), bytes: start..end, crc: u32_at(row, 4) })
}

fn check_version(version: u32, name: &str) -> Result<()> {
    match version {
        VERSION => Ok(()),
        0 => Err(Error::format(name, "the header is damaged: format version 0")),
        _ => Err(Error::Mismatch {
            what: format!("{name}: format version"),
            expected: VERSION.to_string(),
            got: version.to_string(),
            remedy: "build it again with this l0-index, or read it with the l0 that wrote it"
                .into(),
        }),
    }
}

/// The next multiple of the alignment.
fn filled(end: usize) -> usize {
    end.next_multiple_of(ALIGNMENT)
}

/// A little-endian number; the caller knows that the bytes are there.
pub(in crate::index) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A little-endian number; the caller knows that the bytes are there.
pub(in crate::index) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
