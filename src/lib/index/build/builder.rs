//! Rows to an index: documents are numbered in the order of the rows, from any number of inputs.

use std::io::Write;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::{
    draft::Draft,
    order::{self, Graph, Order},
    spill::{Posting, Runs},
};
use crate::{
    error::{Error, Result},
    index::format::{
        docnos::Docnos,
        file::Index,
        layout::{FileWriter, OpenSection, Section},
        lists::{self, Encoded},
        metadata::{Encoding, Gain, Metadata},
        postings::DocId,
        quantize::{Impacts, Weights},
        texts::{StoredText, TextWriter},
    },
    sparse::{SparseVector, TermId},
};

/// How an index is built.
#[derive(Clone, Copy, Debug)]
pub struct BuildConfig {
    /// Number of terms; every vector's terms lie below.
    pub vocabulary_size: usize,
    /// How weights are stored.
    pub weights: Weights,
    /// How documents are put in order.
    pub order: Order,
    /// Bytes of memory for postings and document ids; the rest goes to a scratch file.
    pub memory: u64,
}

/// What a build has done.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// So many more rows were read.
    Rows(u64),
    /// This share of the work on the order is done.
    Ordered(f64),
    /// The lists of this share of the terms are written.
    Written(f64),
}

/// What an index has in addition to the vectors, so that a query needs no other file.
#[derive(Clone, Debug)]
pub struct Artefacts {
    /// Fingerprint of the vocabulary.
    pub vocabulary: String,
    /// What made the vectors, if it is known.
    pub encoding: Option<Encoding>,
    /// The tokenizer, as JSON.
    pub tokenizer: Vec<u8>,
    /// A query weight per term, `[V]`.
    pub query_weights: Vec<f32>,
    /// Where the query weights came from, for people.
    pub query_source: String,
}

/// A part of the input, so that an error can name the row.
#[derive(Debug)]
struct Part {
    name: String,
    first: u32,
    /// How many documents there were when each row was refused.
    refused: Vec<u32>,
}

/// Gathers rows, then writes the index.
#[derive(Debug)]
pub struct Builder {
    config: BuildConfig,
    parts: Vec<Part>,
    docnos: Docnos,
    /// The ids of an index to which this will be joined, and its name.
    taken: Option<(Docnos, String)>,
    texts: TextWriter,
    postings: Runs,
    maxima: Vec<f32>,
    /// What an order is found by, if one is wanted.
    graph: Option<Graph>,
}

impl Builder {
    /// Without documents.
    pub fn new(config: BuildConfig) -> Builder {
        Builder {
            config,
            parts: vec![Part { name: "input".into(), first: 0, refused: Vec::new() }],
            docnos: Docnos::new(),
            taken: None,
            texts: TextWriter::default(),
            postings: Runs::default(),
            maxima: vec![0.0; config.vocabulary_size],
            graph: (config.order == Order::Bp).then(Graph::default),
        }
    }

    /// From now on, refuses ids that an index has.
    ///
    /// # Errors
    /// [`Error::Format`] if its ids are damaged.
    pub fn refuse_ids_of(&mut self, index: &Index) -> Result<()> {
        let mut ids = Docnos::new();
        for doc in (0..index.metadata().docs).map(DocId) {
            // a duplicate id is found when the indexes are joined
            let _ = ids.insert(index.docno(doc)?);
        }
        self.taken = Some((ids, index.name().to_owned()));
        Ok(())
    }

    /// Rows from now on come from `name`, whose first row is row 1.
    pub fn begin_part(&mut self, name: &str) {
        let first = self.docs();
        self.parts.push(Part { name: name.to_owned(), first, refused: Vec::new() });
    }

    /// Documents so far.
    pub fn docs(&self) -> u32 {
        self.docnos.len() as u32 // `add` keeps the count below u32::MAX
    }

    /// A row was refused before it came here; it counts in the row numbers.
    pub fn skip_row(&mut self) {
        let docs = self.docs();
        if let Some(part) = self.parts.last_mut() {
            part.refused.push(docs);
        }
    }

    /// Adds a document, the last in the order of the index.
    ///
    /// # Errors
    /// [`Error::Line`] for an id that came before and for a term outside the vocabulary,
    /// [`Error::Format`] past 4,294,967,294 documents, [`Error::Io`] if the scratch file
    /// cannot be written. After an [`Error::Line`] the builder is as if the row had not been.
    pub fn add(
        &mut self,
        id: &str,
        vector: &SparseVector,
        text: Option<&StoredText>,
    ) -> Result<()> {
        let size = self.config.vocabulary_size;
        if let Some(term) = vector.terms().last().filter(|term| term.index() >= size) {
            let (part, row) = self.place(DocId(self.docs()));
            let wanted = format!("terms below {size}, the size of the vocabulary");
            let error = Error::line(part, row, wanted, format!("{} in `{id}`", term.0));
            self.skip_row();
            return Err(error);
        }
        let doc = DocId(self.docs());
        if doc.0 >= u32::MAX - 1 {
            let reason =
                format!("an index holds at most {} documents; build several", u32::MAX - 1);
            return Err(Error::format("input", reason));
        }
        if let Some(holder) = self.holder(id) {
            let (part, row) = self.place(doc);
            let found = format!("`{id}`, which {holder} has");
            let error = Error::line(part, row, "a document id that is new", found);
            self.skip_row();
            return Err(error);
        }
        self.texts.push(text)?;
        if let Some(graph) = &mut self.graph {
            graph.push(vector);
        }
        let memory = usize::try_from(self.config.memory).unwrap_or(usize::MAX);
        let taken = self.taken.as_ref().map_or(0, |(ids, _)| ids.memory());
        let held = taken + self.docnos.memory() + self.graph.as_ref().map_or(0, Graph::memory);
        let left = memory.saturating_sub(held);
        for (term, weight) in vector.iter() {
            let max = &mut self.maxima[term.index()];
            *max = max.max(weight);
            self.postings.push(Posting { term, doc, weight }, left)?;
        }
        Ok(())
    }

    /// The document that has an id; without one the id becomes that of the new document.
    fn holder(&mut self, id: &str) -> Option<String> {
        if let Some((ids, name)) = &self.taken
            && let Some(doc) = ids.doc(id)
        {
            return Some(format!("document {} of {name}", doc.0 + 1));
        }
        let earlier = self.docnos.insert(id).err()?;
        let (first, row) = self.place(earlier);
        Some(format!("{first}:{row}"))
    }

    /// The part and the row number that `doc` has, or would have if it came next.
    fn place(&self, doc: DocId) -> (&str, u64) {
        let behind = self.parts.partition_point(|part| part.first <= doc.0);
        let part = &self.parts[behind - 1];
        // refusals are noted as they come, so their documents ascend
        let refused = part.refused.partition_point(|&docs| docs <= doc.0);
        (&part.name, u64::from(doc.0 - part.first) + 1 + refused as u64)
    }

    /// Writes the index except its end; `name` is the output's, for messages.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a posting list above 4 GiB.
    pub fn finish<'a>(
        self,
        artefacts: &Artefacts,
        output: &'a mut dyn Write,
        name: &str,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Draft<'a>> {
        let memory = usize::try_from(self.config.memory).unwrap_or(usize::MAX);
        let size = self.config.vocabulary_size;
        let order = |graph: Graph| graph.into_order(size, |share| progress(Step::Ordered(share)));
        let order = self.graph.map(order);
        let mut lists = self.postings.into_lists(memory);
        let contents = Contents {
            weights: self.config.weights,
            order,
            docnos: self.docnos,
            texts: self.texts,
            maxima: self.maxima,
        };
        let progress = &mut *progress;
        write(contents, artefacts, output, name, progress, |term, each| lists.each(term, each))
    }
}

/// The contents of an index, except the postings.
pub(in crate::index) struct Contents {
    pub(in crate::index) weights: Weights,
    /// The document at each place, if the order is not that of the input.
    pub(in crate::index) order: Option<Vec<DocId>>,
    pub(in crate::index) docnos: Docnos,
    pub(in crate::index) texts: TextWriter,
    /// The largest weight of each term, 0 for a term without postings.
    pub(in crate::index) maxima: Vec<f32>,
}

/// Receives the postings of a list one by one.
pub(in crate::index) type Each<'a> = &'a mut dyn FnMut(DocId, f32) -> Result<()>;

/// Writes all sections but the last; `postings` hands over those of a term, and is asked in ascending order. They
/// may come in any order of documents.
pub(in crate::index) fn write<'a>(
    contents: Contents,
    artefacts: &Artefacts,
    output: &'a mut dyn Write,
    name: &str,
    progress: &mut dyn FnMut(Step),
    postings: impl FnMut(TermId, Each) -> Result<()>,
) -> Result<Draft<'a>> {
    let mut metadata = Metadata {
        vocabulary: artefacts.vocabulary.clone(),
        encoding: artefacts.encoding.clone(),
        query_weights: artefacts.query_source.clone(),
        weights: contents.weights,
        docs: contents.docnos.len() as u32,
        vocabulary_size: contents.maxima.len(),
        postings: 0,
        order: None,
        calibration: None,
    };
    let mut file = FileWriter::new(output, name)?;
    file.section(Section::Tokenizer, &artefacts.tokenizer)?;
    let table: Vec<u8> = artefacts.query_weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    file.section(Section::QueryTable, &table)?;
    contents.texts.write(&mut file)?;
    let (offsets, docnos) = contents.docnos.into_sections();
    file.section(Section::Docnos, &docnos)?;
    file.section(Section::DocnoOffsets, &offsets)?;
    if let Some(order) = &contents.order {
        let bytes: Vec<u8> = order.iter().flat_map(|doc| doc.0.to_le_bytes()).collect();
        file.section(Section::Order, &bytes)?;
    }
    let mut writer = ListsWriter {
        docs: metadata.docs,
        places: contents.order.as_deref().map(order::places),
        section: file.begin(Section::Postings),
        terms: Vec::new(),
        postings: 0,
        bits: [0.0; 2],
    };
    writer.write(&contents.maxima, contents.weights, progress, postings)?;
    let ListsWriter { section, terms, postings, bits, .. } = writer;
    section.end()?;
    metadata.postings = postings;
    let mean = |bits: f64| bits / postings.max(1) as f64;
    metadata.order = contents.order.map(|_| Gain { given: mean(bits[0]), stored: mean(bits[1]) });
    file.section(Section::Terms, &terms)?;
    Ok(Draft { file, metadata })
}

/// Postings that are held while their lists are encoded in parallel; a list is never divided.
const BATCH: usize = 1 << 20;

/// Writes lists, and gathers the table of terms.
struct ListsWriter<'w, 'a> {
    docs: u32,
    /// The position of each document, if not the order of the input.
    places: Option<Vec<u32>>,
    section: OpenSection<'w, 'a>,
    terms: Vec<u8>,
    postings: u64,
    /// Σ log₂(gap) in the order given, and in that of the index.
    bits: [f64; 2],
}

impl ListsWriter<'_, '_> {
    fn write(
        &mut self,
        maxima: &[f32],
        weights: Weights,
        progress: &mut dyn FnMut(Step),
        mut postings: impl FnMut(TermId, Each) -> Result<()>,
    ) -> Result<()> {
        let (mut batch, mut held) = (Vec::new(), 0);
        for (term, &max) in (0..).map(TermId).zip(maxima) {
            let mut list = Vec::new();
            postings(term, &mut |doc, weight| {
                list.push((doc.0, weight));
                Ok(())
            })?;
            held += list.len();
            batch.push((list, Impacts::fit(weights, max)));
            if held >= BATCH {
                self.flush(&mut batch)?;
                held = 0;
                progress(Step::Written(f64::from(term.0) / maxima.len() as f64));
            }
        }
        self.flush(&mut batch)
    }

    fn flush(&mut self, batch: &mut Vec<(Vec<(u32, f32)>, Impacts)>) -> Result<()> {
        let (docs, places) = (self.docs, self.places.as_deref());
        let encode = |(mut list, impacts): (Vec<(u32, f32)>, Impacts)| {
            let mut bits = [0.0; 2];
            list.sort_unstable_by_key(|posting| posting.0);
            if let Some(places) = places {
                bits[0] = order::gap_bits(list.iter().map(|posting| posting.0));
                list.iter_mut().for_each(|(number, _)| *number = places[*number as usize]);
                list.sort_unstable_by_key(|posting| posting.0);
                bits[1] = order::gap_bits(list.iter().map(|posting| posting.0));
            }
            let encoded = lists::encode(&list, docs, impacts)?;
            Ok((encoded, scale(impacts), bits))
        };
        let encoded: Vec<Result<(Encoded, f32, [f64; 2])>> =
            std::mem::take(batch).into_par_iter().map(encode).collect();
        for list in encoded {
            let (list, scale, bits) = list?;
            self.terms.extend(self.section.length().to_le_bytes());
            self.terms.extend(list.count.to_le_bytes());
            self.terms.extend(list.max.to_le_bytes());
            self.terms.extend(scale.to_le_bytes());
            self.terms.extend(list.best);
            self.terms.push(0);
            self.section.write(&list.bytes)?;
            self.postings += u64::from(list.count);
            self.bits = [self.bits[0] + bits[0], self.bits[1] + bits[1]];
        }
        Ok(())
    }
}

fn scale(impacts: Impacts) -> f32 {
    match impacts {
        Impacts::Exact => 1.0,
        Impacts::Linear8(scale) | Impacts::Linear6(scale) => scale,
    }
}
