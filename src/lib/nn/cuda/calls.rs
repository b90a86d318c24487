//! The kernels by name: shapes in, grids out. Callers look with [`super::here`] first.

use candle_core::{DType, Result, Tensor};

use super::{
    Arg, Grid, Side,
    driver::{empty, launch, multiply},
};
/// Checks what a kernel assumes.
pub(super) fn want(fits: bool, what: &str) -> Result<()> {
    if fits { Ok(()) } else { Err(candle_core::Error::Msg(format!("kernels: expected {what}"))) }
}

/// Scale and shift of a norm, `[H]` in f32, and its ε.
#[derive(Clone, Copy)]
pub(crate) struct NormParts<'a> {
    pub scale: &'a Tensor,
    pub shift: &'a Tensor,
    pub epsilon: f32,
}

impl NormParts<'_> {
    fn fit(&self, h: usize) -> bool {
        let vectors = [self.scale, self.shift];
        vectors.iter().all(|x| x.dims() == [h] && x.dtype() == DType::F32)
    }
}

/// What is applied to a product after its bias.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Nothing.
    Bias,
    /// gelu.
    Gelu,
}

pub(super) fn suffix(dtype: DType) -> &'static str {
    match dtype {
        DType::BF16 => "bf16",
        DType::F16 => "f16",
        _ => "f32",
    }
}

pub(super) fn line(count: usize) -> Grid {
    Grid { blocks: [count, 1, 1], threads: [128, 1] }
}

fn eights(count: usize) -> Grid {
    Grid { blocks: [count.div_ceil(8 * 256), 1, 1], threads: [256, 1] }
}

/// Pairs of numbers a lane of a warp holds for rows of `h`.
fn pairs(h: usize) -> Option<usize> {
    [2, 6, 12, 16].into_iter().find(|pairs| pairs * 64 >= h && h.is_multiple_of(2))
}

/// Whether rows of `h` numbers are normed by a kernel.
pub(crate) fn norms(h: usize) -> bool {
    pairs(h).is_some()
}

fn norm_kernel(name: &str, h: usize, dtype: DType) -> String {
    format!("{name}_{}_{}", pairs(h).unwrap_or_default(), suffix(dtype))
}

/// norm(x + bias + residual) · scale + shift, x `[…, H]`; bias in f32.
pub(crate) fn norm(
    x: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    parts: NormParts,
) -> Result<Tensor> {
    let h = x.dims().last().copied().unwrap_or(0);
    let fits = parts.fit(h)
        && bias.is_none_or(|bias| bias.dims() == [h] && bias.dtype() == DType::F32)
        && residual.is_none_or(|other| other.dims() == x.dims() && other.dtype() == x.dtype());
    want(fits, "bias, residual, scale and shift as wide as the rows of a norm")?;
    let rows = x.elem_count() / h;
    let out = empty(x.shape(), x.dtype(), x.device())?;
    let args = [
        x.into(),
        bias.into(),
        residual.into(),
        parts.scale.into(),
        parts.shift.into(),
        Arg::Tensor(&out),
        Arg::Int(rows),
        Arg::Int(h),
        Arg::Float(parts.epsilon),
    ];
    launch(&norm_kernel("norm", h, x.dtype()), line(rows.div_ceil(4)), &args)?;
    Ok(out)
}

/// The embeddings of ids and places with the first token type's, normed: `[rows, H]`. Ids and places must
/// be rows of their tables.
pub(crate) fn embed(
    ids: &Tensor,
    places: &Tensor,
    [words, positions]: [&Tensor; 2],
    types: Option<&Tensor>,
    parts: NormParts,
) -> Result<Tensor> {
    let (rows, h) = (ids.dim(0)?, words.dim(1)?);
    let tables = [Some(positions), types].into_iter().flatten();
    let alike = |x: &Tensor| x.dims().last() == Some(&h) && x.dtype() == words.dtype();
    let fits = parts.fit(h) && places.dims() == [rows] && tables.into_iter().all(alike);
    want(fits, "tables as wide as the norm of their sum")?;
    let out = empty((rows, h), words.dtype(), words.device())?;
    let args = [
        ids.into(),
        places.into(),
        words.into(),
        positions.into(),
        types.into(),
        parts.scale.into(),
        parts.shift.into(),
        Arg::Tensor(&out),
        Arg::Int(rows),
        Arg::Int(h),
        Arg::Float(parts.epsilon),
    ];
    launch(&norm_kernel("embed", h, words.dtype()), line(rows.div_ceil(4)), &args)?;
    Ok(out)
}

/// The gradients of a norm without bias and residual: of x in its type, of scale and shift in f32.
pub(crate) fn norm_backward(
    x: &Tensor,
    scale: &Tensor,
    gradient: &Tensor,
    epsilon: f32,
) -> Result<[Tensor; 3]> {
    const BLOCKS: usize = 264;
    let (h, device) = (scale.dim(0)?, x.device());
    let fits = x.dims().last() == Some(&h) && gradient.dims() == x.dims();
    want(fits && gradient.dtype() == x.dtype(), "a gradient like the rows of a norm")?;
    let rows = x.elem_count() / h;
    let blocks = BLOCKS.min(rows.div_ceil(4));
    let dx = empty(x.shape(), x.dtype(), device)?;
    let parts = empty((blocks, 2 * h), DType::F32, device)?;
    let args = [
        x.into(),
        scale.into(),
        gradient.into(),
        Arg::Tensor(&dx),
        Arg::Tensor(&parts),
        Arg::Int(rows),
        Arg::Int(h),
        Arg::Float(epsilon),
    ];
    launch(&norm_kernel("norm_backward", h, x.dtype()), line(blocks), &args)?;
    let sums = column_sums(&parts)?;
    Ok([dx, sums.narrow(0, 0, h)?.copy()?, sums.narrow(0, h, h)?.copy()?])
}

/// x + bias, or gelu of it, in place; `x` `[…, N]` must have no other owner; bias `[N]` in f32, N a multiple
/// of 4.
pub(crate) fn add_bias(x: &Tensor, bias: &Tensor, finish: Finish) -> Result<()> {
    let fits = x.dims().last() == Some(&bias.dim(0)?) && bias.dtype() == DType::F32;
    want(fits, "a bias as wide as its rows")?;
    finished(x, Some(bias), finish, x)
}

/// gelu(x), any shape whose numbers are a multiple of 4.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    let out = empty(x.shape(), x.dtype(), x.device())?;
    finished(x, None, Finish::Gelu, &out)?;
    Ok(out)
}

fn finished(x: &Tensor, bias: Option<&Tensor>, finish: Finish, out: &Tensor) -> Result<()> {
    let columns = bias.map_or(Ok(4), |bias| bias.dim(0))?;
    let name = if finish == Finish::Gelu { "bias_gelu" } else { "bias" };
    let count = x.elem_count();
    want(count.is_multiple_of(4) && columns.is_multiple_of(4), "numbers in fours")?;
    let args =
        [x.into(), bias.into(), Arg::Tensor(out), Arg::Long(count as u64), Arg::Int(columns)];
    launch(&format!("{name}_{}", suffix(x.dtype())), eights(count), &args)
}

/// The gradient of gelu's input.
pub(crate) fn gelu_backward(x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let count = x.elem_count();
    let fits = gradient.elem_count() == count && gradient.dtype() == x.dtype();
    want(fits && count.is_multiple_of(4), "a gradient like gelu's input, in fours")?;
    let dx = empty(x.shape(), x.dtype(), x.device())?;
    let args = [x.into(), gradient.into(), Arg::Tensor(&dx), Arg::Long(count as u64)];
    launch(&format!("gelu_backward_{}", suffix(x.dtype())), eights(count), &args)?;
    Ok(dx)
}

/// `[N]` in f32: the sums over the rows of `[rows, N]`, N even. Parts of the rows are summed in
/// parallel, then the parts, in an order that depends on the shape alone.
pub(crate) fn column_sums(x: &Tensor) -> Result<Tensor> {
    const STEP: usize = 256;
    let (rows, columns) = x.dims2()?;
    want(columns.is_multiple_of(2), "columns in pairs")?;
    let parts = rows.div_ceil(STEP).max(1);
    let sums = empty((parts, columns), DType::F32, x.device())?;
    let grid = Grid { blocks: [columns.div_ceil(64), parts, 1], threads: [32, 8] };
    let args = [x.into(), Arg::Tensor(&sums), Arg::Int(rows), Arg::Int(columns), Arg::Int(STEP)];
    launch(&format!("column_sums_{}", suffix(x.dtype())), grid, &args)?;
    if parts == 1 { sums.squeeze(0) } else { column_sums(&sums) }
}

/// left · right with sums in f32, in the type `dtype`.
pub(crate) fn product(left: Side, right: Side, dtype: DType) -> Result<Tensor> {
    let rows = match left {
        Side::Plain(x) => x.dim(0)?,
        Side::Transposed(x) => x.dim(1)?,
    };
    let (columns, device) = match right {
        Side::Plain(x) => (x.dim(1)?, x.device()),
        Side::Transposed(x) => (x.dim(0)?, x.device()),
    };
    let out = empty((rows, columns), dtype, device)?;
    multiply(left, right, &out)?;
    Ok(out)
}

/// `[V, H]` in f32, zero except for the sums of rows of `gradient` at `ids`.
pub(crate) fn spread_rows(gradient: &Tensor, ids: &Tensor, terms: usize) -> Result<Tensor> {
    let (rows, h) = gradient.dims2()?;
    want(ids.dims() == [rows], "an id for each row")?;
    let table = Tensor::zeros((terms, h), DType::F32, gradient.device())?;
    let args = [gradient.into(), ids.into(), Arg::Tensor(&table), Arg::Int(h)];
    launch(&format!("add_rows_{}", suffix(gradient.dtype())), line(rows), &args)?;
    Ok(table)
}

/// One step of AdamW on f32 tensors of one shape, in place: `numbers` are those of `kernels.cu`.
pub(crate) fn adamw([p, m, v, g]: [&Tensor; 4], numbers: [f32; 9]) -> Result<()> {
    let count = p.elem_count();
    let alike = |x: &&Tensor| x.elem_count() == count && x.dtype() == DType::F32;
    want([p, m, v, g].iter().all(alike), "f32 numbers of one size")?;
    let mut args = vec![p.into(), m.into(), v.into(), g.into(), Arg::Long(count as u64)];
    args.extend(numbers.map(Arg::Float));
    let blocks = [count.div_ceil(256).min(2048), 1, 1];
    launch("adamw", Grid { blocks, threads: [256, 1] }, &args)
}

/// Adds Σ x² to the one f64 of `sum`.
pub(crate) fn add_squares(x: &Tensor, sum: &Tensor) -> Result<()> {
    want(x.dtype() == DType::F32 && sum.dtype() == DType::F64, "f32 numbers and an f64 sum")?;
    let count = x.elem_count();
    let args = [x.into(), sum.into(), Arg::Long(count as u64)];
    let blocks = [count.div_ceil(256).min(264), 1, 1];
    launch("add_squares", Grid { blocks, threads: [256, 1] }, &args)
}
