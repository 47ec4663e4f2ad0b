//! What the kernels for Burn's CPU backend have in common.

#[cfg(target_arch = "x86_64")]
mod pages;
mod pool;

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{DType, Shape};
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
pub(crate) use pages::Pages;
pub(crate) use pool::Buffer;

/// How many values one thread takes at a time: few enough to share the work out, and enough to hide
/// what handing it over costs.
const CHUNK: usize = 16 * 1024;

/// The values of a tensor in the order of its shape, as one run; it is copied if it has another
/// order.
pub(crate) struct Values {
    tensor: FlexTensor,
    start: usize,
    len: usize,
}

impl Values {
    pub(crate) fn of(tensor: FlexTensor) -> Self {
        let tensor = match tensor.is_contiguous() {
            true => tensor,
            false => tensor.to_contiguous(),
        };
        let start = tensor.layout().start_offset();
        let len = tensor.layout().num_elements();
        Self { tensor, start, len }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.tensor.layout().shape().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The values themselves, if nobody else reads them and they fill their buffer.
    pub(crate) fn unique(&mut self) -> Option<&mut [f32]> {
        let len = self.len;
        let values = self.tensor.try_storage_mut::<f32>()?;
        (values.len() == len).then_some(values)
    }

    pub(crate) fn tensor(&self) -> &FlexTensor {
        &self.tensor
    }

    pub(crate) fn into_tensor(self) -> FlexTensor {
        self.tensor
    }
}

impl std::ops::Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.tensor.storage::<f32>()[self.start..self.start + self.len]
    }
}

/// The tensor of `values`.
pub(crate) fn tensor(values: Buffer, shape: Shape) -> FlexTensor {
    FlexTensor::new(values.into_bytes(), Layout::contiguous(shape), DType::F32)
}

/// Calls `f` with the chunks of `out` and of `x`, which is as long, on all threads.
pub(crate) fn map_chunks(x: &[f32], out: &mut [f32], f: impl Fn(&[f32], &mut [f32]) + Sync) {
    if x.len() <= CHUNK {
        return f(x, out);
    }
    let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(out, x)| f(x, out));
}

/// Calls `f` with some rows of `width` values each, and with the number of the first of them, on all
/// threads.
pub(crate) fn for_rows(values: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    if values.len() <= CHUNK {
        return f(0, values);
    }
    let rows = rows_at_once(width);
    let chunks = values.par_chunks_mut(rows * width).enumerate();
    chunks.for_each(|(chunk, values)| f(chunk * rows, values));
}

/// How many rows of `width` values one thread takes at a time.
pub(crate) fn rows_at_once(width: usize) -> usize {
    (CHUNK / width.max(1)).max(1)
}
