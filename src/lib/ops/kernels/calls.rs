//! The kernels by name: shapes in, grids out. Callers look with [`super::here`] first.

use candle_core::{DType, Device, Result, Tensor};

use super::{
    Arg, Grid, Side,
    driver::{empty, launch, multiply},
};
use crate::ops::{Dropout, Packing};

/// Rows of packed documents that the head scores together, and terms: 268 MB of logits between product
/// and maximum. Smaller tiles are slower (H200, 16,384 rows of 768: 2.1 ms, with 4096 rows 3.0 ms).
const HEAD_ROWS: usize = 16_384;
const HEAD_TERMS: usize = 4096;

/// Where documents begin, on the device.
#[derive(Clone)]
pub(crate) struct Starts {
    starts: Tensor,
    packing: Packing,
}

impl Starts {
    /// Of packed documents.
    pub fn new(packing: &Packing, device: &Device) -> Result<Starts> {
        let mut starts = vec![0u32];
        starts.extend(packing.documents().map(|(_, rows)| rows.end as u32));
        Ok(Starts { starts: Tensor::new(starts, device)?, packing: packing.clone() })
    }

    fn documents(&self) -> usize {
        self.packing.lengths().len()
    }
}

/// Dropout as kernels take it.
pub(crate) struct Thinning {
    /// `[B]`: a key for each document.
    keys: Tensor,
    limit: u64,
    factor: f32,
}

impl Thinning {
    /// For the documents of a packing.
    pub fn new(dropout: Dropout, packing: &Packing, device: &Device) -> Result<Thinning> {
        let keys = packing.documents().map(|(document, _)| dropout.key_of(document) as i64);
        let (limit, factor) = dropout.limit_and_factor();
        Ok(Thinning { keys: Tensor::from_iter(keys, device)?, limit, factor })
    }
}

fn suffix(dtype: DType) -> &'static str {
    match dtype {
        DType::BF16 => "bf16",
        DType::F16 => "f16",
        _ => "f32",
    }
}

fn line(count: usize) -> Grid {
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

/// norm(x + bias + residual) · scale + shift, x `[rows, H]`; bias, scale, shift in f32.
pub(crate) fn norm(
    x: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    [scale, shift]: [&Tensor; 2],
    epsilon: f32,
) -> Result<Tensor> {
    let h = scale.dim(0)?;
    let rows = x.elem_count() / h;
    let out = empty(x.shape(), x.dtype(), x.device())?;
    let args = [
        x.into(),
        bias.into(),
        residual.into(),
        scale.into(),
        shift.into(),
        Arg::Tensor(&out),
        Arg::Int(rows),
        Arg::Int(h),
        Arg::Float(epsilon),
    ];
    launch(&norm_kernel("norm", h, x.dtype()), line(rows.div_ceil(4)), &args)?;
    Ok(out)
}

/// The embeddings of ids and places with the first token type's, normed: `[rows, H]`.
pub(crate) fn embed(
    ids: &Tensor,
    places: &Tensor,
    [words, positions]: [&Tensor; 2],
    types: Option<&Tensor>,
    [scale, shift]: [&Tensor; 2],
    epsilon: f32,
) -> Result<Tensor> {
    let (rows, h) = (ids.dim(0)?, words.dim(1)?);
    let out = empty((rows, h), words.dtype(), words.device())?;
    let args = [
        ids.into(),
        places.into(),
        words.into(),
        positions.into(),
        types.into(),
        scale.into(),
        shift.into(),
        Arg::Tensor(&out),
        Arg::Int(rows),
        Arg::Int(h),
        Arg::Float(epsilon),
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

/// x + bias, or gelu(x + bias), in place of an `x` `[rows, N]` that nobody else has; bias `[N]` in f32, N
/// a multiple of 4.
pub(crate) fn bias_in_place(x: &Tensor, bias: &Tensor, gelu: bool) -> Result<()> {
    biased_into(x, Some(bias), gelu, x)
}

/// gelu(x), any shape whose numbers are a multiple of 4.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    let out = empty(x.shape(), x.dtype(), x.device())?;
    biased_into(x, None, true, &out)?;
    Ok(out)
}

fn biased_into(x: &Tensor, bias: Option<&Tensor>, gelu: bool, out: &Tensor) -> Result<()> {
    let columns = bias.map_or(Ok(4), |bias| bias.dim(0))?;
    let name = if gelu { "bias_gelu" } else { "bias" };
    let count = x.elem_count();
    let args =
        [x.into(), bias.into(), Arg::Tensor(out), Arg::Long(count as u64), Arg::Int(columns)];
    launch(&format!("{name}_{}", suffix(x.dtype())), eights(count), &args)
}

/// The gradient of gelu's input.
pub(crate) fn gelu_backward(x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let dx = empty(x.shape(), x.dtype(), x.device())?;
    let count = x.elem_count();
    let args = [x.into(), gradient.into(), Arg::Tensor(&dx), Arg::Long(count as u64)];
    launch(&format!("gelu_backward_{}", suffix(x.dtype())), eights(count), &args)?;
    Ok(dx)
}

/// `[N]` in f32: the sums over the rows of `[rows, N]`, N even. Parts of the rows are summed beside each
/// other, then the parts, in an order that depends on the shape alone.
pub(crate) fn column_sums(x: &Tensor) -> Result<Tensor> {
    const STEP: usize = 256;
    let (rows, columns) = x.dims2()?;
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

/// Whether attention of heads of `d` numbers in this type has a kernel that stores no scores.
pub(crate) fn attends(d: usize, dtype: DType) -> bool {
    matches!(d, 32 | 64) && matches!(dtype, DType::BF16 | DType::F16)
}

/// softmax(Q Kᵀ / √d) V of packed documents: qkv `[rows, 3H]` without its bias `[3H]` → `[rows, H]`.
pub(crate) fn attention(
    qkv: &Tensor,
    bias: &Tensor,
    starts: &Starts,
    heads: usize,
) -> Result<Tensor> {
    let (rows, h) = (qkv.dim(0)?, qkv.dim(1)? / 3);
    let d = h / heads;
    let out = empty((rows, h), qkv.dtype(), qkv.device())?;
    let blocks = [starts.packing.widest().div_ceil(64), heads, starts.documents()];
    let args = [
        qkv.into(),
        bias.into(),
        Arg::Tensor(&starts.starts),
        Arg::Tensor(&out),
        Arg::Int(heads),
        Arg::Float(1.0 / (d as f32).sqrt()),
    ];
    let name = format!("attention_{d}_{}", suffix(qkv.dtype()));
    launch(&name, Grid { blocks, threads: [128, 1] }, &args)?;
    Ok(out)
}

/// Packed `[rows, H]` to padded `[B · heads, T, d]`, padding zero.
pub(crate) fn spread(x: &Tensor, starts: &Starts, heads: usize) -> Result<Tensor> {
    let (h, length) = (x.dim(1)?, starts.packing.widest());
    let out = empty((starts.documents() * heads, length, h / heads), x.dtype(), x.device())?;
    between("spread", x, &out, starts, heads)?;
    Ok(out)
}

/// The other way round.
pub(crate) fn gather(x: &Tensor, starts: &Starts, heads: usize) -> Result<Tensor> {
    let h = x.dim(2)? * heads;
    let out = empty((starts.packing.rows(), h), x.dtype(), x.device())?;
    between("gather", x, &out, starts, heads)?;
    Ok(out)
}

fn between(name: &str, x: &Tensor, out: &Tensor, starts: &Starts, heads: usize) -> Result<()> {
    let length = starts.packing.widest();
    let d = if name == "spread" { out.dim(2)? } else { x.dim(2)? };
    let args = [
        x.into(),
        Arg::Tensor(&starts.starts),
        Arg::Tensor(out),
        Arg::Int(heads),
        Arg::Int(d),
        Arg::Int(length),
    ];
    let grid = Grid { blocks: [length, starts.documents(), 1], threads: [128, 1] };
    launch(&format!("{name}_{}", suffix(x.dtype())), grid, &args)
}

/// Scores `[B · heads, T, T]` to probabilities in place; what dropout leaves of them, if it is asked for.
pub(crate) fn softmax(
    scores: &Tensor,
    starts: &Starts,
    scale: f32,
    thinning: Option<&Thinning>,
) -> Result<Option<Tensor>> {
    let left = thinning.map(|_| empty(scores.shape(), scores.dtype(), scores.device()));
    let left = left.transpose()?;
    let args = [
        scores.into(),
        Arg::Tensor(&starts.starts),
        thinning.map(|thinning| &thinning.keys).into(),
        left.as_ref().into(),
        Arg::Int(scores.dim(1)?),
        Arg::Float(scale),
        Arg::Long(thinning.map_or(0, |thinning| thinning.limit)),
        Arg::Float(thinning.map_or(1.0, |thinning| thinning.factor)),
    ];
    let name = format!("softmax_{}", suffix(scores.dtype()));
    launch(&name, squares(scores, starts)?, &args)?;
    Ok(left)
}

/// The gradient of the probabilities after dropout to that of the scores, in place.
pub(crate) fn softmax_backward(
    gradient: &Tensor,
    probabilities: &Tensor,
    starts: &Starts,
    scale: f32,
    thinning: Option<&Thinning>,
) -> Result<()> {
    let args = [
        gradient.into(),
        probabilities.into(),
        Arg::Tensor(&starts.starts),
        thinning.map(|thinning| &thinning.keys).into(),
        Arg::Int(gradient.dim(1)?),
        Arg::Float(scale),
        Arg::Long(thinning.map_or(0, |thinning| thinning.limit)),
        Arg::Float(thinning.map_or(1.0, |thinning| thinning.factor)),
    ];
    let name = format!("softmax_backward_{}", suffix(gradient.dtype()));
    launch(&name, squares(gradient, starts)?, &args)
}

fn squares(scores: &Tensor, starts: &Starts) -> Result<Grid> {
    let (all, length) = (scores.dim(0)?, scores.dim(1)?);
    let heads = all / starts.documents().max(1);
    Ok(Grid { blocks: [length.div_ceil(4), heads, starts.documents()], threads: [128, 1] })
}

/// What dropout leaves of packed `[rows, H]`.
pub(crate) fn dropout(x: &Tensor, starts: &Starts, thinning: &Thinning) -> Result<Tensor> {
    let h = x.elem_count() / starts.packing.rows().max(1);
    let out = empty(x.shape(), x.dtype(), x.device())?;
    let args = [
        x.into(),
        Arg::Tensor(&starts.starts),
        Arg::Tensor(&thinning.keys),
        Arg::Tensor(&out),
        Arg::Int(h),
        Arg::Long(thinning.limit),
        Arg::Float(thinning.factor),
    ];
    let blocks = [(starts.packing.widest() * h).div_ceil(256), starts.documents(), 1];
    launch(&format!("dropout_{}", suffix(x.dtype())), Grid { blocks, threads: [256, 1] }, &args)?;
    Ok(out)
}

/// `[B, V]` in f32: the largest logit over the tokens of each document, and if asked for `[B, V]` the
/// packed row that gave it. Logits stand in memory for some rows and some terms at a time.
pub(crate) fn max_pool_head(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    starts: &Starts,
    winners: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let (terms, device) = (weight.dim(0)?, hidden.device());
    let documents: Vec<_> = starts.packing.documents().map(|(_, rows)| rows).collect();
    let best = empty((documents.len(), terms), DType::F32, device)?;
    let winners =
        winners.then(|| empty((documents.len(), terms), DType::U32, device)).transpose()?;
    for group in starts.packing.groups(HEAD_ROWS) {
        let rows = documents[group.start].start..documents[group.end - 1].end;
        let states = hidden.narrow(0, rows.start, rows.len())?;
        let logits = empty((rows.len(), HEAD_TERMS.min(terms)), DType::F32, device)?;
        for from in (0..terms).step_by(HEAD_TERMS) {
            let columns = HEAD_TERMS.min(terms - from);
            let tile = weight.narrow(0, from, columns)?;
            multiply(Side::Plain(&states), Side::Transposed(&tile), &logits)?;
            let args = [
                Arg::Tensor(&logits),
                bias.into(),
                Arg::Tensor(&starts.starts),
                Arg::Tensor(&best),
                winners.as_ref().into(),
                Arg::Int(columns),
                Arg::Int(from),
                Arg::Int(terms),
                Arg::Int(rows.start),
                Arg::Int(group.start),
            ];
            let blocks = [columns.div_ceil(128), group.len(), 1];
            launch("max_over_tokens", Grid { blocks, threads: [128, 1] }, &args)?;
        }
    }
    Ok((best, winners))
}

/// The gradients of hidden states, weight and bias, in f32, from that of the pooled logits `[B, V]`.
pub(crate) fn max_pool_head_backward(
    gradient: &Tensor,
    winners: &Tensor,
    hidden: &Tensor,
    weight: &Tensor,
) -> Result<[Tensor; 3]> {
    let ((documents, terms), h, device) = (gradient.dims2()?, weight.dim(1)?, hidden.device());
    let dhidden = Tensor::zeros(hidden.shape(), DType::F32, device)?;
    let (dw, db) = (empty((terms, h), DType::F32, device)?, empty(terms, DType::F32, device)?);
    let args = [
        gradient.into(),
        winners.into(),
        hidden.into(),
        Arg::Tensor(&dw),
        Arg::Tensor(&db),
        Arg::Int(documents),
        Arg::Int(terms),
        Arg::Int(h),
    ];
    launch(&format!("head_weight_backward_{}", suffix(hidden.dtype())), line(terms), &args)?;
    let args = [
        gradient.into(),
        winners.into(),
        weight.into(),
        Arg::Tensor(&dhidden),
        Arg::Int(terms),
        Arg::Int(h),
    ];
    let grid = Grid { blocks: [terms.div_ceil(64), documents, 1], threads: [128, 1] };
    launch(&format!("head_hidden_backward_{}", suffix(weight.dtype())), grid, &args)?;
    Ok([dhidden, dw, db])
}

/// `[V, H]` in f32, zero but for the sums of rows of `gradient` at `ids`.
pub(crate) fn spread_rows(gradient: &Tensor, ids: &Tensor, terms: usize) -> Result<Tensor> {
    let (rows, h) = gradient.dims2()?;
    let table = Tensor::zeros((terms, h), DType::F32, gradient.device())?;
    let args = [gradient.into(), ids.into(), Arg::Tensor(&table), Arg::Int(h)];
    launch(&format!("add_rows_{}", suffix(gradient.dtype())), line(rows), &args)?;
    Ok(table)
}

/// One step of AdamW on f32 tensors of one shape, in place: `numbers` are those of `kernels.cu`.
pub(crate) fn adamw([p, m, v, g]: [&Tensor; 4], numbers: [f32; 9]) -> Result<()> {
    let count = p.elem_count();
    let mut args = vec![p.into(), m.into(), v.into(), g.into(), Arg::Long(count as u64)];
    args.extend(numbers.map(Arg::Float));
    let blocks = [count.div_ceil(256).min(2048), 1, 1];
    launch("adamw", Grid { blocks, threads: [256, 1] }, &args)
}

/// Adds Σ x² to the one f64 of `sum`.
pub(crate) fn add_squares(x: &Tensor, sum: &Tensor) -> Result<()> {
    let count = x.elem_count();
    let args = [x.into(), sum.into(), Arg::Long(count as u64)];
    let blocks = [count.div_ceil(256).min(264), 1, 1];
    launch("add_squares", Grid { blocks, threads: [256, 1] }, &args)
}
