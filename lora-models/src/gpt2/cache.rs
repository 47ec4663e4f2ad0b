//! Keys and values of the tokens that were already processed.

use burn::tensor::{Device, Int, Tensor};

/// The keys and values of every block, so that a new token costs one token's work.
///
/// The buffers grow by doubling: over a whole text each key is copied a constant number of times.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    layers: Vec<Option<KeysValues>>,
    length: usize,
}

/// `[batch, heads, capacity, width]` each; the rows behind the cache's length are not set.
#[derive(Debug, Clone)]
struct KeysValues {
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl Cache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of tokens in each sequence so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing was processed yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Keeps the sequences `rows` of the batch, in that order: what beam search needs.
    ///
    /// # Shapes
    ///
    /// - `rows`: `[new batch]`
    pub fn select(&mut self, rows: &Tensor<1, Int>) {
        for layer in self.layers.iter_mut().flatten() {
            layer.keys = selected(&layer.keys, rows);
            layer.values = selected(&layer.values, rows);
        }
    }

    /// Adds a block's new keys and values and gives all of them back.
    ///
    /// # Shapes
    ///
    /// - `keys`, `values`: `[batch, heads, new, width]`
    /// - outputs: `[batch, heads, length + new, width]`
    pub(super) fn extend(
        &mut self,
        layer: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let [batch, heads, new, width] = keys.dims();
        let (start, end) = (self.length, self.length + new);
        if self.layers.len() <= layer {
            self.layers.resize_with(layer + 1, || None);
        }
        // Taken out, so that nobody else holds the buffers and they are written in place.
        let held = match self.layers[layer].take() {
            None => KeysValues { keys, values },
            Some(held) => {
                let at = [0..batch, 0..heads, start..end, 0..width];
                KeysValues {
                    keys: grown(held.keys, end).slice_assign(at.clone(), keys),
                    values: grown(held.values, end).slice_assign(at, values),
                }
            }
        };
        let used = [0..batch, 0..heads, 0..end, 0..width];
        let all = (
            held.keys.clone().slice(used.clone()),
            held.values.clone().slice(used),
        );
        self.layers[layer] = Some(held);
        all
    }

    /// Counts the tokens that every block has now added.
    pub(super) fn advance(&mut self, new: usize) {
        self.length += new;
    }
}

/// The sequences `rows` of a buffer. As a matrix, whole rows are copied, on all processor cores.
fn selected(buffer: &Tensor<4>, rows: &Tensor<1, Int>) -> Tensor<4> {
    let [batch, heads, capacity, width] = buffer.dims();
    let matrix = buffer.clone().reshape([batch, heads * capacity * width]);
    let [count] = rows.dims();
    matrix
        .select(0, rows.clone())
        .reshape([count, heads, capacity, width])
}

/// `buffer` with room for `length` rows.
fn grown(buffer: Tensor<4>, length: usize) -> Tensor<4> {
    let [batch, heads, capacity, width] = buffer.dims();
    if capacity >= length {
        return buffer;
    }
    let device: Device = buffer.device();
    let room = length.max(2 * capacity) - capacity;
    Tensor::cat(
        vec![buffer, Tensor::zeros([batch, heads, room, width], &device)],
        2,
    )
}
