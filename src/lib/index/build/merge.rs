//! Joins several indexes to one.

use std::io::Write;

use super::{
    builder::{self, Artefacts, Contents},
    draft::Draft,
};
use crate::{
    error::{Error, Result},
    index::format::{
        docnos::Docnos,
        file::Index,
        layout::Section,
        postings::DocId,
        texts::{self, StoredText, TextWriter},
    },
    sparse::TermId,
};

/// Writes the documents of all `indexes`, in the order of the arguments, as one index with the
/// tokenizer and the query table of the first. Each index's order of documents is kept within it.
///
/// With f32 weights the bytes are those of an index built from all rows at once. With u8 and u6 each stored
/// weight is rounded once more if its term's largest weight differs between the indexes.
///
/// # Errors
/// [`Error::Mismatch`] for indexes of different vocabularies, encodings, query tables or weights;
/// [`Error::Format`] for a document id that two of them have, and for a damaged index; [`Error::Io`].
pub fn merge<'a>(indexes: &[Index], output: &'a mut dyn Write, name: &str) -> Result<Draft<'a>> {
    let Some(first) = indexes.first() else {
        return Err(Error::Usage("expected at least one index to merge".into()));
    };
    for other in &indexes[1..] {
        first.check_query_side(other)?;
        check_weights(first, other)?;
    }
    // damaged bytes must not get new checksums
    indexes.iter().try_for_each(Index::verify)?;
    let metadata = first.metadata();
    let artefacts = Artefacts {
        vocabulary: metadata.vocabulary.clone(),
        encoding: metadata.encoding.clone(),
        tokenizer: first.tokenizer().to_vec(),
        query_weights: first.query_weights(),
        query_source: metadata.query_weights.clone(),
    };
    let mut docnos = Docnos::new();
    let mut texts = TextWriter::default();
    let mut offsets = Vec::with_capacity(indexes.len());
    for index in indexes {
        offsets.push(docnos.len() as u32);
        let docs = docnos.len() as u64 + index.len() as u64;
        if docs >= u64::from(u32::MAX) {
            let reason = format!("expected fewer than {} documents, found {docs}", u32::MAX);
            return Err(Error::format(index.name(), reason));
        }
        add_docnos(&mut docnos, index, indexes, &offsets)?;
        add_texts(&mut texts, index)?;
    }
    let terms = (0..).map(TermId).take(metadata.vocabulary_size);
    let max = |term| {
        let largest = |index: &Index| index.list(term).map(|list| list.max());
        indexes.iter().map(largest).try_fold(0.0, |max, next| next.map(|next| next.max(max)))
    };
    let maxima = terms.map(max).collect::<Result<Vec<f32>>>()?;
    let order = joined_order(indexes, &offsets);
    let contents = Contents { weights: metadata.weights, order, docnos, texts, maxima };
    builder::write(contents, &artefacts, output, name, &mut |_| {}, |term, each| {
        for (index, offset) in indexes.iter().zip(&offsets) {
            for (doc, weight) in index.postings(term)? {
                each(DocId(offset + doc.0), weight)?;
            }
        }
        Ok(())
    })
}

/// The orders of all indexes, one after the other; none if all are as given.
fn joined_order(indexes: &[Index], offsets: &[u32]) -> Option<Vec<DocId>> {
    if indexes.iter().all(|index| index.metadata().order.is_none()) {
        return None;
    }
    let parts = indexes.iter().zip(offsets);
    let docs = parts.flat_map(|(index, offset)| {
        let docs = (0..index.metadata().docs).filter_map(|place| index.doc_at(place));
        docs.map(move |doc| DocId(offset + doc.0))
    });
    Some(docs.collect())
}

fn check_weights(first: &Index, other: &Index) -> Result<()> {
    let (expected, got) = (first.metadata().weights, other.metadata().weights);
    if expected == got {
        return Ok(());
    }
    Err(Error::Mismatch {
        what: format!("{}: weights", other.name()),
        expected: format!("{expected}, as in {}", first.name()),
        got: got.to_string(),
        remedy: "build them with weights of one type".into(),
    })
}

fn add_docnos(
    docnos: &mut Docnos,
    index: &Index,
    indexes: &[Index],
    offsets: &[u32],
) -> Result<()> {
    for doc in (0..index.metadata().docs).map(DocId) {
        let id = index.docno(doc)?;
        if let Err(earlier) = docnos.insert(id) {
            let holder = offsets.partition_point(|&offset| offset <= earlier.0) - 1;
            let reason = format!(
                "expected document ids that are new, found `{id}` as document {}, which document {} of {} has",
                doc.0 + 1,
                earlier.0 - offsets[holder] + 1,
                indexes[holder].name()
            );
            return Err(Error::format(index.name(), reason));
        }
    }
    Ok(())
}

fn add_texts(writer: &mut TextWriter, index: &Index) -> Result<()> {
    let offsets = index.section(Section::TextOffsets);
    if offsets.is_empty() {
        return (0..index.len()).try_for_each(|_| writer.push(None));
    }
    for block in 0..texts::blocks(index.len()) {
        let stored =
            texts::read_block(index.section(Section::Texts), offsets, block).ok_or_else(|| {
                index.damaged(Section::Texts, &format!("block {block} cannot be read"))
            })?;
        stored.iter().map(Some).try_for_each(|stored: Option<&StoredText>| writer.push(stored))?;
    }
    Ok(())
}
