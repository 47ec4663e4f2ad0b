//! Attention as one node of the autodiff graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::Attention;
use crate::ops::backend::{AttentionInputs, LoraKernels};
use crate::ops::gradients::register;

/// What the backward pass needs: the inputs' nodes, the logarithm of each row's sum of exponentials
/// and how attention was computed.
#[derive(Debug, Clone)]
struct State<T, const N: usize> {
    inputs: [NodeId; N],
    normalisers: T,
    attention: Attention,
}

#[derive(Debug)]
struct AttentionBackward;

impl<B: LoraKernels> Backward<B, 3> for AttentionBackward {
    type State = State<FloatTensor<B>, 3>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<B>(&ops.node);
        let inputs = ops
            .state
            .inputs
            .map(|id| checkpointer.retrieve_node_output(id));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = B::attention_backward(
            AttentionInputs::Separate(inputs),
            ops.state.normalisers,
            gradient,
            &ops.state.attention,
            wanted,
        );
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        register::<B, 3>(parents, found, gradients);
    }
}

impl<B: LoraKernels> Backward<B, 1> for AttentionBackward {
    type State = State<FloatTensor<B>, 1>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<B>(&ops.node);
        let [input] = ops.state.inputs;
        let [found, ..] = B::attention_backward(
            AttentionInputs::Together(checkpointer.retrieve_node_output(input)),
            ops.state.normalisers,
            gradient,
            &ops.state.attention,
            [true; 3],
        );
        if let ([Some(node)], Some(gradient)) = (ops.parents, found) {
            gradients.register::<B>(node.id, gradient);
        }
    }
}

pub(crate) fn attention<B: LoraKernels, C: CheckpointStrategy>(
    inputs: [FloatTensor<Autodiff<B, C>>; 3],
    attention: Attention,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let primitives = inputs.each_ref().map(|input| input.primitive().clone());
    let (output, normalisers) =
        B::attention_forward(AttentionInputs::Separate(primitives), &attention);
    match Backward::<B, 3>::prepare::<C>(AttentionBackward, nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut node) => {
            let state = State {
                inputs: inputs.each_ref().map(|input| node.checkpoint(input)),
                normalisers,
                attention,
            };
            node.finish(state, output)
        }
        OpsKind::UnTracked(node) => node.finish(output),
    }
}

pub(crate) fn self_attention<B: LoraKernels, C: CheckpointStrategy>(
    projected: FloatTensor<Autodiff<B, C>>,
    attention: Attention,
) -> FloatTensor<Autodiff<B, C>> {
    let input = AttentionInputs::Together(projected.primitive().clone());
    let (output, normalisers) = B::attention_forward(input, &attention);
    match Backward::<B, 1>::prepare::<C>(AttentionBackward, [projected.node()])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut node) => {
            let state = State {
                inputs: [node.checkpoint(&projected)],
                normalisers,
                attention,
            };
            node.finish(state, output)
        }
        OpsKind::UnTracked(node) => node.finish(output),
    }
}
