//! A module's parameters under the names and in the layout that PyTorch checkpoints use.
//!
//! Burn and PyTorch differ in two places only: a linear weight is `[in, out]` here and
//! `[out, in]` there (but for GPT-2's `Conv1D`), and a norm's `gamma` and `beta` are `weight` and `bias` there. Everything
//! else is the path of the parameter in the module tree.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

use crate::LoraError;
use crate::adapters::LoraAdapters;
use crate::modules_to_save::CONTAINER as SAVED_CONTAINER;

/// One floating-point parameter of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Burn's path, as in records: `encoder.layer.0.norm.gamma`.
    pub path: String,
    /// The name in a PyTorch checkpoint: `encoder.layer.0.norm.weight`.
    pub name: String,
    /// The shape in a PyTorch checkpoint.
    pub shape: Vec<usize>,
    /// Whether the checkpoint's layout is the transpose of ours.
    pub transposed: bool,
    /// The type of the module that owns it (`Linear`, `LayerNorm`, …).
    pub owner: String,
    /// Whether it gets a gradient in training.
    pub trainable: bool,
    /// What it is to the adapters.
    pub role: Role,
    /// The adapter it belongs to; `None` for the base's own parameters.
    pub adapter: Option<String>,
}

/// What a parameter is to the adapters of its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The base model's own.
    Base,
    /// An adapter's factor nearest the input: PEFT's `lora_A` or `lora_embedding_A`.
    LoraA,
    /// An adapter's factor nearest the output: PEFT's `lora_B` or `lora_embedding_B`.
    LoraB,
    /// DoRA's magnitudes: PEFT's `lora_magnitude_vector`.
    Magnitude,
    /// An adapter's own copy of a parameter that `modules_to_save` means.
    Saved,
}

impl ParameterInfo {
    /// The path of the base's parameter that this one is, or is attached to.
    pub fn base_path(&self) -> &str {
        let attached = match self.role {
            Role::Base => return &self.path,
            Role::Saved => 2,
            Role::LoraA | Role::LoraB | Role::Magnitude => 3,
        };
        let mut path = self.path.as_str();
        for _ in 0..attached {
            path = path.rsplit_once('.').map_or("", |(rest, _)| rest);
        }
        path
    }

    /// The path of the base's module that owns the parameter, or the one it is attached to; empty
    /// for the root.
    pub fn module(&self) -> &str {
        self.base_path()
            .rsplit_once('.')
            .map_or("", |(module, _)| module)
    }

    /// Whether it is one of an adapter's low-rank parameters: a factor or DoRA's magnitudes.
    pub fn is_lora(&self) -> bool {
        matches!(self.role, Role::LoraA | Role::LoraB | Role::Magnitude)
    }

    /// The number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether this is a linear layer's weight, by the type of its owner.
    pub fn is_linear(&self) -> bool {
        self.role == Role::Base && is_linear_owner(&self.owner) && self.path.ends_with("weight")
    }

    /// Whether this is an embedding table, by the type of its owner.
    pub fn is_embedding(&self) -> bool {
        self.role == Role::Base && is_embedding_owner(&self.owner) && self.path.ends_with("weight")
    }
}

fn is_linear_owner(owner: &str) -> bool {
    matches!(owner, "Linear" | "LoraLinear" | "LoraConv1D")
}

/// Whether PyTorch holds the weights of such a layer as `[out, in]`.
fn is_transposed_owner(owner: &str) -> bool {
    is_linear_owner(owner) && owner != "LoraConv1D"
}

fn is_embedding_owner(owner: &str) -> bool {
    matches!(owner, "Embedding" | "LoraEmbedding")
}

/// Every floating-point parameter of `module`, adapters included, in its own order.
pub fn parameters<M: Module>(module: &M) -> Vec<ParameterInfo> {
    let mut visitor = Collect::default();
    module.visit(&mut visitor);
    visitor.found
}

/// The values of the parameters that `select` chooses, as `(name, data)` in PyTorch's names and
/// layout.
pub fn state<M: Module>(
    module: &M,
    select: impl Fn(&ParameterInfo) -> bool,
) -> Vec<(String, TensorData)> {
    let values = values(module, select).into_iter();
    values.map(|(info, data)| (info.name, data)).collect()
}

/// As [`state`], with all that is known of each parameter.
pub fn values<M: Module>(
    module: &M,
    select: impl Fn(&ParameterInfo) -> bool,
) -> Vec<(ParameterInfo, TensorData)> {
    let mut visitor = Read {
        location: Location::default(),
        select,
        found: Vec::new(),
    };
    module.visit(&mut visitor);
    visitor.found
}

/// Replaces the parameters for which `source` has data, in PyTorch's layout and as 32-bit floats.
///
/// A parameter that was not initialized yet never is: its memory is only taken once.
///
/// # Errors
///
/// The first error of `source`; the parameters after it are left as they were.
pub fn load_state<M: Module>(
    module: M,
    source: impl FnMut(&ParameterInfo) -> Result<Option<TensorData>, LoraError>,
) -> Result<M, LoraError> {
    let mut mapper = Write {
        location: Location::default(),
        source,
        error: None,
    };
    let module = module.map(&mut mapper);
    mapper.error.map_or(Ok(module), Err)
}

/// Initializes every parameter that is still lazy, so that the random numbers they take are drawn
/// now, in the module's own order.
pub fn initialize<M: Module>(module: &M) {
    struct Force;
    impl ModuleVisitor for Force {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            param.base();
        }
    }
    module.visit(&mut Force);
}

/// Where a traversal stands: the names entered so far, with the types that own them.
#[derive(Default)]
pub(crate) struct Location {
    names: Vec<String>,
    owners: Vec<String>,
}

impl Location {
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.to_string());
        self.owners.push(container.to_string());
    }

    pub(crate) fn exit(&mut self) {
        self.names.pop();
        self.owners.pop();
    }

    /// The path of the parameter, or of whatever else, that was entered last.
    pub(crate) fn path(&self) -> String {
        self.names.join(".")
    }

    fn describe<const D: usize>(&self, param: &Param<Tensor<D>>) -> ParameterInfo {
        let (role, adapter, depth) = self.attachment();
        // The base's part of the path decides names and layout of what is attached to it.
        let names = &self.names[..depth];
        let owner = depth.checked_sub(1).map_or("", |last| &self.owners[last]);
        let owner = owner.strip_prefix("Struct:").unwrap_or(owner).to_string();
        let field = names.last().map_or("", String::as_str);
        let published = match field {
            "gamma" if owner.ends_with("Norm") => "weight",
            "beta" if owner.ends_with("Norm") => "bias",
            other => other,
        };
        let factor = |linear, embedding| match is_embedding_owner(&owner) {
            true => embedding,
            false => linear,
        };
        let last = match role {
            Role::Base | Role::Saved => published,
            Role::LoraA => factor("lora_A.weight", "lora_embedding_A"),
            Role::LoraB => factor("lora_B.weight", "lora_embedding_B"),
            Role::Magnitude => "lora_magnitude_vector.weight",
        };
        let transposed = match role {
            Role::Base | Role::Saved => D == 2 && field == "weight" && is_transposed_owner(&owner),
            Role::LoraA | Role::LoraB => true,
            Role::Magnitude => false,
        };
        let module = &names[..names.len().saturating_sub(1)];
        let name = module.iter().map(String::as_str).chain([last]);
        let mut shape = param.lazy_shape().to_vec();
        if transposed {
            shape.reverse();
        }
        ParameterInfo {
            path: self.path(),
            name: name.collect::<Vec<_>>().join("."),
            shape,
            transposed,
            owner,
            trainable: configured_to_train(param),
            role,
            adapter,
        }
    }

    /// Whether this is inside of something attached to a parameter.
    pub(crate) fn is_attached(&self) -> bool {
        self.owners.iter().any(|o| o == "Reparameterization")
    }

    /// What the current parameter is to the adapters, the adapter's name, and how many of the
    /// path's parts are the base's.
    fn attachment(&self) -> (Role, Option<String>, usize) {
        let all = self.names.len();
        let base = (Role::Base, None, all);
        let Some(depth) = self.owners.iter().position(|o| o == "Reparameterization") else {
            return base;
        };
        let rest: Vec<&str> = self.names[depth..].iter().map(String::as_str).collect();
        let owner = self.owners.get(depth + 1).map(String::as_str);
        let role = match (owner, &rest[..]) {
            (Some(LoraAdapters::CONTAINER), [_, _, "a"]) => Role::LoraA,
            (Some(LoraAdapters::CONTAINER), [_, _, "b"]) => Role::LoraB,
            (Some(LoraAdapters::CONTAINER), [_, _, "magnitude"]) => Role::Magnitude,
            (Some(SAVED_CONTAINER), [_, _]) => Role::Saved,
            // Another crate's reparameterization.
            _ => return base,
        };
        (role, rest.get(1).map(|name| name.to_string()), depth)
    }
}

#[derive(Default)]
struct Collect {
    location: Location,
    found: Vec<ParameterInfo>,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.location.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.location.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push(self.location.describe(param));
    }
}

/// Whether `param` trains once the module is in training mode.
///
/// Burn keeps that setting apart from the tensor, so that it survives `valid()` and lazy
/// initialization, but does not show it. Loading carries it over to the loaded value: a single
/// number will do, and the parameter itself stays as lazy as it was.
fn configured_to_train<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    let device = param.lazy_device();
    let probe = Tensor::zeros([1; D], &device);
    let probe = param.clone().transform_for_load(probe, param.id);
    match device.is_autodiff() {
        true => probe.is_require_grad(),
        false => probe.train().is_require_grad(),
    }
}

struct Read<F> {
    location: Location,
    select: F,
    found: Vec<(ParameterInfo, TensorData)>,
}

impl<F: Fn(&ParameterInfo) -> bool> ModuleVisitor for Read<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.location.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.location.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let info = self.location.describe(param);
        if (self.select)(&info) {
            let value = param.base();
            let value = if info.transposed {
                value.transpose()
            } else {
                value
            };
            self.found.push((info, value.into_data()));
        }
    }
}

struct Write<F> {
    location: Location,
    source: F,
    error: Option<LoraError>,
}

impl<F> ModuleMapper for Write<F>
where
    F: FnMut(&ParameterInfo) -> Result<Option<TensorData>, LoraError>,
{
    fn enter_module(&mut self, name: &str, container: &str) {
        self.location.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.location.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return param;
        }
        let info = self.location.describe(&param);
        match (self.source)(&info) {
            Ok(None) => param,
            Ok(Some(data)) => {
                let data = if info.transposed {
                    transpose(data)
                } else {
                    data
                };
                let tensor = Tensor::<D>::from_data(data, &param.lazy_device());
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

/// Transposes a matrix on the host, in blocks that fit the cache, so that the device holds it
/// contiguously and every product reads it forwards.
pub(crate) fn transpose(data: TensorData) -> TensorData {
    const BLOCK: usize = 32;
    let shape = data.shape().to_vec();
    let [rows, columns] = shape[..] else {
        return data;
    };
    let Ok(source) = data.as_slice::<f32>() else {
        return data;
    };
    let mut target = vec![0f32; source.len()];
    for r0 in (0..rows).step_by(BLOCK) {
        for c0 in (0..columns).step_by(BLOCK) {
            for r in r0..(r0 + BLOCK).min(rows) {
                for c in c0..(c0 + BLOCK).min(columns) {
                    target[c * rows + r] = source[r * columns + c];
                }
            }
        }
    }
    TensorData::new(target, [columns, rows])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};

    #[derive(Module, Debug)]
    struct Block {
        dense: Linear,
        norm: LayerNorm,
    }

    fn block() -> Block {
        let device = crate::default_device();
        Block {
            dense: LinearConfig::new(40, 3).init(&device),
            norm: LayerNormConfig::new(3).init(&device),
        }
    }

    #[test]
    fn names_and_shapes_are_pytorchs() {
        let found = parameters(&block());
        let names: Vec<_> = found
            .iter()
            .map(|p| (p.name.as_str(), p.shape.clone()))
            .collect();
        assert_eq!(
            names,
            [
                ("dense.weight", vec![3, 40]),
                ("dense.bias", vec![3]),
                ("norm.weight", vec![3]),
                ("norm.bias", vec![3]),
            ]
        );
        assert_eq!(found[2].path, "norm.gamma");
        assert_eq!(found[0].module(), "dense");
    }

    #[test]
    fn state_goes_out_and_comes_back() {
        let model = block();
        let saved = state(&model, |_| true);
        assert_eq!(saved[0].1.shape().to_vec(), [3, 40]);
        let other = load_state(block(), |info| {
            Ok(saved
                .iter()
                .find(|(name, _)| *name == info.name)
                .map(|(_, data)| data.clone()))
        })
        .unwrap();
        other
            .dense
            .weight
            .val()
            .into_data()
            .assert_eq(&model.dense.weight.val().into_data(), true);
        other
            .norm
            .gamma
            .val()
            .into_data()
            .assert_eq(&model.norm.gamma.val().into_data(), true);
    }

    #[test]
    fn the_setting_to_train_is_seen_in_every_mode() {
        let device = crate::default_device().autodiff();
        let dense = LinearConfig::new(2, 2).init(&device);
        let dense = Linear {
            weight: dense.weight.set_require_grad(false),
            bias: dense.bias,
        };
        let trainable = |model: &Linear| -> Vec<bool> {
            parameters(model).iter().map(|p| p.trainable).collect()
        };
        assert_eq!(trainable(&dense), [false, true]);
        assert!(
            !dense.weight.is_initialized(),
            "asking initialized the weight"
        );
        for model in [dense.clone(), dense.valid(), dense.valid().train()] {
            assert_eq!(trainable(&model), [false, true]);
        }
    }
}
