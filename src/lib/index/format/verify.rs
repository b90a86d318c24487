//! The complete check of an index: every checksum, then everything that a search trusts.

use super::{
    file::Index,
    layout::Section,
    lists,
    postings::{DocId, PostingList},
    texts,
};
use crate::{error::Result, sparse::TermId};

impl Index {
    /// Reads every byte and checks what [`Index::open`] trusts.
    ///
    /// # Errors
    /// [`crate::Error::Format`] that names the section: a checksum that differs, a list whose bytes are
    /// not those that its postings make (so also any wrong maximum), a weight that is not finite and
    /// above 0, an id that is repeated or not UTF-8, a document with two places, a count that
    /// differs.
    pub fn verify(&self) -> Result<()> {
        for section in Section::ALL {
            self.frame.check(self.bytes(), section, self.name())?;
        }
        self.verify_query_table()?;
        self.verify_docnos()?;
        self.verify_texts()?;
        self.verify_order()?;
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

    fn verify_order(&self) -> Result<()> {
        let mut seen = vec![false; self.len()];
        for place in 0..self.metadata().docs {
            match self.doc_at(place).map(|doc| &mut seen[doc.index()]) {
                Some(seen) if !*seen => *seen = true,
                _ => {
                    let reason = format!("place {place} has no document of its own");
                    return Err(self.damaged(Section::Order, &reason));
                }
            }
        }
        match self.metadata().order.is_none() == self.section(Section::Order).is_empty() {
            true => Ok(()),
            false if self.is_empty() => Ok(()),
            false => Err(self.damaged(Section::Order, "the metadata say otherwise")),
        }
    }

    fn verify_list(&self, term: TermId, list: &PostingList) -> Result<()> {
        let fail = |reason: &str| {
            Err(self.damaged(Section::Postings, &format!("term {}: {reason}", term.0)))
        };
        let mut postings = Vec::with_capacity(list.len().min(self.len()));
        let read = list.each(|place, weight| postings.push((place, weight)));
        self.whole(term, read)?;
        if let Some((place, weight)) = postings.iter().find(|(_, w)| !(w.is_finite() && *w > 0.0)) {
            return fail(&format!("place {place} has the weight {weight}"));
        }
        let wanted = lists::encode(&postings, self.metadata().docs, list.impacts())?;
        if (wanted.count, wanted.max, wanted.best) != (list.count, list.max, list.best) {
            return fail("the largest weights or the count differ from the table of terms");
        }
        if wanted.bytes != list.bytes {
            return fail(
                "the maxima, the offsets or the bytes in use are not those of its postings",
            );
        }
        Ok(())
    }
}
