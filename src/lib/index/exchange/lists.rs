//! Exports that go list by list.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use super::{Export, Writer, beside::Sample, source::terms, with_ending};
use crate::{
    error::{Error, Result},
    formats::{
        exchange::{
            ciff::{self, DocRecord, Header},
            pisa,
        },
        vectors::Row,
    },
    index::{DocId, Index},
    io::Output,
    sparse::TermId,
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
            self.told.postings += postings.len() as u64;
            if !postings.is_empty() {
                lists.push((token, term));
            }
        }
        self.told.rows = index.len() as u64;
        self.told.empty = sums.iter().filter(|&&sum| sum == 0).count() as u64;
        self.told.dropped = index.metadata().postings - self.told.postings;
        if let Some(first) = sums.iter().position(|&sum| sum > 0) {
            // an index has fewer than 2³² documents
            let vector = index.vectors(&[DocId(first as u32)])?.swap_remove(0);
            self.sample = Some(Sample::of(&Row { vector, ..Row::default() }, plan.language)?);
        }
        Ok(Measured { lists, sums })
    }

    pub(super) fn ciff(&mut self, index: &Index, output: &Path) -> Result<()> {
        let plan = self.plan;
        let mut out = Output::create(output)?;
        let name = out.name().to_owned();
        let fail = |error| Error::io(&name, error);
        let Measured { lists, sums } = self.measure(index, plan)?;
        let whole = |number: u64, what: &str| {
            i32::try_from(number).map_err(|_| {
                Error::Usage(format!("--to ciff counts in 31 bits, got {number} {what}"))
            })
        };
        let docs = whole(index.len() as u64, "documents")?;
        let count = whole(lists.len() as u64, "lists")?;
        let total: u64 = sums.iter().sum();
        let header = Header {
            version: 1,
            num_postings_lists: count,
            num_docs: docs,
            total_postings_lists: count,
            total_docs: docs,
            total_terms_in_collection: i64::try_from(total).unwrap_or(i64::MAX),
            average_doclength: total as f64 / index.len().max(1) as f64,
            description: format!("l0 {}, impacts {}", env!("CARGO_PKG_VERSION"), plan.quantize),
        };
        ciff::write(&mut out, &header).map_err(fail)?;
        for (token, term) in lists {
            let list = ciff::list(token, &self.impacts(index, term)?);
            ciff::write(&mut out, &list).map_err(fail)?;
        }
        for (docid, &sum) in (0..docs).zip(&sums) {
            // an index has as many ids as documents
            let collection_docid = index.docno(DocId(docid as u32))?.to_owned();
            let doclength = whole(sum, "as a document's length")?;
            let record = DocRecord { docid, collection_docid, doclength };
            ciff::write(&mut out, &record).map_err(fail)?;
        }
        out.commit()
    }

    pub(super) fn pisa(&mut self, index: &Index, output: &Path) -> Result<()> {
        let plan = self.plan;
        let Measured { lists, sums } = self.measure(index, plan)?;
        let endings = ["docs", "freqs", "sizes", "terms", "documents"];
        let paths = endings.map(|ending| with_ending(output, ending));
        let mut files = Vec::new();
        for path in &paths {
            files.push((path, Output::create(path)?));
        }
        let [docs, freqs, sizes, terms, documents] = &mut files[..] else { return Ok(()) };
        let put = |to: &mut (&PathBuf, Output), numbers: Vec<u32>| {
            pisa::list(&mut to.1, numbers.into_iter()).map_err(|error| Error::io(to.0, error))
        };
        let line = |to: &mut (&PathBuf, Output), text: &str| {
            writeln!(to.1, "{text}").map_err(|error| Error::io(to.0, error))
        };
        // an index has fewer than 2³² documents
        put(docs, vec![index.len() as u32])?;
        for (token, term) in lists {
            let (places, impacts) = self.impacts(index, term)?.into_iter().unzip();
            put(docs, places)?;
            put(freqs, impacts)?;
            line(terms, token)?;
        }
        put(sizes, sums.iter().map(|&sum| u32::try_from(sum).unwrap_or(u32::MAX)).collect())?;
        for doc in 0..index.len() as u32 {
            line(documents, index.docno(DocId(doc))?)?;
        }
        for (path, file) in files {
            file.commit()?;
            self.told.beside.push(path.display().to_string());
        }
        Ok(())
    }
}
