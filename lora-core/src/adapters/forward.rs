//! What a layer computes with the adapters of its weight.

use burn::module::Reparameterization;
use burn::tensor::module::embedding;
use burn::tensor::{Int, Tensor};

use super::LoraAdapters;
use super::attachments::aside;

impl LoraAdapters {
    /// The linear layer's output with the active adapters.
    ///
    /// # Shapes
    ///
    /// - `x`: `[rows, d_in]`
    /// - output: `[rows, d_out]`
    pub(crate) fn linear(
        &self,
        x: Tensor<2>,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
    ) -> Tensor<2> {
        if let Some(recorder) = &self.recorder {
            recorder.record(&x);
        }
        if let Some(batch) = &self.batch {
            let output = self.product(x.clone(), weight.clone(), bias.clone(), None);
            let weight = self.values_to_read(weight);
            return batch.linear(self, output, x, &weight, bias.as_ref());
        }
        // The first adapter goes with the weight; what others add is added to that.
        let mut active = self.active().peekable();
        let update = active
            .peek()
            .and_then(|(_, first)| first.update(&x, &weight));
        if update.is_some() {
            active.next();
        }
        let output = self.product(x.clone(), weight.clone(), bias.clone(), update);
        let weight = self.values_to_read(weight);
        active.fold(output, |output, (_, adapter)| {
            adapter.add_to_linear(output, x.clone(), &weight, bias.as_ref())
        })
    }

    /// The table's rows with the active adapters.
    ///
    /// # Shapes
    ///
    /// - `ids`: `[batch, sequence]`
    /// - output: `[batch, sequence, d_model]`
    pub(crate) fn embedding(&self, ids: Tensor<2, Int>, weight: Tensor<2>) -> Tensor<3> {
        let output = embedding(weight.clone(), ids.clone());
        let shape = output.dims();
        let [batch, sequence, d_model] = shape;
        let rows = batch * sequence;
        let output = output.reshape([rows, d_model]);
        if let Some(batch) = &self.batch {
            let ids = ids.reshape([rows]);
            return batch.embedding(self, output, ids, &weight).reshape(shape);
        }
        let output = self.active().fold(output, |output, (_, adapter)| {
            let narrow = embedding(adapter.a.val(), ids.clone());
            let narrow = narrow.reshape([rows, adapter.rank()]);
            adapter.add_to_embedding(output, narrow, &weight)
        });
        output.reshape(shape)
    }
}

impl Reparameterization for LoraAdapters {
    const NAME: &'static str = "lora";

    /// The weight with the active adapters in it, for modules that read their weight as a whole.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let is_base = self.packed().is_none() && self.without_base().is_none();
        if aside() || (self.active().next().is_none() && is_base) {
            return base;
        }
        let mut shape = base.shape();
        let held = [shape[0], shape[1]];
        let base = self.base_values(base.reshape(held));
        (shape[0], shape[1]) = (base.dims()[0], base.dims()[1]);
        if self.active().next().is_none() {
            return base.reshape(shape);
        }
        if let Some(batch) = &self.batch {
            batch.require_only();
        }
        let weight = self.active().fold(base.clone(), |weight, (_, adapter)| {
            adapter.add_to_weight(weight, &base)
        });
        weight.reshape(shape)
    }
}
