//! GELU as one node of the autodiff graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::tensor::FloatTensor;

use super::Gelu;
use crate::ops::backend::LoraKernels;
use crate::ops::recompute::Recompute;

#[derive(Debug)]
struct GeluBackward;

impl<B: LoraKernels> Backward<B, 1> for GeluBackward {
    type State = (NodeId, Gelu);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (x, form) = ops.state;
        let x = checkpointer.retrieve_node_output(x);
        unary::<B, _>(ops.parents, ops.node, gradients, |gradient| {
            B::fused_gelu_backward(x, gradient, form)
        });
    }
}

pub(crate) fn gelu<B: LoraKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    form: Gelu,
) -> FloatTensor<Autodiff<B, C>> {
    let again = Recompute::new([x.node().id()], move |x: FloatTensor<B>| {
        B::fused_gelu_forward(x, form)
    });
    match GeluBackward
        .prepare::<C>([x.node()])
        .memory_bound()
        .retro_forward(again)
        .parents([&x])
        .stateful()
    {
        OpsKind::Tracked(mut node) => {
            let state = (node.checkpoint(&x), form);
            node.finish(state, B::fused_gelu_forward(x.into_primitive(), form))
        }
        OpsKind::UnTracked(node) => node.finish(B::fused_gelu_forward(x.into_primitive(), form)),
    }
}
