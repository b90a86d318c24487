//! One query of two runs: the same top k, the same up to ties, or another.
//!
//! A pair of documents is inverted if the runs disagree on which comes first; a document that a run
//! does not have comes after all that it has. An inverted pair is excused if its scores tie in
//! either run. A score
//! that a run does not have is taken from the other, on its scale: so a document that fell off at the
//! cutoff is excused only if it ties with those that took its place.

use std::collections::BTreeMap;

use super::Tolerance;
use crate::records::trec::Ranking;

/// How alike a query's two rankings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankingRelation {
    /// The same documents in the same order.
    Identical,
    /// Only documents of equal score changed places, also across the cut.
    UpToTies,
    /// Another ranking.
    Different,
    /// Only the first run has the query.
    OnlyInA,
    /// Only the second run has it.
    OnlyInB,
}

impl RankingRelation {
    /// The name of it in outputs.
    pub fn name(self) -> &'static str {
        match self {
            RankingRelation::Identical => "identical",
            RankingRelation::UpToTies => "up to ties",
            RankingRelation::Different => "different",
            RankingRelation::OnlyInA => "only in A",
            RankingRelation::OnlyInB => "only in B",
        }
    }
}

/// Why a document is not where the other run has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// It does.
    Same,
    /// A tie.
    Tie,
    /// No tie.
    Moved,
}

/// A hit as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// The document.
    pub docno: String,
    /// Its score.
    pub score: f64,
    /// What became of it in the other run.
    pub mark: Mark,
}

/// What became of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryDiff {
    /// The query.
    pub qid: String,
    /// Whether the rankings are the same.
    pub likeness: RankingRelation,
    /// The share of the longer top k that both have.
    pub overlap: f64,
    /// The same, with those that a tie at the cut keeps out.
    pub overlap_with_ties: f64,
    /// Kendall's τ over documents of either top k that both runs have, ties counted as agreement;
    /// none for fewer than two.
    pub tau: Option<f64>,
    /// The first rank, from 1, with another document.
    pub first: Option<usize>,
    /// The top k of both runs, for a query that is not identical.
    pub rows: [Vec<Side>; 2],
}

/// Rank from 0 and score, if a run has the document.
type Place = Option<(usize, f64)>;

/// A document of either top k.
struct Candidate<'a> {
    docno: &'a str,
    places: [Place; 2],
}

/// The documents of either top k of a query, by name.
pub(super) struct Candidates<'a> {
    documents: Vec<Candidate<'a>>,
    /// How many hits each run has in its top k.
    tops: [usize; 2],
    k: usize,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(a: &'a Ranking, b: &'a Ranking, k: usize) -> Candidates<'a> {
        let ranked = [a.ranked(), b.ranked()];
        let mut places: BTreeMap<&str, [Place; 2]> = BTreeMap::new();
        for hits in &ranked {
            places.extend(hits.iter().take(k).map(|&(docno, _)| (docno, [None; 2])));
        }
        for (run, hits) in ranked.iter().enumerate() {
            for (rank, &(docno, score)) in hits.iter().enumerate() {
                if let Some(places) = places.get_mut(docno) {
                    places[run] = Some((rank, score));
                }
            }
        }
        let documents = places.into_iter().map(|(docno, places)| Candidate { docno, places });
        let tops = ranked.map(|hits| hits.len().min(k));
        Candidates { documents: documents.collect(), tops, k }
    }

    /// Documents that both runs have, with both scores.
    pub(super) fn shared(&self) -> impl Iterator<Item = (&'a str, f64, f64)> {
        self.documents.iter().filter_map(|document| match document.places {
            [Some((_, a)), Some((_, b))] => Some((document.docno, a, b)),
            _ => None,
        })
    }

    /// The first rank, from 0, at which the top k differ.
    fn first_apart(&self) -> Option<usize> {
        let apart = self.documents.iter().filter_map(|document| {
            let [a, b] = document.places.map(|place| place.map_or(usize::MAX, |(rank, _)| rank));
            (a != b).then_some(a.min(b))
        });
        apart.min()
    }

    fn is_in_top(&self, at: usize, run: usize) -> bool {
        self.documents[at].places[run].is_some_and(|(rank, _)| rank < self.k)
    }

    /// The ranks a run gives two documents, in their order.
    fn order(&self, run: usize, x: usize, y: usize) -> std::cmp::Ordering {
        let rank = |at: usize| self.documents[at].places[run].map_or(usize::MAX, |(rank, _)| rank);
        rank(x).cmp(&rank(y))
    }

    /// A document's score in a run, or what the other run's would be there.
    fn score(&self, run: usize, at: usize, factor: f64) -> f64 {
        let places = self.documents[at].places;
        match (places[run], places[1 - run]) {
            (Some((_, score)), _) => score,
            (None, Some((_, other))) if run == 0 => other * factor,
            (None, Some((_, other))) => other / factor,
            (None, None) => f64::NAN,
        }
    }

    fn rows(&self, run: usize, marks: &[Mark]) -> Vec<Side> {
        let mut rows: Vec<(usize, Side)> = (0..self.documents.len())
            .filter(|&at| self.is_in_top(at, run))
            .filter_map(|at| {
                let Candidate { docno, places } = &self.documents[at];
                let (rank, score) = places[run]?;
                Some((rank, Side { docno: (*docno).to_owned(), score, mark: marks[at] }))
            })
            .collect();
        rows.sort_by_key(|(rank, _)| *rank);
        rows.into_iter().map(|(_, side)| side).collect()
    }
}

/// What the pairs of a query come to.
struct Pairs {
    marks: Vec<Mark>,
    /// Documents of one top k that are not in the other for no tie.
    lost: Vec<bool>,
    tau: Option<f64>,
}

impl Pairs {
    /// Of `count` documents in one order.
    fn of_same(count: usize) -> Pairs {
        let tau = (count > 1).then_some(1.0);
        Pairs { marks: vec![Mark::Same; count], lost: vec![false; count], tau }
    }

    fn new(candidates: &Candidates, factor: f64, tolerance: Tolerance) -> Pairs {
        let count = candidates.documents.len();
        let (mut marks, mut lost) = (vec![Mark::Same; count], vec![false; count]);
        for at in 0..count {
            let tops = [0, 1].map(|run| candidates.is_in_top(at, run));
            // a list that is shorter than k had room for it
            let out = (0..2).find(|&run| !tops[run]);
            if out.is_some_and(|run| candidates.tops[run] < candidates.k) {
                (marks[at], lost[at]) = (Mark::Moved, true);
            }
        }
        let is_shared = |at: usize| candidates.documents[at].places.iter().all(Option::is_some);
        let (mut all, mut inverted) = (0u64, 0u64);
        for x in 0..count {
            for y in x + 1..count {
                let both = is_shared(x) && is_shared(y);
                all += u64::from(both);
                let [ours, theirs] = [0, 1].map(|run| candidates.order(run, x, y));
                if ours != theirs.reverse() || ours.is_eq() {
                    continue;
                }
                let score = |run, at| candidates.score(run, at, factor);
                let tied = |run| tolerance.ties(score(run, x), score(run, y));
                let mark = if tied(0) || tied(1) { Mark::Tie } else { Mark::Moved };
                (marks[x], marks[y]) = (marks[x].max(mark), marks[y].max(mark));
                if mark == Mark::Moved {
                    inverted += u64::from(both);
                    let crosses =
                        |run| candidates.is_in_top(x, run) != candidates.is_in_top(y, run);
                    if crosses(0) && crosses(1) {
                        (lost[x], lost[y]) = (true, true);
                    }
                }
            }
        }
        let tau = (all > 0).then(|| 1.0 - 2.0 * inverted as f64 / all as f64);
        Pairs { marks, lost, tau }
    }
}

impl QueryDiff {
    pub(super) fn new(
        qid: &str,
        candidates: &Candidates,
        known: (bool, bool),
        factor: f64,
        tolerance: Tolerance,
    ) -> QueryDiff {
        let first = candidates.first_apart();
        let pairs = match first {
            Some(_) => Pairs::new(candidates, factor, tolerance),
            None => Pairs::of_same(candidates.documents.len()),
        };
        let rows = match first {
            Some(_) => [0, 1].map(|run| candidates.rows(run, &pairs.marks)),
            None => Default::default(),
        };
        let longer = candidates.tops[0].max(candidates.tops[1]);
        let likeness = match known {
            (true, false) => RankingRelation::OnlyInA,
            (false, true) => RankingRelation::OnlyInB,
            _ if first.is_none() => RankingRelation::Identical,
            _ if pairs.marks.contains(&Mark::Moved) => RankingRelation::Different,
            _ => RankingRelation::UpToTies,
        };
        let tops = |at: usize| [0, 1].map(|run| candidates.is_in_top(at, run));
        let places = 0..candidates.documents.len();
        let both = places.clone().filter(|&at| tops(at) == [true, true]).count();
        let excused = |top| places.clone().filter(|&at| tops(at) == top && !pairs.lost[at]).count();
        let excused = excused([true, false]).min(excused([false, true]));
        let share = |count: usize| count as f64 / longer as f64;
        QueryDiff {
            qid: qid.to_owned(),
            likeness,
            overlap: share(both),
            overlap_with_ties: share(both + excused),
            tau: pairs.tau,
            first: first.map(|rank| rank + 1),
            rows,
        }
    }

    /// Whether the rankings are the same, up to ties.
    pub fn is_same(&self) -> bool {
        matches!(self.likeness, RankingRelation::Identical | RankingRelation::UpToTies)
    }
}
