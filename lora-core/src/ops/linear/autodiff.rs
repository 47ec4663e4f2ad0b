//! Linear layers as one node of the autodiff graph.

use burn::backend::Autodiff;
use burn::backend::TensorMetadata;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::{Packed, Update};
use crate::ops::backend::{LinearState, LinearWeight, LoraKernels, LowRankState};
use crate::ops::gradients::register;
use crate::ops::recompute::Recompute;

/// What the backward pass needs.
#[derive(Debug, Clone)]
struct State<B: LoraKernels> {
    /// Without the input, if that has a gradient of its own.
    linear: LinearState<B>,
    /// Where the input is then, which may have to be computed again.
    x: Option<NodeId>,
}

impl<B: LoraKernels> State<B> {
    /// The gradients of input, weight, bias and factors, of those that are `wanted`.
    fn gradients(
        self,
        gradient: FloatTensor<B>,
        checkpointer: &mut Checkpointer,
        wanted: [bool; 5],
    ) -> [Option<FloatTensor<B>>; 5] {
        let mut state = self.linear;
        if let Some(x) = self.x {
            state.x = Some(checkpointer.retrieve_node_output(x));
        }
        B::linear_backward(state, gradient, wanted)
    }
}

#[derive(Debug)]
struct LinearBackward;

impl<B: LoraKernels> Backward<B, 3> for LinearBackward {
    type State = State<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<B>(&ops.node);
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        let [x, weight, bias] = parents.map(|parent| parent.is_some());
        let wanted = [x, weight, bias, false, false];
        let [dx, dweight, dbias, ..] = ops.state.gradients(gradient, checkpointer, wanted);
        register::<B, 3>(parents, [dx, dweight, dbias], gradients);
    }
}

impl<B: LoraKernels> Backward<B, 5> for LinearBackward {
    type State = State<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 5>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<B>(&ops.node);
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        let wanted = parents.map(|parent| parent.is_some());
        let found = ops.state.gradients(gradient, checkpointer, wanted);
        register::<B, 5>(parents, found, gradients);
    }
}

/// A linear layer whose weight, in few bits, has no gradient: nothing of it is kept but itself.
#[derive(Debug)]
struct PackedBackward;

impl<B: LoraKernels> Backward<B, 4> for PackedBackward {
    type State = State<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<B>(&ops.node);
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        let [x, bias, a, b] = parents.map(|parent| parent.is_some());
        let wanted = [x, false, bias, a, b];
        let [dx, _, dbias, da, db] = ops.state.gradients(gradient, checkpointer, wanted);
        register::<B, 4>(parents, [dx, dbias, da, db], gradients);
    }
}

/// A layer's inputs, the one that is multiplied first.
type Inputs<'a, B, C, const N: usize> = [&'a FloatTensor<Autodiff<B, C>>; N];

/// The node of a layer. Where the device is asked to, its output is computed again if it takes more
/// memory than its input; an `update` is taken to be of a layer whose input is kept anyway.
fn finish<B: LoraKernels, C: CheckpointStrategy, Back, const N: usize>(
    backward: Back,
    inputs: Inputs<'_, B, C, N>,
    mut state: LinearState<B>,
    keeps_x: bool,
    forward: impl Fn(FloatTensor<B>) -> (FloatTensor<B>, Option<FloatTensor<B>>) + Send + 'static,
    update: Option<([FloatTensor<B>; 2], Update)>,
) -> FloatTensor<Autodiff<B, C>>
where
    Back: Backward<B, N, State = State<B>>,
{
    let x = inputs[0];
    let (output, narrow) = forward(x.primitive().clone());
    state.low_rank = narrow
        .zip(update)
        .map(|(narrow, (factors, update))| LowRankState {
            factors,
            narrow,
            update,
        });
    let width = |tensor: &FloatTensor<B>| tensor.shape()[1];
    let is_cheap = state.low_rank.is_some() || width(&output) > width(x.primitive());
    let nodes = inputs.map(|input| input.node());
    let prepared = Backward::<B, N>::prepare::<C>(backward, nodes);
    let prepared = match x.is_tracked() && is_cheap {
        false => prepared.compute_bound(),
        true => {
            let tracked = inputs.into_iter().filter(|input| input.is_tracked());
            let ids = tracked.clone().map(|input| input.node().id());
            let again = Recompute::new(ids, move |x: FloatTensor<B>| forward(x).0);
            prepared
                .memory_bound()
                .retro_forward(again)
                .parents(tracked)
        }
    };
    match prepared.stateful() {
        OpsKind::UnTracked(node) => node.finish(output),
        OpsKind::Tracked(mut node) => {
            let mut state = State {
                linear: state,
                x: None,
            };
            match keeps_x && x.is_tracked() {
                true => state.x = Some(node.checkpoint(x)),
                false => state.linear.x = keeps_x.then(|| x.primitive().clone()),
            }
            node.finish(state, output)
        }
    }
}

pub(crate) fn linear<B: LoraKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let dense = LinearWeight::Dense(weight.primitive().clone());
    // Weight and input are each needed for the other's gradient only.
    let state = LinearState {
        x: None,
        weight: x.is_tracked().then(|| dense.clone()),
        low_rank: None,
    };
    let bias_values = bias.primitive().clone();
    finish::<B, C, _, 3>(
        LinearBackward,
        [&x, &weight, &bias],
        state,
        weight.is_tracked(),
        move |x| B::linear_forward(x, dense.clone(), bias_values.clone(), None),
        None,
    )
}

pub(crate) fn low_rank_linear<B: LoraKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    [a, b]: [FloatTensor<Autodiff<B, C>>; 2],
    update: Update,
) -> FloatTensor<Autodiff<B, C>> {
    let dense = LinearWeight::Dense(weight.primitive().clone());
    let state = LinearState {
        x: None,
        weight: x.is_tracked().then(|| dense.clone()),
        low_rank: None,
    };
    let bias_values = bias.primitive().clone();
    let factors = [&a, &b].map(|factor| factor.primitive().clone());
    let low_rank = (factors, update);
    let forward = {
        let low_rank = low_rank.clone();
        move |x| {
            let (dense, bias) = (dense.clone(), bias_values.clone());
            B::linear_forward(x, dense, bias, Some(low_rank.clone()))
        }
    };
    finish::<B, C, _, 5>(
        LinearBackward,
        [&x, &weight, &bias, &a, &b],
        state,
        weight.is_tracked() || a.is_tracked(),
        forward,
        Some(low_rank),
    )
}

pub(crate) fn packed_linear<B: LoraKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    [a, b]: [FloatTensor<Autodiff<B, C>>; 2],
    packed: Packed,
) -> FloatTensor<Autodiff<B, C>> {
    let weight = LinearWeight::Packed(packed.weight);
    let state = LinearState {
        x: None,
        weight: x.is_tracked().then(|| weight.clone()),
        low_rank: None,
    };
    let bias_values = bias.primitive().clone();
    let factors = [&a, &b].map(|factor| factor.primitive().clone());
    let low_rank = packed.options.map(|update| (factors, update));
    let forward = {
        let low_rank = low_rank.clone();
        move |x| B::linear_forward(x, weight.clone(), bias_values.clone(), low_rank.clone())
    };
    finish::<B, C, _, 4>(
        PackedBackward,
        [&x, &bias, &a, &b],
        state,
        a.is_tracked(),
        forward,
        low_rank,
    )
}
