//! Effectiveness against cost: results of several seeds joined, and the front that nothing beats.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    io::Input,
};

/// One line of results: a trained model, measured. Fields beyond these are passed over.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Outcome {
    /// What was trained; outcomes of one name and method differ by their seed only.
    pub name: String,
    /// The family it belongs to, for the legend.
    #[serde(default)]
    pub method: String,
    /// nDCG@10.
    #[serde(alias = "nDCG@10", alias = "ndcg@10")]
    pub ndcg: f64,
    /// The expected number of shared terms.
    pub flops: f64,
}

impl Outcome {
    /// Reads JSON objects, one a line, or a JSON array of them.
    ///
    /// # Errors
    /// [`Error::Line`] for what is no such object; [`Error::Format`] if there is none; [`Error::Io`].
    pub fn read(input: Input) -> Result<Vec<Outcome>> {
        let name = input.name().to_owned();
        let mut text = String::new();
        let mut reader = input.into_reader();
        reader.read_to_string(&mut text).map_err(|source| Error::io(&name, source))?;
        let bad = |line: usize, error: serde_json::Error| {
            let wanted = r#"{"name", "method", "ndcg", "flops"}"#;
            Error::line(&name, line as u64, wanted, error.to_string())
        };
        let outcomes: Vec<Outcome> = if text.trim_start().starts_with('[') {
            serde_json::from_str(&text).map_err(|error| bad(error.line(), error))?
        } else {
            let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
            lines
                .map(|(n, line)| serde_json::from_str(line).map_err(|error| bad(n, error)))
                .collect::<Result<_>>()?
        };
        if outcomes.is_empty() {
            return Err(Error::format(&name, "want results as JSON lines, got none"));
        }
        Ok(outcomes)
    }
}

/// The mean over seeds, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The smallest value.
    pub least: f64,
    /// The mean.
    pub mean: f64,
    /// The largest value.
    pub most: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Spread {
        Spread {
            least: values.iter().copied().fold(f64::INFINITY, f64::min),
            mean: values.iter().sum::<f64>() / values.len() as f64,
            most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// A place in the plane of cost and effectiveness.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The family.
    pub method: String,
    /// What was trained.
    pub name: String,
    /// How many outcomes it joins.
    pub seeds: usize,
    /// The cost.
    pub flops: Spread,
    /// The effectiveness.
    pub ndcg: Spread,
    /// Whether no other point is at least as good on both sides and better on one.
    pub on_front: bool,
}

/// Joins the outcomes of each method and name; points ascend by method, then cost.
pub fn points(outcomes: &[Outcome]) -> Vec<Point> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        groups.entry((&outcome.method, &outcome.name)).or_default().push(outcome);
    }
    let join = |((method, name), group): ((&str, &str), Vec<&Outcome>)| Point {
        method: method.to_owned(),
        name: name.to_owned(),
        seeds: group.len(),
        flops: Spread::of(&group.iter().map(|outcome| outcome.flops).collect::<Vec<_>>()),
        ndcg: Spread::of(&group.iter().map(|outcome| outcome.ndcg).collect::<Vec<_>>()),
        on_front: false,
    };
    let mut points: Vec<Point> = groups.into_iter().map(join).collect();
    points.sort_by(|a, b| a.method.cmp(&b.method).then(a.flops.mean.total_cmp(&b.flops.mean)));
    let means: Vec<_> = points.iter().map(|point| (point.flops.mean, point.ndcg.mean)).collect();
    for point in &mut points {
        let (flops, ndcg) = (point.flops.mean, point.ndcg.mean);
        let beaten = |&(f, n): &(f64, f64)| f <= flops && n >= ndcg && (f < flops || n > ndcg);
        point.on_front = !means.iter().any(beaten);
    }
    points
}

/// Writes a line a point, columns between tabs under a header.
///
/// # Errors
/// Those of `output`.
pub fn render_points(output: &mut impl Write, points: &[Point]) -> io::Result<()> {
    writeln!(output, "method\tname\tseeds\tflops\tnDCG@10\tfront")?;
    points.iter().try_for_each(|point| {
        let Point { method, name, seeds, flops, ndcg, on_front } = point;
        let front = if *on_front { "yes" } else { "no" };
        writeln!(output, "{method}\t{name}\t{seeds}\t{:.4}\t{:.4}\t{front}", flops.mean, ndcg.mean)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Outcome>> {
        Outcome::read(Input::from_reader("r", io::Cursor::new(text.to_owned()))?)
    }

    fn outcome(method: &str, name: &str, ndcg: f64, flops: f64) -> Outcome {
        Outcome { name: name.into(), method: method.into(), ndcg, flops }
    }

    #[test]
    fn lines_and_an_array_are_the_same() {
        let one = r#"{"name":"a","method":"m","ndcg":0.5,"flops":1.5,"seed":3}"#;
        let two = r#"{"name":"b","nDCG@10":0.25,"flops":1}"#;
        let expected = [outcome("m", "a", 0.5, 1.5), outcome("", "b", 0.25, 1.0)];
        assert_eq!(read(&format!("{one}\n\n{two}\n")).unwrap(), expected);
        assert_eq!(read(&format!(" [{one},\n{two}]")).unwrap(), expected);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let message = |text| read(text).unwrap_err().to_string();
        assert_eq!(message(""), "r: want results as JSON lines, got none");
        let wanted = r#"want {"name", "method", "ndcg", "flops"}"#;
        let error = message("{\"name\":\"a\",\"ndcg\":1,\"flops\":1}\n{\"name\":\"b\"}\n");
        assert!(error.starts_with(&format!("r:2: {wanted}, got missing field `ndcg`")), "{error}");
        let error = message("[{\"name\":\"a\",\"ndcg\":1,\"flops\":1},\n{}]");
        assert!(error.starts_with(&format!("r:2: {wanted}, got missing field")), "{error}");
    }

    #[test]
    fn seeds_are_joined_and_the_front_is_what_nothing_beats() {
        let points = points(&[
            outcome("l0", "cheap", 0.30, 1.0),
            outcome("l0", "cheap", 0.32, 2.0),
            outcome("l0", "dear", 0.40, 3.0),
            outcome("splade", "worse", 0.40, 3.5),
            outcome("splade", "same", 0.40, 3.0),
            outcome("splade", "cheapest", 0.10, 0.5),
        ]);
        let names: Vec<_> =
            points.iter().map(|point| (point.name.as_str(), point.on_front)).collect();
        let expected =
            [("cheap", true), ("dear", true), ("cheapest", true), ("same", true), ("worse", false)];
        assert_eq!(names, expected);
        assert_eq!(points[0].seeds, 2);
        assert_eq!(points[0].flops, Spread { least: 1.0, mean: 1.5, most: 2.0 });
    }
}
