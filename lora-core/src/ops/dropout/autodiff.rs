//! Dropout as one node of the autodiff graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, binary, unary};
use burn::backend::tensor::FloatTensor;

use super::mask::Mask;
use crate::ops::backend::LoraKernels;

#[derive(Debug)]
struct DropoutBackward;

impl<B: LoraKernels> Backward<B, 1> for DropoutBackward {
    type State = Mask;

    fn backward(self, ops: Ops<Mask, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        unary::<B, _>(ops.parents, ops.node, gradients, |gradient| {
            B::dropout_forward(gradient, ops.state)
        });
    }
}

impl<B: LoraKernels> Backward<B, 2> for DropoutBackward {
    type State = Mask;

    fn backward(self, ops: Ops<Mask, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let scale = |gradient| B::dropout_forward(gradient, ops.state);
        binary::<B, _, _>(ops.parents, ops.node, gradients, scale, |gradient| gradient);
    }
}

pub(crate) fn dropout<B: LoraKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    mask: Mask,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, node) = x.into_parts();
    let output = B::dropout_forward(x, mask);
    match Backward::<B, 1>::prepare::<C>(DropoutBackward, [node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(node) => node.finish(mask, output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}

pub(crate) fn dropout_add<B: LoraKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    residual: FloatTensor<Autodiff<B, C>>,
    mask: Mask,
) -> FloatTensor<Autodiff<B, C>> {
    let ((x, x_node), (residual, residual_node)) = (x.into_parts(), residual.into_parts());
    let output = B::dropout_add_forward(x, residual, mask);
    match Backward::<B, 2>::prepare::<C>(DropoutBackward, [x_node, residual_node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(node) => node.finish(mask, output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}
