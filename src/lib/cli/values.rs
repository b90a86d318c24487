//! Values of arguments that several programs read.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    path::Path,
};

use serde::Serialize;

use crate::{
    error::{Error, Result},
    io::Output,
    search::AnswerForm,
};

/// A number of bytes: `512M`, `4G`, `1.5G`; K, M, G and T are powers of 1024.
///
/// # Errors
/// [`Error::Usage`].
pub fn bytes(text: &str) -> Result<u64> {
    let wanted = || Error::Usage(format!("expected a size such as 512M or 4G, found `{text}`"));
    let trimmed = text.trim_end_matches(['B', 'b']).trim_end_matches('i');
    let (digits, unit) = match trimmed.char_indices().last() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => (&trimmed[..at], Some(unit)),
        _ => (trimmed, None),
    };
    let power = match unit.map(|unit| unit.to_ascii_uppercase()) {
        None => 0,
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some('T') => 40,
        Some(_) => return Err(wanted()),
    };
    let number: f64 = digits.parse().map_err(|_| wanted())?;
    let bytes = number * (1u64 << power) as f64;
    if bytes.is_finite() && bytes >= 1.0 { Ok(bytes as u64) } else { Err(wanted()) }
}

/// How many hits of a query: 1 or more.
///
/// # Errors
/// [`Error::Usage`].
pub fn depth(text: &str) -> Result<usize> {
    let depth = text.parse().ok().filter(|&depth| depth > 0);
    depth.ok_or_else(|| Error::Usage(format!("expected a whole number above 0, found `{text}`")))
}

/// A finite number, 0 or more.
///
/// # Errors
/// [`Error::Usage`].
pub fn not_below_zero(text: &str) -> Result<f64> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| Error::Usage(format!("expected a number of 0 or more, found `{text}`")))
}

/// The last column of a TREC run: one word.
///
/// # Errors
/// [`Error::Usage`] if it is empty or holds white space.
pub fn run_name(text: &str) -> Result<String> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(Error::Usage(format!("expected one word, found `{text}`")));
    }
    Ok(text.to_owned())
}

/// Characters in a line: the width of the terminal, or 100 where there is none.
pub fn columns() -> usize {
    terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0).max(20))
}

/// The form of an output of answers: `--format`, else the extension, else by who reads it.
///
/// # Errors
/// [`Error::Usage`] for an extension that says nothing.
pub fn answer_form(output: &Path, format: Option<AnswerForm>) -> Result<AnswerForm> {
    let extension = output.extension().and_then(|extension| extension.to_str());
    match (format, extension) {
        (Some(form), _) => Ok(form),
        (None, _) if output == Path::new("-") && io::stdout().is_terminal() => Ok(AnswerForm::Text),
        (None, None) => Ok(AnswerForm::JsonLines),
        (None, Some(extension)) => AnswerForm::of_extension(extension).ok_or_else(|| {
            Error::Usage(format!(
                "{}: expected .jsonl, .trec, .run or .txt, found .{extension}; or say --format",
                output.display()
            ))
        }),
    }
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportForm {
    /// Lines of name, TAB, value.
    Lines,
    /// One JSON object.
    Json,
}

/// Writes a report and commits the output.
///
/// # Errors
/// [`Error::Io`].
pub fn report(
    mut output: Output,
    report: &(impl Display + Serialize),
    form: ReportForm,
) -> Result<()> {
    let written = match form {
        ReportForm::Lines => write!(output, "{report}"),
        ReportForm::Json => serde_json::to_writer(&mut output, report)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(output)),
    };
    written.map_err(|source| Error::io(output.name(), source))?;
    output.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, expected) in
            [("4G", 4 << 30), ("512m", 512 << 20), ("1.5K", 1536), ("7", 7), ("2GiB", 2 << 30)]
        {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for text in ["", "G", "4X", "-1G", "0", "inf", "NaN"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_extension_chooses_the_form_of_answers() {
        assert_eq!(answer_form(Path::new("a.run"), None).unwrap(), AnswerForm::Trec);
        assert_eq!(answer_form(Path::new("a"), None).unwrap(), AnswerForm::JsonLines);
        assert!(answer_form(Path::new("a.csv"), None).is_err());
        let form = answer_form(Path::new("a.csv"), Some(AnswerForm::Text));
        assert_eq!(form.unwrap(), AnswerForm::Text);
    }
}
