//! The whole check of an index: every checksum, then everything a search believes.

use super::{
    file::Index,
    layout::Section,
    postings::{DocId, PostingList},
    texts,
};
use crate::{error::Result, sparse::TermId};

impl Index {
    /// Reads every byte and checks what [`Index::open`] believes.
    ///
    /// # Errors
    /// [`crate::Error::Format`] that names the section: a checksum that differs, documents that do not
    /// ascend, a maximum that is not the largest weight, a weight that is not finite and above 0,
    /// an id that comes twice or is no UTF-8, a count that differs.
    pub fn verify(&self) -> Result<()> {
        for section in Section::ALL {
            self.frame.check(self.bytes(), section, self.name())?;
        }
        self.verify_query_table()?;
        self.verify_docnos()?;
        self.verify_texts()?;
        self.verify_postings()
    }

    fn verify_query_table(&self) -> Result<()> {
        let weights = self.query_weights();
        match weights.iter().position(|weight| !weight.is_finite()) {
            None => Ok(()),
            Some(term) => {
                let reason = format!("term {term} has the weight {}", weights[term]);
                Err(self.damaged(Section::QueryTable, &reason))
            }
        }
    }

    fn verify_docnos(&self) -> Result<()> {
        let mut order: Vec<DocId> = (0..self.metadata().docs).map(DocId).collect();
        for &doc in &order {
            self.docno(doc)?;
        }
        let id = |doc: DocId| self.docno(doc).unwrap_or_default();
        order.sort_unstable_by(|&a, &b| id(a).cmp(id(b)).then(a.cmp(&b)));
        match order.windows(2).find(|pair| id(pair[0]) == id(pair[1])) {
            None => Ok(()),
            Some(pair) => {
                let (first, second) = (pair[0].0, pair[1].0);
                let reason = format!("documents {first} and {second} are both `{}`", id(pair[0]));
                Err(self.damaged(Section::Docnos, &reason))
            }
        }
    }

    fn verify_texts(&self) -> Result<()> {
        let offsets = self.section(Section::TextOffsets);
        let blocks = if offsets.is_empty() { 0 } else { texts::blocks(self.len()) };
        for block in 0..blocks {
            let stored = texts::read_block(self.section(Section::Texts), offsets, block);
            if stored.map(|stored| stored.len()) != Some(texts::block_len(self.len(), block)) {
                let reason = format!("block {block} cannot be read, or holds too few texts");
                return Err(self.damaged(Section::Texts, &reason));
            }
        }
        Ok(())
    }

    fn verify_postings(&self) -> Result<()> {
        let mut count = 0;
        for term in (0..).map(TermId).take(self.metadata().vocabulary_size) {
            let list = self.list(term)?;
            count += list.len() as u64;
            self.verify_list(term, &list)?;
        }
        let wanted = self.metadata().postings;
        if count != wanted {
            let reason = format!("the metadata say {wanted} postings, the lists hold {count}");
            return Err(self.damaged(Section::Terms, &reason));
        }
        Ok(())
    }

    fn verify_list(&self, term: TermId, list: &PostingList) -> Result<()> {
        let fail = |reason: &str| {
            Err(self.damaged(Section::Postings, &format!("term {}: {reason}", term.0)))
        };
        let mut cursor = list.cursor();
        let (mut count, mut largest) = (0, 0.0f32);
        for block in 0..list.blocks() {
            let mut block_max = 0.0f32;
            for _ in 0..list.block_len(block) {
                let weight = cursor.weight();
                if cursor.doc() == DocId::END {
                    return Err(self.damaged_list(term));
                }
                if !(weight.is_finite() && weight > 0.0) {
                    return fail(&format!("document {} has the weight {weight}", cursor.doc().0));
                }
                block_max = block_max.max(weight);
                cursor.advance();
                count += 1;
            }
            if block_max != list.block_max(block) {
                return fail(&format!("block {block} names a maximum that is not the largest"));
            }
            largest = largest.max(block_max);
        }
        if largest != list.max() || count != list.len() {
            return fail("the largest weight or the count differs from the table of terms");
        }
        let used = list.blocks().checked_sub(1).map_or(0, |last| list.block_end(last));
        if used != list.blob_len() {
            return fail("there are bytes that belong to no block");
        }
        Ok(())
    }
}
