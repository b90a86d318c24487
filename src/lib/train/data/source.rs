//! One source of examples: a file, a BEIR folder or a corpus.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    random::Random,
    texts::{Texts, beir_file},
};
use crate::{
    error::{Error, Result},
    io::{Input, Line},
    records::{
        examples::{Example, ExampleReader, Parsed, Place, Positional, RawExample, ScoreFile},
        parse_document,
        rejects::Rejects,
        trec::Qrels,
    },
    train::recipe::SourceRecipe,
};

/// Where the raw examples of a source are.
enum Rows {
    /// A file's records, read again for every pass.
    File { path: PathBuf, open: Option<ExampleReader>, buffer: Vec<RawExample>, size: usize },
    /// Documents without queries, for masked-language modelling, read again for every pass.
    Corpus { path: PathBuf, open: Option<DocumentLines>, buffer: Vec<Line> },
    /// Judged pairs in the order of this pass, the next one last.
    Pairs { all: Vec<(String, String)>, left: Vec<usize> },
}

/// One source.
pub struct Source {
    name: Arc<str>,
    rows: Rows,
    positional: Option<Positional>,
    scores: Option<ScoreFile>,
    texts: Option<Texts>,
    random: Random,
}

/// An example before it is parsed.
pub(super) enum Raw {
    Record(RawExample),
    Document(Line),
    Pair(String, String),
}

impl Source {
    /// Opens a file of examples or a BEIR folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] or [`Error::Line`] for a folder that is not a collection.
    pub fn open(recipe: &SourceRecipe, seed: u64) -> Result<Source> {
        let random = Random::new(seed, 0);
        if !recipe.path.is_dir() {
            let open = ExampleReader::open(Input::open(&recipe.path)?)?;
            let positional = open.positional()?;
            let rows = Rows::File {
                path: recipe.path.clone(),
                open: Some(open),
                buffer: Vec::new(),
                size: recipe.buffer.max(1),
            };
            let texts = recipe.texts.as_deref().map(Texts::load).transpose()?;
            let name = recipe.path.display().to_string().into();
            let scores = recipe.scores.as_deref().map(ScoreFile::read).transpose()?;
            return Ok(Source { name, rows, positional, scores, texts, random });
        }
        let file = recipe.path.join("qrels").join(format!("{}.tsv", recipe.split));
        let qrels = Qrels::read(Input::open(&file)?, &mut Rejects::stop())?;
        let pairs = qrels.queries().iter().flat_map(|(query, documents)| {
            let good = documents.iter().filter(|&(_, &grade)| grade > 0);
            good.map(|(document, _)| (query.clone(), document.clone()))
        });
        let all: Vec<_> = pairs.collect();
        if all.is_empty() {
            return Err(Error::format(&file, "expected judgements above 0, found none"));
        }
        let texts = Some(Texts::load(recipe.texts.as_deref().unwrap_or(&recipe.path))?);
        let name = file.display().to_string().into();
        let rows = Rows::Pairs { all, left: Vec::new() };
        let scores = recipe.scores.as_deref().map(ScoreFile::read).transpose()?;
        Ok(Source { name, rows, positional: None, scores, texts, random })
    }

    /// Opens a corpus, whose documents become examples without a query: a file of JSON lines, or a
    /// BEIR folder.
    pub(super) fn corpus(path: &Path, seed: u64) -> Result<Source> {
        let path = if path.is_dir() { beir_file(path, "corpus")? } else { path.to_owned() };
        let open = Some(document_lines(&path)?);
        let name = path.display().to_string().into();
        let rows = Rows::Corpus { path, open, buffer: Vec::new() };
        let random = Random::new(seed, 0);
        Ok(Source { name, rows, positional: None, scores: None, texts: None, random })
    }

    /// The next raw example; the source begins again at its end.
    pub(super) fn draw(&mut self) -> Result<Raw> {
        match &mut self.rows {
            Rows::Pairs { all, left } => {
                if left.is_empty() {
                    left.extend(0..all.len());
                    self.random.shuffle(left);
                }
                let at = left.pop().unwrap_or(0);
                let (query, document) = all[at].clone();
                Ok(Raw::Pair(query, document))
            }
            Rows::File { path, open, buffer, size } => {
                fill(open, buffer, *size)?;
                if buffer.is_empty() {
                    *open = Some(ExampleReader::open(Input::open(path)?)?);
                    fill(open, buffer, *size)?;
                }
                if buffer.is_empty() {
                    return Err(Error::format(path, "expected examples, found none"));
                }
                Ok(Raw::Record(buffer.swap_remove(self.random.below(buffer.len()))))
            }
            Rows::Corpus { path, open, buffer } => {
                fill(open, buffer, CORPUS_BUFFER)?;
                if buffer.is_empty() {
                    *open = Some(document_lines(path)?);
                    fill(open, buffer, CORPUS_BUFFER)?;
                }
                if buffer.is_empty() {
                    return Err(Error::format(path, "expected documents, found none"));
                }
                Ok(Raw::Document(buffer.swap_remove(self.random.below(buffer.len()))))
            }
        }
    }

    /// The texts of ids, if the source has them.
    pub(in crate::train) fn into_texts(self) -> Option<Texts> {
        self.texts
    }

    /// The columns that are read by position, if any.
    pub fn positional(&self) -> Option<&Positional> {
        self.positional.as_ref()
    }

    pub(super) fn parse(&self, raw: Raw, with: Filling) -> Result<(Parsed, Place)> {
        let (line, mut parsed) = match raw {
            Raw::Record(record) => {
                (record.number(), record.parse(&self.name, self.positional.as_ref())?)
            }
            Raw::Document(line) => {
                let docs = vec![parse_document(&self.name, &line)?.content()];
                let example = Example { docs, ..Example::default() };
                (line.number, Parsed { example, ids: false, unread: Vec::new() })
            }
            Raw::Pair(query, document) => {
                let example = Example { query, docs: vec![document], positives: 1, scores: None };
                (0, Parsed { example, ids: true, unread: Vec::new() })
            }
        };
        let place = Place { file: Arc::clone(&self.name), line };
        if let Some(scores) = &self.scores {
            let filled = scores.fill(parsed.example);
            parsed.example = filled.map_err(|found| place.error("ids with scores", &found))?;
        }
        match &self.texts {
            Some(texts) => {
                let filled = with(texts, parsed.example);
                parsed.example = filled.map_err(|found| place.error("ids with texts", &found))?;
            }
            None if parsed.ids => {
                let wanted = "texts, or a folder of texts for the ids";
                return Err(place.error(wanted, "ids alone"));
            }
            None => {}
        }
        Ok((parsed, place))
    }

    /// Every example of a first pass in the order of the source, for a check of the whole.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn each(&mut self, f: impl FnMut(Result<Parsed>)) -> Result<()> {
        self.every(Texts::fill, f)
    }

    /// As [`Source::each`], with ids where the source has ids; all of them have texts.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn each_as_it_stands(&mut self, f: impl FnMut(Result<Parsed>)) -> Result<()> {
        self.every(Texts::check, f)
    }

    fn every(&mut self, with: Filling, mut f: impl FnMut(Result<Parsed>)) -> Result<()> {
        let see = |source: &Source, raw| source.parse(raw, with).map(|(parsed, _)| parsed);
        if let Rows::Pairs { all, .. } = &self.rows {
            let pairs = all.iter().cloned();
            pairs.for_each(|(query, document)| f(see(self, Raw::Pair(query, document))));
            return Ok(());
        }
        let Rows::File { open, .. } = &mut self.rows else { return Ok(()) };
        for record in open.take().into_iter().flatten() {
            match record {
                Ok(record) => f(see(self, Raw::Record(record))),
                Err(error) if error.is_record() => f(Err(error)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What happens to ids: texts take their places, or they are only looked up.
pub(super) type Filling = fn(&Texts, Example) -> Result<Example, String>;

type DocumentLines = Box<dyn Iterator<Item = Result<Line>> + Send>;

fn document_lines(path: &Path) -> Result<DocumentLines> {
    let is_blank = |line: &Result<Line>| matches!(line, Ok(line) if line.text.trim().is_empty());
    Ok(Box::new(Input::open(path)?.lines().filter(move |line| !is_blank(line))))
}

/// Documents of a corpus that are shuffled together.
const CORPUS_BUFFER: usize = 10_000;

/// Reads until `size` records are buffered, or to the end.
fn fill<T>(
    open: &mut Option<impl Iterator<Item = Result<T>>>,
    buffer: &mut Vec<T>,
    size: usize,
) -> Result<()> {
    while let (true, Some(records)) = (buffer.len() < size, open.as_mut()) {
        match records.next() {
            Some(record) => buffer.push(record?),
            None => *open = None,
        }
    }
    Ok(())
}
