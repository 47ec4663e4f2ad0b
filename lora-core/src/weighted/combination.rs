//! How adapters are combined: the arguments of PEFT's `add_weighted_adapter`.

use std::fmt;

use super::majority_sign::MajoritySignMethod;
use super::prune::Pruning;
use super::task_arithmetic::TaskArithmetic;
use crate::LoraError;

/// How the adapters of one weight become one: PEFT's `combination_type`.
///
/// The types without `Svd` work on the factors `A` and `B` apart, which is cheap and keeps the
/// rank, but a product of sums is not the sum of the products. `Cat` and the types with `Svd`
/// work on the updates `scaling·A·B` themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CombinationType {
    /// `linear`: the weighted sum of the factors (task arithmetic, Ilharco et al. 2022,
    /// section 2).
    Linear,
    /// `cat`: the factors side by side. The update is exactly the weighted sum of the updates, the
    /// rank is the sum of the ranks.
    Cat,
    /// `svd`: the weighted sum of the updates, cut down to the rank asked for.
    Svd,
    /// `ties`: the largest values, and of those the ones with the majority's sign (TIES, Yadav et
    /// al. 2023, section 4).
    Ties,
    /// `ties_svd`: [`Ties`](Self::Ties) on the updates, cut down to the rank asked for.
    TiesSvd,
    /// `dare_linear`: the weighted sum of randomly thinned factors (DARE, Yu et al. 2024,
    /// section 3.2).
    DareLinear,
    /// `dare_linear_svd`: [`DareLinear`](Self::DareLinear) on the updates, cut down to the rank
    /// asked for.
    DareLinearSvd,
    /// `dare_ties`: as [`Ties`](Self::Ties), with random thinning in place of the largest values.
    DareTies,
    /// `dare_ties_svd`: [`DareTies`](Self::DareTies) on the updates, cut down to the rank asked
    /// for.
    DareTiesSvd,
    /// `magnitude_prune`: the weighted sum of the largest values of each factor.
    MagnitudePrune,
    /// `magnitude_prune_svd`: [`MagnitudePrune`](Self::MagnitudePrune) on the updates, cut down to
    /// the rank asked for.
    MagnitudePruneSvd,
}

impl CombinationType {
    /// PEFT's name: `linear`, `dare_ties_svd`, ….
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Cat => "cat",
            Self::Svd => "svd",
            Self::Ties => "ties",
            Self::TiesSvd => "ties_svd",
            Self::DareLinear => "dare_linear",
            Self::DareLinearSvd => "dare_linear_svd",
            Self::DareTies => "dare_ties",
            Self::DareTiesSvd => "dare_ties_svd",
            Self::MagnitudePrune => "magnitude_prune",
            Self::MagnitudePruneSvd => "magnitude_prune_svd",
        }
    }

    /// Whether it works on the updates and decomposes the result.
    fn decomposes(self) -> bool {
        match self {
            Self::Svd
            | Self::TiesSvd
            | Self::DareLinearSvd
            | Self::DareTiesSvd
            | Self::MagnitudePruneSvd => true,
            Self::Linear
            | Self::Cat
            | Self::Ties
            | Self::DareLinear
            | Self::DareTies
            | Self::MagnitudePrune => false,
        }
    }

    /// What it does with the density.
    fn pruning(self) -> Option<fn(f64) -> Pruning> {
        match self {
            Self::Linear | Self::Cat | Self::Svd => None,
            Self::Ties | Self::TiesSvd | Self::MagnitudePrune | Self::MagnitudePruneSvd => {
                Some(Pruning::Magnitude)
            }
            Self::DareLinear | Self::DareLinearSvd | Self::DareTies | Self::DareTiesSvd => {
                Some(Pruning::Random)
            }
        }
    }

    /// Whether values with the minority's sign are left out.
    fn elects_signs(self) -> bool {
        matches!(
            self,
            Self::Ties | Self::TiesSvd | Self::DareTies | Self::DareTiesSvd
        )
    }
}

impl fmt::Display for CombinationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A [`CombinationType`] with what it needs to know: the arguments of PEFT's
/// `add_weighted_adapter`. A setting that the type has no use for is an error.
///
/// ```
/// use lora_core::{Combination, CombinationType, MajoritySignMethod};
///
/// let combination = Combination::new(CombinationType::TiesSvd)
///     .with_density(0.2)
///     .with_majority_sign_method(MajoritySignMethod::Frequency)
///     .with_svd_rank(16);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Combination {
    combination_type: CombinationType,
    svd_rank: Option<usize>,
    density: Option<f64>,
    majority_sign_method: Option<MajoritySignMethod>,
}

impl Combination {
    /// The type alone, with PEFT's defaults. Every type with `ties`, `dare` or `magnitude_prune`
    /// in its name needs a density, too.
    pub fn new(combination_type: CombinationType) -> Self {
        Self {
            combination_type,
            svd_rank: None,
            density: None,
            majority_sign_method: None,
        }
    }

    /// Sets the rank of the result, for the types with `svd` in their name. Default: the largest
    /// rank of the adapters. A weight with a smaller side than that has the smaller side's rank.
    pub fn with_svd_rank(mut self, rank: usize) -> Self {
        self.svd_rank = Some(rank);
        self
    }

    /// Sets the fraction of values that are kept, above 0 and at most 1.
    pub fn with_density(mut self, density: f64) -> Self {
        self.density = Some(density);
        self
    }

    /// Sets how the sign of the majority is found, for the types with `ties` in their name.
    /// Default: [`MajoritySignMethod::Total`].
    pub fn with_majority_sign_method(mut self, method: MajoritySignMethod) -> Self {
        self.majority_sign_method = Some(method);
        self
    }

    /// The type.
    pub fn combination_type(&self) -> CombinationType {
        self.combination_type
    }

    /// What there is to do, once every setting is known to be good.
    pub(super) fn operation(&self) -> Result<Operation, LoraError> {
        let kind = self.combination_type;
        let bad = |field, value: String, expected: &str| {
            Err(LoraError::Combination {
                field,
                value,
                expected: expected.to_string(),
            })
        };
        let pruning = match (kind.pruning(), self.density) {
            (None, None) => None,
            (Some(pruning), Some(density)) if density > 0.0 && density <= 1.0 => {
                Some(pruning(density))
            }
            (Some(_), Some(density)) => {
                let expected = "the fraction of values to keep, above 0 and at most 1";
                return bad("density", density.to_string(), expected);
            }
            (Some(_), None) => {
                let value = format!("missing for `{kind}`");
                let expected = "the fraction of values to keep: call `with_density`";
                return bad("density", value, expected);
            }
            (None, Some(density)) => {
                let value = format!("{density} for `{kind}`, which prunes nothing");
                return bad("density", value, "a type that prunes, or no density");
            }
        };
        let majority_sign = match (kind.elects_signs(), self.majority_sign_method) {
            (true, method) => Some(method.unwrap_or_default()),
            (false, None) => None,
            (false, Some(method)) => {
                let value = format!("{method:?} for `{kind}`, which elects no signs");
                let expected = "a type with `ties` in its name, or no method";
                return bad("majority_sign_method", value, expected);
            }
        };
        if self.svd_rank == Some(0) {
            return bad("svd_rank", "0".to_string(), "a rank of at least 1");
        }
        let arithmetic = TaskArithmetic {
            pruning,
            majority_sign,
        };
        match (kind, self.svd_rank) {
            (kind, rank) if kind.decomposes() => Ok(Operation::Svd(arithmetic, rank)),
            (kind, Some(rank)) => {
                let value = format!("{rank} for `{kind}`, whose rank follows from the adapters");
                let expected = "a type with `svd` in its name, or no rank";
                bad("svd_rank", value, expected)
            }
            (CombinationType::Cat, None) => Ok(Operation::Cat),
            (_, None) => Ok(Operation::Factors(arithmetic)),
        }
    }
}

/// What is done with the adapters of a weight.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    /// The factors are put side by side.
    Cat,
    /// Each factor is mixed by itself.
    Factors(TaskArithmetic),
    /// The updates are mixed and decomposed, to this rank or the adapters' largest.
    Svd(TaskArithmetic, Option<usize>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use CombinationType::*;

    fn error(combination: Combination) -> String {
        combination.operation().unwrap_err().to_string()
    }

    #[test]
    fn a_density_is_needed_exactly_where_something_is_pruned() {
        for kind in [
            Ties,
            TiesSvd,
            DareLinear,
            DareLinearSvd,
            DareTies,
            DareTiesSvd,
            MagnitudePrune,
            MagnitudePruneSvd,
        ] {
            let missing = error(Combination::new(kind));
            let expected = format!("`density` is missing for `{kind}`");
            assert!(missing.contains(&expected), "{missing}");
            for density in [0.0, -0.5, 1.01, f64::NAN] {
                let text = error(Combination::new(kind).with_density(density));
                let expected = format!("`density` is {density}, expected");
                assert!(text.contains(&expected), "{text}");
            }
            for density in [1e-9, 1.0] {
                let combination = Combination::new(kind).with_density(density);
                assert!(combination.operation().is_ok());
            }
        }
        for kind in [Linear, Cat, Svd] {
            assert!(Combination::new(kind).operation().is_ok());
            let text = error(Combination::new(kind).with_density(0.5));
            assert!(
                text.contains(&format!("`density` is 0.5 for `{kind}`")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_setting_without_use_is_an_error() {
        let rank = |kind, rank| Combination::new(kind).with_svd_rank(rank);
        let text = error(rank(Cat, 3));
        assert!(text.contains("`svd_rank` is 3 for `cat`"), "{text}");
        assert!(error(rank(Linear, 3)).contains("`svd_rank`"));
        assert!(error(rank(Svd, 0)).contains("`svd_rank` is 0"));
        assert!(rank(Svd, 3).operation().is_ok());
        let method = MajoritySignMethod::Frequency;
        let text = error(Combination::new(Svd).with_majority_sign_method(method));
        assert!(
            text.contains("`majority_sign_method` is Frequency"),
            "{text}"
        );
        let text = error(
            Combination::new(DareLinear)
                .with_density(0.5)
                .with_majority_sign_method(method),
        );
        assert!(text.contains("`dare_linear`"), "{text}");
    }
}
