//! A comparison as text or JSON lines.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Diff, Fit, Mark, QueryDiff, RankingRelation, ScoreGap, Side};
use crate::eval::{Detail, Format, Scores};

/// The most ranks of a query that are shown side by side.
const ROWS: usize = 10;
/// How many of them come before the first that differs.
const ROWS_BEFORE: usize = 2;

/// All ways in which a query can be alike, in the order of the outputs.
const ALL: [RankingRelation; 5] = [
    RankingRelation::Identical,
    RankingRelation::UpToTies,
    RankingRelation::Different,
    RankingRelation::OnlyInA,
    RankingRelation::OnlyInB,
];

/// Writes a comparison: with [`Detail::PerQuery`] a line per query first, then the summary, the measures
/// of both runs if there are any, and `shown` queries that differ, side by side (in text).
///
/// # Errors
/// Those of `output`.
pub fn render_diff(
    output: &mut impl Write,
    diff: &Diff,
    measured: Option<&[Scores; 2]>,
    (format, detail): (Format, Detail),
    shown: usize,
) -> io::Result<()> {
    let queries = if detail == Detail::PerQuery { &diff.queries[..] } else { &[] };
    if format == Format::JsonLines {
        queries.iter().try_for_each(|query| writeln!(output, "{}", query_json(query)))?;
        writeln!(output, "{}", summary_json(diff))?;
        let lines = measured.map(measures_json).unwrap_or_default();
        return lines.iter().try_for_each(|line| writeln!(output, "{line}"));
    }
    for QueryDiff { qid, likeness, overlap, first, .. } in queries {
        let first = first.map_or("-".to_owned(), |first| first.to_string());
        writeln!(output, "{qid}\t{}\t{overlap:.4}\t{first}", likeness.name())?;
    }
    summary(output, diff)?;
    if let Some(measured) = measured {
        for (place, measure) in measured[0].measures.iter().enumerate() {
            let [a, b] = [0, 1].map(|run| measured[run].overall(place));
            writeln!(output, "{measure}\tA {a:.4}\tB {b:.4}\tB - A {:+.4}", b - a)?;
        }
    }
    let apart = diff.queries.iter().filter(|query| query.likeness == RankingRelation::Different);
    apart.take(shown).try_for_each(|query| side_by_side(output, query))
}

/// The summary of all queries, one line per value.
fn summary(output: &mut impl Write, diff: &Diff) -> io::Result<()> {
    let Diff { a, b, k, queries, scores } = diff;
    writeln!(output, "A\t{a}\nB\t{b}")?;
    let verdict = match (diff.is_same(), diff.count(RankingRelation::UpToTies)) {
        (true, 0) => "the same",
        (true, _) => "the same up to ties",
        (false, _) => "different",
    };
    writeln!(output, "top {k}\t{verdict}\nqueries\t{}", queries.len())?;
    for likeness in ALL {
        let count = diff.count(likeness);
        if count > 0 || likeness == RankingRelation::Identical {
            writeln!(output, "{}\t{count}", likeness.name())?;
        }
    }
    let (overlap, with_ties) = (diff.overlap(), diff.overlap_with_ties());
    writeln!(output, "overlap@{k}\t{overlap:.4}\twith ties {with_ties:.4}")?;
    if let Some(tau) = diff.tau() {
        writeln!(output, "tau\t{tau:.4}")?;
    }
    let &super::ScoreDiff { shared, equal, within, .. } = scores;
    writeln!(output, "shared hits\t{shared}\tequal scores {equal}, within the tolerance {within}")?;
    if let Some(apart) = &scores.absolute {
        writeln!(output, "absolute error\t{:.3e}\t{}", apart.by, at(apart))?;
    }
    if let Some(apart) = &scores.relative {
        writeln!(output, "relative error\t{:.3e}\t{}", apart.by, at(apart))?;
    }
    if let Some(Fit { factor, largest, median, by_query }) = &scores.fit {
        let [factor, low, high] = [*factor, by_query.low, by_query.high].map(factor_text);
        writeln!(output, "factor\tA = {factor} x B\tby query {low} to {high}")?;
        writeln!(output, "after it\t{:.3e}\t{}; median {median:.3e}", largest.by, at(largest))?;
    }
    match &scores.explained {
        Some(explained) => writeln!(output, "explained\t{explained}"),
        None => Ok(()),
    }
}

/// A factor with at least four significant digits, whatever its size.
fn factor_text(factor: f64) -> String {
    if (1e-3..1e6).contains(&factor) { format!("{factor:.6}") } else { format!("{factor:.6e}") }
}

fn at(ScoreGap { qid, docno, a, b, .. }: &ScoreGap) -> String {
    format!("query {qid}, document {docno}: {a} and {b}")
}

/// The ranks around the first that differs: `~` moved by a tie, `!` by none.
fn side_by_side(output: &mut impl Write, query: &QueryDiff) -> io::Result<()> {
    let QueryDiff { qid, overlap, first, rows: [a, b], .. } = query;
    let begin = first.map_or(0, |first| first.saturating_sub(1 + ROWS_BEFORE));
    let ranks = begin..(begin + ROWS).min(a.len().max(b.len()));
    writeln!(output, "\nquery {qid}, overlap {overlap:.4}")?;
    let shown = |side: Option<&Side>| match side {
        Some(Side { docno, score, mark }) => {
            let mark = match mark {
                Mark::Same => ' ',
                Mark::Tie => '~',
                Mark::Moved => '!',
            };
            format!("{mark} {docno} {score}")
        }
        None => "  -".to_owned(),
    };
    let left: Vec<String> = ranks.clone().map(|rank| shown(a.get(rank))).collect();
    let width = left.iter().map(|cell| cell.chars().count()).max().unwrap_or(0).max(3);
    writeln!(output, "rank  {:<width$}    B", "  A")?;
    for (rank, left) in ranks.zip(left) {
        writeln!(output, "{:>4}  {left:<width$}  {}", rank + 1, shown(b.get(rank)))?;
    }
    Ok(())
}

fn query_json(query: &QueryDiff) -> Value {
    json!({
        "query": query.qid, "likeness": query.likeness.name(), "overlap": query.overlap,
        "overlap_with_ties": query.overlap_with_ties, "tau": query.tau, "first_rank": query.first,
    })
}

fn apart_json(apart: &ScoreGap) -> Value {
    let ScoreGap { qid, docno, a, b, by } = apart;
    json!({"query": qid, "document": docno, "a": a, "b": b, "value": by})
}

fn summary_json(diff: &Diff) -> Value {
    let Diff { a, b, k, queries, scores } = diff;
    let counts = ALL.map(|likeness| {
        (likeness.name().to_lowercase().replace(' ', "_"), json!(diff.count(likeness)))
    });
    let fit = scores.fit.as_ref().map(|fit| {
        json!({
            "factor": fit.factor, "largest": apart_json(&fit.largest), "median": fit.median,
            "by_query": [fit.by_query.low, fit.by_query.high],
        })
    });
    json!({
        "a": a, "b": b, "k": k, "same": diff.is_same(), "queries": queries.len(),
        "likeness": serde_json::Map::from_iter(counts),
        "overlap": diff.overlap(), "overlap_with_ties": diff.overlap_with_ties(), "tau": diff.tau(),
        "shared": scores.shared, "equal": scores.equal, "within": scores.within,
        "absolute": scores.absolute.as_ref().map(apart_json),
        "relative": scores.relative.as_ref().map(apart_json),
        "fit": fit, "explained": scores.explained,
    })
}

fn measures_json(measured: &[Scores; 2]) -> Vec<Value> {
    let measures = measured[0].measures.iter().enumerate();
    let line = |(place, measure): (usize, &crate::eval::Measure)| {
        let [a, b] = [0, 1].map(|run| measured[run].overall(place));
        json!({"measure": measure.to_string(), "a": a, "b": b, "difference": b - a})
    };
    measures.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_of_any_size_is_reported() {
        for (factor, text) in [
            (1.5, "1.500000"),
            (0.001, "0.001000"),
            (0.000_999, "9.990000e-4"),
            (2.5e-9, "2.500000e-9"),
            (999_999.0, "999999.000000"),
            (1e6, "1.000000e6"),
        ] {
            assert_eq!(factor_text(factor), text);
        }
    }
}
