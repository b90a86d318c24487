//! Checks training data before time is spent on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    error::Result,
    records::examples::Parsed,
    text::Tokenizer,
    train::{data::source::Source, recipe::SourceRecipe},
};

/// Faults that are printed one by one.
const TOLD: usize = 10;

/// What is in a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Examples that can be used.
    pub examples: u64,
    /// Examples that cannot, with the first few reasons.
    pub refused: u64,
    /// The first reasons.
    pub reasons: Vec<String>,
    /// Examples with a teacher's scores.
    pub scored: u64,
    /// Examples whose scores are all equal: they teach nothing.
    pub flat: u64,
    /// Examples without any negative.
    pub without_negatives: u64,
    /// Examples whose query repeats an earlier one.
    pub repeated: u64,
    /// Examples with a document among both positives and negatives, or twice.
    pub twice: u64,
    /// Examples with a query that has no word piece of the vocabulary.
    pub unknown: u64,
    /// Documents longer than the encoder reads.
    pub cut: u64,
    /// Documents in all.
    pub documents: u64,
    /// Keys that are not read, and in how many examples.
    pub unread: BTreeMap<String, u64>,
    /// How columns are read that are read by position.
    pub by_place: Option<String>,
}

/// Reads a whole source.
///
/// # Errors
/// As [`Source::open`]; [`crate::Error::Io`].
pub fn check(
    recipe: &SourceRecipe,
    tokenizer: Option<&Tokenizer>,
    max_tokens: usize,
) -> Result<Findings> {
    let mut found = Findings::default();
    let mut queries = BTreeSet::new();
    let mut failure = None;
    let mut source = Source::open(recipe, 0)?;
    found.by_place = source.positional().map(|positional| positional.to_string());
    source.each(|parsed| {
        let Parsed { example, unread, .. } = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                found.refused += 1;
                if found.reasons.len() < TOLD {
                    found.reasons.push(error.to_string());
                }
                return;
            }
        };
        unread.into_iter().for_each(|key| *found.unread.entry(key).or_insert(0) += 1);
        found.examples += 1;
        found.documents += example.docs.len() as u64;
        if let Some(scores) = &example.scores {
            found.scored += 1;
            let flat = scores.len() > 1 && scores.iter().all(|score| *score == scores[0]);
            found.flat += u64::from(flat);
        }
        found.without_negatives += u64::from(example.docs.len() == example.positives.max(1));
        let distinct: BTreeSet<&String> = example.docs.iter().collect();
        found.twice += u64::from(distinct.len() < example.docs.len());
        if let Some(tokenizer) = tokenizer {
            let lengths = example.docs.iter().map(|doc| tokenizer.tokens(doc, max_tokens));
            for tokens in lengths {
                match tokens {
                    Ok(tokens) => found.cut += u64::from(tokens.truncated()),
                    Err(error) => failure = Some(error),
                }
            }
            let special = |term: &u32| tokenizer.is_special(crate::sparse::TermId(*term));
            let pieces = tokenizer.pieces(&example.query).unwrap_or_default();
            found.unknown += u64::from(pieces.iter().all(special));
        }
        found.repeated += u64::from(!queries.insert(example.query));
    })?;
    failure.map_or(Ok(found), Err)
}

impl Findings {
    /// Whether a run would stop at these data.
    pub fn is_fatal(&self) -> bool {
        self.refused > 0 || self.examples == 0
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for reason in &self.reasons {
            writeln!(f, "{reason}")?;
        }
        if self.refused > self.reasons.len() as u64 {
            writeln!(f, "… and {} more", self.refused - self.reasons.len() as u64)?;
        }
        write!(
            f,
            "{} examples, {} documents, {} refused",
            self.examples, self.documents, self.refused
        )?;
        for (count, what) in [
            (self.scored, "with a teacher's scores"),
            (self.flat, "with scores that are all equal, which teach nothing"),
            (self.without_negatives, "without negatives: use in_batch, or mine some"),
            (self.twice, "with a document twice"),
            (self.repeated, "repeat an earlier query"),
            (self.unknown, "with a query of unknown words only: is it the right tokenizer?"),
            (self.cut, "documents longer than the encoder reads"),
        ] {
            if count > 0 {
                write!(f, "\n{count:>8} {what}")?;
            }
        }
        for (key, count) in &self.unread {
            write!(f, "\n{count:>8} with a key `{key}`, which is not read")?;
        }
        if let Some(columns) = &self.by_place {
            write!(f, "\ncolumns are read by position: {columns}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn faults_are_counted_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        let lines = [
            r#"{"query":"sea","pos":"rain","negs":["sun"]}"#,
            r#"{"query":"sea","pos":"rain"}"#,
            r#"{"query":"日本","docs":["a","a"],"scores":[1,1]}"#,
            r#"{"query":"q","docs":["a"],"scores":[1,2]}"#,
            "",
            r#"{"query":"q"}"#,
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let recipe = SourceRecipe::of(path);
        let tokenizer = Tokenizer::load(Path::new("testdata/toy")).unwrap();
        let found = check(&recipe, Some(&tokenizer), 3).unwrap();
        assert!(found.is_fatal());
        let counts = [found.examples, found.refused, found.scored, found.flat, found.twice];
        assert_eq!(counts, [3, 2, 1, 1, 1]);
        assert_eq!([found.without_negatives, found.repeated, found.unknown], [1, 1, 1]);
        let report = found.to_string();
        assert!(
            report.contains("x.jsonl:4: expected") && report.contains("x.jsonl:6: expected"),
            "{report}"
        );
    }
}
