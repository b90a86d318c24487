//! Document ids as the user gave them, in the order of documents; all distinct.

use std::hash::{DefaultHasher, Hasher};

use super::postings::DocId;

/// Ids back to back, and a hash table of their places.
#[derive(Debug)]
pub(in crate::index) struct Docnos {
    bytes: Vec<u8>,
    /// Where each id starts, and where the last one ends.
    offsets: Vec<u64>,
    /// Open addressing, a power of two; [`FREE`] or the document whose id hashes here.
    slots: Vec<u32>,
}

const FREE: u32 = u32::MAX;

/// Bytes of an offset into so many bytes of ids.
pub(in crate::index) fn width(bytes: u64) -> usize {
    if bytes <= u64::from(u32::MAX) { 4 } else { 8 }
}

impl Docnos {
    pub(in crate::index) fn new() -> Docnos {
        Docnos { bytes: Vec::new(), offsets: vec![0], slots: vec![FREE; 16] }
    }

    /// How many there are.
    pub(in crate::index) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Adds an id; if a document has it already, returns that document instead.
    pub(in crate::index) fn insert(&mut self, id: &str) -> Result<(), DocId> {
        if 2 * self.len() >= self.slots.len() {
            self.grow();
        }
        let slot = self.find(id.as_bytes());
        if self.slots[slot] != FREE {
            return Err(DocId(self.slots[slot]));
        }
        self.slots[slot] = self.len() as u32; // the builder keeps the count below u32::MAX
        self.bytes.extend(id.as_bytes());
        self.offsets.push(self.bytes.len() as u64);
        Ok(())
    }

    /// The document that has an id.
    pub(in crate::index) fn doc(&self, id: &str) -> Option<DocId> {
        let doc = self.slots[self.find(id.as_bytes())];
        (doc != FREE).then_some(DocId(doc))
    }

    /// Bytes of memory, about.
    pub(in crate::index) fn memory(&self) -> usize {
        self.bytes.capacity() + 8 * self.offsets.capacity() + 4 * self.slots.capacity()
    }

    /// The offsets, little-endian, and the ids back to back.
    pub(in crate::index) fn into_sections(self) -> (Vec<u8>, Vec<u8>) {
        let width = width(self.bytes.len() as u64);
        let mut offsets = Vec::with_capacity(width * self.offsets.len());
        self.offsets.iter().for_each(|offset| offsets.extend(&offset.to_le_bytes()[..width]));
        (offsets, self.bytes)
    }

    fn id(&self, doc: usize) -> &[u8] {
        &self.bytes[self.offsets[doc] as usize..self.offsets[doc + 1] as usize]
    }

    /// The slot that holds `id`, or the free one where it belongs.
    fn find(&self, id: &[u8]) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write(id);
        let last = self.slots.len() - 1;
        let mut slot = hasher.finish() as usize & last;
        while self.slots[slot] != FREE && self.id(self.slots[slot] as usize) != id {
            slot = (slot + 1) & last;
        }
        slot
    }

    fn grow(&mut self) {
        self.slots = vec![FREE; 2 * self.slots.len()];
        for doc in 0..self.len() {
            let slot = self.find(self.id(doc));
            self.slots[slot] = doc as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_came_before_is_found_among_many() {
        let mut docnos = Docnos::new();
        for number in 0..1000 {
            docnos.insert(&format!("d{number}")).unwrap();
        }
        assert_eq!(docnos.insert("d517"), Err(DocId(517)));
        assert_eq!(docnos.insert(""), Ok(()));
        assert_eq!(docnos.insert(""), Err(DocId(1000)));
        let (offsets, bytes) = docnos.into_sections();
        assert_eq!(offsets.len(), 4 * 1002);
        assert!(bytes.starts_with(b"d0d1d2"));
    }
}
