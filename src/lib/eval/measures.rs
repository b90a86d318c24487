//! The measures of one ranking, as trec_eval 10 computes them.

use crate::records::trec::Grade;

/// What is computed for a query. `rel` is the least grade that counts as relevant, at least 1;
/// a `cutoff` is at least 1. Its name is read and written in `names`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Discounted gain over that of the ideal ranking; the discount of rank r is log2(r + 1).
    Ndcg {
        /// How a grade becomes a gain.
        gain: Gain,
        /// Ranks looked at, all if none; the ideal ranking is cut likewise.
        cutoff: Option<usize>,
    },
    /// One over the rank of the first relevant document.
    Rr {
        /// The least relevant grade.
        rel: Grade,
        /// Ranks looked at, all if none.
        cutoff: Option<usize>,
    },
    /// Precision at each relevant document found, summed and divided by the number of relevant ones.
    Ap {
        /// The least relevant grade.
        rel: Grade,
        /// Ranks looked at, all if none.
        cutoff: Option<usize>,
    },
    /// Share of relevant documents in the first `cutoff` ranks; a rank that is not filled counts as
    /// not relevant.
    P {
        /// The least relevant grade.
        rel: Grade,
        /// Ranks looked at.
        cutoff: usize,
    },
    /// Share of the relevant documents that are in the first `cutoff` ranks.
    R {
        /// The least relevant grade.
        rel: Grade,
        /// Ranks looked at.
        cutoff: usize,
    },
    /// 1 if a relevant document is in the first `cutoff` ranks, else 0.
    Success {
        /// The least relevant grade.
        rel: Grade,
        /// Ranks looked at.
        cutoff: usize,
    },
    /// Share of judged documents, whatever their grade, in the ranks looked at and filled.
    Judged {
        /// Ranks looked at, all if none.
        cutoff: Option<usize>,
    },
    /// How seldom a document judged not relevant is ranked above a relevant one.
    Bpref {
        /// The least relevant grade.
        rel: Grade,
    },
    /// Precision at the rank that is the number of relevant documents.
    Rprec {
        /// The least relevant grade.
        rel: Grade,
    },
    /// 1 per judged query: their number.
    NumQ,
    /// Documents found.
    NumRet,
    /// Relevant documents.
    NumRel {
        /// The least relevant grade.
        rel: Grade,
    },
    /// Relevant documents found.
    NumRelRet {
        /// The least relevant grade.
        rel: Grade,
    },
}

/// How a grade above 0 becomes a gain; other documents gain nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// The grade itself, `dcg='log2'`, as trec_eval has it.
    Grade,
    /// 2^grade − 1, `dcg='exp-log2'`.
    Exponential,
}

impl Gain {
    fn of(self, grade: Grade) -> f64 {
        match self {
            _ if grade <= 0 => 0.0,
            Gain::Grade => f64::from(grade),
            Gain::Exponential => f64::from(grade).exp2() - 1.0,
        }
    }
}

/// A ranking as the grades of its documents, and all grades of its query.
#[derive(Clone, Debug, Default)]
pub struct JudgedRanking {
    /// Best first; `None` if the document was not judged.
    pub ranked: Vec<Option<Grade>>,
    /// Of all judged documents of the query, found or not.
    pub judged: Vec<Grade>,
}

impl JudgedRanking {
    fn top(&self, cutoff: Option<usize>) -> &[Option<Grade>] {
        &self.ranked[..cutoff.unwrap_or(usize::MAX).min(self.ranked.len())]
    }

    fn relevant(&self, rel: Grade) -> usize {
        self.judged.iter().filter(|&&grade| grade >= rel).count()
    }

    fn relevant_found(&self, rel: Grade, cutoff: Option<usize>) -> usize {
        self.top(cutoff).iter().filter(|grade| is_relevant(**grade, rel)).count()
    }

    /// Ranks from 1 of the relevant documents, ascending.
    fn relevant_ranks(&self, rel: Grade, cutoff: Option<usize>) -> impl Iterator<Item = usize> {
        let ranks = (1..).zip(self.top(cutoff));
        ranks.filter(move |(_, grade)| is_relevant(**grade, rel)).map(|(rank, _)| rank)
    }
}

fn is_relevant(grade: Option<Grade>, rel: Grade) -> bool {
    grade.is_some_and(|grade| grade >= rel)
}

impl Measure {
    /// The measure's value; 0 where a query has no relevant or no found document.
    ///
    /// Source: trec_eval 10, `ndcg_cut`, `recip_rank`, `map`, `P`, `recall`, `success`, `bpref`,
    /// `Rprec`. Judged is ir_measures' own: its `Judged@k`, ties in trec_eval's order.
    pub fn value(self, of: &JudgedRanking) -> f64 {
        let value = match self {
            Measure::Ndcg { gain, cutoff } => ndcg(of, gain, cutoff),
            Measure::Rr { rel, cutoff } => {
                of.relevant_ranks(rel, cutoff).next().map_or(0.0, |rank| 1.0 / rank as f64)
            }
            Measure::Ap { rel, cutoff } => {
                let found = (1..).zip(of.relevant_ranks(rel, cutoff));
                let sum: f64 = found.map(|(nth, rank)| f64::from(nth) / rank as f64).sum();
                share(sum, of.relevant(rel))
            }
            Measure::P { rel, cutoff } => {
                share(of.relevant_found(rel, Some(cutoff)) as f64, cutoff)
            }
            Measure::R { rel, cutoff } => {
                share(of.relevant_found(rel, Some(cutoff)) as f64, of.relevant(rel))
            }
            Measure::Success { rel, cutoff } => of.relevant_found(rel, Some(cutoff)).min(1) as f64,
            Measure::Judged { cutoff } => {
                let top = of.top(cutoff);
                share(top.iter().flatten().count() as f64, top.len())
            }
            Measure::Bpref { rel } => bpref(of, rel),
            Measure::Rprec { rel } => {
                let relevant = of.relevant(rel);
                share(of.relevant_found(rel, Some(relevant)) as f64, relevant)
            }
            Measure::NumQ => 1.0,
            Measure::NumRet => of.ranked.len() as f64,
            Measure::NumRel { rel } => of.relevant(rel) as f64,
            Measure::NumRelRet { rel } => of.relevant_found(rel, None) as f64,
        };
        value + 0.0 // the sum of nothing is -0, which would print its sign
    }

    /// Whether it is a count, which is summed over queries; all else is averaged.
    pub fn is_count(self) -> bool {
        use Measure::{NumQ, NumRel, NumRelRet, NumRet};
        matches!(self, NumQ | NumRet | NumRel { .. } | NumRelRet { .. })
    }
}

/// 0 of nothing.
fn share(part: f64, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part / whole as f64 }
}

fn ndcg(of: &JudgedRanking, gain: Gain, cutoff: Option<usize>) -> f64 {
    let mut ideal = of.judged.clone();
    ideal.sort_unstable_by(|a, b| b.cmp(a));
    ideal.truncate(cutoff.unwrap_or(usize::MAX));
    let found = of.top(cutoff).iter().map(|grade| gain.of(grade.unwrap_or(0)));
    let best = dcg(ideal.into_iter().map(|grade| gain.of(grade)));
    if best == 0.0 { 0.0 } else { dcg(found) / best }
}

fn dcg(gains: impl Iterator<Item = f64>) -> f64 {
    (2u32..).zip(gains).map(|(rank_plus_1, gain)| gain / f64::from(rank_plus_1).log2()).sum()
}

/// Documents that were not judged, or pooled only (grades below 0), are ignored.
fn bpref(of: &JudgedRanking, rel: Grade) -> f64 {
    let relevant = of.relevant(rel);
    let not_relevant = of.judged.iter().filter(|&&grade| (0..rel).contains(&grade)).count();
    let (mut above, mut sum) = (0, 0.0);
    for grade in of.ranked.iter().copied().flatten().filter(|&grade| grade >= 0) {
        if grade < rel {
            above += 1;
        } else if above > 0 {
            sum += 1.0 - above.min(relevant) as f64 / not_relevant.min(relevant) as f64;
        } else {
            sum += 1.0;
        }
    }
    share(sum, relevant)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ranked` and `missed` hold grades, `.` for a document that was not judged.
    #[track_caller]
    fn check(measure: &str, ranked: &str, missed: &str, expected: f64) {
        let grade = |text: &str| text.parse::<Grade>().ok();
        let ranked: Vec<_> = ranked.split_whitespace().map(grade).collect();
        let missed = missed.split_whitespace().filter_map(grade);
        let judged = ranked.iter().copied().flatten().chain(missed).collect();
        let measure: Measure = measure.parse().unwrap();
        let value = measure.value(&JudgedRanking { ranked, judged });
        assert_eq!(format!("{value:.12}"), format!("{expected:.12}"), "{measure}");
    }

    #[test]
    fn ndcg_discounts_by_log2_of_the_rank_plus_1() {
        let log2 = f64::log2;
        check("nDCG@2", "0 2 3", "1", (2.0 / log2(3.0)) / (3.0 + 2.0 / log2(3.0)));
        check("nDCG", ". 1", "", 1.0 / log2(3.0));
        check("nDCG@10", "1 -1 2", "", (1.0 + 2.0 / 2.0) / (2.0 + 1.0 / log2(3.0)));
        check("nDCG(dcg='exp-log2')", "1 3", "", (1.0 + 7.0 / log2(3.0)) / (7.0 + 1.0 / log2(3.0)));
        check("nDCG@10", "0 . -1", "0", 0.0);
        check("nDCG@10", "", "1", 0.0);
    }

    #[test]
    fn reciprocal_rank_is_of_the_first_relevant_document() {
        check("RR", "0 . 1 1", "", 1.0 / 3.0);
        check("RR@2", "0 . 1 1", "", 0.0);
        check("RR(rel=2)", "1 2", "", 0.5);
        check("RR", "", "1", 0.0);
    }

    #[test]
    fn average_precision_counts_what_was_missed() {
        check("AP", "1 0 1", "1 1", (1.0 + 2.0 / 3.0) / 4.0);
        check("AP@2", "1 0 1", "1 1", 1.0 / 4.0);
        check("AP(rel=2)", "1 2", "0", 0.5);
        check("AP", "0 .", "", 0.0);
        check("AP", "0", "1", 0.0);
    }

    #[test]
    fn precision_counts_unfilled_ranks_and_recall_does_not() {
        check("P@5", "1 1 .", "1", 0.4);
        check("P(rel=2)@1", "1 2", "", 0.0);
        check("R@2", "1 0 1", "1", 1.0 / 3.0);
        check("R@2", "0 0", "", 0.0);
        check("Success@1", "0 1", "", 0.0);
        check("Success@2", "0 1", "", 1.0);
        check("Rprec", "0 1 1", "", 0.5);
        check("Rprec", "1", "1", 0.5);
    }

    #[test]
    fn judged_counts_every_grade_in_the_filled_ranks() {
        check("Judged@2", "-1 0 .", "", 1.0);
        check("Judged@10", "1 . .", "", 1.0 / 3.0);
        check("Judged@10", "", "1", 0.0);
    }

    #[test]
    fn bpref_passes_over_what_was_not_judged() {
        check("Bpref", ". 1 -1 1", "0", 1.0);
        check("Bpref", "0 1 . 1", "0", 0.5);
        check("Bpref", "0 1", "1", 0.0);
        check("Bpref", "1", "1 1 1", 0.25);
    }

    #[test]
    fn counts_count() {
        check("NumRet", "1 . 0", "1", 3.0);
        check("NumRel", "1 . 0", "1 2", 3.0);
        check("NumRel(rel=2)", "1 . 0", "1 2", 1.0);
        check("NumRelRet", "1 . 0 2", "1", 2.0);
        check("NumRet(rel=2)", "1 . 0 2", "1", 1.0);
        check("NumQ", "", "1", 1.0);
    }
}
