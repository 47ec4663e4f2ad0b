//! Where each sequence begins and ends.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Bool, Tensor};

/// The rows of each sequence in matrices of queries and of keys that have the tokens of all
/// sequences end to end.
#[derive(Debug, Clone)]
pub struct Sequences {
    /// Where each sequence begins, and where the last one ends.
    query_starts: Arc<[usize]>,
    key_starts: Arc<[usize]>,
    padding: Option<Tensor<2, Bool>>,
}

impl Sequences {
    /// Sequences of these lengths: nothing is computed for padding, because there is none.
    pub fn packed(lengths: impl IntoIterator<Item = usize>) -> Self {
        let starts = starts(lengths);
        Self {
            query_starts: starts.clone(),
            key_starts: starts,
            padding: None,
        }
    }

    /// A batch of sequences of one length.
    ///
    /// # Shapes
    ///
    /// - `padding`: `[batch, length]`, true where a key is padding and must not be seen
    pub fn padded(batch: usize, length: usize, padding: Option<Tensor<2, Bool>>) -> Self {
        Self {
            padding,
            ..Self::packed(std::iter::repeat_n(length, batch))
        }
    }

    /// The same keys, but for each sequence only so many queries.
    ///
    /// # Panics
    ///
    /// Panics if there are not as many lengths as sequences.
    pub fn with_queries(&self, lengths: impl IntoIterator<Item = usize>) -> Self {
        let query_starts = starts(lengths);
        assert_eq!(
            query_starts.len(),
            self.key_starts.len(),
            "one length for each sequence"
        );
        Self {
            query_starts,
            ..self.clone()
        }
    }

    /// The number of sequences.
    pub fn len(&self) -> usize {
        self.key_starts.len() - 1
    }

    /// Whether there are no sequences.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of queries of all sequences.
    pub fn queries(&self) -> usize {
        last(&self.query_starts)
    }

    /// The number of keys of all sequences.
    pub fn keys(&self) -> usize {
        last(&self.key_starts)
    }

    /// The rows of the queries of the sequence `index`.
    pub(crate) fn query_rows(&self, index: usize) -> Range<usize> {
        self.query_starts[index]..self.query_starts[index + 1]
    }

    /// The rows of the keys of the sequence `index`.
    pub(crate) fn key_rows(&self, index: usize) -> Range<usize> {
        self.key_starts[index]..self.key_starts[index + 1]
    }

    /// The keys that are padding, `[batch, length]`.
    pub(crate) fn padding(&self) -> Option<&Tensor<2, Bool>> {
        self.padding.as_ref()
    }

    /// Whether some keys are padding.
    pub fn has_padding(&self) -> bool {
        self.padding.is_some()
    }

    /// The number of queries and of keys of each sequence, if they all have as many.
    pub(crate) fn common_lengths(&self) -> Option<[usize; 2]> {
        let lengths = |index| [self.query_rows(index).len(), self.key_rows(index).len()];
        let first = (!self.is_empty()).then(|| lengths(0))?;
        (1..self.len())
            .all(|index| lengths(index) == first)
            .then_some(first)
    }
}

fn starts(lengths: impl IntoIterator<Item = usize>) -> Arc<[usize]> {
    let ends = lengths.into_iter().scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

fn last(starts: &[usize]) -> usize {
    starts.last().copied().unwrap_or_default()
}
