//! The drop-in for [`burn::nn::Embedding`] that computes an attached adapter in factored form.

use burn::module::{
    Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor, Param,
};
use burn::nn::{Embedding, Initializer};
use burn::tensor::module::embedding;
use burn::tensor::{Device, Int, Tensor};

use crate::LoraAdapters;
use crate::adapters::MixedBatch;
use crate::device::home;
use crate::modules_to_save::{SavedCopies, value_for};

/// An embedding table that knows about [`LoraAdapter`](crate::LoraAdapter)s.
///
/// With an adapter the output is `W[ids] + scaling·A[ids]·B`: only the rows that occur are
/// touched, the table `W + scaling·A·B` is never formed.
///
/// A table that is too large for a device (see [`largest_tensor`](crate::largest_tensor)), as those of
/// RoBERTa and GPT-2 are for some drivers of WGPU, stays on the CPU when the module goes there: ids
/// are looked up on the CPU, and only the vectors found are sent, and their gradients back. Where the model
/// computes is what [`device_of`](crate::device_of) says then.
#[derive(Clone, Debug)]
pub struct LoraEmbedding {
    /// The table, `[n_embedding, d_model]`; an adapter is attached to this parameter.
    pub weight: Param<Tensor<2>>,
}

/// Creates a [`LoraEmbedding`].
#[derive(burn::config::Config, Debug)]
pub struct LoraEmbeddingConfig {
    /// The number of vectors.
    pub n_embedding: usize,
    /// The size of each vector.
    pub d_model: usize,
    /// Where the vectors start.
    #[config(default = "Initializer::Normal { mean: 0.0, std: 1.0 }")]
    pub initializer: Initializer,
}

impl LoraEmbeddingConfig {
    /// A table without adapter.
    pub fn init(&self, device: &Device) -> LoraEmbedding {
        let shape = [self.n_embedding, self.d_model];
        LoraEmbedding {
            weight: self.initializer.init(shape, &home(shape, device)),
        }
    }
}

impl From<Embedding> for LoraEmbedding {
    fn from(embedding: Embedding) -> Self {
        Self {
            weight: embedding.weight,
        }
    }
}

impl LoraEmbedding {
    /// Looks vectors up.
    ///
    /// # Shapes
    ///
    /// - `ids`: `[batch, sequence]`, each below `n_embedding`
    /// - output: `[batch, sequence, d_model]`, on the device of `ids`
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let (home, wanted) = (self.weight.lazy_device(), ids.device());
        match home == wanted {
            true => self.vectors(ids),
            false => self.vectors(ids.to_device(&home)).to_device(&wanted),
        }
    }

    fn vectors(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        if let Some(adapters) = self.weight.reparameterization::<LoraAdapters>() {
            return adapters.embedding(ids, self.weight.base());
        }
        let copies = self.weight.reparameterization::<SavedCopies<2>>();
        match copies.and_then(|copies| Some((copies, copies.mixed()?))) {
            Some((copies, batch)) => self.by_row(ids, copies, batch),
            None => embedding(self.weight.val(), ids),
        }
    }

    /// The vectors of a batch whose rows take different tables.
    fn by_row(
        &self,
        ids: Tensor<2, Int>,
        copies: &SavedCopies<2>,
        batch: &MixedBatch,
    ) -> Tensor<3> {
        let [rows, sequence] = ids.dims();
        let ids = ids.reshape([rows * sequence, 1]);
        let has = |adapter: &str| copies.get(adapter).is_some();
        let vectors = batch.through_copies(ids, has, |adapter, ids| {
            embedding(value_for(&self.weight, adapter), ids).squeeze_dim(1)
        });
        let [_, d_model] = vectors.dims();
        vectors.reshape([rows, sequence, d_model])
    }
}

/// As Burn's derive writes it, but for where the table goes.
impl Module for LoraEmbedding {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.weight.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        let home = home(self.weight.lazy_shape().dims(), device);
        Self {
            weight: self.weight.fork(&home),
        }
    }

    fn to_device(self, device: &Device) -> Self {
        let home = home(self.weight.lazy_shape().dims(), device);
        Self {
            weight: self.weight.to_device(&home),
        }
    }

    fn train(self) -> Self {
        Self {
            weight: self.weight.train(),
        }
    }

    fn valid(&self) -> Self {
        Self {
            weight: self.weight.valid(),
        }
    }

    fn materialize(self) -> Self {
        Self {
            weight: self.weight.materialize(),
        }
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.enter_module("weight", "Struct:LoraEmbedding");
        self.weight.visit(visitor);
        visitor.exit_module("weight", "Struct:LoraEmbedding");
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        mapper.enter_module("weight", "Struct:LoraEmbedding");
        let weight = Module::map(self.weight, mapper);
        mapper.exit_module("weight", "Struct:LoraEmbedding");
        Self { weight }
    }
}

impl ModuleDisplayDefault for LoraEmbedding {
    fn content(&self, content: Content) -> Option<Content> {
        content
            .set_top_level_type("LoraEmbedding")
            .add("weight", &self.weight)
            .optional()
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl std::fmt::Display for LoraEmbedding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.format(DisplaySettings::default()))
    }
}

impl ModuleDisplay for LoraEmbedding {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [n_embedding, d_model] = self.weight.lazy_shape().dims();
        content
            .add("n_embedding", &n_embedding)
            .add("d_model", &d_model)
            .optional()
    }
}
