//! Operators joined for inference on a device: no graph, biases and residuals folded into their
//! neighbours, documents packed.
//!
//! On a CUDA device each is one kernel of `cuda`, or a product and one; elsewhere it is the
//! operators of training one after the other, which it is tested against.

use candle_core::{DType, Device, Tensor};

use super::{
    AttentionContext, Half, Packing, Pooling, Span, Turn, attention,
    cuda::{self, Finish, NormParts, Side, Starts},
    embed, gated, gelu, layer_norm, linear, max_pool_head, pool, rotate,
};
use crate::error::Result;

/// A batch of packed documents, on its device.
pub struct Documents {
    ids: Vec<u32>,
    places: Vec<u32>,
    packing: Packing,
    on_device: Option<(Tensor, Tensor, Starts)>,
}

/// x Wᵀ + b: W `[N, K]` in the type of the products, b `[N]` in f32.
pub struct Projection {
    /// W.
    pub weight: Tensor,
    /// b.
    pub bias: Tensor,
}

/// Scale and shift of a norm, `[H]` in f32 each, and its ε.
pub struct Norm {
    /// Scale.
    pub scale: Tensor,
    /// Shift.
    pub shift: Tensor,
    /// ε.
    pub epsilon: f32,
}

impl Documents {
    /// Token ids of all documents, one after the other, the place of each, and which belong together;
    /// on the device of `table`.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn new(
        ids: Vec<u32>,
        places: Vec<u32>,
        packing: Packing,
        table: &Tensor,
    ) -> Result<Documents> {
        let device = table.device();
        let on_device = cuda::here(table).then(|| on_device(&ids, &places, &packing, device));
        Ok(Documents { on_device: on_device.transpose()?, ids, places, packing })
    }

    /// One vector for each document, `[B, H]` in f32, from states `[rows, H]`: [`super::pool`].
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn pool(&self, states: &Tensor, pooling: Pooling) -> Result<Tensor> {
        Ok(pool(states, &self.packing, pooling)?.to_dtype(DType::F32)?)
    }

    /// Tokens of the longest one.
    pub fn widest(&self) -> usize {
        self.packing.widest()
    }
}

fn on_device(
    ids: &[u32],
    places: &[u32],
    packing: &Packing,
    device: &Device,
) -> candle_core::Result<(Tensor, Tensor, Starts)> {
    let (ids, places) = (Tensor::new(ids, device)?, Tensor::new(places, device)?);
    Ok((ids, places, Starts::new(packing, device)?))
}

/// What attention needs in addition to the projection: heads, who is seen, and how positions turn them.
#[derive(Clone, Copy, Default)]
pub struct Look<'a> {
    /// Heads; they divide H.
    pub heads: usize,
    /// Who is seen.
    pub sight: AttentionContext<'a>,
    /// The places of the rows, where they are angles.
    pub turn: Option<&'a Turn>,
}

impl Norm {
    /// The norm of the sum of a word's, a place's and the first token type's embedding: `[rows, H]`;
    /// places have none where they are angles.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn of_embeddings(
        &self,
        documents: &Documents,
        words: &Tensor,
        positions: Option<&Tensor>,
        types: Option<&Tensor>,
    ) -> Result<Tensor> {
        if let (Some((ids, places, _)), Some(positions)) = (&documents.on_device, positions)
            && cuda::norms(words.dim(1)?)
        {
            return Ok(cuda::embed(ids, places, [words, positions], types, self.parts())?);
        }
        let mut x = embed(words, &documents.ids)?;
        if let Some(positions) = positions {
            x = (x + embed(positions, &documents.places)?)?;
        }
        if let Some(types) = types {
            x = x.broadcast_add(types)?;
        }
        self.of(&x)
    }

    /// norm(x), `[rows, H]`.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, &self.scale, &self.shift, f64::from(self.epsilon))
    }

    /// norm(x Wᵀ + b + residual), `[rows, H]`.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn of_sum(&self, x: &Tensor, projection: &Projection, residual: &Tensor) -> Result<Tensor> {
        if cuda::here(x) && cuda::norms(self.scale.dim(0)?) {
            let product = projection.product(x)?;
            let (bias, residual) = (Some(&projection.bias), Some(residual));
            return Ok(cuda::norm(&product, bias, residual, self.parts())?);
        }
        self.of(&(projection.of(x)? + residual)?)
    }

    fn parts(&self) -> NormParts<'_> {
        NormParts { scale: &self.scale, shift: &self.shift, epsilon: self.epsilon }
    }
}

impl Projection {
    /// x Wᵀ + b.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight, &self.bias)
    }

    /// gelu(x Wᵀ + b).
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        if cuda::here(x) && self.bias.dim(0)?.is_multiple_of(4) {
            let product = self.product(x)?;
            cuda::add_bias(&product, &self.bias, Finish::Gelu)?;
            return Ok(product);
        }
        gelu(&self.of(x)?)
    }

    /// gelu(a) · b, where x Wᵀ + b has a and b side by side.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn gated(&self, x: &Tensor, half: Half) -> Result<Tensor> {
        gated(&self.of(x)?, half)
    }

    fn product(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        cuda::product(Side::Plain(x), Side::Transposed(&self.weight), x.dtype())
    }

    /// softmax(Q Kᵀ / √d) V of each head and document, where this projection gives Q, K and V side by
    /// side: `[rows, H]` → `[rows, H]`.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn attention(&self, x: &Tensor, documents: &Documents, look: Look) -> Result<Tensor> {
        let (h, Look { heads, sight, turn }) = (x.dim(1)?, look);
        let plain = turn.is_none()
            && sight.bias.is_none()
            && sight.span.within(documents.widest()) == Span::All;
        if let Some((_, _, starts)) = &documents.on_device
            && plain
            && cuda::attends(h / heads, x.dtype())
        {
            return Ok(cuda::attention(&self.product(x)?, &self.bias, starts, heads)?);
        }
        let all = self.of(x)?;
        let part = |at: usize| all.narrow(1, at * h, h)?.contiguous();
        let turned = |x: Tensor| turn.map_or(Ok(x.clone()), |turn| rotate(&x, turn));
        let (query, key) = (turned(part(0)?)?, turned(part(1)?)?);
        attention([&query, &key, &part(2)?], &documents.packing, heads, sight, None)
    }

    /// `[B, V]` in f32: the largest of x Wᵀ + b over the rows of each document.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn max_pool(&self, x: &Tensor, documents: &Documents) -> Result<Tensor> {
        if let Some((_, _, starts)) = &documents.on_device {
            return Ok(cuda::max_pool_head(x, &self.weight, &self.bias, starts)?);
        }
        let pooled = max_pool_head(x, &self.weight, &self.bias, &documents.packing)?;
        Ok(pooled.to_dtype(DType::F32)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Result as Candle;

    use super::*;
    use crate::nn::{
        Rotation,
        custom_op::tests::{devices, random},
    };

    /// Everything here on a device against the same on the processor, which is the operators of
    /// training: states of two heads of `d` numbers, documents that fill blocks of rows and do not.
    #[test]
    fn joined_operators_are_their_parts() {
        for (device, dtype, bar) in devices() {
            for d in [32, 64] {
                let truth = all(d, &Device::Cpu, DType::F32).unwrap();
                let got = all(d, &device, dtype).unwrap();
                for (at, (got, truth)) in got.iter().zip(&truth).enumerate() {
                    let off = (got - truth).unwrap().sqr().unwrap().sum_all().unwrap();
                    let all = truth.sqr().unwrap().sum_all().unwrap();
                    let [off, all] = [off, all].map(|sum| sum.to_scalar::<f32>().unwrap().sqrt());
                    assert!(
                        f64::from(off) <= bar * f64::from(all),
                        "{dtype:?} {at}: {off} of {all}"
                    );
                }
            }
        }
    }

    fn all(d: usize, device: &Device, dtype: DType) -> Candle<Vec<Tensor>> {
        let h = 2 * d;
        let packing = Packing::new(vec![1, 64, 65, 130, 7], 0);
        let rows = packing.rows();
        let wide =
            |shape: &[usize], seed| random(shape, seed).to_dtype(DType::F32)?.to_device(device);
        let narrow = |shape: &[usize], seed| wide(shape, seed)?.to_dtype(dtype);
        let projection = |n: usize, seed| -> Candle<Projection> {
            Ok(Projection { weight: narrow(&[n, h], seed)?, bias: wide(&[n], seed + 1)? })
        };
        let norm = Norm { scale: wide(&[h], 1)?, shift: wide(&[h], 2)?, epsilon: 1e-12 };
        let (words, positions) = (narrow(&[50, h], 3)?, narrow(&[130, h], 4)?);
        let ids = (0..rows as u32).map(|at| at * 7 % 50).collect();
        let documents = Documents::new(ids, packing.places(), packing, &words).unwrap();
        let types = narrow(&[h], 5)?;
        let (x, residual) = (narrow(&[rows, h], 6)?, narrow(&[rows, h], 7)?);
        let look = Look { heads: 2, ..Look::default() };
        let frequencies: Vec<f32> = (1..=d / 2).map(|at| 1.0 / at as f32).collect();
        let turn = Rotation::new(&frequencies, 130).at(&documents.places, device).unwrap();
        let bias = wide(&[2, 130, 130], 8)?;
        let sight = AttentionContext { span: Span::Near(20), bias: Some(&bias) };
        let windowed = Look { sight, turn: Some(&turn), ..look };
        let results = [
            norm.of_embeddings(&documents, &words, Some(&positions), Some(&types)).unwrap(),
            norm.of_embeddings(&documents, &words, Some(&positions), None).unwrap(),
            norm.of_embeddings(&documents, &words, None, None).unwrap(),
            norm.of(&x).unwrap(),
            norm.of_sum(&x, &projection(h, 10)?, &residual).unwrap(),
            projection(3 * h, 20)?.gelu(&x).unwrap(),
            projection(3 * h, 30)?.attention(&x, &documents, look).unwrap(),
            projection(3 * h, 30)?.attention(&x, &documents, windowed).unwrap(),
            projection(2 * h, 50)?.gated(&x, Half::Last).unwrap(),
            projection(5001, 40)?.max_pool(&x, &documents).unwrap(),
        ];
        results.into_iter().map(|x| x.to_device(&Device::Cpu)?.to_dtype(DType::F32)).collect()
    }
}
