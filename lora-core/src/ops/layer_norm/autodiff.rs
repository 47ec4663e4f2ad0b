//! Layer normalisation as one node of the autodiff graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::ResidualNorm;
use crate::ops::backend::{LoraKernels, NormState};
use crate::ops::dropout::mask::Mask;
use crate::ops::gradients::register;

#[derive(Debug)]
struct LayerNormBackward;

impl<B: LoraKernels> Backward<B, 3> for LayerNormBackward {
    type State = NormState<B>;

    fn backward(self, ops: Ops<NormState<B>, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let [x, gamma, beta] = ops.parents;
        let affine = gamma.is_some() || beta.is_some();
        let found = B::layer_norm_backward(ops.state, gradient, affine);
        if let Some(x) = x {
            gradients.register::<B>(x.id, found.sum);
        }
        let affine = [gamma, beta].map(|parent| parent.map(|node| node.id));
        register::<B, 2>(affine, found.affine, gradients);
    }
}

#[derive(Debug)]
struct ResidualNormBackward;

impl<B: LoraKernels> Backward<B, 4> for ResidualNormBackward {
    type State = (NormState<B>, Mask);

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let [x, residual, gamma, beta] = ops.parents;
        let affine = gamma.is_some() || beta.is_some();
        let (state, mask) = ops.state;
        let found = B::layer_norm_backward(state, gradient, affine);
        if let Some(x) = x {
            gradients.register::<B>(x.id, B::dropout_forward(found.sum.clone(), mask));
        }
        if let Some(residual) = residual {
            gradients.register::<B>(residual.id, found.sum);
        }
        let affine = [gamma, beta].map(|parent| parent.map(|node| node.id));
        register::<B, 2>(affine, found.affine, gradients);
    }
}

pub(crate) fn layer_norm<B: LoraKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    gamma: FloatTensor<Autodiff<B, C>>,
    beta: FloatTensor<Autodiff<B, C>>,
    epsilon: f64,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, x_node) = x.into_parts();
    let (gamma, gamma_node) = gamma.into_parts();
    let (beta, beta_node) = beta.into_parts();
    let (output, state) = B::layer_norm_forward(x, None, gamma, beta, epsilon);
    match LayerNormBackward
        .prepare::<C>([x_node, gamma_node, beta_node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(node) => node.finish(state, output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}

pub(crate) fn residual_norm<B: LoraKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    residual: FloatTensor<Autodiff<B, C>>,
    gamma: FloatTensor<Autodiff<B, C>>,
    beta: FloatTensor<Autodiff<B, C>>,
    options: ResidualNorm,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, x_node) = x.into_parts();
    let (residual, residual_node) = residual.into_parts();
    let (gamma, gamma_node) = gamma.into_parts();
    let (beta, beta_node) = beta.into_parts();
    let ResidualNorm { epsilon, mask } = options;
    let before = Some((residual, mask));
    let (output, state) = B::layer_norm_forward(x, before, gamma, beta, epsilon);
    match ResidualNormBackward
        .prepare::<C>([x_node, residual_node, gamma_node, beta_node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(node) => node.finish((state, mask), output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}
