//! Kernels and products on a CUDA device, by candle's driver bindings.
//!
//! Of the kernels, only this file has `unsafe`. What it relies on: everything of a device is enqueued on one
//! stream, in the order of the calls, so a freed tensor is reused only after its readers; numbers that leave
//! do so on a second stream that waits for the first, and the tensor is kept until they have arrived.

use std::sync::{Arc, Mutex};

use candle_core::{
    CudaDevice, CudaStorage, DType, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor,
    cuda_backend::{
        WrapErr,
        cudarc::{
            cublas::{result::gemm_ex, sys},
            driver::{
                CudaEvent, CudaSlice, CudaStream, DevicePtr, DriverError, LaunchConfig,
                PinnedHostSlice, PushKernelArg, result::memcpy_dtoh_async,
            },
        },
    },
    op::BackpropOp,
};
use half::{bf16, f16};

use super::{Arg, Grid, Side};

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// A tensor whose numbers are not set yet.
pub(super) fn empty(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    let (shape, device) = (shape.into(), device.as_cuda_device()?);
    let count = shape.elem_count().max(1);
    // SAFETY: every kernel writes all of what it is given to write.
    let storage = unsafe {
        match dtype {
            DType::F32 => CudaStorage::wrap_cuda_slice(device.alloc::<f32>(count)?, device.clone()),
            DType::BF16 => {
                CudaStorage::wrap_cuda_slice(device.alloc::<bf16>(count)?, device.clone())
            }
            DType::F16 => CudaStorage::wrap_cuda_slice(device.alloc::<f16>(count)?, device.clone()),
            DType::U32 => CudaStorage::wrap_cuda_slice(device.alloc::<u32>(count)?, device.clone()),
            other => candle_core::bail!("no kernel writes {other:?}"),
        }
    };
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}

/// Calls `f` with the address of a contiguous tensor on a device.
fn with_address<R>(tensor: &Tensor, f: impl FnOnce(&CudaDevice, u64) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        candle_core::bail!("expected a tensor on a CUDA device")
    };
    let Some((from, _)) = layout.contiguous_offsets() else {
        candle_core::bail!("expected a contiguous tensor")
    };
    let device = &storage.device;
    let start = match tensor.dtype() {
        DType::F32 => start(storage.as_cuda_slice::<f32>()?, device),
        DType::BF16 => start(storage.as_cuda_slice::<bf16>()?, device),
        DType::F16 => start(storage.as_cuda_slice::<f16>()?, device),
        DType::F64 => start(storage.as_cuda_slice::<f64>()?, device),
        DType::U32 => start(storage.as_cuda_slice::<u32>()?, device),
        DType::I64 => start(storage.as_cuda_slice::<i64>()?, device),
        other => candle_core::bail!("no kernel reads {other:?}"),
    };
    f(device, start + (from * tensor.dtype().size_in_bytes()) as u64)
}

fn start<T>(slice: &CudaSlice<T>, device: &CudaDevice) -> u64 {
    slice.device_ptr(&device.cuda_stream()).0
}

/// Enqueues a kernel on the device of its first tensor.
pub(super) fn launch(name: &str, grid: Grid, args: &[Arg]) -> Result<()> {
    let first = args.iter().find_map(|arg| match arg {
        Arg::Tensor(tensor) => Some(*tensor),
        _ => None,
    });
    let Some(first) = first else { candle_core::bail!("{name}: expected a tensor") };
    let [x, y, z] = grid.blocks.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    if x == 0 || y == 0 || z == 0 {
        return Ok(());
    }
    let mut words = Vec::with_capacity(args.len());
    for arg in args {
        // a kernel reads as many bytes of a word as its parameter has, the lower ones first
        words.push(match arg {
            Arg::Tensor(tensor) => with_address(tensor, |_, address| Ok(address))?,
            Arg::Null => 0,
            Arg::Int(value) => {
                i32::try_from(*value).map_err(candle_core::Error::wrap)? as u32 as u64
            }
            Arg::Long(value) => *value,
            Arg::Float(value) => u64::from(value.to_bits()),
        });
    }
    let device = first.device().as_cuda_device()?;
    let function = device.get_or_load_custom_func(name, "l0", PTX)?;
    let mut builder = function.builder();
    for word in &words {
        builder.arg(word);
    }
    let [width, height] = grid.threads;
    let config =
        LaunchConfig { grid_dim: (x, y, z), block_dim: (width, height, 1), shared_mem_bytes: 0 };
    // SAFETY: `calls` gives each kernel the tensors and sizes that its head in `kernels.cu` names.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

/// out = left · right, row-major, with sums in f32; `out` may be wider than the sides.
pub(super) fn multiply(left: Side, right: Side, out: &Tensor) -> Result<()> {
    use sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
    // cuBLAS reads columns first: a row-major matrix is its transpose there, and outᵀ = rightᵀ leftᵀ
    let (a, a_op, n, k) = match right {
        Side::Plain(x) => (x, CUBLAS_OP_N, x.dim(1)?, x.dim(0)?),
        Side::Transposed(x) => (x, CUBLAS_OP_T, x.dim(0)?, x.dim(1)?),
    };
    let (b, b_op, m, own) = match left {
        Side::Plain(x) => (x, CUBLAS_OP_N, x.dim(0)?, x.dim(1)?),
        Side::Transposed(x) => (x, CUBLAS_OP_T, x.dim(1)?, x.dim(0)?),
    };
    if own != k || out.elem_count() < m * n {
        candle_core::bail!("product of [{m}, {own}] and [{k}, {n}] into {:?}", out.dims())
    }
    let int = |number: usize| i32::try_from(number).map_err(candle_core::Error::wrap);
    let (a_width, b_width) = (int(a.dim(1)?)?, int(b.dim(1)?)?);
    let (m, n, k) = (int(m)?, int(n)?, int(k)?);
    let (one, zero) = (1.0f32, 0.0f32);
    with_address(a, |device, a_at| {
        with_address(b, |_, b_at| {
            with_address(out, |_, out_at| {
                let blas = device.cublas_handle();
                device.cuda_stream().context().bind_to_thread().w()?;
                // SAFETY: the sizes were checked against all three tensors; scalars are on the host.
                unsafe {
                    gemm_ex(
                        *blas.handle(),
                        a_op,
                        b_op,
                        n,
                        m,
                        k,
                        (&raw const one).cast(),
                        a_at as *const _,
                        kind(a)?,
                        a_width,
                        b_at as *const _,
                        kind(b)?,
                        b_width,
                        (&raw const zero).cast(),
                        out_at as *mut _,
                        kind(out)?,
                        n,
                        sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                        sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
                    )
                }
                .map_err(candle_core::Error::wrap)
            })
        })
    })
}

fn kind(tensor: &Tensor) -> Result<sys::cudaDataType> {
    Ok(match tensor.dtype() {
        DType::F32 => sys::cudaDataType::CUDA_R_32F,
        DType::BF16 => sys::cudaDataType::CUDA_R_16BF,
        DType::F16 => sys::cudaDataType::CUDA_R_16F,
        other => candle_core::bail!("no product of {other:?}"),
    })
}

/// Takes the numbers out of a tensor that does not share them and is no longer used.
pub(crate) fn into_storage(tensor: &Tensor) -> Result<CudaStorage> {
    let take = Take(Mutex::new(None));
    tensor.inplace_op1(&take)?;
    let taken = take.0.into_inner().ok().flatten();
    taken.ok_or_else(|| candle_core::Error::Msg("a tensor without numbers".into()))
}

struct Take(Mutex<Option<CudaStorage>>);

impl InplaceOp1 for Take {
    fn name(&self) -> &'static str {
        "take"
    }

    fn cpu_fwd(&self, _: &mut candle_core::CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("take: expected a tensor on a CUDA device")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, _: &Layout) -> Result<()> {
        let device = storage.device.clone();
        // SAFETY: the one byte that is left is never read.
        let rest = CudaStorage::wrap_cuda_slice(unsafe { device.alloc::<u8>(1)? }, device);
        if let Ok(mut slot) = self.0.lock() {
            *slot = Some(std::mem::replace(storage, rest));
        }
        Ok(())
    }
}

/// Where numbers leave a device while it computes what comes next.
pub(crate) struct Port {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    /// Pinned memory that is free: asking for it takes longer than a batch.
    free: Mutex<Vec<Pinned>>,
}

type Pinned = PinnedHostSlice<f32>;

/// Numbers being copied; tensor and memory are kept until they have arrived, even if nothing waits.
pub(crate) struct Landing {
    tensor: Tensor,
    memory: Option<Pinned>,
    arrived: CudaEvent,
}

impl Drop for Landing {
    fn drop(&mut self) {
        // the next call reports what failed on the device
        let _ = self.arrived.synchronize();
    }
}

impl Port {
    pub fn new(device: &Device) -> Result<Port> {
        let device = device.as_cuda_device()?.clone();
        let stream = device.cuda_stream().context().new_stream().w()?;
        Ok(Port { device, stream, free: Mutex::default() })
    }

    /// Sends a contiguous f32 tensor that is not written any more.
    pub fn send(&self, tensor: Tensor) -> Result<Landing> {
        let count = tensor.elem_count();
        let kept = self.free.lock().ok().and_then(|mut free| {
            let at = free.iter().position(|memory| memory.len() >= count)?;
            Some(free.swap_remove(at))
        });
        let mut memory = match kept {
            Some(memory) => memory,
            None => {
                // those that are too short would stay for ever
                self.free.lock().into_iter().for_each(|mut free| free.clear());
                self.pinned(count).w()?
            }
        };
        self.stream.join(&self.device.cuda_stream()).w()?;
        {
            let (storage, _) = tensor.storage_and_layout();
            let Storage::Cuda(storage) = &*storage else {
                candle_core::bail!("expected a tensor on a CUDA device")
            };
            let target = &mut memory.as_mut_slice().w()?[..count];
            let address = start(storage.as_cuda_slice::<f32>()?, &self.device);
            // SAFETY: both have `count` numbers, and both are kept until `arrived`.
            unsafe { memcpy_dtoh_async(target, address, self.stream.cu_stream()) }.w()?;
        }
        let arrived = self.stream.record_event(None).inspect_err(|_| {
            let _ = self.stream.synchronize();
        });
        Ok(Landing { tensor, memory: Some(memory), arrived: arrived.w()? })
    }

    fn pinned(&self, count: usize) -> std::result::Result<Pinned, DriverError> {
        // SAFETY: the copy fills what is read of it.
        unsafe { self.stream.context().alloc_pinned_with_flags(count, 0) }
    }

    /// Waits for numbers and hands them to `f`.
    pub fn receive<R>(&self, mut landing: Landing, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
        landing.arrived.synchronize().w()?;
        let Some(memory) = landing.memory.take() else { candle_core::bail!("received twice") };
        let result = f(&memory.as_slice().w()?[..landing.tensor.elem_count()]);
        if let Ok(mut free) = self.free.lock() {
            free.push(memory);
        }
        Ok(result)
    }
}
