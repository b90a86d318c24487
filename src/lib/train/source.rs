//! Draws: examples of several sources, in an order that depends only on the seed and the number of the draw.
//!
//! A run is resumed from the count of draws alone: `skip` draws again without parsing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::recipe::SourceRecipe;
use crate::{
    error::{Error, Result},
    io::{Input, Line},
    ops::{GOLDEN, mixed},
    records::{
        Records, TextQuery,
        examples::{Example, ExampleReader, Parsed, Place, Positional, RawExample, ScoreFile},
        parse_document,
        rejects::Rejects,
        trec::Qrels,
    },
};

/// A small generator (splitmix64): the same numbers on every machine and for every version.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A separate stream for each seed and number.
    pub fn new(seed: u64, number: u64) -> Random {
        let mut random = Random { state: seed };
        random.state = random.next() ^ number;
        random.state = random.next();
        random
    }

    fn next(&mut self) -> u64 {
        let number = mixed(self.state);
        self.state = self.state.wrapping_add(GOLDEN);
        number
    }

    /// 0 to below `limit`, which is above 0.
    pub fn below(&mut self, limit: usize) -> usize {
        // the high half of a product: without a division, biased by less than limit / 2⁶⁴
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    /// 0 to below 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts items in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// `NAME.jsonl` of a BEIR folder, plain or packed.
pub(super) fn beir_file(folder: &Path, name: &str) -> Result<PathBuf> {
    let files = ["jsonl", "jsonl.gz"].map(|end| folder.join(format!("{name}.{end}")));
    let lacking = || Error::format(folder, format!("expected a BEIR folder with {name}.jsonl"));
    files.into_iter().find(|file| file.exists()).ok_or_else(lacking)
}

/// Texts by id, of a BEIR folder.
pub(super) struct Texts {
    folder: PathBuf,
    documents: BTreeMap<String, String>,
    queries: BTreeMap<String, String>,
}

impl Texts {
    fn load(folder: &Path) -> Result<Texts> {
        let find = |name: &str| Input::open(&beir_file(folder, name)?);
        let mut rejects = Rejects::stop();
        let mut texts = Texts {
            folder: folder.to_owned(),
            documents: BTreeMap::new(),
            queries: BTreeMap::new(),
        };
        for document in Records::documents(vec![find("corpus")?], &mut rejects) {
            let document = document?;
            let content = document.content();
            texts.documents.insert(document.id, content);
        }
        for query in Records::text_queries(vec![find("queries")?], &mut rejects) {
            let TextQuery { id, text } = query?;
            texts.queries.insert(id, text);
        }
        Ok(texts)
    }

    /// A query's text; the error says what is missing.
    pub fn query(&self, id: &str) -> Result<&str, String> {
        self.found(&self.queries, "query", id)
    }

    /// A document's text; the error says what is missing.
    pub fn document(&self, id: &str) -> Result<&str, String> {
        self.found(&self.documents, "document", id)
    }

    /// The texts of all documents, in the order of their ids.
    pub fn documents(&self) -> impl Iterator<Item = &str> {
        self.documents.values().map(String::as_str)
    }

    fn found<'a>(
        &self,
        map: &'a BTreeMap<String, String>,
        what: &str,
        id: &str,
    ) -> Result<&'a str, String> {
        let text = map.get(id).filter(|text| !text.trim().is_empty());
        text.map(String::as_str).ok_or_else(|| {
            format!("{what} `{id}`, which {} lacks or has empty", self.folder.display())
        })
    }

    /// The example with texts in place of ids.
    fn fill(&self, mut example: Example) -> Result<Example, String> {
        example.query = self.query(&example.query)?.to_owned();
        for doc in &mut example.docs {
            *doc = self.document(doc)?.to_owned();
        }
        Ok(example)
    }

    /// The example itself, if all its ids have texts.
    fn check(&self, example: Example) -> Result<Example, String> {
        self.query(&example.query)?;
        example.docs.iter().try_for_each(|doc| self.document(doc).map(drop))?;
        Ok(example)
    }
}

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
enum Raw {
    Record(RawExample),
    Document(Line),
    Pair(String, String),
}

/// An example with what belongs to it.
#[derive(Debug)]
pub struct Drawn {
    /// The example.
    pub example: Example,
    /// Where it is.
    pub place: Place,
    /// For the choices within it.
    pub random: Random,
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
    fn corpus(path: &Path, seed: u64) -> Result<Source> {
        let path = if path.is_dir() { beir_file(path, "corpus")? } else { path.to_owned() };
        let open = Some(document_lines(&path)?);
        let name = path.display().to_string().into();
        let rows = Rows::Corpus { path, open, buffer: Vec::new() };
        let random = Random::new(seed, 0);
        Ok(Source { name, rows, positional: None, scores: None, texts: None, random })
    }

    /// The next raw example; the source begins again at its end.
    fn draw(&mut self) -> Result<Raw> {
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
    pub(super) fn into_texts(self) -> Option<Texts> {
        self.texts
    }

    /// The columns that are read by position, if any.
    pub fn positional(&self) -> Option<&Positional> {
        self.positional.as_ref()
    }

    fn parse(&self, raw: Raw, with: Filling) -> Result<(Parsed, Place)> {
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
type Filling = fn(&Texts, Example) -> Result<Example, String>;

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

/// Several sources, drawn from by weight.
pub struct Mixture {
    sources: Vec<(f64, Source)>,
    seed: u64,
    draws: u64,
}

impl Mixture {
    /// Opens all sources.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open(recipes: &[SourceRecipe], seed: u64) -> Result<Mixture> {
        let sources = (1u64..)
            .zip(recipes)
            .map(|(at, recipe)| Ok((recipe.weight, Source::open(recipe, seed.wrapping_add(at))?)));
        Ok(Mixture { sources: sources.collect::<Result<_>>()?, seed, draws: 0 })
    }

    /// Opens a corpus alone: examples of one document and no query.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a folder that is not a collection.
    pub fn of_corpus(path: &Path, seed: u64) -> Result<Mixture> {
        Ok(Mixture { sources: vec![(1.0, Source::corpus(path, seed)?)], seed, draws: 0 })
    }

    /// Examples drawn so far.
    pub fn draws(&self) -> u64 {
        self.draws
    }

    /// The next example, where it is, and a generator for the choices within it.
    ///
    /// # Errors
    /// [`Error::Line`] or [`Error::Format`] for an example that cannot be used; [`Error::Io`].
    pub fn draw(&mut self) -> Result<Drawn> {
        let (source, random) = self.next();
        let source = &mut self.sources[source].1;
        let raw = source.draw()?;
        let (parsed, place) = source.parse(raw, Texts::fill)?;
        Ok(Drawn { example: parsed.example, place, random })
    }

    /// Continues as after `draws` draws.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn skip(&mut self, draws: u64) -> Result<()> {
        while self.draws < draws {
            let (source, _) = self.next();
            self.sources[source].1.draw()?;
        }
        Ok(())
    }

    fn next(&mut self) -> (usize, Random) {
        let mut random = Random::new(self.seed, self.draws);
        self.draws += 1;
        let mut left = random.share() * self.sources.iter().map(|(weight, _)| weight).sum::<f64>();
        let found = self.sources.iter().position(|(weight, _)| {
            left -= weight;
            left < 0.0
        });
        (found.unwrap_or(self.sources.len() - 1), random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(folder: &Path, name: &str, queries: &[&str], weight: f64) -> SourceRecipe {
        let path = folder.join(name);
        let lines: Vec<String> = queries
            .iter()
            .map(|query| format!(r#"{{"query":"{query}","pos":"p","negs":[]}}"#))
            .collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        SourceRecipe { weight, buffer: 3, ..SourceRecipe::of(path) }
    }

    fn queries(mixture: &mut Mixture, count: usize) -> Vec<String> {
        (0..count).map(|_| mixture.draw().unwrap().example.query).collect()
    }

    #[test]
    fn random_numbers_are_those_of_splitmix64() {
        // the reference implementation, from state 1234567
        let mut random = Random { state: 1_234_567 };
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
        assert_eq!(random.next(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn a_pass_gives_every_example_once_and_a_skip_goes_on_where_draws_would() {
        let folder = tempfile::tempdir().unwrap();
        let recipes = [
            source(folder.path(), "a", &["a1", "a2", "a3", "a4", "a5"], 1.0),
            source(folder.path(), "b", &["b1", "b2"], 3.0),
        ];
        let mut one = Mixture::open(&recipes[..1], 7).unwrap();
        let mut pass = queries(&mut one, 5);
        assert_ne!(pass, queries(&mut one, 5), "two passes in one order");
        pass.sort();
        assert_eq!(pass, ["a1", "a2", "a3", "a4", "a5"]);

        let all = queries(&mut Mixture::open(&recipes, 7).unwrap(), 400);
        let mut later = Mixture::open(&recipes, 7).unwrap();
        later.skip(150).unwrap();
        assert_eq!(queries(&mut later, 250), all[150..]);
        let share = all.iter().filter(|query| query.starts_with('b')).count();
        assert!((270..330).contains(&share), "{share} of 400 from a source of weight 3 in 4");
        assert_ne!(queries(&mut Mixture::open(&recipes, 8).unwrap(), 400), all);
    }

    #[test]
    fn a_corpus_gives_its_documents_and_names_what_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("corpus.jsonl");
        let lines =
            "{\"_id\":\"1\",\"title\":\"t\",\"text\":\"x\"}\n{\"_id\":\"2\",\"text\":\"y\"}\n";
        std::fs::write(&file, lines).unwrap();
        let texts = |path: &Path| {
            let mut corpus = Mixture::of_corpus(path, 3).unwrap();
            (0..4).map(|_| corpus.draw().unwrap().example.docs.remove(0)).collect::<Vec<_>>()
        };
        let both = texts(&file);
        assert_eq!(texts(folder.path()), both);
        let mut pass = both[..2].to_vec();
        pass.sort();
        assert_eq!(pass, ["t x", "y"]);

        std::fs::write(&file, "{\"query\":\"q\",\"pos\":\"p\"}\n").unwrap();
        let error = Mixture::of_corpus(&file, 0).unwrap().draw().unwrap_err().to_string();
        assert!(
            error.contains("corpus.jsonl:1: expected {\"_id\", \"title\", \"text\"}"),
            "{error}"
        );
        let missing = Mixture::of_corpus(&folder.path().join("qrels"), 0).err().unwrap();
        assert!(missing.to_string().contains("qrels"), "{missing}");
    }

    #[test]
    fn ids_without_texts_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "corpus.jsonl",
            "{\"_id\":\"d1\",\"title\":\"t\",\"text\":\"x\"}\n{\"_id\":\"d2\",\"text\":\" \"}\n",
        );
        write("queries.jsonl", "{\"_id\":\"q1\",\"text\":\"who\"}\n");
        std::fs::create_dir(folder.path().join("qrels")).unwrap();
        write("qrels/train.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td3\t0\n");
        let beir = SourceRecipe::of(folder.path().to_owned());
        let example =
            Mixture::open(std::slice::from_ref(&beir), 0).unwrap().draw().unwrap().example;
        assert_eq!(
            (example.query.as_str(), example.docs.as_slice()),
            ("who", &["t x".to_owned()][..])
        );

        write("ids.jsonl", "{\"query\":\"q1\",\"docs\":[\"d1\",\"d9\"],\"scores\":[1,2]}\n");
        let path = folder.path().join("ids.jsonl");
        let texts = Some(folder.path().to_owned());
        let by_id = SourceRecipe { texts, ..SourceRecipe::of(path) };
        let error = Mixture::open(&[by_id], 0).unwrap().draw().err().unwrap().to_string();
        assert!(
            error.contains("ids.jsonl:1: expected ids with texts, found document `d9`"),
            "{error}"
        );

        write("qrels/train.tsv", "query-id\tcorpus-id\tscore\nq1\td2\t1\n");
        let error = Mixture::open(&[beir], 0).unwrap().draw().err().unwrap().to_string();
        assert!(error.contains("found document `d2`"), "{error}");
    }
}
