//! Linear layers as one node of the autodiff graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::{Packed, Update};
use crate::ops::backend::{LinearState, LinearWeight, LoraKernels, LowRankState};

#[derive(Debug)]
struct LinearBackward;

impl<B: LoraKernels> Backward<B, 3> for LinearBackward {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let [x, weight, bias] = ops.parents.each_ref().map(Option::is_some);
        let found = B::linear_backward(ops.state, gradient, [x, weight, bias, false, false]);
        for (node, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: LoraKernels> Backward<B, 5> for LinearBackward {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, 5>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = B::linear_backward(ops.state, gradient, wanted);
        for (node, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}

pub(crate) fn linear<B: LoraKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let tracked = [x.is_tracked(), weight.is_tracked()];
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let (bias, bias_node) = bias.into_parts();
    // Each is needed for the other's gradient only.
    let state = LinearState {
        x: tracked[1].then(|| x.clone()),
        weight: tracked[0].then(|| LinearWeight::Dense(weight.clone())),
        low_rank: None,
    };
    let (output, _) = B::linear_forward(x, LinearWeight::Dense(weight), bias, None);
    match Backward::<B, 3>::prepare::<C>(LinearBackward, [x_node, weight_node, bias_node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(node) => node.finish(state, output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}

pub(crate) fn low_rank_linear<B: LoraKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    [a, b]: [FloatTensor<Autodiff<B, C>>; 2],
    update: Update,
) -> FloatTensor<Autodiff<B, C>> {
    let tracked = [&x, &weight, &a].map(|tensor| tensor.is_tracked());
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let (bias, bias_node) = bias.into_parts();
    let ((a, a_node), (b, b_node)) = (a.into_parts(), b.into_parts());
    let kept_x = (tracked[1] || tracked[2]).then(|| x.clone());
    let weight = LinearWeight::Dense(weight);
    let kept_weight = tracked[0].then(|| weight.clone());
    let factors = [a.clone(), b.clone()];
    let (output, narrow) = B::linear_forward(x, weight, bias, Some(([a, b], update)));
    let state = LinearState {
        x: kept_x,
        weight: kept_weight,
        low_rank: narrow.map(|narrow| LowRankState {
            factors,
            narrow,
            update,
        }),
    };
    let nodes = [x_node, weight_node, bias_node, a_node, b_node];
    match Backward::<B, 5>::prepare::<C>(LinearBackward, nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(node) => node.finish(state, output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}

/// A linear layer whose weight, in few bits, has no gradient: nothing of it is kept but itself.
#[derive(Debug)]
struct PackedBackward;

impl<B: LoraKernels> Backward<B, 4> for PackedBackward {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let [x, bias, a, b] = ops.parents.each_ref().map(Option::is_some);
        let [dx, _, dbias, da, db] =
            B::linear_backward(ops.state, gradient, [x, false, bias, a, b]);
        for (node, gradient) in ops.parents.into_iter().zip([dx, dbias, da, db]) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}

pub(crate) fn packed_linear<B: LoraKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    [a, b]: [FloatTensor<Autodiff<B, C>>; 2],
    packed: Packed,
) -> FloatTensor<Autodiff<B, C>> {
    let tracked = [&x, &a].map(|tensor| tensor.is_tracked());
    let (x, x_node) = x.into_parts();
    let (bias, bias_node) = bias.into_parts();
    let ((a, a_node), (b, b_node)) = (a.into_parts(), b.into_parts());
    let weight = LinearWeight::Packed(packed.weight);
    let kept_x = tracked[1].then(|| x.clone());
    let kept_weight = tracked[0].then(|| weight.clone());
    let factors = [a, b];
    let update = packed.options.map(|options| (factors.clone(), options));
    let (output, narrow) = B::linear_forward(x, weight, bias, update);
    let low_rank = narrow
        .zip(packed.options)
        .map(|(narrow, update)| LowRankState {
            factors,
            narrow,
            update,
        });
    let state = LinearState {
        x: kept_x,
        weight: kept_weight,
        low_rank,
    };
    let nodes = [x_node, bias_node, a_node, b_node];
    match Backward::<B, 4>::prepare::<C>(PackedBackward, nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(node) => node.finish(state, output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}
