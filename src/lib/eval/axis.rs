//! The axis of a figure: its ends, its ticks and what they are labelled.
//!
//! The axes of `plotters` have no tick on a logarithmic axis within one power of ten, and do not end at round
//! numbers.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// About how many steps an axis has.
const STEPS: f64 = 6.0;

/// A range of values with its ticks.
#[derive(Clone)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    ticks: Vec<f64>,
    log: bool,
}

impl Axis {
    /// From round number to round number around all values.
    pub(super) fn over(values: impl Iterator<Item = (f64, f64)>) -> Axis {
        let (from, to) = ends(values);
        // values that only rounding tells apart are one
        let apart = to - from > to.abs().max(from.abs()) * 1e-9;
        let range = if apart { to - from } else { to.abs().max(1.0) };
        let magnitude = 10f64.powf((range / STEPS).log10().floor());
        let fits = |&step: &f64| range / step <= STEPS;
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(fits);
        let step = step.unwrap_or(range);
        let (from, to) = ((from / step).floor() * step, (to / step).ceil() * step);
        let to = to.max(from + step);
        let count = ((to - from) / step).round() as u32;
        let ticks = (0..=count).map(|n| from + f64::from(n) * step).collect();
        Axis { from, to, ticks, log: false }
    }

    /// By factors, from the smallest to the largest value and a little beyond; ticks at 1, 2 and 5
    /// times powers of ten, of a long axis at the powers.
    pub(super) fn by_factors(values: impl Iterator<Item = (f64, f64)>) -> Axis {
        let (from, to) = ends(values);
        let (from, to) = (from / 1.15, to * 1.15);
        let powers = from.log10().floor() as i32..=to.log10().ceil() as i32;
        let marks: &[f64] = if to / from > 1e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let ticks = powers.flat_map(|power| marks.iter().map(move |mark| mark * 10f64.powi(power)));
        let mut ticks: Vec<f64> = ticks.filter(|tick| (from..=to).contains(tick)).collect();
        if ticks.len() < 2 {
            ticks = vec![from * 1.15, to / 1.15];
            ticks.dedup();
        }
        Axis { from, to, ticks, log: true }
    }

    /// Where a value is between both ends, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        match self.log {
            true => (value / self.from).ln() / (self.to / self.from).ln(),
            false => (value - self.from) / (self.to - self.from),
        }
    }

    /// With as many decimals as it takes to tell ticks apart.
    pub(super) fn tick(&self, value: f64) -> String {
        let step = match (self.log, &self.ticks[..]) {
            (false, [first, second, ..]) => second - first,
            // ends without a round number between them
            (true, [first, second]) => (second - first).min(value),
            _ => value,
        };
        let decimals = (-step.log10() - 1e-9).ceil().max(0.0) as usize;
        format!("{value:.decimals$}")
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (self.share(*value) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

fn ends(values: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let none = (f64::INFINITY, f64::NEG_INFINITY);
    values.fold(none, |(from, to), (a, b)| (from.min(a), to.max(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_go_from_round_number_to_round_number() {
        #[track_caller]
        fn check(from: f64, to: f64, ticks: &[&str]) {
            let axis = Axis::over([(from, to)].into_iter());
            let written: Vec<String> = axis.ticks.iter().map(|&tick| axis.tick(tick)).collect();
            assert_eq!(written, ticks);
            assert!(axis.share(from) >= 0.0 && axis.share(to) <= 1.0);
        }
        check(0.31, 0.352, &["0.31", "0.32", "0.33", "0.34", "0.35", "0.36"]);
        check(0.0, 12.0, &["0", "2", "4", "6", "8", "10", "12"]);
        check(3.0, 3.0, &["3.0", "3.5"]);
        check(0.0, 0.0, &["0.0", "0.2"]);
        check(0.3, 0.1 + 0.2, &["0.2", "0.4"]);
    }

    #[test]
    fn an_axis_by_factors_has_ticks_at_equal_factors() {
        let axis = Axis::by_factors([(0.002, 0.05)].into_iter());
        let written: Vec<String> = axis.ticks.iter().map(|&tick| axis.tick(tick)).collect();
        assert_eq!(written, ["0.002", "0.005", "0.01", "0.02", "0.05"]);
        let at: Vec<f64> = axis.ticks.iter().map(|&tick| axis.share(tick)).collect();
        assert!((at[3] - at[2] - (at[2] - at[1])).abs() < 1e-9 && at[0] > 0.0 && at[4] < 1.0);
        let short = Axis::by_factors([(3.0, 3.3)].into_iter());
        let written: Vec<String> = short.ticks.iter().map(|&tick| short.tick(tick)).collect();
        assert_eq!(written, ["3.0", "3.3"]);
        let long = Axis::by_factors([(1e-4, 10.0)].into_iter());
        let written: Vec<String> = long.ticks.iter().map(|&tick| long.tick(tick)).collect();
        assert_eq!(written, ["0.0001", "0.001", "0.01", "0.1", "1", "10"]);
    }
}
