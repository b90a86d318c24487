//! Judgements and runs as trec_eval 10 reads them, and run lines as it can read them back.
//!
//! Columns are separated by white space; blank lines and lines that begin with `#` are ignored.
//! Nothing here knows what a measure is.

mod qrels;
mod run;

pub use qrels::{Grade, Qrels};
pub use run::{Ranking, Run, RunWriter};

use crate::{error::Result, io::Input, records::rejects::Rejects};

/// How much of a bad line a message shows, in characters.
const SHOWN_CHARS: usize = 80;

/// What a line should have been, and what it is.
struct Unlike {
    wanted: String,
    found: String,
}

/// Hands every line that is neither blank nor a comment to `each`, and what it refuses to `rejects`.
fn each_line(
    input: Input,
    rejects: &mut Rejects,
    mut each: impl FnMut(u64, &str) -> Result<()>,
) -> Result<()> {
    let mut lines = input.lines();
    while let Some(raw) = lines.next_raw() {
        let raw = raw?;
        let record = raw.bytes.clone();
        let done = lines.check(raw).and_then(|line| {
            match line.text.bytes().find(|byte| !byte.is_ascii_whitespace()) {
                None | Some(b'#') => Ok(()),
                Some(_) => each(line.number, &line.text),
            }
        });
        done.or_else(|error| rejects.take(error, &record))?;
    }
    Ok(())
}

/// A text between back quotes, cut if it is long.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}
