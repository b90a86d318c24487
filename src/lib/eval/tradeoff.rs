//! Effectiveness against cost: results of several seeds joined, and the Pareto front.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    str::FromStr,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::render::Format;
use crate::{
    error::{Error, Result},
    io::Input,
};

/// The effectiveness that is printed and drawn if nothing else is asked for.
pub const NDCG: &str = "nDCG@10";
/// The cost that is printed and drawn if nothing else is asked for.
pub const FLOPS: &str = "flops";

/// Numbers beyond this are not measurements.
const LARGEST: f64 = 1e15;

/// One line of results: a trained model, measured.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Outcome {
    /// What was trained; outcomes of one name and method differ by their seed only.
    pub name: String,
    /// The family it belongs to, for the legend.
    #[serde(default)]
    pub method: String,
    /// What was measured, and whatever else is known of it.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Outcome {
    /// Reads JSON objects, one per line, or a JSON array of them. Those that do not meet the conditions
    /// are ignored; the others must have `wanted` as numbers. `ndcg` means `nDCG@10`.
    ///
    /// # Errors
    /// [`Error::Line`] for what is not such an object; [`Error::Format`] if there is none; [`Error::Io`].
    pub fn read(input: Input, met: &[Condition], wanted: &[&str]) -> Result<Vec<Outcome>> {
        let name = input.name().to_owned();
        let mut text = String::new();
        let mut reader = input.into_reader();
        reader.read_to_string(&mut text).map_err(|source| Error::io(&name, source))?;
        let bad = |line: usize, reason: String| {
            let wanted: Vec<_> = wanted.iter().map(|key| format!(", {key:?}")).collect();
            let wanted = format!("{{\"name\", \"method\"{}}}", wanted.concat());
            Error::line(&name, line as u64, &wanted, reason)
        };
        let is_array = text.trim_start().starts_with('[');
        let outcomes: Vec<(usize, Outcome)> = if is_array {
            let all: Vec<Outcome> = serde_json::from_str(&text)
                .map_err(|error| bad(error.line(), error.to_string()))?;
            (1..).zip(all).collect()
        } else {
            let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
            let read = |(n, line): (usize, &str)| match serde_json::from_str(line) {
                Ok(outcome) => Ok((n, outcome)),
                Err(error) => Err(bad(n, error.to_string())),
            };
            lines.map(read).collect::<Result<_>>()?
        };
        if outcomes.is_empty() {
            return Err(Error::format(&name, "expected results as JSON lines, found none"));
        }
        let mut chosen = Vec::new();
        for (line, outcome) in outcomes {
            if !met.iter().all(|condition| condition.holds(&outcome)) {
                continue;
            }
            if let Some(key) = wanted.iter().find(|key| outcome.number(key).is_none()) {
                let reason = format!("`{}` without a number {key:?}", outcome.name);
                return Err(match is_array {
                    true => Error::format(&name, format!("item {line} of the array: {reason}")),
                    false => bad(line, reason),
                });
            }
            chosen.push(outcome);
        }
        Ok(chosen)
    }

    /// A field that is a number, of at most 10¹⁵.
    pub fn number(&self, key: &str) -> Option<f64> {
        let spelled = self.fields.get(key).or_else(|| match key {
            NDCG => self.fields.get("ndcg"),
            _ => None,
        });
        spelled.and_then(Value::as_f64).filter(|number| number.abs() <= LARGEST)
    }
}

/// A field and what it must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    key: String,
    value: String,
}

impl Condition {
    /// Whether an outcome meets it: strings as they are, numbers as numbers.
    pub fn holds(&self, outcome: &Outcome) -> bool {
        match self.key.as_str() {
            "name" => outcome.name == self.value,
            "method" => outcome.method == self.value,
            key => match outcome.fields.get(key) {
                Some(Value::String(text)) => *text == self.value,
                Some(Value::Number(number)) => number.as_f64() == self.value.parse().ok(),
                Some(Value::Bool(truth)) => self.value.parse() == Ok(*truth),
                _ => false,
            },
        }
    }
}

impl FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Condition> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Condition { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(Error::Usage(format!("expected FIELD=VALUE, found `{text}`"))),
        }
    }
}

/// The mean over seeds, and their range.
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
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // the mean of equal numbers is that number, whatever a sum rounds to
        let mean = (values.iter().sum::<f64>() / values.len() as f64).clamp(least, most);
        Spread { least, mean, most }
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
    /// The cost, or what else is drawn to the right.
    pub x: Spread,
    /// The effectiveness, or what else is drawn upwards.
    pub y: Spread,
    /// Further fields, where all its outcomes have them as numbers.
    pub columns: Vec<Option<Spread>>,
    /// Whether no other point has at most its x and at least its y and is better on one side.
    pub on_front: bool,
}

/// What of the outcomes is printed and drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct View<'a> {
    /// The field to the right.
    pub x: &'a str,
    /// The field upwards.
    pub y: &'a str,
    /// Further fields for the table.
    pub columns: &'a [String],
}

/// Joins the outcomes of each method and name; points ascend by method, then x.
pub fn points(outcomes: &[Outcome], view: &View) -> Vec<Point> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        groups.entry((&outcome.method, &outcome.name)).or_default().push(outcome);
    }
    let join = |((method, name), group): ((&str, &str), Vec<&Outcome>)| {
        let spread = |key: &str| {
            let values = group.iter().map(|outcome| outcome.number(key));
            values.collect::<Option<Vec<_>>>().map(|values| Spread::of(&values))
        };
        Some(Point {
            method: method.to_owned(),
            name: name.to_owned(),
            seeds: group.len(),
            x: spread(view.x)?,
            y: spread(view.y)?,
            columns: view.columns.iter().map(|key| spread(key)).collect(),
            on_front: false,
        })
    };
    let mut points: Vec<Point> = groups.into_iter().filter_map(join).collect();
    points.sort_by(|a, b| a.method.cmp(&b.method).then(a.x.mean.total_cmp(&b.x.mean)));
    let means: Vec<_> = points.iter().map(|point| (point.x.mean, point.y.mean)).collect();
    for point in &mut points {
        let (x, y) = (point.x.mean, point.y.mean);
        let beaten = |&(a, b): &(f64, f64)| a <= x && b >= y && (a < x || b > y);
        point.on_front = !means.iter().any(beaten);
    }
    points
}

/// Writes one line per point under a header. `±` is half the distance of the best seed from the worst.
///
/// # Errors
/// Those of `output`.
pub fn render_points(
    output: &mut impl Write,
    points: &[Point],
    view: &View,
    format: Format,
) -> io::Result<()> {
    let columns = view.columns.iter().map(String::as_str);
    let header = ["method", "name", "seeds", view.x, view.y, "±"].into_iter().chain(columns);
    let header: Vec<&str> = header.chain(["front"]).collect();
    match format {
        Format::Text => writeln!(output, "{}", header.join("\t"))?,
        Format::Markdown => {
            writeln!(output, "| {} |", header.join(" | "))?;
            writeln!(output, "|---|---{}|", "|--:".repeat(header.len() - 3) + "|---")?;
        }
        Format::JsonLines => {}
    }
    for point in points {
        let Point { method, name, seeds, x, y, columns, on_front } = point;
        if format == Format::JsonLines {
            let mut line =
                json!({"method": method, "name": name, "seeds": seeds, "front": on_front});
            let keys = [view.x, view.y].into_iter().chain(view.columns.iter().map(String::as_str));
            let values = [Some(*x), Some(*y)].into_iter().chain(columns.iter().copied());
            for (key, spread) in keys.zip(values) {
                line[key] = spread.map_or(Value::Null, |s| json!([s.least, s.mean, s.most]));
            }
            writeln!(output, "{line}")?;
            continue;
        }
        let apart = match *seeds {
            1 => "-".to_owned(),
            _ => format!("{:.4}", (y.most - y.least) / 2.0),
        };
        let plain = |text: &str| {
            let one_line = text.replace(|c: char| c.is_control(), " ");
            if format == Format::Markdown { one_line.replace('|', "\\|") } else { one_line }
        };
        let mut cells = vec![plain(method), plain(name), seeds.to_string()];
        cells.extend([digits(x.mean), digits(y.mean), apart]);
        let further = columns.iter().map(|c| c.map_or("-".to_owned(), |c| digits(c.mean)));
        cells.extend(further);
        cells.push(if *on_front { "yes" } else { "no" }.to_owned());
        match format {
            Format::Markdown => writeln!(output, "| {} |", cells.join(" | "))?,
            _ => writeln!(output, "{}", cells.join("\t"))?,
        }
    }
    Ok(())
}

/// Four decimals, for large numbers fewer.
fn digits(number: f64) -> String {
    match number.abs() {
        large if large >= 10_000.0 => format!("{number:.0}"),
        some if some >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: View = View { x: FLOPS, y: NDCG, columns: &[] };

    fn read(text: &str) -> Result<Vec<Outcome>> {
        let input = Input::from_reader("r", io::Cursor::new(text.to_owned()))?;
        Outcome::read(input, &[], &[NDCG, FLOPS])
    }

    fn outcome(method: &str, name: &str, ndcg: f64, flops: f64) -> Outcome {
        let Value::Object(fields) = json!({"nDCG@10": ndcg, "flops": flops, "seed": 3}) else {
            unreachable!()
        };
        Outcome { name: name.into(), method: method.into(), fields }
    }

    #[test]
    fn lines_and_an_array_are_the_same() {
        let one = r#"{"name":"a","method":"m","nDCG@10":0.5,"flops":1.5,"seed":3}"#;
        let two = r#"{"name":"b","ndcg":0.25,"flops":1}"#;
        let lines = read(&format!("{one}\n\n{two}\n")).unwrap();
        assert_eq!(lines[0], outcome("m", "a", 0.5, 1.5));
        assert_eq!(lines[1].number(NDCG), Some(0.25));
        assert_eq!(read(&format!(" [{one},\n{two}]")).unwrap(), lines);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let message = |text| read(text).unwrap_err().to_string();
        assert_eq!(message(""), "r: expected results as JSON lines, found none");
        let wanted = r#"expected {"name", "method", "nDCG@10", "flops"}"#;
        let error = message("{\"name\":\"a\",\"ndcg\":1,\"flops\":1}\n{\"name\":\"b\"}\n");
        assert!(
            error.starts_with(&format!("r:2: {wanted}, found `b` without a number")),
            "{error}"
        );
        let error = message("[{\"name\":\"a\",\"ndcg\":1,\"flops\":1},\n{}]");
        assert!(error.starts_with(&format!("r:2: {wanted}, found missing field")), "{error}");
        let error = message("[{\"name\":\"a\",\"ndcg\":1,\"flops\":1},\n{\"name\":\"b\"}]");
        assert!(error.contains("item 2 of the array: `b`"), "{error}");
        let error = message("{\"name\":\"a\",\"ndcg\":1,\"flops\":1e308}");
        assert!(error.contains("without a number"), "{error}");
        let error = message("{\"name\":\"a\",\"ndcg\":1,\"flops\":\"many\"}");
        assert!(error.contains("`a` without a number \"flops\""), "{error}");
    }

    #[test]
    fn conditions_choose_outcomes() {
        let outcome = outcome("m", "a", 0.5, 1.5);
        let holds = |text: &str| text.parse::<Condition>().unwrap().holds(&outcome);
        assert!(holds("method=m") && holds("seed=3") && holds("name=a"));
        assert!(!holds("method=a") && !holds("seed=4") && !holds("absent=1"));
        assert!("method".parse::<Condition>().is_err() && "=a".parse::<Condition>().is_err());
    }

    #[test]
    fn seeds_are_joined_and_the_front_is_what_nothing_beats() {
        let outcomes = [
            outcome("l0", "cheap", 0.30, 1.0),
            outcome("l0", "cheap", 0.32, 2.0),
            outcome("l0", "dear", 0.40, 3.0),
            outcome("splade", "worse", 0.40, 3.5),
            outcome("splade", "same", 0.40, 3.0),
            outcome("splade", "cheapest", 0.10, 0.5),
        ];
        let points = points(&outcomes, &VIEW);
        let names: Vec<_> =
            points.iter().map(|point| (point.name.as_str(), point.on_front)).collect();
        let expected =
            [("cheap", true), ("dear", true), ("cheapest", true), ("same", true), ("worse", false)];
        assert_eq!(names, expected);
        assert_eq!(points[0].seeds, 2);
        assert_eq!(Spread::of(&[0.4, 0.4, 0.4]).mean, 0.4);
        assert_eq!(points[0].x, Spread { least: 1.0, mean: 1.5, most: 2.0 });
    }

    #[test]
    fn a_table_has_the_columns_asked_for_and_a_dash_where_there_is_none() {
        let mut outcomes = [outcome("l0", "a", 0.3, 1.0), outcome("l0", "b", 0.4, 2.0)];
        outcomes[0].fields.insert("terms".into(), json!(123.456));
        let columns = ["terms".to_owned(), "memory".to_owned()];
        let view = View { columns: &columns, ..VIEW };
        let written = |format| {
            let mut bytes = Vec::new();
            render_points(&mut bytes, &points(&outcomes, &view), &view, format).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(
            written(Format::Markdown),
            "| method | name | seeds | flops | nDCG@10 | ± | terms | memory | front |\n\
             |---|---|--:|--:|--:|--:|--:|--:|---|\n\
             | l0 | a | 1 | 1.0000 | 0.3000 | - | 123.5 | - | yes |\n\
             | l0 | b | 1 | 2.0000 | 0.4000 | - | - | - | yes |\n"
        );
        let line: Value =
            serde_json::from_str(written(Format::JsonLines).lines().next().unwrap()).unwrap();
        assert_eq!(line["terms"], json!([123.456, 123.456, 123.456]));
    }
}
