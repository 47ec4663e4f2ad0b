//! The norm of all gradients together.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::TrainError;

/// PyTorch's, in `clip_grad_norm_`.
const EPSILON: f64 = 1e-6;

/// Scales the gradients of `module` so that their Euclidean norm, taken over all of them, is at most
/// `max_norm`, as PyTorch's `clip_grad_norm_`; returns the norm before that. A `max_norm` of 0 leaves
/// them as they are.
///
/// Burn's own clipping is of each parameter by itself.
///
/// # Errors
///
/// [`TrainError::Device`].
pub(super) fn clip<M: Module>(
    module: &M,
    gradients: &mut GradientsParams,
    max_norm: f64,
) -> Result<f64, TrainError> {
    let mut squares = Squares {
        gradients,
        sum: None,
    };
    module.visit(&mut squares);
    let Some(sum) = squares.sum else {
        return Ok(0.0);
    };
    let norm: f32 = sum
        .sqrt()
        .try_into_scalar()
        .map_err(|e| TrainError::Device(e.to_string()))?;
    let norm = f64::from(norm);
    let factor = max_norm / (norm + EPSILON);
    if max_norm > 0.0 && factor < 1.0 {
        module.visit(&mut Scale { gradients, factor });
    }
    Ok(norm)
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let square = gradient.square().sum();
            self.sum = Some(match self.sum.take() {
                // A table may be on another device than the rest.
                Some(sum) => sum.clone() + square.to_device(&sum.device()),
                None => square,
            });
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let scaled = gradient.mul_scalar(self.factor);
            self.gradients.register(param.id, scaled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, TensorData};
    use lora_core::default_device;

    fn layer(device: &Device) -> Linear {
        LinearConfig::new(1, 2).init(device)
    }

    fn gradients(layer: &Linear, device: &Device) -> GradientsParams {
        let bias = layer.bias.as_ref().unwrap();
        let mut gradients = GradientsParams::new();
        gradients.register(
            layer.weight.id,
            Tensor::<2>::from_data([[3.0, 0.0]], device),
        );
        gradients.register(bias.id, Tensor::<1>::from_data([0.0, 4.0], device));
        gradients
    }

    #[test]
    fn the_norm_is_over_all_parameters() {
        let device = default_device();
        let layer = layer(&device);
        let bias = layer.bias.as_ref().unwrap().id;
        // clip_grad_norm_ of [[3, 0]] and [0, 4] to 1 gives 5 and leaves 3/5 and 4/5.
        for (max_norm, expected) in [(1.0, [0.0, 0.8]), (10.0, [0.0, 4.0]), (0.0, [0.0, 4.0])] {
            let mut gradients = gradients(&layer, &device);
            assert_eq!(clip(&layer, &mut gradients, max_norm).unwrap(), 5.0);
            let clipped = gradients.get::<1>(bias).unwrap().into_data();
            clipped.assert_approx_eq::<f32>(
                &TensorData::from(expected),
                burn::tensor::Tolerance::absolute(1e-6),
            );
        }
        let mut nothing = GradientsParams::new();
        assert_eq!(clip(&layer, &mut nothing, 1.0).unwrap(), 0.0);
    }
}
