//! The driver's replacement in a build without CUDA.

use candle_core::{CudaStorage, DType, Device, Error, Result, Shape, Tensor};

use super::{Arg, Grid, Side};

pub(super) fn empty(_: impl Into<Shape>, _: DType, _: &Device) -> Result<Tensor> {
    Err(Error::NotCompiledWithCudaSupport)
}

pub(super) fn launch(_: &str, _: Grid, _: &[Arg]) -> Result<()> {
    Err(Error::NotCompiledWithCudaSupport)
}

pub(super) fn multiply(_: Side, _: Side, _: &Tensor) -> Result<()> {
    Err(Error::NotCompiledWithCudaSupport)
}

pub(crate) fn into_storage(_: &Tensor) -> Result<CudaStorage> {
    Err(Error::NotCompiledWithCudaSupport)
}

/// Where numbers leave a device: nowhere.
pub(crate) struct Port;

impl Port {
    pub fn new(_: &Device) -> Result<Port> {
        Err(Error::NotCompiledWithCudaSupport)
    }

    pub fn send(&self, _: Tensor) -> Result<Landing> {
        Err(Error::NotCompiledWithCudaSupport)
    }

    pub fn receive<R>(&self, _: Landing, _: impl FnOnce(&[f32]) -> R) -> Result<R> {
        Err(Error::NotCompiledWithCudaSupport)
    }
}

/// Numbers on their way.
pub(crate) struct Landing;
