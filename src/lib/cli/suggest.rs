//! What a shell proposes for an argument that takes more than a list of names.

use std::{error::Error, ffi::OsStr, marker::PhantomData, str::FromStr};

use clap::{
    Arg, Command,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
};

/// Forms of an output of vectors.
pub const FORMS: &[&str] = &["parquet", "arrow", "jsonl"];
/// Devices.
pub const DEVICES: &[&str] = &["cpu", "cuda", "auto"];
/// Widths of numbers.
pub const WIDTHS: &[&str] = &["f32", "bf16", "f16"];
/// Rules of quantisation at their usual numbers.
pub const LEVELS: &[&str] =
    &["none", "scale:100", "range:5:256", "max:255", "minmax:255", "u8-ceil:3"];
/// What activations are called.
pub const ACTIVATIONS: &[&str] = &["relu", "log1p:1", "log1p:2", "log1p:3", "log1p:4"];
/// How a decoder is stored, with a usual rank.
pub const DECODERS: &[&str] = &["full", "tied", "rank:128"];
/// Pruning rules, each with a usual number.
pub const RULES: &[&str] =
    &["none", "top_k:256", "max_ratio:0.1", "abs_value:0.1", "alpha_mass:0.9"];
/// Measures at their usual cutoffs.
pub const MEASURES: &[&str] = &[
    "nDCG@10",
    "nDCG@100",
    "RR@10",
    "AP",
    "AP@100",
    "P@5",
    "P@10",
    "R@10",
    "R@100",
    "R@1000",
    "Success@1",
    "Success@5",
    "Judged@10",
    "Bpref",
    "Rprec",
    "NumQ",
    "NumRet",
    "NumRel",
    "NumRelRet",
];
/// The same as floors, the value to be typed.
pub const FLOORS: &[&str] =
    &["nDCG@10=", "RR@10=", "AP=", "P@5=", "P@10=", "R@100=", "R@1000=", "Success@5="];
/// What `l0-train --set` changes; of several stages or sources, in the first.
pub const RECIPE_KEYS: &[&str] = &[
    "seed=",
    "log_every=",
    "checkpoint_every=",
    "model.base=",
    "model.head=",
    "model.max_tokens=",
    "model.activation=",
    "model.dropout=",
    "model.lexical=",
    "model.lexical_scale=",
    "query.kind=",
    "query.table=",
    "query.drop_below=",
    "query.lr=",
    "query.embeddings=",
    "optimizer.lr=",
    "optimizer.weight_decay=",
    "optimizer.betas=",
    "optimizer.epsilon=",
    "optimizer.clip=",
    "optimizer.rates=",
    "pool.documents=",
    "pool.queries=",
    "pool.max_tokens=",
    "pool.cache=",
    "pool.teacher=",
    "evaluate.every=",
    "evaluate.data=",
    "evaluate.split=",
    "evaluate.measure=",
    "data.0.path=",
    "data.0.texts=",
    "data.0.scores=",
    "data.0.split=",
    "data.0.weight=",
    "data.0.buffer=",
    "stage.0.kind=",
    "stage.0.name=",
    "stage.0.steps=",
    "stage.0.batch=",
    "stage.0.micro_batch=",
    "stage.0.lr=",
    "stage.0.warmup=",
    "stage.0.schedule=",
    "stage.0.documents=",
    "stage.0.loss=",
    "stage.0.regularizer=",
    "stage.0.query_regularizer=",
    "stage.0.threshold=",
];

/// Reads any value that `T` reads, and lets completions propose these.
pub fn suggest<T>(values: &'static [&'static str]) -> Suggest<T> {
    Suggest { values, read: PhantomData }
}

/// See [`suggest`].
#[derive(Clone)]
pub struct Suggest<T> {
    values: &'static [&'static str],
    read: PhantomData<fn() -> T>,
}

impl<T, E> TypedValueParser for Suggest<T>
where
    T: FromStr<Err = E> + Clone + Send + Sync + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let parser = StringValueParser::new().try_map(|text| text.parse());
        parser.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        // read, not listed: the help says what there is in words
        Some(Box::new(self.values.iter().map(PossibleValue::new)))
    }
}

#[cfg(all(test, feature = "model"))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{device, eval, model::Activation, sparse::Prune, train::recipe::Recipe};

    #[test]
    fn what_is_proposed_is_taken() {
        fn all<T: FromStr<Err: std::fmt::Debug>>(values: &[&str]) {
            for value in values {
                assert!(value.parse::<T>().is_ok(), "{value}");
            }
        }
        all::<crate::vectors::Form>(FORMS);
        all::<device::Choice>(&DEVICES[..1]);
        all::<device::Precision>(WIDTHS);
        all::<Activation>(ACTIVATIONS);
        all::<Prune>(RULES);
        all::<eval::Measure>(MEASURES);
        let floors: Vec<String> = FLOORS.iter().map(|floor| format!("{floor}0.5")).collect();
        all::<eval::Floor>(&floors.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// What a recipe says of a key that it does not know.
    fn refusal(place: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("recipe.toml");
        let text = "[model]\nbase = 'x'\n[query]\n[optimizer]\n[evaluate]\nevery = 1\ndata = ['z']\n\
                    [[data]]\npath = 'y'\n[[stage]]\nsteps = 1\nbatch = 1\n\
                    loss = [{ kind = 'in_batch' }]\n";
        std::fs::write(&file, text).unwrap();
        Recipe::load(&file, &[format!("{place}=1")]).unwrap_err().to_string()
    }

    #[test]
    fn every_key_of_a_recipe_is_proposed() {
        for place in ["model.", "query.", "optimizer.", "evaluate.", "data.0.", "stage.0."] {
            let message = refusal(&format!("{place}zzz"));
            let known = message.split_once("expected").unwrap_or_else(|| panic!("{message}")).1;
            let known = known.split_once(';').map_or(known, |(known, _)| known);
            let known: BTreeSet<&str> = known.split('`').skip(1).step_by(2).collect();
            let proposed = RECIPE_KEYS.iter().filter_map(|key| key.strip_prefix(place));
            let proposed: BTreeSet<&str> = proposed.map(|key| key.trim_end_matches('=')).collect();
            assert_eq!(proposed, known, "{place}");
        }
        let message = refusal("zzz");
        for key in RECIPE_KEYS {
            let first = key.trim_end_matches('=').split('.').next().unwrap();
            assert!(message.contains(&format!("`{first}`")), "{key}: {message}");
        }
    }
}
