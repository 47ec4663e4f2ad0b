//! Whether what must not train has stayed as it was.

use std::fmt;

use burn::module::Module;
use burn::tensor::TensorData;

use crate::LoraError;
use crate::factorize::is_replaced;
use crate::quantization::{QuantizedWeight, quantized};
use crate::state::{ParameterInfo, Role, parameters, values};

/// How far each frozen parameter of a base is from what it was.
///
/// ```
/// use burn::nn::LinearConfig;
/// use lora_core::{FrozenReport, LoraConfig, default_device};
///
/// let before = vec![LinearConfig::new(8, 8).init(&default_device())];
/// let config = LoraConfig::new().with_target_modules(["0"]);
/// let model = config.inject(before.clone())?;
/// // … training …
/// let report = FrozenReport::between(&model, &before)?;
/// assert!(report.is_unchanged());
/// assert_eq!(report.to_string(), "frozen parameters: 2, all unchanged");
/// # Ok::<(), lora_core::LoraError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FrozenReport {
    /// In the order of the module.
    pub parameters: Vec<FrozenParameter>,
}

/// How far a frozen parameter is from what it was.
#[derive(Debug, Clone, PartialEq)]
pub struct FrozenParameter {
    /// Its name, as PyTorch has it.
    pub name: String,
    /// The largest difference of a value, infinite where one is no number; `None` if there is nothing to
    /// compare it with.
    pub difference: Option<f64>,
}

impl FrozenReport {
    /// Compares the frozen parameters of `module`'s base with what `source` says they were, in PyTorch's
    /// layout; `None` for what it does not know. A base in few bits is compared by the values that are
    /// left.
    ///
    /// # Errors
    ///
    /// The first error of `source`; [`LoraError::Shape`] if what it gives has another shape.
    pub fn of<M: Module>(
        module: &M,
        mut source: impl FnMut(&ParameterInfo) -> Result<Option<TensorData>, LoraError>,
    ) -> Result<Self, LoraError> {
        let is_frozen =
            |info: &ParameterInfo| info.role == Role::Base && !info.trainable && !is_replaced(info);
        let packed = quantized(module);
        let mut found = Vec::new();
        for info in parameters(module).into_iter().filter(is_frozen) {
            let difference = match source(&info)? {
                None => None,
                Some(before) => {
                    // One at a time, so that no more than one is held twice.
                    let now = base_value(module, &packed, &info);
                    now.map(|now| difference(&info.name, &now, &before))
                        .transpose()?
                }
            };
            found.push(FrozenParameter {
                name: info.name,
                difference,
            });
        }
        Ok(Self { parameters: found })
    }

    /// Compares with the module as it was before, with or without adapters.
    ///
    /// # Errors
    ///
    /// [`LoraError::Shape`] if it has a parameter of another shape.
    pub fn between<M: Module, N: Module>(module: &M, before: &N) -> Result<Self, LoraError> {
        let packed = quantized(before);
        Self::of(module, |info| Ok(base_value(before, &packed, info)))
    }

    /// The largest difference of all.
    pub fn largest(&self) -> f64 {
        let differences = self.parameters.iter().filter_map(|p| p.difference);
        differences.fold(0.0, f64::max)
    }

    /// Whether every parameter that there is something to compare with is what it was, bit for bit but
    /// for the sign of zeros.
    pub fn is_unchanged(&self) -> bool {
        self.largest() == 0.0
    }
}

/// The value of the base's parameter that `info` is about, of which `packed` has some.
fn base_value<M: Module>(
    module: &M,
    packed: &[QuantizedWeight],
    info: &ParameterInfo,
) -> Option<TensorData> {
    if let Some(packed) = packed.iter().find(|packed| packed.path == info.path) {
        return Some(packed.weight.values_as(info));
    }
    let same = |other: &ParameterInfo| other.role == Role::Base && other.path == info.path;
    let found = values(module, same).into_iter().next();
    found.map(|(_, data)| data)
}

fn difference(name: &str, now: &TensorData, before: &TensorData) -> Result<f64, LoraError> {
    if now.shape() != before.shape() {
        return Err(LoraError::Shape {
            path: "what it was before".into(),
            tensor: name.to_string(),
            found: before.shape().to_vec(),
            expected: now.shape().to_vec(),
        });
    }
    let pairs = now.iter::<f32>().zip(before.iter::<f32>());
    let differences = pairs.map(|(now, before)| {
        let difference = (f64::from(now) - f64::from(before)).abs();
        let same = now.to_bits() == before.to_bits();
        match difference.is_nan() && !same {
            true => f64::INFINITY,
            false => difference,
        }
    });
    Ok(differences.fold(0.0, f64::max))
}

impl fmt::Display for FrozenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compared = self.parameters.iter().filter(|p| p.difference.is_some());
        write!(f, "frozen parameters: {}, ", compared.count())?;
        let changed = |p: &&FrozenParameter| p.difference.is_some_and(|d| d > 0.0);
        let changed: Vec<&FrozenParameter> = self.parameters.iter().filter(changed).collect();
        match changed.is_empty() {
            true => f.write_str("all unchanged"),
            false => {
                write!(f, "{} of them changed", changed.len())?;
                for parameter in changed {
                    let difference = parameter.difference.unwrap_or_default();
                    write!(f, "\n  {}: by up to {difference:.1e}", parameter.name)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoraConfig, default_device};
    use burn::module::Param;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Tensor;

    #[derive(Module, Debug)]
    struct Model {
        first: Linear,
        second: Linear,
    }

    fn model() -> Model {
        let layer = || LinearConfig::new(3, 2).init(&default_device());
        Model {
            first: layer(),
            second: layer(),
        }
    }

    fn adapted(base: Model) -> Model {
        let config = LoraConfig::new().with_target_modules(["first"]);
        config
            .with_modules_to_save(["second"])
            .inject(base)
            .unwrap()
    }

    #[test]
    fn a_changed_value_is_found() {
        let before = model();
        let mut after = adapted(before.clone());
        // The original of a module with a copy is frozen, too.
        assert_eq!(
            FrozenReport::between(&after, &before)
                .unwrap()
                .parameters
                .len(),
            4
        );
        let weight = after.first.weight.base();
        let changed = weight.clone().slice_fill([1..2, 0..1], 7.0);
        let off = (weight - changed.clone()).abs().max().into_scalar::<f32>();
        let bias = Tensor::<1>::from_data([f32::NAN, 0.0], &default_device());
        after.first = Linear {
            weight: Param::from_tensor(changed).set_require_grad(false),
            bias: Some(Param::from_tensor(bias).set_require_grad(false)),
        };
        let report = FrozenReport::between(&after, &before).unwrap();
        assert!(!report.is_unchanged());
        assert_eq!(report.largest(), f64::INFINITY);
        let found = report.parameters[0].difference.unwrap();
        assert!((found - f64::from(off)).abs() < 1e-6, "{found} {off}");
        let text = report.to_string();
        assert!(
            text.starts_with("frozen parameters: 4, 2 of them changed\n  first.weight: by up to")
        );
        assert!(text.ends_with("first.bias: by up to inf"), "{text}");
    }

    #[test]
    fn a_base_in_few_bits_is_what_it_was() {
        use crate::LoraLinearConfig;
        use crate::quantization::{QuantizationConfig, WeightFormat};

        let nf4 = QuantizationConfig::new(WeightFormat::Nf4);
        let base = LoraLinearConfig::new(64, 64).init(&default_device());
        let base = nf4.quantize(vec![base]).unwrap();
        let config = LoraConfig::new().with_target_modules(["0"]);
        let report = FrozenReport::between(&config.inject(base.clone()).unwrap(), &base).unwrap();
        assert_eq!(report.to_string(), "frozen parameters: 2, all unchanged");
    }

    #[test]
    fn what_there_is_nothing_to_compare_with_is_left_out() {
        let after = adapted(model());
        let report = FrozenReport::of(&after, |_| Ok(None)).unwrap();
        assert_eq!(report.to_string(), "frozen parameters: 0, all unchanged");
        let short = |_: &ParameterInfo| Ok(Some(TensorData::from([1f32])));
        let error = FrozenReport::of(&after, short).unwrap_err().to_string();
        assert!(error.contains("first.weight"), "{error}");
    }
}
