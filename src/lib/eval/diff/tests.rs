use std::io::Cursor;

use super::*;
use crate::{
    eval::{Detail, Format},
    io::Input,
    records::rejects::Rejects,
};

const EXACT: Tolerance = Tolerance { relative: 0.0, absolute: 0.0 };
const USUAL: Tolerance = Tolerance { relative: 1e-6, absolute: 0.0 };

/// `q: a 3, b 2` a query and line.
fn run(text: &str) -> Run {
    let mut lines = String::new();
    for query in text.lines() {
        let (qid, hits) = query.split_once(':').unwrap();
        for hit in hits.split(',') {
            let (docno, score) = hit.trim().split_once(' ').unwrap();
            lines += &format!("{} Q0 {docno} 1 {score} t\n", qid.trim());
        }
    }
    let input = Input::from_reader("run", Cursor::new(lines)).unwrap();
    Run::read(input, &mut Rejects::stop()).unwrap()
}

#[track_caller]
fn check(
    a: &str,
    b: &str,
    k: usize,
    tolerance: Tolerance,
    likeness: RankingRelation,
    overlaps: [f64; 2],
) {
    let (a, b) = (run(&format!("q: {a}")), run(&format!("q: {b}")));
    let swapped = diff(&b, &a, k, tolerance);
    let found = diff(&a, &b, k, tolerance);
    for found in [&found, &swapped] {
        let query = &found.queries[0];
        assert_eq!(query.likeness, likeness, "{query:?}");
        assert_eq!([query.overlap, query.overlap_with_ties], overlaps, "{query:?}");
    }
}

#[test]
fn a_ranking_is_the_same_up_to_ties_or_another() {
    use RankingRelation::{Different, Identical, UpToTies};
    let three = "a 3, b 2, c 1";
    check(three, three, 10, EXACT, Identical, [1.0, 1.0]);
    check(three, "a 30, b 20, c 9", 10, EXACT, Identical, [1.0, 1.0]);
    check(three, "b 3, a 2, c 1", 10, EXACT, Different, [1.0, 1.0]);
    // a tie in one of them is enough; equal scores rank by id, descending
    check("a 3, b 2, c 2", "a 3, b 2, c 1.9", 10, EXACT, UpToTies, [1.0, 1.0]);
    check("a 3, b 2, c 1.9", "a 3, b 1.9, c 2", 10, EXACT, Different, [1.0, 1.0]);
    let loose = Tolerance { absolute: 0.11, ..EXACT };
    check("a 3, b 2, c 1.9", "a 3, b 1.9, c 2", 10, loose, UpToTies, [1.0, 1.0]);
    // one has a hit that the other has not, and both had room for it
    check(three, "a 3, b 2", 10, EXACT, Different, [2.0 / 3.0; 2]);
    check("a 3, b 2, c 1", "a 3, b 2, d 1", 10, EXACT, Different, [2.0 / 3.0; 2]);
    // what comes after the cutoff is not compared
    check(three, "a 3, b 2, d 1", 2, EXACT, Identical, [1.0, 1.0]);
}

#[test]
fn a_tie_at_the_cut_is_excused_and_nothing_else() {
    use RankingRelation::{Different, UpToTies};
    // d has in B the score that c has in A: both could be there
    check("a 3, b 2, c 1", "a 3, b 2, d 1", 3, EXACT, UpToTies, [2.0 / 3.0, 1.0]);
    // the last of a list ties with itself alone
    check("a 3, b 2, c 1", "a 3, b 2, d 1.5", 3, EXACT, Different, [2.0 / 3.0; 2]);
    // deeper lists say it themselves
    check(
        "a 3, b 2, c 1, d 1",
        "a 3, b 2, d 1.5, c 1",
        2,
        EXACT,
        RankingRelation::Identical,
        [1.0, 1.0],
    );
    check("a 3, d 1, c 1, b 1", "a 3, b 1, c 0.5, d 0.5", 2, EXACT, UpToTies, [0.5, 1.0]);
    check("a 3, b 2, c 1, d 0.9", "a 3, b 2, d 1, c 0.9", 3, EXACT, Different, [2.0 / 3.0; 2]);
    // a document high above the cut is missing
    check("a 3, b 2, c 1", "b 2, c 1, d 1", 3, EXACT, Different, [2.0 / 3.0; 2]);
    // one of two is a tie
    check("a 4, b 3, c 1, d 1", "a 4, x 2, y 1, c 1", 4, EXACT, Different, [0.5, 0.5]);
}

#[test]
fn the_cut_is_compared_on_one_scale() {
    let a = run("q: a 4, b 2, c 1\np: a 8, b 6");
    let b = run("q: a 400, b 200, d 100\np: a 800, b 600");
    let found = diff(&a, &b, 3, USUAL);
    let fit = found.scores.fit.as_ref().unwrap();
    assert_eq!((fit.factor, fit.largest.by), (0.01, 0.0));
    assert_eq!(found.queries[1].likeness, RankingRelation::UpToTies);
    assert_eq!(found.scores.error(), Some(0.0));
    let found = diff(&a, &run("q: a 400, b 200, d 150\np: a 800, b 600"), 3, USUAL);
    assert_eq!(found.queries[1].likeness, RankingRelation::Different);
}

#[test]
fn queries_of_one_run_alone_count_nothing() {
    let found = diff(&run("p: a 1\nq: a 1"), &run("q: a 1\nr: b 1"), 10, EXACT);
    let likeness: Vec<_> = found.queries.iter().map(|query| query.likeness).collect();
    assert_eq!(
        likeness,
        [RankingRelation::OnlyInA, RankingRelation::Identical, RankingRelation::OnlyInB]
    );
    assert!(!found.is_same());
    assert_eq!((found.overlap(), found.overlap_with_ties()), (1.0 / 3.0, 1.0 / 3.0));
    let nothing = diff(&run("p: a 1"), &run("q: b 1"), 10, EXACT);
    assert_eq!((nothing.scores.shared, nothing.scores.error(), nothing.tau()), (0, None, None));
}

#[test]
fn tau_counts_inverted_pairs() {
    let tau = |a: &str, b: &str| diff(&run(a), &run(b), 10, EXACT).tau();
    assert_eq!(tau("q: a 3, b 2, c 1", "q: a 3, b 2, c 1"), Some(1.0));
    assert_eq!(tau("q: a 3, b 2, c 1", "q: a 1, b 2, c 3"), Some(-1.0));
    assert_eq!(tau("q: a 3, b 2, c 1", "q: a 2, b 3, c 1"), Some(1.0 - 2.0 / 3.0));
    assert_eq!(tau("q: a 3, b 3, c 1", "q: a 3, b 2, c 1"), Some(1.0));
    assert_eq!(tau("q: a 3", "q: a 3"), None);
}

#[test]
fn errors_name_their_place() {
    let a = run("p: a 2, b 1\nq: a 8, b 4, c 2");
    let b = run("p: a 2, b 1\nq: a 9, b 4, c 2.75");
    let scores = diff(&a, &b, 10, USUAL).scores;
    assert_eq!((scores.shared, scores.equal, scores.within), (5, 3, 3));
    let parts = |apart: &ScoreGap| (apart.qid.clone(), apart.docno.clone(), apart.by);
    assert_eq!(parts(scores.absolute.as_ref().unwrap()), ("q".into(), "a".into(), 1.0));
    assert_eq!(parts(scores.relative.as_ref().unwrap()), ("q".into(), "c".into(), 0.75 / 2.75));
    assert_eq!((scores.fit, scores.explained), (None, None));
    let infinite = diff(&run("q: a inf, b 1"), &run("q: a 1, b 1"), 10, USUAL).scores;
    assert_eq!(infinite.error(), Some(2.0));
    // an infinite score ties with itself alone
    let turned = diff(&run("q: a -inf, b 1"), &run("q: a 5, b 1"), 10, USUAL);
    assert_eq!(turned.queries[0].likeness, RankingRelation::Different);
}

/// Scores of ten documents per query, and what `change` makes of them.
fn changed(change: impl Fn(usize, f64) -> f64) -> (Run, Run) {
    let line = |query: usize, change: &dyn Fn(usize, f64) -> f64| {
        let hits = (0..10).map(|at| {
            let score = 10.0 + 3.7 * ((7 * query + 13 * at) as f64).sin();
            format!("d{at} {}", change(at, score))
        });
        format!("q{query}: {}", hits.collect::<Vec<_>>().join(","))
    };
    let whole = |change: &dyn Fn(usize, f64) -> f64| {
        run(&(0..8).map(|query| line(query, change)).collect::<Vec<_>>().join("\n"))
    };
    (whole(&|_, score| score), whole(&change))
}

#[track_caller]
fn check_explained(change: impl Fn(usize, f64) -> f64, expected: Option<&str>) {
    let (a, b) = changed(change);
    let scores = diff(&a, &b, 10, USUAL).scores;
    match expected {
        None => assert_eq!(scores.explained, None, "{scores:?}"),
        Some(text) => {
            let explained = scores.explained.clone().unwrap_or_default();
            assert!(explained.contains(text), "{explained}: {scores:?}");
        }
    }
}

/// The top `bits` significant bits of a number, the others cut off.
fn cut(score: f64, bits: i32) -> f64 {
    let unit = 2f64.powi(score.log2().floor() as i32 + 1 - bits);
    (score / unit).floor() * unit
}

#[test]
fn what_explains_the_differences_is_reported_and_no_more() {
    check_explained(|_, score| score, None);
    check_explained(|_, score| score * 0.37, None);
    check_explained(|_, score| cut(score, 9), Some("weights of 9 significant bits"));
    check_explained(|_, score| 0.37 * cut(score, 9), Some("weights of 9 significant bits"));
    check_explained(|_, score| cut(score, 11), Some("weights of 11 significant bits"));
    check_explained(|_, score| (score * 1e3).round() / 1e3, Some("of B have 3 decimals"));
    check_explained(|_, score| (score * 50.0).round(), Some("of B are whole numbers"));
    check_explained(|_, score| score.round(), Some("of B are whole numbers"));
    // steps of 8 bits of the largest score, moved so that decimals do not tell
    let step = 13.7 / 255.1;
    check_explained(|_, score| (score / step).round() * step, Some("half a step of 8 bits"));
    check_explained(|at, score| score * if at == 3 { 1.01 } else { 1.0 }, None);
    check_explained(|_, score| cut(score, 6), None);
}

#[test]
fn a_factor_is_reported_where_there_is_one() {
    let (a, b) = changed(|at, score| 256.0 * score * if at == 3 { 1.25 } else { 1.0 });
    let fit = diff(&a, &b, 10, USUAL).scores.fit.unwrap();
    assert!((fit.factor - 1.0 / 256.0).abs() < 1e-12);
    assert_eq!(fit.largest.docno, "d3");
    assert!((fit.largest.by - 0.2).abs() < 1e-12);
    assert!(fit.median < 1e-12);
    let (a, b) = changed(|at, score| score + at as f64);
    assert_eq!(diff(&a, &b, 10, USUAL).scores.fit, None);
    let (a, b) = changed(|_, score| -score);
    assert_eq!(diff(&a, &b, 10, USUAL).scores.fit, None);
}

#[test]
fn a_gate_says_what_it_wanted() {
    let same = Wanted { same: true, ..Wanted::default() };
    let overlap = Wanted { min_overlap: Some(0.9), ..Wanted::default() };
    let error = Wanted { max_error: Some(0.01), ..Wanted::default() };
    let checked = |a: &str, b: &str, wanted: &Wanted| {
        let checked = diff(&run(a), &run(b), 2, USUAL).check(wanted);
        checked.err().map(|error| error.to_string())
    };
    let (a, b) = ("p: a 2, b 1\nq: a 2, b 1", "p: a 2, b 1\nq: a 2, c 1.5");
    for wanted in [same, overlap, error] {
        assert_eq!(checked(a, a, &wanted), None);
    }
    assert_eq!(checked(a, b, &error), None);
    let message = checked(a, b, &same).unwrap();
    assert!(message.contains("the same ranking for every query, found another for 1 of 2 (`q`)"));
    assert!(checked(a, b, &overlap).unwrap().contains("overlap@2 of at least 0.9, found 0.75"));
    let other = "p: a 2, b 1.5\nq: a 2, b 1";
    assert!(checked(a, other, &error).unwrap().contains("at most 0.01, found 0.33"));
    assert!(checked("p: a 1", "q: a 1", &error).unwrap().contains("no document that both have"));
}

#[test]
fn text_shows_the_first_differing_queries_side_by_side() {
    let a = run("p: a 2, b 1\nq: a 8, b 4, c 3.5");
    let b = run("p: a 2, b 1\nq: b 8, a 4, d 2");
    let mut bytes = Vec::new();
    let form = (Format::Text, Detail::PerQuery);
    render_diff(&mut bytes, &diff(&a, &b, 3, USUAL), None, form, 3).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let expected = "\
p\tidentical\t1.0000\t-
q\tdifferent\t0.6667\t1
A\trun
B\trun
top 3\tdifferent
queries\t2
identical\t1
different\t1
overlap@3\t0.8333\twith ties 0.8333
tau\t0.0000
shared hits\t4\tequal scores 2, within the tolerance 2
absolute error\t4.000e0\tquery q, document a: 8 and 4
relative error\t5.000e-1\tquery q, document a: 8 and 4

query q, overlap 0.6667
rank    A        B
   1  ! a 8    ! b 8
   2  ! b 4    ! a 4
   3  ! c 3.5  ! d 2
";
    assert_eq!(text, expected);
}
