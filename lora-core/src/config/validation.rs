//! Values that cannot be used.

use super::target_modules::end_of_path;
use super::{InitLoraWeights, LoraConfig};
use crate::LoraError;

/// No weight has use for more, and sums and multiples of ranks stay far from overflowing.
const LARGEST_RANK: usize = i32::MAX as usize;

impl LoraConfig {
    /// Checks that every value can be used.
    ///
    /// # Errors
    ///
    /// [`LoraError::ConfigValue`] that names the field; [`LoraError::Pattern`] for a `rank_pattern`
    /// or `alpha_pattern` that is no regular expression.
    pub fn validate(&self) -> Result<(), LoraError> {
        let bad = |field, value: String, expected| {
            Err(LoraError::ConfigValue {
                field,
                value,
                expected,
            })
        };
        let is_rank = |r: usize| (1..=LARGEST_RANK).contains(&r);
        if !is_rank(self.r) {
            let expected = "a rank of at least 1, and below 2^31";
            return bad("r", self.r.to_string(), expected);
        }
        if let Some((pattern, r)) = self.rank_pattern.iter().find(|(_, r)| !is_rank(**r)) {
            let value = format!("{r} for {pattern:?}");
            return bad("rank_pattern", value, "ranks of at least 1, and below 2^31");
        }
        if !self.lora_alpha.is_finite() {
            return bad("lora_alpha", self.lora_alpha.to_string(), "a finite number");
        }
        if let Some((pattern, alpha)) = self.alpha_pattern.iter().find(|(_, a)| !a.is_finite()) {
            let value = format!("{alpha} for {pattern:?}");
            return bad("alpha_pattern", value, "finite numbers");
        }
        for pattern in self.rank_pattern.keys() {
            end_of_path(pattern, "rank_pattern")?;
        }
        for pattern in self.alpha_pattern.keys() {
            end_of_path(pattern, "alpha_pattern")?;
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            let value = self.lora_dropout.to_string();
            return bad(
                "lora_dropout",
                value,
                "a probability of at least 0 and below 1",
            );
        }
        if let Some(eva) = &self.eva_config {
            eva.validate()?;
        }
        match self.loftq_config {
            Some(loftq) => loftq.validate()?,
            None if self.init_lora_weights == InitLoraWeights::LoftQ => {
                let value = "absent, and `init_lora_weights` is loftq".into();
                return bad("loftq_config", value, "LoftQ's settings");
            }
            None => {}
        }
        self.validate_layers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_name_their_field() {
        let error = |config: LoraConfig| config.validate().unwrap_err().to_string();
        assert!(error(LoraConfig::new().with_r(0)).contains("`r` is 0"));
        assert!(error(LoraConfig::new().with_r(1 << 31)).contains("`r` is 2147483648"));
        let pattern = LoraConfig::new().with_rank_pattern("up", usize::MAX);
        assert!(error(pattern).contains("`rank_pattern` is 18446744073709551615 for \"up\""));
        assert!(error(LoraConfig::new().with_lora_alpha(f64::NAN)).contains("`lora_alpha` is NaN"));
        assert!(error(LoraConfig::new().with_lora_dropout(1.0)).contains("`lora_dropout` is 1"));
        assert!(
            LoraConfig::from_json(r#"{"r": 0}"#)
                .unwrap_err()
                .to_string()
                .contains("`r` is 0")
        );
        let patterns = LoraConfig::new().with_alpha_pattern("up", 1.0);
        let broken = error(patterns.with_alpha_pattern("(", 2.0));
        assert!(broken.contains("`alpha_pattern`: \"(\""), "{broken}");
        let zero = LoraConfig::new().with_rank_pattern("a", 0).validate();
        assert!(
            zero.unwrap_err()
                .to_string()
                .contains("`rank_pattern` is 0 for")
        );
    }
}
