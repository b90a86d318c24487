//! Encoding on a CUDA device: token ids to sparse vectors, as l0-encode does it, without its files.
//!
//!     cargo bench --features cuda --bench device -- MODEL_DIR... [--tokens N] [--batch N] [--dtype T]
//!
//! Documents have N tokens that look random; one batch is begun before the last has come back. Printed:
//! docs/s, the rate of all products, and its share of what one large product reaches in the same run.

use std::{path::PathBuf, time::Instant};

use candle_core::{Device, Tensor};
use clap::Parser;
use l0::internal::{
    Result,
    device::{Compute, Precision},
    model::{Config, ModelDirectory, Overrides, SparseEncoder},
};

#[derive(Parser)]
struct Arguments {
    /// Model directories
    models: Vec<PathBuf>,
    #[arg(long, default_value_t = 256)]
    tokens: usize,
    #[arg(long, default_value_t = 64)]
    batch: usize,
    #[arg(long, default_value_t = 60)]
    batches: usize,
    #[arg(long, default_value = "bf16")]
    dtype: Precision,
    /// What cargo tells a bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let compute = Compute::Cuda(0);
    let device = match compute.open() {
        Ok(device) => device,
        Err(error) => {
            println!("skipped: {error}");
            return Ok(());
        }
    };
    let ceiling = ceiling(&device, compute, arguments.dtype)?;
    println!("one product of 8192 x 8192 x 8192, {}: {ceiling:.0} TFLOP/s", arguments.dtype);
    for folder in &arguments.models {
        let directory = ModelDirectory::open(folder)?;
        let encoder =
            SparseEncoder::load(&directory, Overrides::default(), compute, arguments.dtype)?;
        let seconds = seconds_a_document(&encoder, &arguments)?;
        let work = operations(&Config::load(folder)?, arguments.tokens);
        let rate = work / seconds / 1e12;
        println!(
            "{}, {} x {}: {:.0} docs/s, {rate:.0} TFLOP/s, {:.0} % of that product",
            folder.display(),
            arguments.batch,
            arguments.tokens,
            1.0 / seconds,
            100.0 * rate / ceiling,
        );
    }
    Ok(())
}

fn ceiling(device: &Device, compute: Compute, precision: Precision) -> Result<f64> {
    const SIDE: usize = 8192;
    const TIMES: u32 = 20;
    let side = || {
        Tensor::randn(0.0f32, 1.0, (SIDE, SIDE), device)?
            .to_dtype(compute.dtype(precision).unwrap_or(candle_core::DType::F32))
    };
    let (a, b) = (side()?, side()?);
    let run = |times: u32| -> Result<f64> {
        let since = Instant::now();
        for _ in 0..times {
            a.matmul(&b)?;
        }
        device.synchronize()?;
        Ok(since.elapsed().as_secs_f64())
    };
    run(3)?;
    Ok(f64::from(TIMES) * 2.0 * (SIDE as f64).powi(3) / run(TIMES)? / 1e12)
}

/// The median of three runs.
fn seconds_a_document(encoder: &SparseEncoder, arguments: &Arguments) -> Result<f64> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        1000 + (state >> 33) as u32 % (encoder.vocab_size as u32 - 1000)
    };
    let count = arguments.batch * 8;
    let ids: Vec<Vec<u32>> =
        (0..count).map(|_| (0..arguments.tokens).map(|_| next()).collect()).collect();
    let documents: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let run = |batches: usize| -> Result<f64> {
        let since = Instant::now();
        let mut running = None;
        for batch in documents.chunks(arguments.batch).cycle().take(batches) {
            let last = running.replace(encoder.start(batch)?);
            last.map_or(Ok(Vec::new()), |last| encoder.finish(last))?;
        }
        running.map_or(Ok(Vec::new()), |last| encoder.finish(last))?;
        Ok(since.elapsed().as_secs_f64() / (batches * arguments.batch) as f64)
    };
    run(10)?;
    let mut rounds = [(); 3].map(|()| run(arguments.batches));
    rounds.sort_by(|a, b| a.as_ref().unwrap_or(&0.0).total_cmp(b.as_ref().unwrap_or(&0.0)));
    let [_, middle, _] = rounds;
    middle
}

/// Multiplications and additions of the products for a document of `tokens`.
fn operations(config: &Config, tokens: usize) -> f64 {
    let Config { hidden: h, intermediate, layers, vocab_size, .. } = *config;
    let a_token = layers * (4 * h * h + 2 * h * intermediate + 2 * tokens * h) + h * h;
    2.0 * tokens as f64 * (a_token + vocab_size * h) as f64
}
