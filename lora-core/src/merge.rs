//! Adding adapters into the weights they adapt.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use crate::LoraError;
use crate::state::parameters;

/// Adds every adapter into its weight, `W + scaling·A·B` (LoRA, section 4.1), and returns the
/// module without adapters: PEFT's `merge_and_unload`. Modules trained in full stay as trained.
///
/// The sum is made in the weights' own precision, f32 for every checkpoint loaded here.
///
/// ```
/// use burn::tensor::Tensor;
/// use lora_core::{LoraConfig, LoraLinearConfig, default_device, merge_and_unload};
///
/// let device = default_device();
/// # #[derive(burn::module::Module, Debug)]
/// # struct Model { value: lora_core::LoraLinear }
/// let model = Model { value: LoraLinearConfig::new(3, 3).init(&device) };
/// let model = LoraConfig::new().with_target_modules(["value"]).inject(model)?;
/// let merged = merge_and_unload(model)?;
/// assert_eq!(lora_core::ParameterReport::of(&merged).lora, 0);
/// # Ok::<(), lora_core::LoraError>(())
/// ```
///
/// # Errors
///
/// [`LoraError::NotInjected`] if there is no adapter, [`LoraError::NotFinite`] if a merged weight
/// would hold NaN or infinity.
pub fn merge_and_unload<M: Module>(module: M) -> Result<M, LoraError> {
    if !parameters(&module).iter().any(|p| p.adapter) {
        return Err(LoraError::NotInjected);
    }
    let merged = module.materialize();
    let mut check = Finite::default();
    merged.visit(&mut check);
    match check.broken {
        Some((parameter, count)) => Err(LoraError::NotFinite { parameter, count }),
        None => Ok(merged),
    }
}

#[derive(Default)]
struct Finite {
    path: Vec<String>,
    broken: Option<(String, usize)>,
}

impl ModuleVisitor for Finite {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.broken.is_some() {
            return;
        }
        // A sum is finite only if every term is, or the terms overflow: count only then.
        let value = param.val().without_autodiff();
        if value.clone().sum().into_scalar::<f32>().is_finite() {
            return;
        }
        let count = value
            .into_data()
            .iter::<f32>()
            .filter(|v| !v.is_finite())
            .count();
        if count > 0 {
            self.broken = Some((self.path.join("."), count));
        }
    }
}
