//! Cross-entropy as one node of the autodiff graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::tensor::FloatTensor;

use super::Targets;
use crate::ops::backend::{CrossEntropyState, LoraKernels};

#[derive(Debug)]
struct CrossEntropyBackward;

impl<B: LoraKernels> Backward<B, 1> for CrossEntropyBackward {
    type State = (CrossEntropyState<B>, Targets);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (state, targets) = ops.state;
        unary::<B, _>(ops.parents, ops.node, gradients, |gradient| {
            B::cross_entropy_backward(state, gradient, &targets)
        });
    }
}

pub(crate) fn cross_entropy<B: LoraKernels, C: CheckpointStrategy>(
    logits: FloatTensor<Autodiff<B, C>>,
    targets: Targets,
) -> FloatTensor<Autodiff<B, C>> {
    let (logits, node) = logits.into_parts();
    let (output, state) = B::cross_entropy_forward(logits, &targets);
    match CrossEntropyBackward
        .prepare::<C>([node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(node) => node.finish((state, targets), output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}
