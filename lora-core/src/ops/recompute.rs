//! Outputs that are computed again for the backward pass instead of being kept, if that is asked of the
//! device (Burn's gradient checkpointing; Chen et al. 2016, "Training Deep Nets with Sublinear Memory
//! Cost").

use std::fmt;
use std::marker::PhantomData;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;

/// How an output is computed again from the first of its inputs.
pub(crate) struct Recompute<T, F> {
    /// The inputs that have gradients, the one that it is computed from first.
    inputs: Vec<NodeId>,
    forward: F,
    tensor: PhantomData<fn() -> T>,
}

impl<T, F> Recompute<T, F>
where
    T: Clone + Send + 'static,
    F: Fn(T) -> T + Send + 'static,
{
    /// `forward` of the first input; what else it takes it has to have.
    pub(crate) fn new(inputs: impl IntoIterator<Item = NodeId>, forward: F) -> Self {
        Self {
            inputs: inputs.into_iter().collect(),
            forward,
            tensor: PhantomData,
        }
    }
}

impl<T, F> RetroForward for Recompute<T, F>
where
    T: Clone + Send + 'static,
    F: Fn(T) -> T + Send + 'static,
{
    fn forward(&self, states: &mut BackwardStates, output: NodeId) {
        // The others are taken, too: Burn counts how often each is still needed.
        let inputs: Vec<T> = self
            .inputs
            .iter()
            .map(|input| states.get_state(input))
            .collect();
        if let Some(first) = inputs.into_iter().next() {
            states.save(output, (self.forward)(first));
        }
    }
}

impl<T, F> fmt::Debug for Recompute<T, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Recompute")
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}
