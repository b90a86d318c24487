//! The device of tensors and the width of their numbers: chosen only here.
//!
//! There is no silent fallback: a device that is asked for is opened or refused, and `auto` reports
//! what it found.

use std::{fmt, str::FromStr};

use candle_core::{DType, Device};

use crate::error::{Error, Result};

/// A place for tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute {
    /// The processor.
    Cpu,
    /// A CUDA device by its number.
    Cuda(usize),
}

/// What a user may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Exactly this.
    Fixed(Compute),
    /// The first CUDA device if this build knows CUDA and one answers, else the processor.
    Auto,
}

/// The width of numbers in products; where a model is trained, weights and optimizer stay f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 8 of them exponent.
    Bf16,
    /// 16 bits, 5 of them exponent.
    F16,
}

impl Choice {
    /// Opens what was asked for; the place is returned too, so that the caller can report it.
    ///
    /// # Errors
    /// [`Error::Usage`] if a CUDA device was named that this build or this machine does not have.
    pub fn open(self) -> Result<(Compute, Device)> {
        match self {
            Choice::Fixed(compute) => Ok((compute, compute.open()?)),
            Choice::Auto => match Compute::Cuda(0).open() {
                Ok(device) => Ok((Compute::Cuda(0), device)),
                Err(_) => Ok((Compute::Cpu, Device::Cpu)),
            },
        }
    }
}

impl Compute {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Usage`] naming what is missing.
    pub fn open(self) -> Result<Device> {
        match self {
            Compute::Cpu => Ok(Device::Cpu),
            Compute::Cuda(_) if !cfg!(feature = "cuda") => Err(Error::Usage(format!(
                "device: expected cpu, the only one of this build, found {self}; build l0 with the \
                 cargo feature `cuda`"
            ))),
            Compute::Cuda(at) => {
                open_cuda(at).map_err(|error| Error::Usage(format!("device: {self}: {error}")))
            }
        }
    }

    /// The candle type for a precision where documents are encoded.
    ///
    /// # Errors
    /// [`Error::Usage`] for f16 on a processor, which has no instructions for it.
    pub fn dtype(self, precision: Precision) -> Result<DType> {
        match (self, precision) {
            (_, Precision::F32) => Ok(DType::F32),
            (_, Precision::Bf16) => Ok(DType::BF16),
            (Compute::Cuda(_), Precision::F16) => Ok(DType::F16),
            (Compute::Cpu, Precision::F16) => Err(Error::Usage(
                "dtype: expected f32 or bf16 on a processor, which has no products of f16, found f16"
                    .into(),
            )),
        }
    }

    /// The candle type for a precision where a model is trained.
    ///
    /// # Errors
    /// [`Error::Usage`] for half numbers on a processor: candle's are slow there, and lose digits of
    /// sums.
    pub fn training_dtype(self, precision: Precision) -> Result<DType> {
        match (self, precision) {
            (Compute::Cpu, Precision::Bf16 | Precision::F16) => Err(Error::Usage(format!(
                "dtype: expected f32 to train on a processor, where sums of half numbers are slower \
                 and inexact, found {precision}"
            ))),
            _ => self.dtype(precision),
        }
    }
}

/// Opens a device with one stream for all threads: candle's default is one per thread, without an order.
fn open_cuda(at: usize) -> candle_core::Result<Device> {
    let device = Device::new_cuda_with_stream(at)?;
    // SAFETY: all tensors of the device are made and used on its one stream. What `nn::cuda::Port`
    // copies on another it keeps until it has arrived.
    #[cfg(feature = "cuda")]
    unsafe {
        device.as_cuda_device()?.disable_event_tracking()
    };
    Ok(device)
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compute::Cpu => f.write_str("cpu"),
            Compute::Cuda(at) => write!(f, "cuda:{at}"),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
        })
    }
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Choice> {
        let number = match text {
            "auto" => return Ok(Choice::Auto),
            "cpu" => return Ok(Choice::Fixed(Compute::Cpu)),
            "cuda" => Some(0),
            other => other.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        number.map(|at| Choice::Fixed(Compute::Cuda(at))).ok_or_else(|| {
            Error::Usage(format!("device: expected cpu, cuda, cuda:I or auto, found `{text}`"))
        })
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Precision> {
        let all = [Precision::F32, Precision::Bf16, Precision::F16];
        all.into_iter().find(|known| known.to_string() == text).ok_or_else(|| {
            Error::Usage(format!("dtype: expected f32, bf16 or f16, found `{text}`"))
        })
    }
}

/// Sets up this process for training on a processor. To be called once, at the start of `main`.
///
/// Memory that is freed is kept: every step asks for the same sizes again, and giving them back to the
/// system and taking them again costs a quarter of a step (`benches/train.py`). candle's own threads
/// wait by spinning and know nothing of `--threads`, so candle computes on the calling thread; the
/// heavy operators share their work among rayon's.
pub fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in [
        (libc::M_MMAP_THRESHOLD, 32 << 20), // the largest that is allowed
        (libc::M_TRIM_THRESHOLD, -1),       // never
        (libc::M_TOP_PAD, 64 << 20),
    ] {
        // SAFETY: takes two numbers, may be called at any time, and says by 0 that it did nothing.
        unsafe { libc::mallopt(parameter, value) };
    }
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: called at the start of `main`, when no other thread reads the environment.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_or_refused() {
        for (text, expected) in [
            ("cpu", Choice::Fixed(Compute::Cpu)),
            ("cuda", Choice::Fixed(Compute::Cuda(0))),
            ("cuda:3", Choice::Fixed(Compute::Cuda(3))),
            ("auto", Choice::Auto),
        ] {
            assert_eq!(text.parse::<Choice>().unwrap(), expected);
        }
        for text in ["gpu", "cuda:", "cuda:x", ""] {
            assert!(text.parse::<Choice>().is_err(), "{text}");
        }
    }

    #[test]
    fn half_numbers_are_refused_where_a_processor_does_them_badly() {
        assert_eq!(Compute::Cpu.dtype(Precision::F32).unwrap(), DType::F32);
        assert_eq!(Compute::Cpu.dtype(Precision::Bf16).unwrap(), DType::BF16);
        assert_eq!(Compute::Cpu.training_dtype(Precision::F32).unwrap(), DType::F32);
        let error = Compute::Cpu.dtype(Precision::F16).unwrap_err().to_string();
        assert!(error.contains("f16") && error.contains("f32 or bf16"), "{error}");
        for half in ["bf16", "f16"] {
            let error = Compute::Cpu.training_dtype(half.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains(half) && error.contains("f32 to train"), "{error}");
        }
        assert!("f64".parse::<Precision>().is_err());
    }

    #[test]
    fn a_device_that_is_missing_is_refused_but_auto_finds_the_processor() {
        if cfg!(feature = "cuda") {
            eprintln!("skipped: this build may find a device");
            return;
        }
        let error = Choice::Fixed(Compute::Cuda(0)).open().unwrap_err().to_string();
        assert!(error.contains("cargo feature `cuda`"), "{error}");
        assert_eq!(Choice::Auto.open().unwrap().0, Compute::Cpu);
    }
}
