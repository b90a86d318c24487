//! Draws: examples of several sources, in an order that depends only on the seed and the number of the draw.
//!
//! A run is resumed from the count of draws alone: `skip` draws again without parsing.

use std::path::Path;

use super::{random::Random, source::Source, texts::Texts};
use crate::{
    error::Result,
    records::examples::{Example, Place},
    train::recipe::SourceRecipe,
};

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
