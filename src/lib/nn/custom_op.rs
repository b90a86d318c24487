//! A value that was computed outside candle's graph, put into it with its own gradient.

use std::sync::{Arc, Mutex};

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape,
    Storage, Tensor, backend::BackendStorage,
};

use super::{cuda, gather};

/// From the inputs and the gradient of the value to the gradients of the inputs, in their order.
pub(super) type Backward<const N: usize> =
    Box<dyn Fn([&Tensor; N], &Tensor) -> Result<[Tensor; N]> + Send + Sync>;

/// What an operator yields.
pub(super) enum Value {
    /// Numbers on the processor.
    Host(Vec<f32>),
    /// A tensor without a graph that shares its numbers with no other.
    Tensor(Tensor),
}

pub(super) struct CustomOp<const N: usize> {
    name: &'static str,
    value: Mutex<Option<Value>>,
    shape: Shape,
    backward: Backward<N>,
}

/// The value as a function of `inputs`, with the gradient that `backward` gives.
pub(super) fn custom_op<const N: usize>(
    name: &'static str,
    inputs: [&Tensor; N],
    value: Value,
    shape: impl Into<Shape>,
    backward: Backward<N>,
) -> Result<Tensor>
where
    CustomOp<N>: Apply<N>,
{
    let value = Mutex::new(Some(value));
    CustomOp { name, value, shape: shape.into(), backward }.apply(inputs)
}

/// Candle has one trait for each number of inputs.
pub(super) trait Apply<const N: usize> {
    fn apply(self, inputs: [&Tensor; N]) -> Result<Tensor>;
}

impl<const N: usize> CustomOp<N> {
    fn take(&self) -> Result<Value> {
        let value = self.value.lock().ok().and_then(|mut value| value.take());
        value.ok_or_else(|| candle_core::Error::Msg(format!("{}: computed twice", self.name)))
    }

    fn host(&self) -> Result<(CpuStorage, Shape)> {
        let storage = match self.take()? {
            Value::Host(numbers) => CpuStorage::F32(numbers),
            Value::Tensor(tensor) => match &*tensor.storage_and_layout().0 {
                Storage::Cpu(storage) => storage.try_clone(tensor.layout())?,
                _ => candle_core::bail!("{}: a value of another device", self.name),
            },
        };
        Ok((storage, self.shape.clone()))
    }

    fn device(&self) -> Result<(CudaStorage, Shape)> {
        let Value::Tensor(tensor) = self.take()? else {
            candle_core::bail!("{}: a value of another device", self.name)
        };
        Ok((cuda::into_storage(&tensor)?, self.shape.clone()))
    }
}

impl Apply<1> for CustomOp<1> {
    fn apply(self, [a]: [&Tensor; 1]) -> Result<Tensor> {
        a.apply_op1_arc(Arc::new(Box::new(self)))
    }
}

impl Apply<2> for CustomOp<2> {
    fn apply(self, [a, b]: [&Tensor; 2]) -> Result<Tensor> {
        a.apply_op2_arc(b, Arc::new(Box::new(self)))
    }
}

impl Apply<3> for CustomOp<3> {
    fn apply(self, [a, b, c]: [&Tensor; 3]) -> Result<Tensor> {
        a.apply_op3_arc(b, c, Arc::new(Box::new(self)))
    }
}

impl CustomOp1 for CustomOp<1> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.host()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.device()
    }

    fn bwd(&self, a: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let [da] = (self.backward)([a], gradient)?;
        gather::whole(a, da)
    }
}

impl CustomOp2 for CustomOp<2> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.host()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.device()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [da, db] = (self.backward)([a, b], gradient)?;
        Ok((gather::whole(a, da)?, gather::whole(b, db)?))
    }
}

impl CustomOp3 for CustomOp<3> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.host()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.device()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [da, db, dc] = (self.backward)([a, b, c], gradient)?;
        Ok((gather::whole(a, da)?, gather::whole(b, db)?, gather::whole(c, dc)?))
    }
}

/// Whether the paths on slices may be taken.
pub(super) fn on_slices(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// The numbers of a contiguous f32 tensor on the processor.
pub(super) fn numbers<'a>(storage: &'a Storage, layout: &Layout) -> Result<&'a [f32]> {
    let Storage::Cpu(storage) = storage else {
        candle_core::bail!("expected a tensor on the processor")
    };
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => candle_core::bail!("expected a contiguous tensor"),
    }
}

/// Calls `f` with the numbers of contiguous f32 tensors on the processor.
pub(super) fn with_numbers<const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> R,
) -> Result<R> {
    let whole = tensors.map(Tensor::contiguous);
    let mut kept = Vec::with_capacity(N);
    for tensor in whole {
        kept.push(tensor?);
    }
    let guards: Vec<_> = kept.iter().map(Tensor::storage_and_layout).collect();
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        *slice = numbers(storage, layout)?;
    }
    Ok(f(slices))
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// Numbers in −1 … 1 that look random.
    pub fn random(shape: &[usize], seed: u64) -> Tensor {
        let count = shape.iter().product::<usize>() as u64;
        let numbers = (0..count).map(|at| {
            let mixed = crate::nn::dropout::mixed(seed << 32 | at);
            (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        });
        Tensor::from_iter(numbers, &Device::Cpu).unwrap().reshape(shape).unwrap()
    }

    /// Devices other than the processor: a CUDA device, in f32 and in bf16, each with
    /// the relative error that its numbers allow.
    pub fn devices() -> Vec<(Device, DType, f64)> {
        match crate::device::Compute::Cuda(0).open() {
            Ok(device) => {
                vec![(device.clone(), DType::F32, F32_ON_CUDA), (device, DType::BF16, BF16)]
            }
            Err(_) => {
                eprintln!("skipped: no CUDA device");
                Vec::new()
            }
        }
    }

    /// Rounding of f32, in sums of another order on a device.
    const F32: f64 = 2e-6;
    const F32_ON_CUDA: f64 = 1e-5;
    /// Numbers of 8 bits, through a product and what follows it.
    const BF16: f64 = 3e-2;

    /// In f32 an operator runs on slices or kernels, in f64 by the plain formula: both must give the
    /// same value, and the same gradient for every input, to rounding.
    #[track_caller]
    pub fn check_same<const N: usize>(
        inputs: &[Tensor; N],
        operator: impl Fn([&Tensor; N]) -> crate::Result<Tensor>,
    ) {
        // numbers that all types have: what differs is computed, not given
        let inputs = &inputs.each_ref().map(|input| input.to_dtype(DType::BF16).unwrap());
        let truth = run(inputs, &operator, &Device::Cpu, DType::F64);
        let mut places = devices();
        places.push((Device::Cpu, DType::F32, F32));
        for (device, dtype, bar) in places {
            let got = run(inputs, &operator, &device, dtype);
            for (at, (got, truth)) in got.iter().zip(&truth).enumerate() {
                let (error, all) = (norm(&(got - truth).unwrap()), norm(truth));
                assert!(error <= bar * all, "{dtype:?} {device:?} {at}: {error} of {all}");
            }
        }
    }

    /// The value and the gradient of every input, in f64 on the processor.
    fn run<const N: usize>(
        inputs: &[Tensor; N],
        operator: &impl Fn([&Tensor; N]) -> crate::Result<Tensor>,
        device: &Device,
        dtype: DType,
    ) -> Vec<Tensor> {
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let var = |input: &Tensor| {
            Var::from_tensor(&input.to_dtype(wide).unwrap().to_device(device).unwrap()).unwrap()
        };
        let inputs: Vec<Var> = inputs.iter().map(var).collect();
        // states have as many rows as the first input, and the type of products; weights stay f32
        let used: Vec<Tensor> = inputs
            .iter()
            .map(|input| match input.dims()[0] == inputs[0].dims()[0] {
                true => input.to_dtype(dtype).unwrap(),
                false => input.as_tensor().clone(),
            })
            .collect();
        let value = operator(std::array::from_fn(|at| &used[at])).unwrap();
        let upstream = random(value.dims(), 77).to_dtype(value.dtype()).unwrap();
        let upstream = upstream.to_device(device).unwrap();
        let gradients = (&value * upstream).unwrap().sum_all().unwrap().backward().unwrap();
        let mut all = vec![value];
        all.extend(inputs.iter().map(|input| gradients.get(input).unwrap().clone()));
        let home = |tensor: Tensor| {
            tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap().detach()
        };
        all.into_iter().map(home).collect()
    }

    fn norm(tensor: &Tensor) -> f64 {
        tensor.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
    }
}
