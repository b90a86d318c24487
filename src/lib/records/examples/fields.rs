//! The keys of a record in their order, and what the position of a key means.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::Value;

/// A record's keys and values, in order; no key twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(pub(super) Vec<(String, Value)>);

impl Fields {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if fields.has(&key) {
                        return Err(A::Error::custom(format!("the key `{key}` twice")));
                    }
                    fields.0.push((key, value));
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// Keys that are labels in any position.
pub(super) const LABELS: [&str; 4] = ["scores", "label", "score", "labels"];

/// Keys of forms whose columns are never read by position.
const STRUCTURE: [&str; 8] =
    ["docs", "positives", "pos", "negs", "positive_passages", "negative_passages", "qid", "neg"];

/// Keys that are read by name and have a position as well.
const COLUMNS: [&str; 4] = ["query", "anchor", "positive", "negative"];

/// Keys whose position says what they are, as in data sets of Sentence Transformers: the first text is the
/// anchor, the second the positive, all others are negatives. It is that of the first record of a
/// file; a record with other keys, or in another order, is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Positional {
    keys: Vec<String>,
}

impl Positional {
    /// The order of keys, if none of the forms has these by name.
    ///
    /// # Errors
    /// Why it is ambiguous: a known name in the position of another, an id, or a first value without text.
    pub(super) fn of(fields: &Fields) -> Result<Option<Positional>, String> {
        let has = |keys: &[&str]| keys.iter().any(|key| fields.has(key));
        let texts: Vec<&(String, Value)> =
            fields.0.iter().filter(|(key, _)| !LABELS.contains(&key.as_str())).collect();
        let by_name = has(&["query", "anchor"]) && has(&["positive"]);
        if has(&STRUCTURE) || by_name || texts.len() < 2 {
            return Ok(None);
        }
        for (place, (key, value)) in texts.iter().enumerate() {
            let fits = match place {
                0 => ["query", "anchor"].contains(&key.as_str()),
                1 => key == "positive",
                _ => key == "negative",
            };
            if COLUMNS.contains(&key.as_str()) && !fits {
                return Err(format!("`{key}` in place {} of {}", place + 1, named(fields)));
            }
            if key == "id" || key == "pid" || key.ends_with("_id") {
                return Err(format!(
                    "an id `{key}` among columns read by position, {}",
                    named(fields)
                ));
            }
            let is_text = value.is_string() || (place > 1 && value.is_array());
            if !is_text {
                return Err(format!("no text in `{key}`, a column read by position"));
            }
        }
        Ok(Some(Positional { keys: fields.keys().map(str::to_owned).collect() }))
    }

    /// Whether a record has these keys in this order.
    pub(super) fn fits(&self, fields: &Fields) -> bool {
        fields.keys().eq(self.keys.iter().map(String::as_str))
    }

    /// The keys that are texts: anchor, positive, negatives.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(String::as_str).filter(|key| !LABELS.contains(key))
    }
}

impl fmt::Display for Positional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles = ["query", "positive"].into_iter().chain(std::iter::repeat("negative"));
        let named = self.texts().zip(roles).map(|(key, role)| format!("{key} as {role}"));
        f.write_str(&named.collect::<Vec<_>>().join(", "))
    }
}

/// The keys of a record, for a message.
pub(super) fn named(fields: &Fields) -> String {
    format!("keys {}", fields.keys().collect::<Vec<_>>().join(", "))
}
