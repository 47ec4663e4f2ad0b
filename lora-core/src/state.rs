//! A module's parameters under the names and in the layout that PyTorch checkpoints use.
//!
//! Burn and PyTorch differ in two places only: a linear weight is `[in, out]` here and
//! `[out, in]` there (but for GPT-2's `Conv1D`), and a norm's `gamma` and `beta` are `weight` and
//! `bias` there. Everything else is the path of the parameter in the module tree.

mod location;
mod parameter_info;
mod transpose;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

use crate::LoraError;
pub(crate) use location::Location;
pub use parameter_info::{ParameterInfo, Role};
pub(crate) use transpose::transpose;

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
