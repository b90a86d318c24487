//! What stands between attention and the head: linear maps, gelu, layer norm.

use candle_core::{DType, Result as Candle, Tensor};
use rayon::prelude::*;

use super::{
    gradients,
    graft::{Value, graft, on_slices, with_numbers},
    kernels::{self, Side},
    slices::{self, Into, View},
};
use crate::error::Result;

/// Rows of a norm that a thread takes at a time.
const ROWS: usize = 64;

/// Rows of a product that a thread takes at a time: few enough to share among threads, more where
/// there are many, because a product arranges its other side anew for each part. They depend on the
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
/// [`crate::Error::Tensor`] for shapes that do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let dtype = x.dtype();
    if kernels::here(x) && weight.dim(0)?.is_multiple_of(4) {
        return linear_on_device(&x.contiguous()?, weight, bias);
    }
    if !on_slices(x) {
        let (weight, bias) = (weight.to_dtype(dtype)?, bias.to_dtype(dtype)?);
        let rows = x.elem_count() / weight.dim(1)?;
        let mut shape = x.dims().to_vec();
        let product = x.reshape((rows, weight.dim(1)?))?.matmul(&weight.t()?)?;
        *shape.last_mut().unwrap_or(&mut 0) = weight.dim(0)?;
        return Ok(product.broadcast_add(&bias)?.reshape(shape)?);
    }
    let (n, k) = weight.dims2()?;
    if x.dims().last() != Some(&k) || bias.dims() != [n] {
        let shapes = format!("{:?}, {:?}, {:?}", x.dims(), weight.dims(), bias.dims());
        return Err(candle_core::Error::Msg(format!("linear: shapes {shapes}")).into());
    }
    let mut shape = x.dims().to_vec();
    *shape.last_mut().unwrap_or(&mut 0) = n;
    let value = with_numbers([x, weight, bias], |[x, weight, bias]| {
        let mut y = vec![0.0; x.len() / k * n];
        let rows = part(x.len() / k);
        y.par_chunks_mut(rows * n).zip(x.par_chunks(rows * k)).for_each(|(y, x)| {
            y.chunks_exact_mut(n).for_each(|row| row.copy_from_slice(bias));
            let (x, weight) = (View::whole(x, k), View::whole(weight, k));
            slices::times_transposed(x, weight, y, n, Into::Add);
        });
        y
    })?;
    let inputs = [x, weight, bias];
    Ok(graft("linear", inputs, Value::Host(value), shape, Box::new(linear_backward))?)
}

/// Products in the type of x, sums and the gradients of weight and bias in f32.
fn linear_on_device(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let ((n, k), dtype) = (weight.dims2()?, x.dtype());
    let mut shape = x.dims().to_vec();
    *shape.last_mut().unwrap_or(&mut 0) = n;
    let rows = (x.elem_count() / k, k);
    let narrow = move |weight: &Tensor| weight.detach().to_dtype(dtype);
    let flat = x.detach().reshape(rows)?;
    let own = narrow(weight)?;
    let value = kernels::product(Side::Plain(&flat), Side::Transposed(&own), dtype)?;
    kernels::bias_in_place(&value, &bias.detach().to_dtype(DType::F32)?, false)?;
    let backward = move |[x, weight, _]: [&Tensor; 3], gradient: &Tensor| {
        let (x, own) = (x.detach().reshape(rows)?, narrow(weight)?);
        let g = gradient.contiguous()?.reshape((rows.0, n))?;
        let dx = kernels::product(Side::Plain(&g), Side::Plain(&own), dtype)?;
        let dw = kernels::product(Side::Transposed(&g), Side::Plain(&x), DType::F32)?;
        Ok([dx, dw, kernels::column_sums(&g)?])
    };
    Ok(graft("linear", [x, weight, bias], Value::Tensor(value), shape, Box::new(backward))?)
}

fn linear_backward([x, weight, bias]: [&Tensor; 3], gradient: &Tensor) -> Candle<[Tensor; 3]> {
    let (n, k) = weight.dims2()?;
    let (dx, dw, db) = with_numbers([x, weight, gradient], |[x, weight, g]| {
        let mut dx = vec![0.0; x.len()];
        let rows = part(x.len() / k);
        dx.par_chunks_mut(rows * k).zip(g.par_chunks(rows * n)).for_each(|(dx, g)| {
            let (g, weight) = (View::whole(g, n), View::whole(weight, k));
            slices::times(g, weight, dx, k, Into::Overwrite);
        });
        let (mut dw, mut db) = (vec![0.0; n * k], vec![0.0; n]);
        let columns = part(n);
        let parts = dw.par_chunks_mut(columns * k).zip(db.par_chunks_mut(columns));
        parts.enumerate().for_each(|(at, (dw, db))| {
            let own = View::part(g, n, at * columns, db.len());
            slices::transposed_times(own, View::whole(x, k), dw, k, Into::Overwrite);
            for row in g.chunks_exact(n) {
                let row = &row[at * columns..][..db.len()];
                db.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
            }
        });
        (dx, dw, db)
    })?;
    let device = x.device();
    let dx = Tensor::from_vec(dx, x.shape(), device)?;
    let dw = Tensor::from_vec(dw, weight.shape(), device)?;
    Ok([dx, dw, Tensor::from_vec(db, bias.shape(), device)?])
}

/// gelu(x) = x/2 · (1 + erf(x/√2)), any shape.
///
/// # Errors
/// [`crate::Error::Tensor`].
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if kernels::here(x) && x.elem_count().is_multiple_of(4) {
        let x = x.contiguous()?;
        let value = Value::Tensor(kernels::gelu(&x)?);
        let backward = |[x]: [&Tensor; 1], gradient: &Tensor| {
            Ok([kernels::gelu_backward(x, &gradient.contiguous()?)?])
        };
        return Ok(graft("gelu", [&x], value, x.shape(), Box::new(backward))?);
    }
    if !on_slices(x) {
        return Ok(x.gelu_erf()?);
    }
    let value = with_numbers([x], |[x]| {
        let mut y = x.to_vec();
        y.par_chunks_mut(CELLS).for_each(slices::gelu);
        y
    })?;
    let backward = |[x]: [&Tensor; 1], gradient: &Tensor| {
        let dx = with_numbers([x, gradient], |[x, g]| {
            let mut dx = x.to_vec();
            dx.par_chunks_mut(CELLS)
                .zip(g.par_chunks(CELLS))
                .for_each(|(dx, g)| gradients::gelu_backward(dx, g));
            dx
        })?;
        Ok([Tensor::from_vec(dx, x.shape(), x.device())?])
    };
    Ok(graft("gelu", [x], Value::Host(value), x.shape(), Box::new(backward))?)
}

/// Numbers a thread takes at a time where every number stands by itself.
const CELLS: usize = 1 << 14;

/// (x − mean) / √(variance + ε) · scale + shift over the last dimension: x `[…, H]`, scale and
/// shift `[H]`. Half numbers are normed in f32.
///
/// # Errors
/// [`crate::Error::Tensor`] for shapes that do not fit.
pub fn layer_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, epsilon: f64) -> Result<Tensor> {
    if kernels::here(x) && kernels::norms(scale.dim(0)?) && scale.dtype() == DType::F32 {
        let (x, epsilon) = (x.contiguous()?, epsilon as f32);
        let value = kernels::norm(&x, None, None, [scale, shift], epsilon)?;
        let backward = move |[x, scale, _]: [&Tensor; 3], gradient: &Tensor| {
            kernels::norm_backward(x, scale, &gradient.contiguous()?, epsilon)
        };
        let (inputs, value, shape) = ([&x, scale, shift], Value::Tensor(value), x.shape());
        return Ok(graft("layer_norm", inputs, value, shape, Box::new(backward))?);
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
    Ok(graft("layer_norm", inputs, Value::Host(value), x.shape(), Box::new(backward))?)
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
    // one pair of sums a block of rows, added up in the order of the blocks
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
    use crate::ops::graft::tests::{check_same, random};

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
