//! The product as one node of the autodiff graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use crate::ops::backend::LoraKernels;
use crate::ops::gradients::register;

#[derive(Debug)]
struct TiedLinearBackward;

impl<B: LoraKernels> Backward<B, 2> for TiedLinearBackward {
    /// `x` and the table, each if the other has a gradient.
    type State = [Option<FloatTensor<B>>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let found = B::tied_linear_backward(ops.state, gradient);
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        register::<B, 2>(parents, found, gradients);
    }
}

pub(crate) fn tied_linear<B: LoraKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    table: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let tracked = [x.is_tracked(), table.is_tracked()];
    let ((x, x_node), (table, table_node)) = (x.into_parts(), table.into_parts());
    let state = [
        tracked[1].then(|| x.clone()),
        tracked[0].then(|| table.clone()),
    ];
    let output = B::tied_linear_forward(x, table);
    match TiedLinearBackward
        .prepare::<C>([x_node, table_node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(node) => node.finish(state, output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}
