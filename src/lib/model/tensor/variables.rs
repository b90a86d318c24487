//! The variables of an encoder: parts that take a gradient, under Hugging Face's names.

use std::ops::Deref;

use candle_core::{Device, Tensor, Var};

use crate::{
    error::Result,
    model::{Biases, HasBias, Layer, Linear, Matrix, Norm, names::LayerNames},
    nn,
};

/// The name of every variable that is trained and saved.
pub(super) type Names<'a> = Vec<(String, &'a Var)>;

/// A bias, or zeros without one.
pub(super) enum Bias {
    Trained(Var),
    Zeros(Tensor),
}

impl Bias {
    pub fn new(numbers: Vec<f32>, has: HasBias, device: &Device) -> Result<Bias> {
        let length = numbers.len();
        Ok(match has {
            HasBias::Yes => Bias::Trained(Var::from_vec(numbers, length, device)?),
            HasBias::No => Bias::Zeros(Tensor::from_vec(numbers, length, device)?),
        })
    }

    pub fn name<'a>(&'a self, all: &mut Names<'a>, name: String) {
        if let Bias::Trained(var) = self {
            all.push((name, var));
        }
    }
}

impl Deref for Bias {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        match self {
            Bias::Trained(var) => var,
            Bias::Zeros(tensor) => tensor,
        }
    }
}

pub(super) struct LinearVars {
    pub weight: Var,
    pub bias: Bias,
}

impl LinearVars {
    pub fn new(part: Linear, has: HasBias, device: &Device) -> Result<LinearVars> {
        let bias = Bias::new(part.bias, has, device)?;
        Ok(LinearVars { weight: matrix(part.weight, device)?, bias })
    }

    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        nn::linear(x, &self.weight, &self.bias)
    }

    pub fn name<'a>(&'a self, all: &mut Names<'a>, name: &str) {
        all.push((format!("{name}.weight"), &self.weight));
        self.bias.name(all, format!("{name}.bias"));
    }
}

pub(super) struct NormVars {
    pub scale: Var,
    pub shift: Bias,
}

impl NormVars {
    pub fn new(part: Norm, has: HasBias, device: &Device) -> Result<NormVars> {
        let width = part.weight.len();
        let scale = Var::from_vec(part.weight, width, device)?;
        Ok(NormVars { scale, shift: Bias::new(part.bias, has, device)? })
    }

    pub fn name<'a>(&'a self, all: &mut Names<'a>, name: &str) {
        all.push((format!("{name}.weight"), &self.scale));
        self.shift.name(all, format!("{name}.bias"));
    }
}

pub(super) struct LayerVars {
    maps: Vec<LinearVars>,
    pub attention_out: LinearVars,
    pub attention_norm: Option<NormVars>,
    pub up: LinearVars,
    pub down: LinearVars,
    pub out_norm: NormVars,
}

impl LayerVars {
    pub fn new(layer: Layer, biases: Biases, device: &Device) -> Result<LayerVars> {
        let map = |part| LinearVars::new(part, biases.attention, device);
        let norm = |part| NormVars::new(part, biases.norms, device);
        Ok(LayerVars {
            maps: layer.query_key_value.into_iter().map(map).collect::<Result<_>>()?,
            attention_out: map(layer.attention_out)?,
            attention_norm: layer.attention_norm.map(norm).transpose()?,
            up: LinearVars::new(layer.up, biases.up, device)?,
            down: LinearVars::new(layer.down, biases.down, device)?,
            out_norm: norm(layer.out_norm)?,
        })
    }

    /// Queries, keys and values of x, `[rows, H]` each.
    pub fn query_key_value(&self, x: &Tensor) -> Result<[Tensor; 3]> {
        if let [query, key, value] = &self.maps[..] {
            return Ok([query.of(x)?, key.of(x)?, value.of(x)?]);
        }
        let parts = self.maps.iter().map(|map| map.of(x)).collect::<Result<Vec<_>>>()?;
        let all = Tensor::cat(&parts, 1)?;
        let h = all.dim(1)? / 3;
        let part = |at: usize| all.narrow(1, at * h, h)?.contiguous();
        Ok([part(0)?, part(1)?, part(2)?])
    }

    pub fn name<'a>(&'a self, all: &mut Names<'a>, names: &LayerNames) {
        for (name, map) in names.query_key_value.iter().zip(&self.maps) {
            map.name(all, name);
        }
        self.attention_out.name(all, &names.attention_out);
        if let (Some(name), Some(norm)) = (&names.attention_norm, &self.attention_norm) {
            norm.name(all, name);
        }
        self.up.name(all, &names.up);
        self.down.name(all, &names.down);
        self.out_norm.name(all, &names.out_norm);
    }
}

pub(super) fn matrix(matrix: Matrix, device: &Device) -> Result<Var> {
    let rows = matrix.data.len() / matrix.columns.max(1);
    Ok(Var::from_vec(matrix.data, (rows, matrix.columns), device)?)
}

pub(super) fn vector(numbers: Vec<f32>, device: &Device) -> Result<Var> {
    let length = numbers.len();
    Ok(Var::from_vec(numbers, length, device)?)
}
