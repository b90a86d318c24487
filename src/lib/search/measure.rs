//! How fast queries are answered, and how many of the true hits a method finds.

use std::{
    fmt,
    time::{Duration, Instant},
};

use cpu_time::ThreadTime;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::Serialize;

use super::{Found, Method, calibrate::share, engine::Engine, search_all};
use crate::{error::Result, records::Query};

/// Time of single queries, text to hits, in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Number of queries.
    pub queries: usize,
    /// Half of them took at most this.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 95 %.
    pub p95_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// The mean.
    pub mean_us: f64,
    /// The mean time of the processor, which others on the machine disturb less.
    pub cpu_mean_us: f64,
    /// 99 % took at most this time of the processor.
    pub cpu_p99_us: f64,
    /// All queries by the time on the clock, threads together.
    pub queries_per_s: f64,
}

/// The time of one query, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Time {
    wall: f64,
    cpu: f64,
}

impl Latency {
    /// From the times of single queries and the time of all; zeros if there are none.
    ///
    /// A percentile is the smallest time that at least so many queries did not exceed.
    fn of(times: &[Time], seconds: f64) -> Latency {
        let queries = times.len();
        let sorted = |of: fn(&Time) -> f64| {
            let mut micros: Vec<f64> = times.iter().map(of).collect();
            micros.sort_by(f64::total_cmp);
            micros
        };
        let percentile = |micros: &[f64], percent: usize| {
            let rank = (queries * percent).div_ceil(100).max(1);
            micros.get(rank - 1).copied().unwrap_or(0.0)
        };
        let mean = |micros: &[f64]| (micros.iter().sum::<f64>() + 0.0) / queries.max(1) as f64;
        let (wall, cpu) = (sorted(|time| time.wall), sorted(|time| time.cpu));
        Latency {
            queries,
            p50_us: percentile(&wall, 50),
            p90_us: percentile(&wall, 90),
            p95_us: percentile(&wall, 95),
            p99_us: percentile(&wall, 99),
            mean_us: mean(&wall),
            cpu_mean_us: mean(&cpu),
            cpu_p99_us: percentile(&cpu, 99),
            queries_per_s: if queries == 0 { 0.0 } else { queries as f64 / seconds.max(1e-9) },
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "queries\t{}", self.queries)?;
        writeln!(f, "p50\t{:.1} µs", self.p50_us)?;
        writeln!(f, "p90\t{:.1} µs", self.p90_us)?;
        writeln!(f, "p95\t{:.1} µs", self.p95_us)?;
        writeln!(f, "p99\t{:.1} µs", self.p99_us)?;
        writeln!(f, "mean\t{:.1} µs", self.mean_us)?;
        writeln!(f, "mean, processor\t{:.1} µs", self.cpu_mean_us)?;
        writeln!(f, "p99, processor\t{:.1} µs", self.cpu_p99_us)?;
        writeln!(f, "queries/s\t{:.0}", self.queries_per_s)
    }
}

/// A method's hits against those of the exhaustive one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Number of queries.
    pub queries: usize,
    /// Queries with the same documents, order and scores, bit for bit.
    pub identical: usize,
    /// Mean share of the true hits that were found, where one with the score of the last is as good as it;
    /// 1 for a query without any.
    pub recall: f64,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "queries\t{}", self.queries)?;
        writeln!(f, "identical\t{}", self.identical)?;
        writeln!(f, "recall\t{:.6}", self.recall)
    }
}

impl Engine {
    /// Times every query, after one round to warm up.
    ///
    /// # Errors
    /// As [`Engine::find`].
    pub fn bench(&self, queries: &[Query]) -> Result<Latency> {
        let time = |query: &Query| {
            let (wall, cpu) = (Instant::now(), ThreadTime::now());
            self.find(&query.body)?;
            let micros = |time: Duration| time.as_secs_f64() * 1e6;
            Ok(Time { wall: micros(wall.elapsed()), cpu: micros(cpu.elapsed()) })
        };
        queries.par_iter().map(time).collect::<Result<Vec<Time>>>()?;
        let started = Instant::now();
        let times = queries.par_iter().map(time).collect::<Result<Vec<Time>>>()?;
        Ok(Latency::of(&times, started.elapsed().as_secs_f64()))
    }

    /// Compares the configured method with the exhaustive one.
    ///
    /// # Errors
    /// As [`Engine::find`].
    pub fn check_exact(&self, queries: &[Query]) -> Result<Agreement> {
        let compare = |query: &Query| {
            let vector = self.vector(&query.body)?;
            let found = self.find(&query.body)?;
            let truth = search_all(self.indexes(), &vector, self.config().k, Method::Exhaustive)?;
            let hits = |found: &[Found]| found.iter().map(|found| found.hit).collect::<Vec<_>>();
            Ok((found == truth, share(&hits(&truth), &hits(&found))))
        };
        let compared = queries.par_iter().map(compare).collect::<Result<Vec<(bool, f64)>>>()?;
        let recall: f64 = compared.iter().map(|(_, recall)| recall).sum();
        Ok(Agreement {
            queries: queries.len(),
            identical: compared.iter().filter(|(same, _)| *same).count(),
            recall: (recall + 0.0) / queries.len().max(1) as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_taken() {
        let time = |micros: i32| Time { wall: micros.into(), cpu: f64::from(micros) / 2.0 };
        let times: Vec<Time> = (1..=200).rev().map(time).collect();
        let latency = Latency::of(&times, 2.0);
        assert_eq!((latency.p50_us, latency.p90_us), (100.0, 180.0));
        assert_eq!((latency.p95_us, latency.p99_us), (190.0, 198.0));
        assert_eq!((latency.mean_us, latency.queries_per_s), (100.5, 100.0));
        assert_eq!((latency.cpu_mean_us, latency.cpu_p99_us), (50.25, 99.0));
        assert_eq!(Latency::of(&[time(7)], 1.0).p99_us, 7.0);
        assert_eq!(Latency::of(&[], 0.0).queries_per_s, 0.0);
    }
}
