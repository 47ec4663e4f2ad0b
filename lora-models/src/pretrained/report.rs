//! What loading found.

use std::fmt;

/// What loading found, for people to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The number of tensors read.
    pub loaded: usize,
    /// Tensors of the head that the checkpoint lacks: freshly initialised, to be trained.
    pub fresh: Vec<String>,
    /// Tensors of other heads in the checkpoint, left out.
    pub unused: Vec<String>,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded", self.loaded)?;
        if !self.fresh.is_empty() {
            write!(
                f,
                "; freshly initialised, to be trained: {}",
                self.fresh.join(", ")
            )?;
        }
        if !self.unused.is_empty() {
            write!(
                f,
                "; {} tensors of another head not used",
                self.unused.len()
            )?;
        }
        Ok(())
    }
}
