//! Hard negatives from a search: documents that rank high and are not judged relevant.
//!
//! The caller answers the queries, so that training does not depend on indexes.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    error::{Error, Result},
    records::{Query, QueryBody, trec::Qrels},
    train::data::random::Random,
};

/// Which hits become negatives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MineRule {
    /// The first rank that is taken, from 1.
    pub first: usize,
    /// The last.
    pub last: usize,
    /// How many per query, drawn at random from those ranks.
    pub count: usize,
    /// How far a negative's score must lie below that of the best good document, if that one was
    /// found: hits nearer to it may be good themselves.
    pub margin: Option<f32>,
    /// Of the random choice.
    pub seed: u64,
}

/// The result of mining.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mined {
    /// Queries written.
    pub written: u64,
    /// Queries without a relevant document, which are left out.
    pub without_good: u64,
    /// Queries without any negative, which are left out.
    pub without_negative: u64,
    /// Negatives in all.
    pub negatives: u64,
}

impl MineRule {
    /// Goes through the queries: `find` gives the hits of one, best first, at least `last` of them
    /// if there are so many; `write` takes one JSON line of ids, `{"qid", "pos", "neg": {"l0": …}}`: the form of
    /// hard negatives that is known to have ids, so that they are not taken for texts.
    ///
    /// # Errors
    /// [`Error::Usage`] for a query without an id; those of `find` and `write`.
    pub fn mine(
        &self,
        queries: impl Iterator<Item = Result<Query>>,
        qrels: &Qrels,
        mut find: impl FnMut(&QueryBody) -> Result<Vec<(String, f32)>>,
        mut write: impl FnMut(&str) -> Result<()>,
    ) -> Result<Mined> {
        let mut mined = Mined::default();
        for (number, query) in (0u64..).zip(queries) {
            let query = query?;
            let Some(id) = query.id else {
                return Err(Error::Usage(
                    "expected queries with ids, to look up their judgements".into(),
                ));
            };
            let nothing = BTreeMap::new();
            let judged = qrels.queries().get(&id).unwrap_or(&nothing);
            let good: Vec<&String> =
                judged.iter().filter(|&(_, &grade)| grade > 0).map(|(doc, _)| doc).collect();
            if good.is_empty() {
                mined.without_good += 1;
                continue;
            }
            let mut random = Random::new(self.seed, number);
            let hits = find(&query.body)?;
            let negatives = self.choose(&hits, &good, &mut random);
            if negatives.is_empty() {
                mined.without_negative += 1;
                continue;
            }
            mined.written += 1;
            mined.negatives += negatives.len() as u64;
            write(&json!({"qid": id, "pos": good, "neg": {"l0": negatives}}).to_string())?;
        }
        Ok(mined)
    }

    /// Negatives among hits, in the order of their ranks.
    fn choose<'a>(
        &self,
        hits: &'a [(String, f32)],
        good: &[&String],
        random: &mut Random,
    ) -> Vec<&'a str> {
        let is_good = |id: &String| good.contains(&id);
        let best = hits.iter().find(|(id, _)| is_good(id)).map(|&(_, score)| score);
        let limit = match (self.margin, best) {
            (Some(margin), Some(best)) => best - margin,
            _ => f32::INFINITY,
        };
        let ranked = (1..).zip(hits);
        let ranked = ranked.filter(|(rank, _)| (self.first..=self.last).contains(rank));
        let mut left: Vec<(usize, &str)> = ranked
            .filter(|(_, (id, score))| !is_good(id) && *score <= limit)
            .map(|(rank, (id, _))| (rank, id.as_str()))
            .collect();
        random.shuffle(&mut left);
        left.truncate(self.count);
        left.sort_unstable();
        left.into_iter().map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        io::{Input, Line},
        records::{examples::RawExample, rejects::Rejects},
    };

    fn mine(rule: MineRule) -> (Mined, Vec<String>) {
        let judgements = "query-id\tcorpus-id\tscore\na\td3\t1\na\td1\t0\nb\td2\t2\nc\td1\t0\n";
        let input = Input::from_reader("q", std::io::Cursor::new(judgements)).unwrap();
        let qrels = Qrels::read(input, &mut Rejects::stop()).unwrap();
        let query =
            |id: &str| Ok(Query { id: Some(id.to_owned()), body: QueryBody::Text(id.to_owned()) });
        let hits = |body: &QueryBody| {
            let all = (1..6u8).map(|at| (format!("d{at}"), f32::from(10 - at))).collect();
            Ok(if *body == QueryBody::Text("b".into()) { vec![("d2".into(), 1.0)] } else { all })
        };
        let mut lines = Vec::new();
        let queries = ["a", "b", "c"].into_iter().map(query);
        let mined = rule.mine(queries, &qrels, hits, |line| {
            lines.push(line.to_owned());
            Ok(())
        });
        (mined.unwrap(), lines)
    }

    const RULE: MineRule = MineRule { first: 1, last: 100, count: 9, margin: None, seed: 0 };

    #[track_caller]
    fn negatives(rule: MineRule, expected: &[&str]) {
        let (mined, lines) = mine(rule);
        assert_eq!((mined.without_good, mined.without_negative, lines.len()), (1, 1, 1));
        let line = Line { number: 1, text: lines[0].clone() };
        let parsed = RawExample::Line(line).parse("f", None).unwrap();
        assert!(parsed.ids, "ids would be taken for texts");
        let example = parsed.example;
        assert_eq!((example.query.as_str(), example.docs[0].as_str()), ("a", "d3"));
        assert_eq!(example.docs[1..], *expected);
    }

    #[test]
    fn hits_that_are_not_good_become_negatives() {
        negatives(RULE, &["d1", "d2", "d4", "d5"]);
        negatives(MineRule { first: 2, last: 4, ..RULE }, &["d2", "d4"]);
        // d3 has 7: what is within 1.5 of it may be good
        negatives(MineRule { margin: Some(1.5), ..RULE }, &["d5"]);
        let (mined, _) = mine(MineRule { count: 2, ..RULE });
        assert_eq!((mined.written, mined.negatives), (1, 2));
    }
}
