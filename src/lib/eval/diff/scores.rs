//! The scores of documents that two runs share: how far apart, by which factor, and what would explain it.

use super::Tolerance;
use crate::records::trec::Run;

/// A document that both runs have, with its scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub qid: &'a str,
    pub docno: &'a str,
    pub a: f64,
    pub b: f64,
}

/// A document whose scores are apart.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreGap {
    /// The query.
    pub qid: String,
    /// The document.
    pub docno: String,
    /// Its score in the first run.
    pub a: f64,
    /// Its score in the second.
    pub b: f64,
    /// By how much they differ: absolutely, or as a share of the larger.
    pub by: f64,
}

/// Least and largest of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quotients {
    /// The least.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

/// Scores of one run as a multiple of those of the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Scores of the first run = factor times scores of the second: the median of their quotients.
    pub factor: f64,
    /// The largest relative difference after it.
    pub largest: ScoreGap,
    /// The median relative difference after it.
    pub median: f64,
    /// The medians of the quotients by query.
    pub by_query: Quotients,
}

/// How the scores of two runs compare.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreDiff {
    /// Documents that both runs have, over all queries.
    pub shared: usize,
    /// Those with exactly the same score.
    pub equal: usize,
    /// Those with scores within the tolerance.
    pub within: usize,
    /// The largest difference; `None` if nothing differs.
    pub absolute: Option<ScoreGap>,
    /// The largest difference as a share of the larger score; `None` if nothing differs.
    pub relative: Option<ScoreGap>,
    /// A factor between the two, if it leaves at most half of the usual difference.
    pub fit: Option<Fit>,
    /// What alone would explain the differences, as far as the numbers show it.
    pub explained: Option<String>,
}

/// The most decimals that count as rounded.
const DECIMALS: i32 = 6;

impl ScoreDiff {
    pub(super) fn new(pairs: Vec<Pair>, runs: [&Run; 2], tolerance: Tolerance) -> ScoreDiff {
        let count = |is: &dyn Fn(&Pair) -> bool| pairs.iter().filter(|pair| is(pair)).count();
        let equal = count(&|pair| pair.a == pair.b);
        let within = count(&|pair| tolerance.ties(pair.a, pair.b));
        let fit = if within < pairs.len() { fit(&pairs) } else { None };
        let factor = fit.as_ref().map_or(1.0, |fit| fit.factor);
        // what a factor alone makes equal needs no further explanation
        let is_open = pairs.iter().any(|pair| !tolerance.ties(pair.a, factor * pair.b));
        let explained = is_open.then(|| {
            let decimals = runs.map(decimals);
            rounding(&pairs, decimals, fit.as_ref()).or_else(|| bits(&pairs, factor))
        });
        let explained = explained.flatten();
        ScoreDiff {
            shared: pairs.len(),
            equal,
            within,
            absolute: largest(&pairs, |pair| apart(pair.a, pair.b)),
            relative: largest(&pairs, |pair| relative(pair.a, pair.b)),
            fit,
            explained,
        }
    }

    /// The largest relative difference, after the factor if there is one; none without documents
    /// that both runs have.
    pub fn error(&self) -> Option<f64> {
        let largest = self.fit.as_ref().map(|fit| &fit.largest).or(self.relative.as_ref());
        (self.shared > 0).then(|| largest.map_or(0.0, |apart| apart.by))
    }
}

/// The difference; infinite if one score is.
fn apart(a: f64, b: f64) -> f64 {
    if a == b { 0.0 } else { (a - b).abs() }
}

/// The difference as a share of the larger score, 0 to 2; 2 if a score is infinite.
fn relative(a: f64, b: f64) -> f64 {
    let share = apart(a, b) / a.abs().max(b.abs());
    if a == b { 0.0 } else { if share.is_nan() { 2.0 } else { share } }
}

/// Where `by` is largest, the first of several; none if it is 0 everywhere.
fn largest(pairs: &[Pair], by: impl Fn(&Pair) -> f64) -> Option<ScoreGap> {
    let mut most: Option<(f64, &Pair)> = None;
    for pair in pairs {
        let by = by(pair);
        if by > most.map_or(0.0, |(most, _)| most) {
            most = Some((by, pair));
        }
    }
    most.map(|(by, pair)| {
        let (qid, docno) = (pair.qid.to_owned(), pair.docno.to_owned());
        ScoreGap { qid, docno, a: pair.a, b: pair.b, by }
    })
}

/// The quotient of two scores that one factor may join: finite, not 0, of one sign.
fn quotient(pair: &Pair) -> Option<f64> {
    let quotient = pair.a / pair.b;
    (quotient.is_finite() && quotient > 0.0).then_some(quotient)
}

/// The lower median.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

fn spread(values: impl Iterator<Item = f64>) -> Option<Quotients> {
    values.fold(None, |all, value| {
        let Quotients { low, high } = all.unwrap_or(Quotients { low: value, high: value });
        Some(Quotients { low: low.min(value), high: high.max(value) })
    })
}

/// The factor, if most scores have a quotient and it halves the median difference.
fn fit(pairs: &[Pair]) -> Option<Fit> {
    let quotients: Vec<f64> = pairs.iter().filter_map(quotient).collect();
    if quotients.len() < 2 || quotients.len() * 2 <= pairs.len() {
        return None;
    }
    let factor = median(quotients)?;
    let before = median(pairs.iter().map(|pair| relative(pair.a, pair.b)).collect())?;
    let after = |pair: &Pair| relative(pair.a, factor * pair.b);
    let median_after = median(pairs.iter().map(after).collect())?;
    if median_after * 2.0 > before || before == 0.0 {
        return None;
    }
    let by_query = pairs.chunk_by(|one, next| one.qid == next.qid);
    let by_query = by_query.filter_map(|pairs| median(pairs.iter().filter_map(quotient).collect()));
    let nothing = || {
        let first = pairs[0];
        let (qid, docno) = (first.qid.to_owned(), first.docno.to_owned());
        ScoreGap { qid, docno, a: first.a, b: first.b, by: 0.0 }
    };
    Some(Fit {
        factor,
        largest: largest(pairs, after).unwrap_or_else(nothing),
        median: median_after,
        by_query: spread(by_query)?,
    })
}

/// The decimals with which all scores of a run are written, if they are at most [`DECIMALS`].
fn decimals(run: &Run) -> Option<i32> {
    let has = |score: f64, decimals: i32| {
        let shifted = score * 10f64.powi(decimals);
        // a double of so many digits is this far from them at most
        (shifted - shifted.round()).abs() <= 1e-9 * shifted.abs().max(1.0)
    };
    let mut needed = 0;
    for ranking in run.rankings().values() {
        for score in ranking.scores() {
            while needed <= DECIMALS && !has(score, needed) {
                needed += 1;
            }
            if needed > DECIMALS {
                return None;
            }
        }
    }
    Some(needed)
}

/// Whether the decimals of the scores explain their differences: whether one factor, 1 without a fit,
/// leaves none that is above half a unit of either run's last decimal.
fn rounding(pairs: &[Pair], decimals: [Option<i32>; 2], fit: Option<&Fit>) -> Option<String> {
    let half = |decimals: Option<i32>| decimals.map_or(0.0, |places| 0.5 * 10f64.powi(-places));
    // plus the last bits of doubles
    let [ours, theirs] = decimals.map(|decimals| half(decimals) * (1.0 + 1e-9));
    let whole_on_both = decimals == [Some(0); 2] && fit.is_none();
    if ours + theirs == 0.0 || whole_on_both {
        return None;
    }
    let mut factors = if fit.is_some() {
        Quotients { low: 0.0, high: f64::INFINITY }
    } else {
        Quotients { low: 1.0, high: 1.0 }
    };
    for pair in pairs {
        let (a, b) = (pair.a.abs(), pair.b.abs());
        if pair.a.signum() != pair.b.signum() && (a > ours || b > theirs) {
            return None;
        }
        factors.low = factors.low.max((a - ours) / (b + theirs));
        factors.high =
            factors.high.min(if b > theirs { (a + ours) / (b - theirs) } else { f64::INFINITY });
    }
    if factors.low > factors.high * (1.0 + 1e-12) {
        return None;
    }
    // the coarser of the two, against its scores
    let coarser = ours >= theirs * factors.low;
    let (run, places) = if coarser { ("A", decimals[0]) } else { ("B", decimals[1]) };
    let rounded = match places? {
        0 => "are whole numbers".to_owned(),
        1 => "have 1 decimal".to_owned(),
        places => format!("have {places} decimals"),
    };
    Some(format!("the scores of {run} {rounded}: no difference is larger than rounding leaves"))
}

/// How few bits would leave such differences.
fn bits(pairs: &[Pair], factor: f64) -> Option<String> {
    let quotients: Option<Vec<f64>> = pairs.iter().map(quotient).collect();
    let quotients = quotients.and_then(|all| spread(all.into_iter()));
    let apart_by = quotients.map_or(f64::INFINITY, |all| all.high / all.low - 1.0);
    let explained = |power: i32, what: &str| {
        Some(format!(
            "all quotients lie within 2^-{power} of each other: no more than {what} leave"
        ))
    };
    if apart_by <= 2f64.powi(-10) {
        return explained(10, "weights of 11 significant bits (f16)");
    }
    if apart_by <= 2f64.powi(-8) {
        let lucene = "weights of 9 significant bits, cut off (Lucene's feature fields, so Elasticsearch \
                      and OpenSearch), or of 8, rounded (bf16),";
        return explained(8, lucene);
    }
    // linear steps, the same for all: an error against the largest score
    let top = pairs.iter().map(|pair| pair.a.abs()).fold(0.0, f64::max);
    let error = pairs.iter().map(|pair| apart(pair.a, factor * pair.b)).fold(0.0, f64::max);
    (error <= top / 510.0).then(|| {
        "no difference is above 1/510 of the largest score: half a step of 8 bits".to_owned()
    })
}
