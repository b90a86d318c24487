//! The kernels that know where documents begin: attention, dropout, the max-pool head.

use candle_core::{DType, Device, Result, Tensor};

use super::{
    Arg, Grid, Side,
    calls::{line, suffix, want},
    driver::{empty, launch, multiply},
};
use crate::nn::{Dropout, Packing};

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
        let ends = packing.documents().map(|(_, rows)| u32::try_from(rows.end));
        let starts: Vec<u32> = std::iter::once(Ok(0))
            .chain(ends)
            .collect::<std::result::Result<_, _>>()
            .map_err(candle_core::Error::wrap)?;
        Ok(Starts { starts: Tensor::new(starts, device)?, packing: packing.clone() })
    }

    /// Whether these are the rows of the documents.
    fn fit(&self, x: &Tensor) -> bool {
        x.dims().first() == Some(&self.packing.rows())
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
    want(starts.fit(qkv) && bias.dims() == [3 * h], "the rows of the documents, a bias of 3 H")?;
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
    want(starts.fit(x), "the rows of the documents")?;
    let out = empty((starts.documents() * heads, length, h / heads), x.dtype(), x.device())?;
    between("spread", x, &out, starts, [heads, h / heads])?;
    Ok(out)
}

/// The other way round.
pub(crate) fn gather(x: &Tensor, starts: &Starts, heads: usize) -> Result<Tensor> {
    let (d, cells) = (x.dim(2)?, starts.documents() * heads);
    want(x.dims() == [cells, starts.packing.widest(), d], "a square for each head")?;
    let out = empty((starts.packing.rows(), d * heads), x.dtype(), x.device())?;
    between("gather", x, &out, starts, [heads, d])?;
    Ok(out)
}

fn between(
    name: &str,
    x: &Tensor,
    out: &Tensor,
    starts: &Starts,
    [heads, d]: [usize; 2],
) -> Result<()> {
    let length = starts.packing.widest();
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
    let fits = length == starts.packing.widest() && all.is_multiple_of(starts.documents().max(1));
    want(fits && scores.dim(2)? == length, "a square for each head")?;
    let heads = all / starts.documents().max(1);
    Ok(Grid { blocks: [length.div_ceil(4), heads, starts.documents()], threads: [128, 1] })
}

/// What dropout leaves of packed `[rows, H]`.
pub(crate) fn dropout(x: &Tensor, starts: &Starts, thinning: &Thinning) -> Result<Tensor> {
    want(starts.fit(x), "the rows of the documents")?;
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

/// `[B, V]` in f32: the largest logit over the tokens of each document. Logits are in memory for some rows
/// and some terms at a time.
pub(crate) fn max_pool_head(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    starts: &Starts,
) -> Result<Tensor> {
    pool(hidden, weight, bias, starts, None)
}

/// As [`max_pool_head`], and `[B, V]` the packed row that gave each.
pub(crate) fn max_pool_head_with_winners(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    starts: &Starts,
) -> Result<(Tensor, Tensor)> {
    let winners = empty((starts.documents(), weight.dim(0)?), DType::U32, hidden.device())?;
    Ok((pool(hidden, weight, bias, starts, Some(&winners))?, winners))
}

fn pool(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    starts: &Starts,
    winners: Option<&Tensor>,
) -> Result<Tensor> {
    let (terms, device) = (weight.dim(0)?, hidden.device());
    let fits = starts.fit(hidden) && bias.dims() == [terms] && bias.dtype() == DType::F32;
    want(fits, "the rows of the documents, a bias for each term")?;
    let documents: Vec<_> = starts.packing.documents().map(|(_, rows)| rows).collect();
    let best = empty((documents.len(), terms), DType::F32, device)?;
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
                winners.into(),
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
    Ok(best)
}

/// The gradients of hidden states, weight and bias, in f32, from that of the pooled logits `[B, V]`.
pub(crate) fn max_pool_head_backward(
    gradient: &Tensor,
    winners: &Tensor,
    hidden: &Tensor,
    weight: &Tensor,
) -> Result<[Tensor; 3]> {
    let ((documents, terms), h, device) = (gradient.dims2()?, weight.dim(1)?, hidden.device());
    let fits = winners.dims() == gradient.dims() && weight.dim(0)? == terms;
    want(fits && hidden.dim(1)? == h && h.is_multiple_of(2), "a winner for each gradient")?;
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
