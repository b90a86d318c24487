//! Questions typed on a terminal, each answered at once, with a history that outlives the session.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use rustyline::{Config, DefaultEditor, error::ReadlineError};

use crate::{
    error::{Error, Result},
    search::{AnswerConfig, AnswerForm, Engine, QueryLine},
};

/// Reads queries until the end of input (Ctrl-D); Ctrl-C discards a line. The history is kept in
/// `l0/query_history` in the user's folder for such state, if there is one.
///
/// # Errors
/// [`Error::Io`] if the terminal fails, or an answer cannot be written.
pub fn converse(engine: &Engine, answers: &AnswerConfig) -> Result<()> {
    let config = Config::builder().auto_add_history(true).build();
    let mut editor = DefaultEditor::with_config(config).map_err(terminal)?;
    let history = history_file();
    if let Some(file) = &history {
        let _ = editor.load_history(file); // the first time there is none
    }
    for number in 1.. {
        let line = match editor.readline("l0> ") {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(terminal(error)),
        };
        let mut answer = engine.reply(QueryLine::typed(number, line));
        if answers.form == AnswerForm::Text {
            answer.id = None; // to people the question is just above its answer
        }
        let text = answer.render(engine, answers).text;
        let written = io::stdout().write_all(text.as_bytes());
        written.map_err(|source| Error::io("<stdout>", source))?;
    }
    if let Some(file) = &history {
        let _ = editor.save_history(file); // a read-only home is no reason to fail
    }
    Ok(())
}

fn terminal(error: ReadlineError) -> Error {
    Error::io("<terminal>", io::Error::other(error))
}

/// `$XDG_STATE_HOME/l0/query_history`, else under `~/.local/state`; `None` if neither can be made.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|state| !state.is_empty());
    let state = match state {
        Some(state) => PathBuf::from(state),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".local/state"),
    };
    let folder = state.join("l0");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("query_history"))
}
