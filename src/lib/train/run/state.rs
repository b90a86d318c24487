//! The state from which a run is resumed: variables, moments, step and place in the data, in one folder
//! that is written atomically.
//!
//! `DIR/checkpoints/step-00000100/` holds `state.safetensors` (`var.NAME`, `first.NAME`,
//! `second.NAME`) and `state.json`. Random choices need no further state: they depend on the
//! seed, the step and the draw.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::adamw::Slot;
use crate::{
    error::{Error, Result},
    io::{self, folder},
    train::tensors::{self, Named, Numbers, Width},
};

/// The version of the folder's form.
const FORMAT: u32 = 1;

/// The small part of a state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The version of the form.
    pub format: u32,
    /// Steps done.
    pub step: u64,
    /// Examples drawn.
    pub draws: u64,
    /// The recipe with its changes, as TOML.
    pub recipe: String,
    /// The fingerprint of the vocabulary; old checkpoints have none.
    #[serde(default)]
    pub vocabulary: String,
    /// Updates of each variable.
    pub updates: BTreeMap<String, u64>,
}

/// What identifies a run: a checkpoint of another one is refused.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The recipe with its changes, as TOML.
    pub recipe: &'a str,
    /// The fingerprint of the vocabulary.
    pub vocabulary: &'a str,
}

impl State {
    /// After `step` steps.
    pub fn new(step: u64, draws: u64, origin: Origin, slots: &[Slot]) -> State {
        let updates = slots.iter().map(|slot| (slot.name.clone(), slot.updates)).collect();
        let Origin { recipe, vocabulary } = origin;
        let (recipe, vocabulary) = (recipe.to_owned(), vocabulary.to_owned());
        State { format: FORMAT, step, draws, recipe, vocabulary, updates }
    }

    /// Writes a checkpoint under `folder`, and removes those before it.
    ///
    /// # Errors
    /// [`Error::Io`]; the checkpoints that were there stay then.
    pub fn save(&self, folder: &Path, slots: &[Slot]) -> Result<()> {
        folder::make(folder)?;
        let target = folder.join(format!("step-{:08}", self.step));
        if target.exists() {
            return Ok(());
        }
        let mut all = Vec::new();
        for slot in slots {
            all.push(Named::variable(format!("var.{}", slot.name), &slot.var));
            for (part, moments) in ["first", "second"].into_iter().zip(slot.moments()?) {
                let (name, shape) = (format!("{part}.{}", slot.name), slot.var.dims().to_vec());
                all.push(Named { name, shape, numbers: Numbers::Host(moments) });
            }
        }
        let staged = folder::Staged::create(&target)?;
        staged
            .fill("state.safetensors", |out, path| tensors::write(&all, Width::Full, path, out))?;
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Error::format(&target, error.to_string()))?;
        staged.write("state.json", json.as_bytes())?;
        staged.commit()?;
        for (step, path) in checkpoints(folder)? {
            if step < self.step {
                folder::remove(&path)?;
            }
        }
        Ok(())
    }

    /// Reads the last checkpoint under `folder` into `slots`.
    ///
    /// # Errors
    /// [`Error::Format`] if there is none or it is damaged; [`Error::Mismatch`] if it is of another
    /// recipe or vocabulary.
    pub fn load(folder: &Path, origin: Origin, slots: &mut [Slot]) -> Result<State> {
        let Some((_, path)) = checkpoints(folder)?.pop() else {
            return Err(Error::format(folder, "expected a checkpoint to go on from, found none"));
        };
        let file = path.join("state.json");
        let state: State = serde_json::from_str(&io::read_text(&file)?)
            .map_err(|error| Error::format(&file, error.to_string()))?;
        if state.format != FORMAT || state.recipe != origin.recipe {
            return Err(Error::Mismatch {
                what: format!("recipe of {}", path.display()),
                expected: "the one it was begun with".into(),
                got: "another".into(),
                remedy:
                    "resume with the same file and the same changes to it, or write to another \
                         folder"
                        .into(),
            });
        }
        if !state.vocabulary.is_empty() && state.vocabulary != origin.vocabulary {
            return Err(Error::Mismatch {
                what: format!("vocabulary of {}", path.display()),
                expected: state.vocabulary,
                got: origin.vocabulary.into(),
                remedy: "put the tokenizer.json back that the run was begun with".into(),
            });
        }
        let file = path.join("state.safetensors");
        let bytes = io::map(&file)?;
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|error| Error::format(&file, error.to_string()))?;
        for slot in slots {
            let part = |part: &str| numbers(&tensors, &format!("{part}.{}", slot.name), &file);
            let (var, first, second) = (part("var")?, part("first")?, part("second")?);
            let updates = state.updates.get(&slot.name).copied().unwrap_or(0);
            slot.restore(var, [first, second], updates)?;
        }
        Ok(state)
    }
}

impl State {
    /// Whether there is a checkpoint under `folder`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_begun(folder: &Path) -> Result<bool> {
        Ok(!checkpoints(folder)?.is_empty())
    }
}

/// The checkpoints under a folder, by step.
fn checkpoints(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let names = folder::names(folder)?.into_iter();
    let mut found: Vec<_> = names
        .filter_map(|name| Some((name.strip_prefix("step-")?.parse().ok()?, folder.join(&name))))
        .collect();
    found.sort();
    Ok(found)
}

fn numbers(tensors: &SafeTensors, name: &str, file: &Path) -> Result<Vec<f32>> {
    let tensor = tensors
        .tensor(name)
        .map_err(|_| Error::format(file, format!("expected a tensor {name}, found none")))?;
    let numbers = tensor.data().chunks_exact(4);
    Ok(numbers.map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::*;

    fn origin(recipe: &str) -> Origin<'_> {
        Origin { recipe, vocabulary: "v" }
    }

    #[test]
    fn a_checkpoint_brings_everything_back_and_the_older_one_goes() {
        let folder = tempfile::tempdir().unwrap();
        let slot = || {
            let var = Var::new(&[[1.0f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
            vec![Slot::new("a.weight", &var, None).unwrap()]
        };
        let mut slots = slot();
        let gradient = Tensor::new(&[[1.0f32, -1.0], [0.5, 0.1]], &Device::Cpu).unwrap();
        for step in 1..=2 {
            slots[0].update(&gradient, 0.1, 1.0, &Default::default()).unwrap();
            State::new(step, 8 * step, origin("r"), &slots).save(folder.path(), &slots).unwrap();
        }
        assert_eq!(folder::names(folder.path()).unwrap(), ["step-00000002"]);
        let mut fresh = slot();
        let state = State::load(folder.path(), origin("r"), &mut fresh).unwrap();
        assert_eq!((state.step, state.draws, fresh[0].updates), (2, 16, 2));
        assert_eq!(fresh[0].moments().unwrap(), slots[0].moments().unwrap());
        let numbers = |slot: &Slot| slot.var.to_vec2::<f32>().unwrap();
        assert_eq!(numbers(&fresh[0]), numbers(&slots[0]));

        let error =
            State::load(folder.path(), origin("other"), &mut fresh).unwrap_err().to_string();
        assert!(error.contains("the same changes to it"), "{error}");
        let elsewhere = Origin { vocabulary: "other", ..origin("r") };
        let error = State::load(folder.path(), elsewhere, &mut fresh).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
        let file = folder.path().join("step-00000002/state.safetensors");
        std::fs::write(&file, b"torn").unwrap();
        assert!(State::load(folder.path(), origin("r"), &mut fresh).is_err());
        let nothing =
            State::load(&folder.path().join("none"), origin("r"), &mut fresh).unwrap_err();
        assert!(nothing.to_string().contains("found none"), "{nothing}");
    }
}
