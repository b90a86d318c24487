//! Changes to a recipe before it is read, and help with names it does not know.

use std::path::Path;

use toml::{Table, Value};

use crate::{
    error::{Error, Result},
    io,
};

/// The text of the recipe that is run: the file, and the changes as comments.
///
/// # Errors
/// As [`io::read_text`].
pub fn with_changes(file: &Path, changes: &[String]) -> Result<String> {
    let mut text = io::read_text(file)?;
    for change in changes {
        text.push_str(&format!("\n# changed: {}", change.replace('\n', "\n# ")));
    }
    Ok(text)
}

/// Makes one change; the value is read as TOML, or as a string if it is not valid TOML.
pub(in crate::train) fn set(table: &mut Table, change: &str) -> Result<()> {
    let bad = |reason: &str| Error::Usage(format!("change `{change}`: {reason}"));
    let (path, value) = change.split_once('=').ok_or_else(|| bad("expected a.b=value"))?;
    let parsed = format!("x = {value}").parse::<Table>().ok().and_then(|mut one| one.remove("x"));
    let value = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
    let keys: Vec<&str> = path.trim().split('.').collect();
    let (last, above) = keys.split_last().ok_or_else(|| bad("expected a key"))?;
    let (first, above) = match above.split_first() {
        None => {
            table.insert((*last).to_owned(), value);
            return Ok(());
        }
        Some((first, rest)) => (*first, rest),
    };
    let fresh = || Value::Table(Table::new());
    let mut place = table.entry(first).or_insert_with(fresh);
    for key in above {
        place = match place {
            Value::Array(items) => key
                .parse::<usize>()
                .ok()
                .and_then(|at| items.get_mut(at))
                .ok_or_else(|| bad(&format!("no item `{key}`")))?,
            Value::Table(table) => table.entry(*key).or_insert_with(fresh),
            _ => return Err(bad(&format!("`{key}` lies under a plain value"))),
        };
    }
    match place {
        Value::Table(table) => {
            table.insert((*last).to_owned(), value);
            Ok(())
        }
        Value::Array(items) => {
            let item = last.parse::<usize>().ok().and_then(|at| items.get_mut(at));
            *item.ok_or_else(|| bad(&format!("no item `{last}`")))? = value;
            Ok(())
        }
        _ => Err(bad("it lies under a plain value")),
    }
}

/// serde's message, with the known name that is nearest to an unknown one.
pub(in crate::train) fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown ");
    let Some(given) = quoted.next().filter(|_| unknown) else { return message.to_owned() };
    match quoted.min_by_key(|known| strsim::levenshtein(given, known)) {
        Some(nearest) => format!("{}; the nearest is `{nearest}`", message.trim_end()),
        None => message.to_owned(),
    }
}
