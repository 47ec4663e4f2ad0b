//! Computing cheap activations again instead of keeping them.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{GradientCheckpointingStrategy, Tensor};

/// `model` with parameters whose operations are computed again where that is cheap.
///
/// Burn has that from a tensor's device, which a tensor that has gradients already does not change any
/// more.
pub(super) fn enable<M: Module>(model: M) -> M {
    struct Enable;
    impl ModuleMapper for Enable {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let value = param.base();
            let trains = value.is_require_grad();
            let value = value
                .detach()
                .with_gradient_checkpointing_strategy(GradientCheckpointingStrategy::Balanced)
                .set_require_grad(trains);
            let id = param.id;
            param.transform_for_load(value, id)
        }
    }
    model.map(&mut Enable)
}
