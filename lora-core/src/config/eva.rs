//! `eva_config`: the settings of EVA's initialisation.

use burn::tensor::{Bool, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::LoraError;

/// The settings of EVA (Paischer et al. 2024): PEFT's `EvaConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaConfig {
    /// How far ranks may be redistributed: no layer gets more than `rho` times its rank. 1 leaves
    /// the ranks as they are. Default 2.
    pub rho: f64,
    /// A component has converged when its cosine similarity with the one before the last batch
    /// reaches this. Default 0.99.
    pub tau: f64,
    /// Whether [`positions`](Self::positions) leaves out those whose label is `label_mask_value`.
    /// Default true.
    pub use_label_mask: bool,
    /// The label of positions that do not count. Default -100.
    pub label_mask_value: i64,
    /// Divide each component by the square root of its singular value. Default false.
    pub whiten: bool,
    /// Scale `α` with the rank where it changes, so that `α / r` stays. Default true.
    pub adjust_scaling_factors: bool,
}

impl Default for EvaConfig {
    fn default() -> Self {
        Self {
            rho: 2.0,
            tau: 0.99,
            use_label_mask: true,
            label_mask_value: -100,
            whiten: false,
            adjust_scaling_factors: true,
        }
    }
}

impl EvaConfig {
    /// PEFT's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how far ranks may be redistributed.
    pub fn with_rho(mut self, rho: f64) -> Self {
        self.rho = rho;
        self
    }

    /// Sets the similarity at which a component has converged.
    pub fn with_tau(mut self, tau: f64) -> Self {
        self.tau = tau;
        self
    }

    /// Sets whether labels decide which positions count.
    pub fn with_use_label_mask(mut self, use_label_mask: bool) -> Self {
        self.use_label_mask = use_label_mask;
        self
    }

    /// Sets the label of positions that do not count.
    pub fn with_label_mask_value(mut self, value: i64) -> Self {
        self.label_mask_value = value;
        self
    }

    /// Sets whether components are divided by the root of their singular value.
    pub fn with_whiten(mut self, whiten: bool) -> Self {
        self.whiten = whiten;
        self
    }

    /// Sets whether `α` is scaled with the rank.
    pub fn with_adjust_scaling_factors(mut self, adjust: bool) -> Self {
        self.adjust_scaling_factors = adjust;
        self
    }

    /// The positions of a batch that count, for
    /// [`initialize_eva`](crate::LoraModule::initialize_eva): those that `attention_mask` has (not
    /// zero) and, with [`use_label_mask`](Self::use_label_mask), whose label is not
    /// [`label_mask_value`](Self::label_mask_value). PEFT's rule for language models.
    ///
    /// # Shapes
    ///
    /// `[batch, sequence]` each.
    pub fn positions(
        &self,
        attention_mask: Tensor<2, Int>,
        labels: Option<Tensor<2, Int>>,
    ) -> Tensor<2, Bool> {
        let attended = attention_mask.not_equal_elem(0);
        match labels.filter(|_| self.use_label_mask) {
            None => attended,
            Some(labels) => attended.bool_and(labels.not_equal_elem(self.label_mask_value)),
        }
    }

    pub(super) fn validate(&self) -> Result<(), LoraError> {
        let bad = |field, value: f64, expected| {
            Err(LoraError::ConfigValue {
                field,
                value: value.to_string(),
                expected,
            })
        };
        if !(self.rho >= 1.0 && self.rho.is_finite()) {
            return bad("eva_config.rho", self.rho, "a number of at least 1");
        }
        if !(0.0..=1.0).contains(&self.tau) {
            return bad("eva_config.tau", self.tau, "a similarity from 0 to 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_attended_and_labelled() {
        let device = crate::default_device();
        let mask = Tensor::<2, Int>::from_data([[1, 1, 0], [1, 1, 1]], &device);
        let labels = Tensor::<2, Int>::from_data([[-100, 4, 5], [6, -100, 0]], &device);
        let of = |config: EvaConfig, labels| {
            let positions = config.positions(mask.clone(), labels).into_data();
            positions.iter::<bool>().collect::<Vec<_>>()
        };
        let all = vec![true, true, false, true, true, true];
        let config = EvaConfig::new();
        assert_eq!(of(config.clone(), None), all);
        assert_eq!(
            of(config.clone(), Some(labels.clone())),
            [false, true, false, true, false, true]
        );
        assert_eq!(
            of(
                config.clone().with_use_label_mask(false),
                Some(labels.clone())
            ),
            all
        );
        assert_eq!(
            of(config.with_label_mask_value(4), Some(labels)),
            [true, false, false, true, true, true]
        );
    }
}
