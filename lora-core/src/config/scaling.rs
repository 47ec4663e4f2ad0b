//! The rank and the scaling of each module.

use super::{LoraConfig, pattern_value};
use crate::LoraError;

impl LoraConfig {
    /// The factor on the low-rank product: `α / r` (LoRA, section 4.1), or `α / √r` for rsLoRA.
    pub fn scaling(&self) -> f64 {
        self.scaling_with(self.r, self.lora_alpha)
    }

    /// The rank for the module at `path`: `r`, or what `rank_pattern` says.
    ///
    /// # Errors
    ///
    /// [`LoraError::Pattern`].
    pub fn rank_for(&self, path: &str) -> Result<usize, LoraError> {
        Ok(pattern_value(&self.rank_pattern, path, "rank_pattern")?.unwrap_or(self.r))
    }

    /// The factor on the low-rank product for the module at `path`, with `rank_pattern` and
    /// `alpha_pattern`.
    ///
    /// # Errors
    ///
    /// [`LoraError::Pattern`].
    pub fn scaling_for(&self, path: &str) -> Result<f64, LoraError> {
        let alpha = pattern_value(&self.alpha_pattern, path, "alpha_pattern")?;
        let alpha = alpha.unwrap_or(self.lora_alpha);
        Ok(self.scaling_with(self.rank_for(path)?, alpha))
    }

    fn scaling_with(&self, r: usize, alpha: f64) -> f64 {
        let r = r as f64;
        alpha / if self.use_rslora { r.sqrt() } else { r }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_is_alpha_over_r_or_its_root() {
        let config = LoraConfig::new().with_r(4).with_lora_alpha(8.0);
        assert_eq!(config.scaling(), 2.0);
        assert_eq!(config.with_use_rslora(true).scaling(), 4.0);
    }

    #[test]
    fn patterns_match_the_end_of_the_path() {
        let config = LoraConfig::new()
            .with_r(4)
            .with_lora_alpha(8.0)
            .with_rank_pattern("layer.0.query", 2)
            .with_rank_pattern("^first", 16)
            .with_alpha_pattern(r"layer\.\d+\.value", 32.0);
        let of = |path| {
            (
                config.rank_for(path).unwrap(),
                config.scaling_for(path).unwrap(),
            )
        };
        assert_eq!(of("encoder.layer.0.query"), (2, 4.0));
        assert_eq!(of("encoder.layer.10.query"), (4, 2.0));
        // PEFT puts an optional prefix before the pattern, so `^` only matches at the start.
        assert_eq!(of("first"), (16, 0.5));
        assert_eq!(of("layer.1.value"), (4, 8.0));
        assert_eq!(of("layer.1.value.dense"), (4, 2.0));
        assert!(
            LoraConfig::new()
                .with_rank_pattern("(", 2)
                .rank_for("a")
                .is_err()
        );
    }
}
