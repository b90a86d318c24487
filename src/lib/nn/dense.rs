//! What is between attention and the head: linear maps, gelu, layer norm.

use candle_core::{DType, Result as Candle, Tensor};
use rayon::prelude::*;

use super::{
    cuda::{self, Finish, NormParts, Side},
    custom_op::{Value, custom_op, on_slices, with_numbers},
};
use crate::{
    error::Result,
    kernels::{
        gradients,
        slices::{self, Into, View},
    },
};

/// Rows of a norm that a thread takes at a time.
const ROWS: usize = 64;

/// Rows of a product that a thread takes at a time: few enough to share among threads, more where
/// there are many, because a product arranges its other side again for each part. They depend on the
/// shape alone.
fn part(rows: usize) -> usize {
    (rows / 8).clamp(64, 256)
}

/// y = x Wᵀ + b: x `[…, K]`, W `[N, K]`, b `[N]` → `[…, N]`.
///
/// The rows of every product are cut at fixed places, so the result does not depend on the number
/// of threads.
///
/// # Errors
/// [`crate::Error::Compute`] for shapes that do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let ((n, k), dtype) = (weight.dims2()?, x.dtype());
    if x.dims().last() != Some(&k) || bias.dims() != [n] {
        let shapes = format!("{:?}, {:?}, {:?}", x.dims(), weight.dims(), bias.dims());
        return Err(candle_core::Error::Msg(format!("linear: shapes {shapes}")).into());
    }
    if cuda::here(x) && n.is_multiple_of(4) {
        return linear_on_device(&x.contiguous()?, weight, bias);
    }
    let mut shape = x.dims().to_vec();
    *shape.last_mut().unwrap_or(&mut 0) = n;
    if !on_slices(x) {
        let (weight, bias) = (weight.to_dtype(dtype)?, bias.to_dtype(dtype)?);
        let product = x.reshape((x.elem_count() / k, k))?.matmul(&weight.t()?)?;
        return Ok(product.broadcast_add(&bias)?.reshape(shape)?);
    }
    let value = with_numbers([x, weight, bias], |[x, weight, bias]| products(x, weight, bias))?;
    let inputs = [x, weight, bias];
    Ok(custom_op("linear", inputs, Value::Host(value), shape, Box::new(linear_backward))?)
}

/// x Wᵀ + b on slices.
fn products(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let (n, k) = (bias.len(), weight.len() / bias.len());
    let mut y = vec![0.0; x.len() / k * n];
    let rows = part(x.len() / k);
    y.par_chunks_mut(rows * n).zip(x.par_chunks(rows * k)).for_each(|(y, x)| {
        y.chunks_exact_mut(n).for_each(|row| row.copy_from_slice(bias));
        let (x, weight) = (View::whole(x, k), View::whole(weight, k));
        slices::times_transposed(x, weight, y, n, Into::Add);
    });
    y
}

/// Products in the type of x, sums and the gradients of weight and bias in f32.
fn linear_on_device(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let ((n, k), dtype) = (weight.dims2()?, x.dtype());
    let mut shape = x.dims().to_vec();
    *shape.last_mut().unwrap_or(&mut 0) = n;
    let rows = (x.elem_count() / k, k);
    let (flat, own) = (x.detach().reshape(rows)?, weight.detach().to_dtype(dtype)?);
    let value = cuda::product(Side::Plain(&flat), Side::Transposed(&own), dtype)?;
    cuda::add_bias(&value, &bias.detach().to_dtype(DType::F32)?, Finish::Bias)?;
    let inputs = [x, weight, bias];
    Ok(custom_op("linear", inputs, Value::Tensor(value), shape, Box::new(device_backward))?)
}

fn device_backward([x, weight, _]: [&Tensor; 3], gradient: &Tensor) -> Candle<[Tensor; 3]> {
    let ((n, k), dtype) = (weight.dims2()?, x.dtype());
    let rows = x.elem_count() / k;
    let (flat, own) = (x.detach().reshape((rows, k))?, weight.detach().to_dtype(dtype)?);
    let g = gradient.contiguous()?.reshape((rows, n))?;
    let dx = cuda::product(Side::Plain(&g), Side::Plain(&own), dtype)?.reshape(x.shape())?;
    let dw = cuda::product(Side::Transposed(&g), Side::Plain(&flat), DType::F32)?;
    Ok([dx, dw, cuda::column_sums(&g)?])
}

fn linear_backward([x, weight, bias]: [&Tensor; 3], gradient: &Tensor) -> Candle<[Tensor; 3]> {
    let (dx, dw, db) = with_numbers([x, weight, gradient], |[x, weight, g]| {
        let n = bias.elem_count();
        (products_backward(weight, g, n), weights_backward(x, g, n), bias_backward(g, n))
    })?;
    let device = x.device();
    let dx = Tensor::from_vec(dx, x.shape(), device)?;
    let dw = Tensor::from_vec(dw, weight.shape(), device)?;
    Ok([dx, dw, Tensor::from_vec(db, bias.shape(), device)?])
}

/// g W, the gradient of x.
fn products_backward(weight: &[f32], g: &[f32], n: usize) -> Vec<f32> {
    let k = weight.len() / n;
    let mut dx = vec![0.0; g.len() / n * k];
    let rows = part(g.len() / n);
    dx.par_chunks_mut(rows * k).zip(g.par_chunks(rows * n)).for_each(|(dx, g)| {
        let (g, weight) = (View::whole(g, n), View::whole(weight, k));
        slices::times(g, weight, dx, k, Into::Overwrite);
    });
    dx
}

/// gᵀ x, the gradient of W.
fn weights_backward(x: &[f32], g: &[f32], n: usize) -> Vec<f32> {
    let k = x.len() / (g.len() / n).max(1);
    let mut dw = vec![0.0; n * k];
    let columns = part(n);
    dw.par_chunks_mut((columns * k).max(1)).enumerate().for_each(|(at, dw)| {
        let own = View::part(g, n, at * columns, dw.len() / k);
        slices::transposed_times(own, View::whole(x, k), dw, k, Into::Overwrite);
    });
    dw
}

/// The sums of g's columns, the gradient of b.
fn bias_backward(g: &[f32], n: usize) -> Vec<f32> {
    let mut db = vec![0.0; n];
    let columns = part(n);
    db.par_chunks_mut(columns).enumerate().for_each(|(at, db)| {
        for row in g.chunks_exact(n) {
            let row = &row[at * columns..][..db.len()];
            db.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
        }
    });
    db
}

/// gelu(x) Wᵀ + b, as [`linear`] of [`gelu`]; the states between them, the widest of a layer, are not
/// kept but recomputed in the backward pass.
///
/// # Errors
/// [`crate::Error::Compute`] for shapes that do not fit.
pub fn linear_after_gelu(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let fits = x.dims().last() == Some(&weight.dim(1)?) && bias.dims() == [weight.dim(0)?];
    let on_kernels =
        cuda::here(x) && weight.dim(0)?.is_multiple_of(4) && x.elem_count().is_multiple_of(4);
    if !fits || !on_slices(x) && !on_kernels {
        return linear(&gelu(x)?, weight, bias);
    }
    let (x, inside) = (x.contiguous()?, gelu(&x.detach())?);
    let value = linear(&inside, &weight.detach(), &bias.detach())?;
    let shape = value.shape().clone();
    let backward = move |[x, weight, bias]: [&Tensor; 3], gradient: &Tensor| {
        let inside = gelu(&x.detach()).map_err(candle_core::Error::wrap)?;
        if on_kernels {
            let [dx, dw, db] = device_backward([&inside, weight, bias], gradient)?;
            return Ok([cuda::gelu_backward(x, &dx)?, dw, db]);
        }
        let [dx, dw, db] = linear_backward([&inside, weight, bias], gradient)?;
        Ok([slices_gelu_backward(x, &dx)?, dw, db])
    };
    let inputs = [&x, weight, bias];
    Ok(custom_op("linear_after_gelu", inputs, Value::Tensor(value), shape, Box::new(backward))?)
}

/// Which half of a gated layer's states goes through gelu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The first.
    First,
    /// The last.
    Last,
}

impl Half {
    /// Where it begins in rows of two halves of `width` numbers.
    pub fn from(self, width: usize) -> usize {
        if self == Half::First { 0 } else { width }
    }
}

/// gelu(a) · b, where x `[rows, 2I]` has a and b side by side → `[rows, I]`; `half` is a's.
///
/// # Errors
/// [`crate::Error::Compute`].
pub fn gated(x: &Tensor, half: Half) -> Result<Tensor> {
    let width = x.dim(1)? / 2;
    let (from, other) = (half.from(width), width - half.from(width));
    let active = gelu(&x.narrow(1, from, width)?.contiguous()?)?;
    Ok((active * x.narrow(1, other, width)?)?)
}

/// gelu(x) = x/2 · (1 + erf(x/√2)), any shape.
///
/// # Errors
/// [`crate::Error::Compute`].
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if cuda::here(x) && x.elem_count().is_multiple_of(4) {
        let x = x.contiguous()?;
        let value = Value::Tensor(cuda::gelu(&x)?);
        let backward = |[x]: [&Tensor; 1], gradient: &Tensor| {
            Ok([cuda::gelu_backward(x, &gradient.contiguous()?)?])
        };
        return Ok(custom_op("gelu", [&x], value, x.shape(), Box::new(backward))?);
    }
    if !on_slices(x) {
        return Ok(x.gelu_erf()?);
    }
    let value = with_numbers([x], |[x]| {
        let mut y = x.to_vec();
        y.par_chunks_mut(CELLS).for_each(slices::gelu);
        y
    })?;
    let backward = |[x]: [&Tensor; 1], g: &Tensor| Ok([slices_gelu_backward(x, g)?]);
    Ok(custom_op("gelu", [x], Value::Host(value), x.shape(), Box::new(backward))?)
}

fn slices_gelu_backward(x: &Tensor, gradient: &Tensor) -> Candle<Tensor> {
    let dx = with_numbers([x, gradient], |[x, g]| {
        let mut dx = x.to_vec();
        dx.par_chunks_mut(CELLS)
            .zip(g.par_chunks(CELLS))
            .for_each(|(dx, g)| gradients::gelu_backward(dx, g));
        dx
    })?;
    Tensor::from_vec(dx, x.shape(), x.device())
}

/// Numbers a thread takes at a time where numbers are independent.
const CELLS: usize = 1 << 14;

/// (x − mean) / √(variance + ε) · scale + shift over the last dimension: x `[…, H]`, scale and
/// shift `[H]`. Half numbers are normed in f32.
///
/// # Errors
/// [`crate::Error::Compute`] for shapes that do not fit.
pub fn layer_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, epsilon: f64) -> Result<Tensor> {
    if cuda::here(x) && cuda::norms(scale.dim(0)?) && scale.dtype() == DType::F32 {
        let (x, epsilon) = (x.contiguous()?, epsilon as f32);
        let value = cuda::norm(&x, None, None, NormParts { scale, shift, epsilon })?;
        let backward = move |[x, scale, _]: [&Tensor; 3], gradient: &Tensor| {
            cuda::norm_backward(x, scale, &gradient.contiguous()?, epsilon)
        };
        let (inputs, value, shape) = ([&x, scale, shift], Value::Tensor(value), x.shape());
        return Ok(custom_op("layer_norm", inputs, value, shape, Box::new(backward))?);
    }
    if !on_slices(x) {
        return Ok(plain_norm(x, scale, shift, epsilon)?);
    }
    let h = scale.dims1()?;
    let value = with_numbers([x, scale, shift], |[x, scale, shift]| {
        let mut y = x.to_vec();
        y.par_chunks_mut(ROWS * h)
            .for_each(|rows| slices::layer_norm(rows, scale, shift, epsilon as f32));
        y
    })?;
    let backward = move |[x, scale, shift]: [&Tensor; 3], gradient: &Tensor| {
        let (dx, dscale, dshift) = with_numbers([x, scale, gradient], |[x, scale, g]| {
            norm_backward(x, scale, g, epsilon as f32)
        })?;
        let device = x.device();
        Ok([
            Tensor::from_vec(dx, x.shape(), device)?,
            Tensor::from_vec(dscale, scale.shape(), device)?,
            Tensor::from_vec(dshift, shift.shape(), device)?,
        ])
    };
    let inputs = [x, scale, shift];
    Ok(custom_op("layer_norm", inputs, Value::Host(value), x.shape(), Box::new(backward))?)
}

fn plain_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, epsilon: f64) -> Candle<Tensor> {
    let dtype = x.dtype();
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let x = x.to_dtype(wide)?;
    let centred = x.broadcast_sub(&x.mean_keepdim(candle_core::D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(candle_core::D::Minus1)?;
    let normed = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?;
    let scaled = normed.broadcast_mul(&scale.to_dtype(wide)?)?;
    scaled.broadcast_add(&shift.to_dtype(wide)?)?.to_dtype(dtype)
}

/// With n = (x − mean)/σ and d = g · scale: dx = (d − mean(d) − n · mean(d · n))/σ.
fn norm_backward(x: &[f32], scale: &[f32], g: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let h = scale.len();
    let mut dx = x.to_vec();
    // one pair of sums per block of rows, added up in the order of the blocks
    let blocks: Vec<(Vec<f32>, Vec<f32>)> = dx
        .par_chunks_mut(ROWS * h)
        .zip(g.par_chunks(ROWS * h))
        .map(|(dx, g)| {
            let (mut dscale, mut dshift) = (vec![0.0; h], vec![0.0; h]);
            gradients::layer_norm_backward(dx, scale, g, eps, (&mut dscale, &mut dshift));
            (dscale, dshift)
        })
        .collect();
    let (mut dscale, mut dshift) = (vec![0.0; h], vec![0.0; h]);
    for (scale, shift) in blocks {
        dscale.iter_mut().zip(scale).for_each(|(sum, part)| *sum += part);
        dshift.iter_mut().zip(shift).for_each(|(sum, part)| *sum += part);
    }
    (dx, dscale, dshift)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::nn::custom_op::tests::{check_same, random};

    #[test]
    fn linear_on_slices_is_the_plain_formula() {
        for (n, k) in [(130, 9), (132, 40)] {
            let inputs = [random(&[2, 70, k], 1), random(&[n, k], 2), random(&[n], 3)];
            check_same(&inputs, |[x, w, b]| linear(x, w, b));
        }
    }

    #[test]
    fn gelu_on_slices_is_the_plain_formula() {
        for rows in [3, 4] {
            check_same(&[random(&[rows, 50], 1)], |[x]| gelu(&(x * 3.0)?));
        }
    }

    #[test]
    fn either_half_may_be_the_gate() {
        for half in [Half::First, Half::Last] {
            check_same(&[random(&[30, 24], 1)], |[x]| gated(x, half));
        }
    }

    #[test]
    fn linear_after_gelu_is_the_two() {
        for (n, k) in [(130, 9), (132, 40)] {
            let inputs = [random(&[4, 70, k], 1), random(&[n, k], 2), random(&[n], 3)];
            check_same(&inputs, |[x, w, b]| linear_after_gelu(x, w, b));
            // in f64 above both sides are the two operators; here one side is
            let [x, w, b] = inputs.map(|input| input.to_dtype(DType::F32).unwrap());
            let joined = linear_after_gelu(&x, &w, &b).unwrap();
            let parts = linear(&gelu(&x).unwrap(), &w, &b).unwrap();
            assert_eq!(joined.to_vec3::<f32>().unwrap(), parts.to_vec3::<f32>().unwrap());
        }
    }

    #[test]
    fn layer_norm_on_slices_is_the_plain_formula() {
        for h in [9, 10, 126, 384, 700, 1024] {
            let inputs = [random(&[2, 70, h], 1), random(&[h], 2), random(&[h], 3)];
            check_same(&inputs, |[x, scale, shift]| layer_norm(x, scale, shift, 1e-12));
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let x = Var::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        let w = Tensor::zeros((5, 4), DType::F32, &Device::Cpu).unwrap();
        let b = Tensor::zeros(5, DType::F32, &Device::Cpu).unwrap();
        assert!(linear(&x, &w, &b).is_err());
    }
}
