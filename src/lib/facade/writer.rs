//! Writing an index file from vectors.

use std::path::{Path, PathBuf};

use super::{EncodedDocument, Model, file};
use crate::{
    error::Result,
    index::{Artefacts, BuildConfig, Builder, Encoding, Order, StoredText, Weights, reweighted},
    io::Output,
    search,
    text::{DocumentFrequencies, QueryTable, Reweighting},
};

/// How an index is built. The defaults are those of `l0-index`.
///
/// ```
/// use l0::{DocumentOrder, IndexOptions};
///
/// let small = IndexOptions { order: DocumentOrder::Bp, ..IndexOptions::default() };
/// assert_eq!(small.memory, 4 << 30);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IndexOptions {
    /// How weights are stored: eight bits per posting.
    pub weights: Weights,
    /// The order of the documents in the file: as they are added.
    pub order: Order,
    /// Bytes of memory for postings and ids, 4 GiB; what exceeds them goes to a temporary file.
    pub memory: u64,
    /// Seed of the sample on which approximate search is calibrated: 0.
    pub seed: u64,
}

impl Default for IndexOptions {
    fn default() -> IndexOptions {
        IndexOptions { weights: Weights::U8, order: Order::Given, memory: 4 << 30, seed: 0 }
    }
}

/// Writes one index file: postings, ids, tokenizer, query table and, if they are given, texts.
///
/// The file appears under its name in [`IndexWriter::finish`], complete. A writer that is dropped, or
/// whose process ends while documents are added, leaves no file.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("sea.l0x");
/// let model = l0::Model::shipped()?;
/// let mut index = l0::IndexWriter::create(&path, &model)?;
/// index.add("tides", &model.encode("The moon pulls the water of the oceans.")?)?;
/// index.add("bread", &model.encode("Flour, water and salt make a loaf.")?)?;
/// index.finish()?;
///
/// let hits = l0::Searcher::open(&path)?.search("ocean", 10)?;
/// assert_eq!(hits[0].id, "tides");
/// # Ok::<(), l0::Error>(())
/// ```
pub struct IndexWriter {
    path: PathBuf,
    builder: Builder,
    artefacts: Artefacts,
    /// How the query table is fitted to the collection, and the counts for that.
    corpus: Option<(Reweighting, DocumentFrequencies)>,
    seed: u64,
}

impl IndexWriter {
    /// Begins an index for vectors of `model`, whose tokenizer and query table it will carry.
    /// The table is reweighted by the document frequencies of what is added, if the model asks for that.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) or [`Error::Format`](crate::Error::Format) if `path` cannot be
    /// written.
    pub fn create(path: impl AsRef<Path>, model: &Model) -> Result<IndexWriter> {
        IndexWriter::create_with(path, model, IndexOptions::default())
    }

    /// As [`IndexWriter::create`], with other options.
    ///
    /// # Errors
    /// As [`IndexWriter::create`].
    pub fn create_with(
        path: impl AsRef<Path>,
        model: &Model,
        options: IndexOptions,
    ) -> Result<IndexWriter> {
        let path = file(path.as_ref());
        Output::check(&path)?;
        let IndexOptions { weights, order, memory, seed } = options;
        let vocabulary = model.tokenizer().vocabulary();
        let vocabulary_size = vocabulary.len();
        let mut builder = Builder::new(BuildConfig { vocabulary_size, weights, order, memory });
        builder.begin_part("documents");
        let (table, table_source) = model.table();
        let artefacts = Artefacts {
            vocabulary: vocabulary.fingerprint().to_owned(),
            encoding: Some(Encoding::from(&model.meta())),
            tokenizer: model.tokenizer().to_json().to_vec(),
            query_weights: table.weights().to_vec(),
            query_source: table_source.to_owned(),
        };
        let none = DocumentFrequencies::new(vocabulary);
        let corpus = model.reweighting().map(|reweighting| (reweighting, none));
        Ok(IndexWriter { path, builder, artefacts, corpus, seed })
    }

    /// Adds a document, the last in the order of the index.
    ///
    /// # Errors
    /// [`Error::Line`](crate::Error::Line) with the number of the document for an id that was added before
    /// and for a term that the vocabulary does not have; the writer can still be used. [`Error::Usage`] for a
    /// vector without word pieces, if query weights need them. [`Error::Io`] if the temporary file
    /// cannot be written.
    ///
    /// [`Error::Io`]: crate::Error::Io
    /// [`Error::Usage`]: crate::Error::Usage
    pub fn add(&mut self, id: impl AsRef<str>, document: &EncodedDocument) -> Result<()> {
        self.put(id.as_ref(), document, None)
    }

    /// As [`IndexWriter::add`]; the index also stores title and text, to be shown with a hit
    /// ([`Searcher::text`](crate::Searcher::text)).
    ///
    /// # Errors
    /// As [`IndexWriter::add`].
    pub fn add_with_text(
        &mut self,
        id: impl AsRef<str>,
        document: &EncodedDocument,
        title: &str,
        text: &str,
    ) -> Result<()> {
        let stored = StoredText { title: title.to_owned(), text: text.to_owned() };
        self.put(id.as_ref(), document, Some(&stored))
    }

    fn put(
        &mut self,
        id: &str,
        document: &EncodedDocument,
        stored: Option<&StoredText>,
    ) -> Result<()> {
        let Some((_, counted)) = &mut self.corpus else {
            return self.builder.add(id, document, stored);
        };
        if document.has_pieces() {
            self.builder.add(id, document, stored)?;
        }
        document.count(counted)
    }

    /// Documents added so far.
    pub fn len(&self) -> usize {
        self.builder.docs() as usize
    }

    /// Whether no document was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the index, measures the recall of approximate search on a sample, and puts the file in place,
    /// replacing a file of its name.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), for instance when the disk is full; the path is then as it was.
    pub fn finish(mut self) -> Result<()> {
        if let Some((reweighting, counted)) = &self.corpus {
            let table = QueryTable::from_weights(self.artefacts.query_weights)?;
            let (table, source) =
                reweighted(*reweighting, &table, &self.artefacts.query_source, counted)?;
            self.artefacts.query_weights = table.weights().to_vec();
            self.artefacts.query_source = source;
        }
        let mut output = Output::create(&self.path)?;
        let (name, written) = (output.name().to_owned(), output.unfinished());
        let draft = self.builder.finish(&self.artefacts, &mut output, &name, &mut |_| {})?;
        search::calibrated(draft, written.as_deref(), self.seed)?;
        output.commit()
    }
}
