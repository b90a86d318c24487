//! Values of a JSON line: ids, vectors, and what is shown of a line that is none.

use serde_json::Value;

use crate::sparse::{SparseVector, TermId};

/// A string, or a whole number as its digits.
pub fn id_of(value: &Value) -> Option<String> {
    match value {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

/// A vector from the two lists of a JSON line, in any order of terms; the error says what was found.
pub fn vector_of(indices: &Value, values: &Value) -> Result<SparseVector, String> {
    let (Value::Array(indices), Value::Array(values)) = (indices, values) else {
        return Err("no two lists".into());
    };
    if indices.len() != values.len() {
        return Err(format!("{} indices and {} values", indices.len(), values.len()));
    }
    let pairs = indices.iter().zip(values).map(|(index, value)| {
        let term = index.as_u64().and_then(|term| u32::try_from(term).ok());
        let term = term.ok_or_else(|| format!("index {index}"))?;
        let weight = value.as_f64().ok_or_else(|| format!("value {value}"))?;
        Ok((TermId(term), weight as f32))
    });
    SparseVector::from_unordered(pairs.collect::<Result<_, String>>()?)
        .map_err(|error| error.to_string())
}

/// The pairs of `{token: weight}` or `[[token, weight], ..]`; the error says what was found.
pub fn tokens_of(vector: &Value) -> Result<Vec<(String, f32)>, String> {
    let pair = |token: &str, weight: &Value| {
        let number = weight.as_f64().ok_or_else(|| format!("`{token}`: {weight}"))? as f32;
        Ok((token.to_owned(), number))
    };
    match vector {
        Value::Object(tokens) => tokens.iter().map(|(token, weight)| pair(token, weight)).collect(),
        Value::Array(pairs) => {
            let found = pairs.iter().map(|found| match found.as_array().map(Vec::as_slice) {
                Some([Value::String(token), weight]) => pair(token, weight),
                _ => Err(format!("{found} among the pairs of a vector")),
            });
            found.collect()
        }
        other => Err(format!("vector {other}")),
    }
}

/// What serde found, without its line number (a record is one line), and the beginning of the text.
pub fn json_reason(error: &serde_json::Error, text: &str) -> String {
    let message = error.to_string();
    let reason = message.split(" at line ").next().unwrap_or_default();
    format!("{reason} at column {} of `{}`", error.column(), beginning(text))
}

/// The first characters of a text, fit for a terminal.
pub fn beginning(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut shown: String = chars.by_ref().take(60).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
