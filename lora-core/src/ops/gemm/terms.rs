//! What a linear layer adds to its product.

/// `scaling · narrow·wide`, two matrices that share a short side, and the same `bias` in each row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terms<'a> {
    /// Rows of `rank` values.
    pub(crate) narrow: &'a [f32],
    /// `rank` rows.
    pub(crate) wide: &'a [f32],
    /// Of the update; 0 if there is none.
    pub(crate) rank: usize,
    pub(crate) scaling: f32,
    /// Empty if there is none.
    pub(crate) bias: &'a [f32],
}

impl<'a> Terms<'a> {
    /// Those of an update alone.
    pub(crate) fn update(narrow: &'a [f32], wide: &'a [f32], rank: usize, scaling: f32) -> Self {
        Self {
            narrow,
            wide,
            rank,
            scaling,
            bias: &[],
        }
    }

    /// The same with another bias.
    pub(crate) fn with_bias(self, bias: &'a [f32]) -> Self {
        Self { bias, ..self }
    }

    /// By how much they make the common side of a product longer that they are part of.
    pub(crate) fn depth(&self) -> usize {
        self.rank + usize::from(!self.bias.is_empty())
    }

    /// # Panics
    ///
    /// Panics if they are not those of an output with `m` rows and `n` columns.
    pub(crate) fn check(&self, m: usize, n: usize) {
        assert_eq!(
            [self.narrow.len(), self.wide.len()],
            [m * self.rank, self.rank * n],
            "sizes of an update"
        );
        assert!(
            self.bias.is_empty() || self.bias.len() == n,
            "the length of a bias"
        );
    }
}
