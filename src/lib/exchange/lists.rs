//! Exports that go list by list.

use super::{
    Export, Writer,
    ciff::{self, DocRecord, Header},
    files::{Files, Named},
    pisa,
    sidecar::Sample,
    source::terms,
};
use crate::{
    error::{Error, Result},
    index::{DocId, Index},
    sparse::TermId,
    vectors::Row,
};

/// What a header says of an index, before its lists are written.
struct Measured<'t> {
    /// Tokens and terms of the lists that are not empty, by the bytes of the tokens.
    lists: Vec<(&'t str, TermId)>,
    /// Each document's sum of impacts.
    sums: Vec<u64>,
}

impl Writer<'_> {
    /// The terms of an index that have postings, by the bytes of their tokens.
    fn by_token<'t>(&self, index: &Index, plan: &'t Export) -> Result<Vec<(&'t str, TermId)>> {
        let mut found = Vec::new();
        for term in terms(index) {
            if !index.list(term)?.is_empty() {
                found.push((plan.token(term)?, term));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The impacts of a list, of documents in order.
    fn impacts(&self, index: &Index, term: TermId) -> Result<Vec<(u32, u32)>> {
        let level = |weight| self.plan.quantize.level(weight, self.extent);
        let list = index.postings(term)?;
        Ok(list.into_iter().filter_map(|(doc, weight)| Some((doc.0, level(weight)?))).collect())
    }

    /// Counts an index's documents and lists; returns the lists that are not empty, and each document's
    /// sum of impacts.
    fn measure<'t>(&mut self, index: &Index, plan: &'t Export) -> Result<Measured<'t>> {
        let mut sums = vec![0u64; index.len()];
        let mut lists = Vec::new();
        for (token, term) in self.by_token(index, plan)? {
            let postings = self.impacts(index, term)?;
            for &(doc, impact) in &postings {
                sums[doc as usize] += u64::from(impact);
            }
            self.summary.postings += postings.len() as u64;
            if !postings.is_empty() {
                lists.push((token, term));
            }
        }
        self.summary.rows = index.len() as u64;
        self.summary.empty = sums.iter().filter(|&&sum| sum == 0).count() as u64;
        self.summary.dropped = index.metadata().postings - self.summary.postings;
        if let Some(first) = sums.iter().position(|&sum| sum > 0) {
            // an index has fewer than 2³² documents
            let vector = index.vectors(&[DocId(first as u32)])?.swap_remove(0);
            self.sample = Some(Sample::of(&Row { vector, ..Row::default() }, plan.language)?);
        }
        Ok(Measured { lists, sums })
    }

    pub(super) fn ciff(&mut self, index: &Index, files: &mut Files) -> Result<()> {
        let (plan, out) = (self.plan, files.main()?);
        let Measured { lists, sums } = self.measure(index, plan)?;
        let docs = counted(index.len() as u64, "documents")?;
        let count = counted(lists.len() as u64, "lists")?;
        let total: u64 = sums.iter().sum();
        let header = Header {
            version: 1,
            num_postings_lists: count,
            num_docs: docs,
            total_postings_lists: count,
            total_docs: docs,
            // at most 2³¹ documents of at most 2³¹
            total_terms_in_collection: total as i64,
            average_doclength: total as f64 / index.len().max(1) as f64,
            description: format!("l0 {}, impacts {}", env!("CARGO_PKG_VERSION"), plan.quantize),
        };
        out.with(|out| ciff::write(out, &header))?;
        for (token, term) in lists {
            let list = ciff::list(token, &self.impacts(index, term)?);
            out.with(|out| ciff::write(out, &list))?;
            (self.each)();
        }
        for (docid, &sum) in (0..docs).zip(&sums) {
            // an index has as many ids as documents
            let collection_docid = index.docno(DocId(docid as u32))?.to_owned();
            let doclength = counted(sum, "as a document's length")?;
            let record = DocRecord { docid, collection_docid, doclength };
            out.with(|out| ciff::write(out, &record))?;
        }
        Ok(())
    }

    pub(super) fn pisa(&mut self, index: &Index, files: &mut Files) -> Result<()> {
        let plan = self.plan;
        let Measured { lists, sums } = self.measure(index, plan)?;
        let (mut docs, mut freqs) = (files.begin("docs")?, files.begin("freqs")?);
        let (mut sizes, mut terms) = (files.begin("sizes")?, files.begin("terms")?);
        let mut documents = files.begin("documents")?;
        let put =
            |to: &mut Named, numbers: Vec<u32>| to.with(|out| pisa::list(out, numbers.into_iter()));
        // an index has fewer than 2³² documents
        put(&mut docs, vec![index.len() as u32])?;
        for (token, term) in lists {
            let (places, impacts) = self.impacts(index, term)?.into_iter().unzip();
            put(&mut docs, places)?;
            put(&mut freqs, impacts)?;
            terms.line(token)?;
            (self.each)();
        }
        let lengths = sums.iter().map(|&sum| counted(sum, "as a document's length"));
        // counted: at least 0
        let lengths = lengths.map(|length| length.map(|length| length as u32));
        put(&mut sizes, lengths.collect::<Result<_>>()?)?;
        for doc in 0..index.len() as u32 {
            documents.line(index.docno(DocId(doc))?)?;
        }
        for file in [docs, freqs, sizes, terms, documents] {
            files.take(file);
        }
        Ok(())
    }
}

/// A number that inverted files hold.
fn counted(number: u64, what: &str) -> Result<i32> {
    i32::try_from(number).map_err(|_| {
        Error::Usage(format!("inverted files count in 31 bits, found {number} {what}"))
    })
}
