//! Posting lists: the documents of a term, ascending, in blocks of 128 with the largest weight of
//! each, so that a reader can pass over a block without decoding it.
//!
//! A list is a table of blocks (12 bytes each: last document u32, end in the blob u32, largest
//! weight f32), then the blob: for each block the bits a gap (u8), the gaps, the impacts.

use super::{
    codec::{self, BLOCK},
    quantize::Impacts,
};
use crate::error::{Error, Result};

/// A document's place in one index, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct DocId(pub u32);

impl DocId {
    /// Behind all documents: where a cursor stands at the end of its list.
    pub const END: DocId = DocId(u32::MAX);

    /// As an index into a table over the documents.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Bytes of one row of the table of blocks.
const BLOCK_ROW: usize = 12;

/// The stored postings of one term.
#[derive(Clone, Copy, Debug)]
pub struct PostingList<'a> {
    table: &'a [u8],
    blob: &'a [u8],
    count: u32,
    impacts: Impacts,
    max: f32,
    docs: u32,
}

impl<'a> PostingList<'a> {
    /// A list without postings.
    pub(super) const EMPTY: PostingList<'static> =
        PostingList { table: &[], blob: &[], count: 0, impacts: Impacts::Exact, max: 0.0, docs: 0 };

    /// Divides the bytes of a list of `count` postings; none if they are too few.
    pub(super) fn new(
        bytes: &'a [u8],
        count: u32,
        impacts: Impacts,
        max: f32,
        docs: u32,
    ) -> Option<PostingList<'a>> {
        let blocks = (count as usize).div_ceil(BLOCK);
        let (table, blob) = bytes.split_at_checked(blocks * BLOCK_ROW)?;
        Some(PostingList { table, blob, count, impacts, max, docs })
    }

    /// Number of postings.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether no document holds the term.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The largest weight, 0 for an empty list.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// A cursor on the first posting.
    pub fn cursor(&self) -> Cursor<'a> {
        let mut cursor = Cursor {
            list: *self,
            block: 0,
            ahead: 0,
            position: 0,
            length: 0,
            docs: [0; BLOCK],
            impacts: &[],
            broken: false,
        };
        cursor.load(0);
        cursor
    }

    pub(super) fn blocks(&self) -> usize {
        self.table.len() / BLOCK_ROW
    }

    fn field(&self, block: usize, at: usize) -> [u8; 4] {
        let start = block * BLOCK_ROW + at;
        self.table[start..start + 4].try_into().expect("four bytes")
    }

    fn last_doc(&self, block: usize) -> u32 {
        u32::from_le_bytes(self.field(block, 0))
    }

    pub(super) fn block_end(&self, block: usize) -> usize {
        u32::from_le_bytes(self.field(block, 4)) as usize
    }

    /// The largest weight in a block, as the table says.
    pub(super) fn block_max(&self, block: usize) -> f32 {
        f32::from_le_bytes(self.field(block, 8))
    }

    /// Bytes of the blob.
    pub(super) fn blob_len(&self) -> usize {
        self.blob.len()
    }

    /// Postings in a block.
    pub(super) fn block_len(&self, block: usize) -> usize {
        (self.len() - block * BLOCK).min(BLOCK)
    }

    /// Decodes the ids of a block and returns its impacts; none if its bytes are no block, or do
    /// not end with the document that the table names, or that document is not in the index.
    fn decode(&self, block: usize, docs: &mut [u32; BLOCK]) -> Option<&'a [u8]> {
        let (start, base) = match block.checked_sub(1) {
            None => (0, 0),
            Some(before) => (self.block_end(before), self.last_doc(before).checked_add(1)?),
        };
        let (&width, rest) = self.blob.get(start..self.block_end(block))?.split_first()?;
        let docs = &mut docs[..self.block_len(block)];
        codec::decode(rest, width, base, docs)?;
        let impacts = rest.get(codec::encoded_len(docs.len(), width)..)?;
        let last = self.last_doc(block);
        let whole = impacts.len() == docs.len() * self.impacts.width()
            && docs.last() == Some(&last)
            && last < self.docs;
        whole.then_some(impacts)
    }
}

/// A place in a posting list; it only moves forward.
///
/// Bytes that are no valid block end the list, and [`Cursor::is_broken`] tells.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    list: PostingList<'a>,
    /// The decoded block.
    block: usize,
    /// The block where [`Cursor::bound`] looked last, from `block` on.
    ahead: usize,
    position: usize,
    length: usize,
    docs: [u32; BLOCK],
    impacts: &'a [u8],
    broken: bool,
}

impl<'a> Cursor<'a> {
    /// The document here, [`DocId::END`] behind the last.
    #[inline]
    pub fn doc(&self) -> DocId {
        if self.position < self.length { DocId(self.docs[self.position]) } else { DocId::END }
    }

    /// The weight here; 0 behind the last posting.
    #[inline]
    pub fn weight(&self) -> f32 {
        self.list.impacts.weight(self.impacts, self.position)
    }

    /// Goes to the next posting.
    #[inline]
    pub fn advance(&mut self) {
        self.position += 1;
        if self.position >= self.length {
            self.load(self.block + 1);
        }
    }

    /// Goes to the first posting at or behind `target`; stays if it stands there already.
    pub fn seek(&mut self, target: DocId) {
        if self.doc() >= target {
            return;
        }
        let block = self.find_block(target);
        if block != self.block {
            self.load(block);
        }
        let rest = &self.docs[self.position..self.length];
        self.position += rest.partition_point(|&doc| doc < target.0);
        if self.position >= self.length {
            // only a table that lies leads here
            self.end();
        }
    }

    /// The largest weight in the block where `target` would stand, at or behind the cursor, without
    /// decoding it; 0 if the list ends before. Targets must not descend.
    pub fn bound(&mut self, target: DocId) -> f32 {
        let block = self.find_block(target);
        if block < self.list.blocks() { self.list.block_max(block) } else { 0.0 }
    }

    /// Whether the list ended early because its bytes are damaged.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The first block from here on that ends at or behind `target`, by steps that double.
    fn find_block(&mut self, target: DocId) -> usize {
        let blocks = self.list.blocks();
        let ends_before = |block: usize| self.list.last_doc(block) < target.0;
        let mut low = self.ahead.max(self.block);
        let mut step = 1;
        while low < blocks && ends_before(low) {
            let next = low + step;
            if next < blocks && ends_before(next) {
                low = next;
                step *= 2;
            } else if step == 1 {
                low = next;
                break;
            } else {
                step = 1;
            }
        }
        self.ahead = low.min(blocks);
        self.ahead
    }

    fn load(&mut self, block: usize) {
        (self.block, self.position, self.length) = (block, 0, 0);
        if block >= self.list.blocks() {
            return;
        }
        match self.list.decode(block, &mut self.docs) {
            Some(impacts) => {
                self.impacts = impacts;
                self.length = self.list.block_len(block);
            }
            None => {
                self.broken = true;
                self.end();
            }
        }
    }

    fn end(&mut self) {
        (self.block, self.position, self.length) = (self.list.blocks(), 0, 0);
        self.impacts = &[];
    }
}

/// Makes the bytes of one list from postings in ascending order of documents.
#[derive(Debug, Default)]
pub(super) struct ListWriter {
    table: Vec<u8>,
    blob: Vec<u8>,
    docs: Vec<u32>,
    impacts: Vec<u8>,
    block_max: f32,
    base: u32,
    count: u32,
    max: f32,
}

impl ListWriter {
    /// Appends a posting.
    ///
    /// # Errors
    /// As [`ListWriter::end_block`].
    pub(super) fn push(&mut self, doc: DocId, weight: f32, impacts: Impacts) -> Result<()> {
        self.docs.push(doc.0);
        let stored = impacts.push(weight, &mut self.impacts);
        self.block_max = self.block_max.max(stored);
        if self.docs.len() == BLOCK { self.end_block() } else { Ok(()) }
    }

    /// Takes the list's bytes (table, blob), its count and largest stored weight, and begins anew.
    pub(super) fn finish(&mut self) -> Result<FinishedList> {
        if !self.docs.is_empty() {
            self.end_block()?;
        }
        let list = std::mem::take(self);
        Ok(FinishedList { table: list.table, blob: list.blob, count: list.count, max: list.max })
    }

    /// # Errors
    /// [`Error::Format`] if the list outgrows 4 GiB.
    fn end_block(&mut self) -> Result<()> {
        let last = *self.docs.last().expect("a block has postings");
        let width_at = self.blob.len();
        self.blob.push(0);
        self.blob[width_at] = codec::encode(self.base, &self.docs, &mut self.blob);
        self.blob.append(&mut self.impacts);
        let end = u32::try_from(self.blob.len()).map_err(|_| {
            Error::format("index", "a posting list outgrows 4 GiB; build several indexes")
        })?;
        self.table.extend(last.to_le_bytes());
        self.table.extend(end.to_le_bytes());
        self.table.extend(self.block_max.to_le_bytes());
        self.max = self.max.max(self.block_max);
        self.count += self.docs.len() as u32; // at most one posting a document, and those are u32
        self.base = last.saturating_add(1);
        self.block_max = 0.0;
        self.docs.clear();
        Ok(())
    }
}

/// A list that is ready to be written.
#[derive(Debug)]
pub(super) struct FinishedList {
    pub(super) table: Vec<u8>,
    pub(super) blob: Vec<u8>,
    pub(super) count: u32,
    pub(super) max: f32,
}
