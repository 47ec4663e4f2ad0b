//! What a classifier said, and what is right.

/// What a classifier said about an example, and what is right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The class of the example.
    pub right: usize,
    /// The class that the model gives the highest probability; of several, the first.
    pub said: usize,
    /// That probability.
    pub probability: f64,
}

impl Outcome {
    /// Whether the model said what is right.
    pub fn is_right(&self) -> bool {
        self.right == self.said
    }
}
