//! A run against judgements: values by query, and their means.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::measures::{Gain, JudgedRanking, Measure};
use crate::{
    error::{Error, Result},
    records::trec::{Grade, Qrels, Ranking, Run},
};

/// The measures asked for, or nDCG@10, RR@10, R@100 and AP; and after them those with a minimum.
pub fn measures_to_take(asked: &[Measure], floors: &[Floor]) -> Vec<Measure> {
    let usual = [
        Measure::Ndcg { gain: Gain::Grade, cutoff: Some(10) },
        Measure::Rr { rel: 1, cutoff: Some(10) },
        Measure::R { rel: 1, cutoff: 100 },
        Measure::Ap { rel: 1, cutoff: None },
    ];
    let first = if asked.is_empty() { &usual } else { asked };
    let mut measures = Vec::new();
    for measure in first.iter().copied().chain(floors.iter().map(|floor| floor.measure)) {
        if !measures.contains(&measure) {
            measures.push(measure);
        }
    }
    measures
}

/// What happens to a hit whose document id is the query's, as in ArguAna, where queries are
/// documents of the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdenticalIds {
    /// It is a hit like any other.
    Keep,
    /// It is removed, and those below move up.
    Ignore,
}

/// The values of some measures for every judged query of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// The run's name.
    pub run: String,
    /// What was measured.
    pub measures: Vec<Measure>,
    /// Judged queries in byte order, each with its values in the order of the measures.
    pub queries: Vec<(String, Vec<f64>)>,
    /// Judged queries that the run has no line for: they count 0.
    pub missing: usize,
    /// Queries of the run without judgements: they do not count.
    pub unjudged: usize,
}

/// Measures a run. The result does not depend on the number of threads.
///
/// # Errors
/// [`Error::Format`] if no query of the run is judged.
pub fn evaluate(
    qrels: &Qrels,
    run: &Run,
    measures: &[Measure],
    identical: IdenticalIds,
) -> Result<Scores> {
    let judged_in_run = run.rankings().keys().filter(|qid| qrels.queries().contains_key(*qid));
    let common = judged_in_run.count();
    if common == 0 {
        let first = |qid: Option<&String>| qid.cloned().unwrap_or_default();
        let reason = format!(
            "expected a run for the judged queries (`{}`, …), found no line for any of them (`{}`, …)",
            first(qrels.queries().keys().next()),
            first(run.rankings().keys().next()),
        );
        return Err(Error::format(run.name(), reason));
    }
    let none = Ranking::default();
    let judged: Vec<_> = qrels.queries().iter().collect();
    let queries = judged.into_par_iter().map(|(qid, grades)| {
        let ranking = run.rankings().get(qid).unwrap_or(&none);
        let ranking = join(qid, ranking, grades, identical);
        (qid.clone(), measures.iter().map(|measure| measure.value(&ranking)).collect())
    });
    Ok(Scores {
        run: run.name().to_owned(),
        measures: measures.to_vec(),
        queries: queries.collect(),
        missing: qrels.queries().len() - common,
        unjudged: run.rankings().len() - common,
    })
}

fn join(
    qid: &str,
    ranking: &Ranking,
    grades: &BTreeMap<String, Grade>,
    identical: IdenticalIds,
) -> JudgedRanking {
    let ranked = ranking.ranked().into_iter().map(|(docno, _)| docno);
    let kept = ranked.filter(|&docno| identical == IdenticalIds::Keep || docno != qid);
    JudgedRanking {
        ranked: kept.map(|docno| grades.get(docno).copied()).collect(),
        judged: grades.values().copied().collect(),
    }
}

impl Scores {
    /// The mean over the judged queries of the measure in this place; of a count, the sum.
    pub fn overall(&self, place: usize) -> f64 {
        let sum: f64 = self.queries.iter().map(|(_, values)| values[place]).sum();
        if self.measures[place].is_count() { sum } else { sum / self.queries.len() as f64 }
    }

    /// What a reader of the values should know.
    pub fn notes(&self) -> Vec<String> {
        let Scores { run, missing, unjudged, .. } = self;
        let judged = self.queries.len();
        let missing = (*missing > 0).then(|| {
            format!("{run}: judged queries without a hit, they count 0: {missing} of {judged}")
        });
        let unjudged = (*unjudged > 0)
            .then(|| format!("{run}: queries that are not judged and do not count: {unjudged}"));
        missing.into_iter().chain(unjudged).collect()
    }

    /// The place of a measure.
    pub fn place(&self, measure: Measure) -> Option<usize> {
        self.measures.iter().position(|&other| other == measure)
    }
}

/// The least value a measure must have, as in `nDCG@10=0.35`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// What is measured.
    pub measure: Measure,
    /// The least value that passes.
    pub least: f64,
}

impl std::str::FromStr for Floor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Floor> {
        let wanted =
            || Error::Usage(format!("expected MEASURE=VALUE, as in nDCG@10=0.35, found `{text}`"));
        // a measure may hold `=` itself: P(rel=2)@5=0.1
        let (measure, least) = text.rsplit_once('=').ok_or_else(wanted)?;
        let least: f64 = least.trim().parse().map_err(|_| wanted())?;
        if !least.is_finite() {
            return Err(wanted());
        }
        Ok(Floor { measure: measure.parse()?, least })
    }
}

impl Floor {
    /// Checks that every run reaches all minima; a measure that was not taken is ignored.
    ///
    /// # Errors
    /// [`Error::Floor`] naming every measure below its minimum.
    pub fn check(floors: &[Floor], all_scores: &[Scores]) -> Result<()> {
        let mut missed = Vec::new();
        for scores in all_scores {
            for floor in floors {
                let value = scores.place(floor.measure).map(|place| scores.overall(place));
                if let Some(value) = value.filter(|&value| value < floor.least) {
                    let Floor { measure, least } = floor;
                    missed.push(format!(
                        "{}: expected {measure} of at least {least}, found {value}",
                        scores.run
                    ));
                }
            }
        }
        if missed.is_empty() { Ok(()) } else { Err(Error::Floor(missed.join("\n"))) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::{io::Input, records::rejects::Rejects};

    const QRELS: &str = "q1 0 a 1\nq1 0 b 2\nq2 0 a 1\nq3 0 c 0\n";

    fn scores(run: &str, measures: &[&str], identical: IdenticalIds) -> Result<Scores> {
        let input = |name, text: &str| Input::from_reader(name, Cursor::new(text.to_owned()));
        let qrels = Qrels::read(input("qrels", QRELS)?, &mut Rejects::stop())?;
        let run = Run::read(input("run", run)?, &mut Rejects::stop())?;
        let measures: Result<Vec<Measure>> = measures.iter().map(|name| name.parse()).collect();
        evaluate(&qrels, &run, &measures?, identical)
    }

    #[test]
    fn a_judged_query_without_results_counts_0_and_one_not_judged_does_not_count() {
        let run = "q1 Q0 b 1 2 t\nq9 Q0 a 1 2 t\n";
        let scores = scores(run, &["P@1", "NumRel", "NumQ"], IdenticalIds::Keep).unwrap();
        let expected = [("q1", 1.0, 2.0), ("q2", 0.0, 1.0), ("q3", 0.0, 0.0)];
        let expected = expected.map(|(qid, p, rel)| (qid.to_owned(), vec![p, rel, 1.0]));
        assert_eq!(scores.queries, expected);
        assert_eq!([0, 1, 2].map(|place| scores.overall(place)), [1.0 / 3.0, 3.0, 3.0]);
        assert_eq!((scores.missing, scores.unjudged), (2, 1));
    }

    #[test]
    fn the_hit_that_is_the_query_is_taken_out_on_request() {
        let run = "q1 Q0 q1 1 3 t\nq1 Q0 b 2 2 t\n";
        let value = |identical| scores(run, &["RR"], identical).unwrap().queries[0].1[0];
        assert_eq!(value(IdenticalIds::Keep), 0.5);
        assert_eq!(value(IdenticalIds::Ignore), 1.0);
    }

    #[test]
    fn a_run_for_other_queries_is_refused() {
        let error = scores("x Q0 a 1 1 t\n", &["AP"], IdenticalIds::Keep).unwrap_err();
        assert_eq!(
            error.to_string(),
            "run: expected a run for the judged queries (`q1`, …), found no line for any of them (`x`, …)"
        );
    }

    #[test]
    fn floors_name_what_is_missed() {
        let scores = scores("q1 Q0 b 1 2 t\n", &["P@1", "AP"], IdenticalIds::Keep).unwrap();
        let floors = |texts: &[&str]| -> Vec<Floor> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        assert!(Floor::check(&floors(&["P@1=0.3333"]), std::slice::from_ref(&scores)).is_ok());
        let error = Floor::check(&floors(&["P@1=0.34", "AP=0"]), &[scores]).unwrap_err();
        assert!(matches!(error, Error::Floor(_)));
        assert_eq!(
            error.to_string(),
            "run: expected P@1 of at least 0.34, found 0.3333333333333333"
        );
    }

    #[test]
    fn measures_are_taken_once_those_with_a_floor_behind_the_others() {
        let names = |asked: &[&str], floors: &[&str]| {
            let asked: Vec<Measure> = asked.iter().map(|name| name.parse().unwrap()).collect();
            let floors: Vec<Floor> = floors.iter().map(|text| text.parse().unwrap()).collect();
            measures_to_take(&asked, &floors).iter().map(Measure::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(&[], &[]), ["nDCG@10", "RR@10", "R@100", "AP"]);
        assert_eq!(names(&["P@5", "AP", "P@5"], &["map=0", "RR=0"]), ["P@5", "AP", "RR"]);
    }

    #[test]
    fn a_floor_is_a_measure_and_a_number() {
        let floor: Floor = "P(rel=2)@5=0.1".parse().unwrap();
        assert_eq!((floor.measure.to_string().as_str(), floor.least), ("P(rel=2)@5", 0.1));
        for text in ["nDCG@10", "nDCG@10=", "nDCG@10=NaN", "=1", "nope=1"] {
            assert!(text.parse::<Floor>().is_err(), "{text}");
        }
    }
}
