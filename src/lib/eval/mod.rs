//! Runs and judgements to measures, and what sparse vectors cost.
//!
//! Measures are named as in ir_measures and computed as by trec_eval 10. Nothing here reads files,
//! prints, or knows how a run was made.

mod axis;
mod compare;
mod diff;
mod measures;
mod names;
mod plot;
mod render;
mod report;
mod sparsity;
mod tradeoff;

pub use compare::{Chance, Comparison, PERMUTATIONS, compare};
pub use diff::{
    Diff, Fit, Mark, QueryDiff, Quotients, RankingRelation, ScoreDiff, ScoreGap, Side, Tolerance,
    Wanted, diff, render_diff,
};
pub use measures::{Gain, JudgedRanking, Measure};
pub use plot::{Picture, plot};
pub use render::{Detail, Format, render, render_comparisons};
pub use report::{Floor, IdenticalIds, Scores, evaluate, measures_to_take};
pub use sparsity::{SparsityStats, flops, render_sparsity};
pub use tradeoff::{Condition, FLOPS, NDCG, Outcome, Point, Spread, View, points, render_points};
