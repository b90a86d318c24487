//! Results as text, JSON lines or Markdown.

use std::{
    io::{self, Write},
    str::FromStr,
};

use serde_json::json;

use super::{compare::Comparison, measures::Measure, report::Scores};
use crate::error::{Error, Result};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns between tabs, four decimals, as trec_eval and ir_measures print them.
    Text,
    /// A JSON object per line, numbers in full.
    JsonLines,
    /// A Markdown table, four decimals.
    Markdown,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Format> {
        match text {
            "text" => Ok(Format::Text),
            "jsonl" => Ok(Format::JsonLines),
            "markdown" => Ok(Format::Markdown),
            _ => Err(Error::Usage(format!("expected text, jsonl or markdown, found `{text}`"))),
        }
    }
}

/// How much of the results is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// One value per measure.
    Overall,
    /// Before it, one value per query and measure.
    PerQuery,
}

/// The name for all queries together.
const ALL: &str = "all";

/// Writes the values of one or more runs.
///
/// # Errors
/// Those of `output`.
pub fn render(
    output: &mut impl Write,
    all_scores: &[Scores],
    format: Format,
    detail: Detail,
) -> io::Result<()> {
    match format {
        Format::Text => text(output, all_scores, detail),
        Format::JsonLines => json_lines(output, all_scores, detail),
        Format::Markdown => markdown(output, all_scores, detail),
    }
}

/// One line per value: `[run] [query] measure value`, the run only if there are several, the query only
/// if each has its line.
fn text(output: &mut impl Write, all_scores: &[Scores], detail: Detail) -> io::Result<()> {
    for scores in all_scores {
        let run = if all_scores.len() > 1 { format!("{}\t", scores.run) } else { String::new() };
        let all = if detail == Detail::PerQuery { format!("{ALL}\t") } else { String::new() };
        for (qid, values) in per_query(scores, detail) {
            for (&measure, &value) in scores.measures.iter().zip(values) {
                writeln!(output, "{run}{qid}\t{measure}\t{}", decimals(measure, value))?;
            }
        }
        for (place, &measure) in scores.measures.iter().enumerate() {
            let value = decimals(measure, scores.overall(place));
            writeln!(output, "{run}{all}{measure}\t{value}")?;
        }
    }
    Ok(())
}

fn json_lines(output: &mut impl Write, all_scores: &[Scores], detail: Detail) -> io::Result<()> {
    for scores in all_scores {
        let run = &scores.run;
        for (qid, values) in per_query(scores, detail) {
            for (measure, value) in scores.measures.iter().zip(values) {
                let measure = measure.to_string();
                let line = json!({"run": run, "query": qid, "measure": measure, "value": value});
                writeln!(output, "{line}")?;
            }
        }
        for (place, measure) in scores.measures.iter().enumerate() {
            let (measure, value) = (measure.to_string(), scores.overall(place));
            writeln!(output, "{}", json!({"run": run, "measure": measure, "value": value}))?;
        }
    }
    Ok(())
}

/// One row per run, one column per measure; the first columns are text.
fn markdown(output: &mut impl Write, all_scores: &[Scores], detail: Detail) -> io::Result<()> {
    let names = match detail {
        Detail::Overall => vec!["run"],
        Detail::PerQuery => vec!["run", "query"],
    };
    let measures = all_scores.first().map_or(&[][..], |scores| &scores.measures);
    let headings = measures.iter().map(Measure::to_string);
    row(output, names.iter().map(|name| (*name).to_owned()).chain(headings))?;
    let rules = names.iter().map(|_| "---").chain(measures.iter().map(|_| "---:"));
    row(output, rules.map(str::to_owned))?;
    for scores in all_scores {
        for (qid, values) in per_query(scores, detail) {
            let values = measures.iter().zip(values).map(|(&measure, &v)| decimals(measure, v));
            row(output, [cell(&scores.run), cell(qid)].into_iter().chain(values))?;
        }
        let overall = measures.iter().enumerate();
        let values = overall.map(|(place, &measure)| decimals(measure, scores.overall(place)));
        let names = [cell(&scores.run), ALL.to_owned()].into_iter().take(names.len());
        row(output, names.chain(values))?;
    }
    Ok(())
}

fn per_query(scores: &Scores, detail: Detail) -> &[(String, Vec<f64>)] {
    if detail == Detail::PerQuery { &scores.queries } else { &[] }
}

fn decimals(measure: Measure, value: f64) -> String {
    if measure.is_count() { format!("{value:.0}") } else { format!("{value:.4}") }
}

pub(super) fn row(output: &mut impl Write, cells: impl Iterator<Item = String>) -> io::Result<()> {
    writeln!(output, "| {} |", cells.collect::<Vec<_>>().join(" | "))
}

/// A name that cannot end its cell.
fn cell(name: &str) -> String {
    name.replace('|', "\\|")
}

/// Writes a comparison of two runs, with the tests.
///
/// # Errors
/// Those of `output`.
pub fn render_comparisons(
    output: &mut impl Write,
    (run, baseline): (&str, &str),
    comparisons: &[Comparison],
    format: Format,
) -> io::Result<()> {
    if format == Format::JsonLines {
        return comparisons.iter().try_for_each(|c| {
            let tests = [c.t_test, c.randomisation].map(|test| test.map(|t| (t.p, t.holm)));
            let [t_test, randomisation] =
                tests.map(|test| test.map(|(p, holm)| json!({"p": p, "p_holm": holm})));
            let line = json!({
                "run": run, "baseline": baseline, "measure": c.measure.to_string(),
                "value": c.value, "baseline_value": c.baseline, "difference": c.value - c.baseline,
                "better": c.better, "worse": c.worse,
                "t_test": t_test, "randomisation_test": randomisation,
            });
            writeln!(output, "{line}")
        });
    }
    let headings = [
        "measure",
        baseline,
        run,
        "difference",
        "better",
        "worse",
        "p(t)",
        "p(t,Holm)",
        "p(random)",
        "p(random,Holm)",
    ];
    let lines = comparisons.iter().map(|c| {
        let tests = [c.t_test, c.randomisation]
            .map(|test| test.map_or([None; 2], |t| [Some(t.p), Some(t.holm)]));
        let chances =
            tests.into_iter().flatten().map(|p| p.map_or("-".into(), |p| format!("{p:.4}")));
        let mut cells = vec![
            c.measure.to_string(),
            decimals(c.measure, c.baseline),
            decimals(c.measure, c.value),
            format!("{:+.4}", c.value - c.baseline),
            c.better.to_string(),
            c.worse.to_string(),
        ];
        cells.extend(chances);
        cells
    });
    if format == Format::Text {
        writeln!(output, "{}", headings.join("\t"))?;
        return lines.map(|cells| cells.join("\t")).try_for_each(|line| writeln!(output, "{line}"));
    }
    row(output, headings.into_iter().map(cell))?;
    row(
        output,
        headings.into_iter().map(|name| if name == "measure" { "---" } else { "---:" }.into()),
    )?;
    lines.into_iter().try_for_each(|cells| row(output, cells.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::{super::compare::compare, *};

    fn scores(run: &str, ap: [f64; 2]) -> Scores {
        let queries = ["q1", "q2"].iter().zip(ap);
        Scores {
            run: run.into(),
            measures: vec!["AP".parse().unwrap(), "NumRet".parse().unwrap()],
            queries: queries.map(|(qid, ap)| ((*qid).into(), vec![ap, 10.0])).collect(),
            missing: 0,
            unjudged: 0,
        }
    }

    #[track_caller]
    fn check(all_scores: &[Scores], format: &str, detail: Detail, expected: &str) {
        let mut bytes = Vec::new();
        render(&mut bytes, all_scores, format.parse().unwrap(), detail).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn one_run_is_measure_and_value() {
        let runs = [scores("a.run", [0.5, 1.0 / 3.0])];
        check(&runs, "text", Detail::Overall, "AP\t0.4167\nNumRet\t20\n");
        check(
            &runs,
            "text",
            Detail::PerQuery,
            "q1\tAP\t0.5000\nq1\tNumRet\t10\nq2\tAP\t0.3333\nq2\tNumRet\t10\n\
             all\tAP\t0.4167\nall\tNumRet\t20\n",
        );
        check(
            &runs,
            "jsonl",
            Detail::Overall,
            "{\"measure\":\"AP\",\"run\":\"a.run\",\"value\":0.41666666666666663}\n\
             {\"measure\":\"NumRet\",\"run\":\"a.run\",\"value\":20.0}\n",
        );
    }

    #[test]
    fn several_runs_are_named() {
        let runs = [scores("a.run", [0.5, 0.0]), scores("b|c", [1.0, 1.0])];
        let text = "a.run\tAP\t0.2500\na.run\tNumRet\t20\nb|c\tAP\t1.0000\nb|c\tNumRet\t20\n";
        check(&runs, "text", Detail::Overall, text);
        check(
            &runs,
            "markdown",
            Detail::Overall,
            "| run | AP | NumRet |\n| --- | ---: | ---: |\n\
             | a.run | 0.2500 | 20 |\n| b\\|c | 1.0000 | 20 |\n",
        );
        check(
            &runs[..1],
            "markdown",
            Detail::PerQuery,
            "| run | query | AP | NumRet |\n| --- | --- | ---: | ---: |\n\
             | a.run | q1 | 0.5000 | 10 |\n| a.run | q2 | 0.0000 | 10 |\n\
             | a.run | all | 0.2500 | 20 |\n",
        );
    }

    #[test]
    fn comparisons_show_both_tests_and_their_correction() {
        let (ours, theirs) = (scores("a", [0.5, 0.75]), scores("b", [0.25, 0.5]));
        let comparisons = compare(&ours, &theirs, 0, 100);
        let written = |format| {
            let mut bytes = Vec::new();
            render_comparisons(&mut bytes, ("a", "b"), &comparisons, format).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let text = written(Format::Text);
        assert!(text.starts_with("measure\tb\ta\tdifference\t"), "{text}");
        assert!(text.contains("\nAP\t0.3750\t0.6250\t+0.2500\t2\t0\t0.0000\t0.0000\t"), "{text}");
        assert_eq!(written(Format::Markdown).lines().count(), 4);
        let line = written(Format::JsonLines);
        let first: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        assert_eq!(first["difference"], 0.25);
        assert_eq!(first["t_test"]["p_holm"], 0.0);
    }
}
