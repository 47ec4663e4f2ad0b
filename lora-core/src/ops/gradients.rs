//! What the backward passes do with the gradients they find.

use burn::backend::Backend;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::tensor::FloatTensor;

/// Adds what was `found` to the gradients of those of the `parents` that have some.
pub(crate) fn register<B: Backend, const N: usize>(
    parents: [Option<NodeId>; N],
    found: [Option<FloatTensor<B>>; N],
    gradients: &mut Gradients,
) {
    for (node, gradient) in parents.into_iter().zip(found) {
        if let (Some(node), Some(gradient)) = (node, gradient) {
            gradients.register::<B>(node, gradient);
        }
    }
}
