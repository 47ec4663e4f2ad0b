//! Keys and values of the tokens that were already processed.

use burn::tensor::{Device, Int, Tensor};

/// The keys and values of every block, so that a new token costs one token's work.
///
/// The buffers grow by doubling: over a whole text each key is copied a constant number of times.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    layers: Vec<KeysValues>,
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
        for layer in &mut self.layers {
            layer.keys = layer.keys.clone().select(0, rows.clone());
            layer.values = layer.values.clone().select(0, rows.clone());
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
            self.layers.push(KeysValues { keys, values });
        } else {
            let held = &mut self.layers[layer];
            let at = [0..batch, 0..heads, start..end, 0..width];
            held.keys = grown(held.keys.clone(), end).slice_assign(at.clone(), keys);
            held.values = grown(held.values.clone(), end).slice_assign(at, values);
        }
        let held = &self.layers[layer];
        let used = [0..batch, 0..heads, 0..end, 0..width];
        (
            held.keys.clone().slice(used.clone()),
            held.values.clone().slice(used),
        )
    }

    /// Counts the tokens that every block has now added.
    pub(super) fn advance(&mut self, new: usize) {
        self.length += new;
    }
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
