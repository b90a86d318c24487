//! The log of a run: one record per logged step, and alarms with advice.

use std::{collections::BTreeMap, fmt, path::Path};

use serde_json::{Map, Value, json};

use super::objective::Sparsity;
use crate::{
    error::{Error, Result},
    io,
};

/// One step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Steps done, including this one.
    pub step: u64,
    /// The stage's name, or its number.
    pub stage: String,
    /// The sum that was minimised.
    pub loss: f64,
    /// Its parts, before their factors.
    pub parts: BTreeMap<String, f64>,
    /// The current λ.
    pub lambda: f64,
    /// The current learning rate.
    pub rate: f64,
    /// The norm of all gradients together.
    pub gradient: f64,
    /// What documents look like, where they were weighted.
    pub sparsity: Option<Sparsity>,
    /// The threshold, or the mean of them.
    pub theta: Option<f64>,
    /// Documents in the step.
    pub documents: usize,
    /// Since the last record.
    pub docs_per_second: f64,
    /// Something a user should look at.
    pub alarm: Option<String>,
}

impl Record {
    /// One JSON line, without its end.
    pub fn to_json(&self) -> String {
        let mut line = Map::new();
        line.insert("step".into(), self.step.into());
        line.insert("stage".into(), self.stage.clone().into());
        line.insert("loss".into(), json!(self.loss));
        line.extend(self.parts.iter().map(|(name, value)| (name.clone(), json!(value))));
        for (name, value) in [
            ("lambda", self.lambda),
            ("lr", self.rate),
            ("gradient", self.gradient),
            ("docs_per_second", self.docs_per_second),
        ] {
            line.insert(name.into(), json!(value));
        }
        if let Some(Sparsity { terms, over, mean, max }) = self.sparsity {
            for (name, value) in
                [("nnz", terms), ("over_budget", over), ("mean_weight", mean), ("max_weight", max)]
            {
                line.insert(name.into(), json!(value));
            }
        }
        line.insert("theta".into(), json!(self.theta));
        line.insert("memory_mb".into(), json!(memory_mb()));
        if let Some(alarm) = &self.alarm {
            line.insert("alarm".into(), alarm.clone().into());
        }
        Value::Object(line).to_string()
    }

    /// The step of a line of the log.
    pub fn step_of(line: &str) -> Option<u64> {
        serde_json::from_str::<Value>(line).ok()?.get("step")?.as_u64()
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} step {}: loss {:.4}", self.stage, self.step, self.loss)?;
        for (name, value) in &self.parts {
            write!(f, ", {name} {value:.4}")?;
        }
        if let Some(Sparsity { terms, max, .. }) = self.sparsity {
            write!(f, ", λ {:.2e}, {terms:.0} terms, max {max:.2}", self.lambda)?;
        }
        if let Some(theta) = self.theta {
            write!(f, ", θ {theta:.3}")?;
        }
        write!(f, ", lr {:.1e}, {:.1} docs/s", self.rate, self.docs_per_second)?;
        self.alarm.as_ref().map_or(Ok(()), |alarm| write!(f, " — {alarm}"))
    }
}

/// The memory of this process, if the system reports it.
fn memory_mb() -> Option<u64> {
    let status = io::read_text(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes / 1024)
}

/// Checks every step for what ruins a run.
#[derive(Debug)]
pub struct Watch {
    terms: usize,
    empty: u64,
    losses: Vec<f64>,
}

/// Steps in a row without any term that end a run.
const EMPTY_STEPS: u64 = 20;
/// Steps whose mean loss is compared with the mean of as many before.
const WINDOW: usize = 500;

impl Watch {
    /// For a vocabulary of `terms`.
    pub fn new(terms: usize) -> Watch {
        Watch { terms, empty: 0, losses: Vec::new() }
    }

    /// Adds an alarm to the record if there is reason for one.
    ///
    /// # Errors
    /// [`Error::Format`] if continuing is useless: a loss that is not a number, or documents that are
    /// all empty for 20 steps.
    pub fn look(&mut self, record: &mut Record, folder: &Path) -> Result<()> {
        let stop = |reason: String| Err(Error::format(folder, reason));
        let step = record.step;
        if !record.loss.is_finite() || !record.gradient.is_finite() {
            return stop(format!(
                "step {step}: loss {}, gradient {}; lower lr, set optimizer.clip = 1.0, or train in \
                 f32; the last checkpoint is as it was",
                record.loss, record.gradient
            ));
        }
        let empty = record.sparsity.is_some_and(|sparsity| sparsity.terms == 0.0);
        self.empty = if empty { self.empty + 1 } else { 0 };
        if self.empty >= EMPTY_STEPS {
            return stop(format!(
                "step {step}: every document has been empty for {EMPTY_STEPS} steps; lower lambda, \
                 lengthen ramp, lower lr, or lower the threshold"
            ));
        }
        self.losses.push(record.loss);
        record.alarm = self.warning(record);
        Ok(())
    }

    fn warning(&self, record: &Record) -> Option<String> {
        if self.empty > 0 {
            return Some("every document is empty: lambda or the threshold is too strong".into());
        }
        if let Some(Sparsity { terms, .. }) = record.sparsity {
            if terms < 1.0 {
                return Some("documents have less than one term: lambda or lr is too high".into());
            }
            if record.step > 1000 && terms > 0.5 * self.terms as f64 {
                return Some("documents have more than half of all terms: raise lambda".into());
            }
        }
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let count = self.losses.len();
        if count >= 2 * WINDOW && count.is_multiple_of(WINDOW) {
            let before = mean(&self.losses[count - 2 * WINDOW..count - WINDOW]);
            let now = mean(&self.losses[count - WINDOW..]);
            if (before - now).abs() < 1e-4 * before.abs() {
                return Some(format!("the loss did not move in {WINDOW} steps: raise lr"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(loss: f64, terms: f64) -> Record {
        let sparsity = Some(Sparsity { terms, ..Sparsity::default() });
        Record { step: 2000, loss, sparsity, ..Record::default() }
    }

    #[test]
    fn what_ruins_a_run_is_said_and_ends_it() {
        let folder = Path::new("out");
        let mut watch = Watch::new(100);
        let error = watch.look(&mut record(f64::NAN, 5.0), folder).unwrap_err().to_string();
        assert!(error.starts_with("out: step 2000: loss NaN") && error.contains("clip"), "{error}");
        for (terms, found) in [(0.0, "empty"), (0.5, "less than one"), (51.0, "more than half")] {
            let mut record = record(1.0, terms);
            watch.look(&mut record, folder).unwrap();
            assert!(record.alarm.unwrap().contains(found));
        }
        let mut fine = record(1.0, 20.0);
        watch.look(&mut fine, folder).unwrap();
        assert_eq!(fine.alarm, None);
        let ends = (0..EMPTY_STEPS).find_map(|_| watch.look(&mut record(1.0, 0.0), folder).err());
        assert!(ends.unwrap().to_string().contains("lower lambda"));
    }

    #[test]
    fn a_step_without_document_weights_says_nothing_of_them() {
        let mut hidden = Record { sparsity: None, ..record(1.0, 0.0) };
        let mut watch = Watch::new(100);
        for _ in 0..2 * EMPTY_STEPS {
            watch.look(&mut hidden, Path::new("out")).unwrap();
        }
        assert_eq!(hidden.alarm, None);
        assert!(!hidden.to_json().contains("nnz") && !hidden.to_string().contains("terms"));
    }

    #[test]
    fn a_loss_that_stands_still_is_said() {
        let mut watch = Watch::new(100);
        let alarms = (0..2 * WINDOW).filter_map(|_| {
            let mut record = record(1.0, 20.0);
            watch.look(&mut record, Path::new("out")).unwrap();
            record.alarm
        });
        assert_eq!(alarms.count(), 1);
    }

    #[test]
    fn a_line_of_the_log_gives_its_step() {
        assert_eq!(Record::step_of(&record(1.0, 1.0).to_json()), Some(2000));
        assert_eq!(Record::step_of("torn"), None);
    }
}
