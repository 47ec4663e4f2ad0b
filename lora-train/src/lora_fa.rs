//! LoRA-FA: `A` stays as it was drawn, and only `B` is trained.

use burn::module::{Module, ParamGroup};
use burn::optim::{AdamW, AdamWConfig, AdamWState, LearningRate, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor, TensorData};
use lora_core::state::{ParameterInfo, Role, parameters, values};
use lora_core::{LoraModule, device_of};
use nalgebra::DMatrix;

use crate::TrainError;

/// AdamW for one `B` whose `A` is frozen (LoRA-FA,
/// [Zhang et al. 2023](https://arxiv.org/abs/2308.03303)), on a corrected gradient.
///
/// Freezing `A` alone is the paper's method (section 3): the input of an adapted layer need not be
/// kept for the backward pass, only its product with `A`. The gradient of `B` is corrected as PEFT's
/// `LoraFAOptimizer` does it: the step on `B` that comes nearest to the step that full fine-tuning
/// would take on the weight, in the sense of least squares, has the gradient
///
/// ```text
/// 1/s² · (Aᵀ·A + δ·I)⁺ · ∂L/∂B        A: [in, r], B: [r, out], s = α / r, δ = 1e-8
/// ```
///
/// where `⁺` is the pseudo-inverse. As `A` does not change, the `[r, r]` matrix is computed once, on
/// the host and in f64. Two details differ from PEFT: it rounds this product to bfloat16 where the
/// device can, here it has the gradient's precision; and its optimizer is the AdamW of older
/// versions of transformers, which adds ε before the bias correction and decays the weights after
/// the step instead of before, while here it is the AdamW of every other method.
#[derive(Clone)]
pub struct LoraFa {
    adamw: AdamW,
    /// `[r, r]`
    correction: Tensor<2>,
}

impl LoraFa {
    /// Freezes `A` in every adapter that is trained.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] for `lora_fa` if no adapter is trained, if one is DoRA's (PEFT has
    /// no LoRA-FA for it either), or if an `A` is zero, as it is in a new adapter of an embedding:
    /// such an adapter would never have an effect.
    pub fn freeze<M: Module>(module: M) -> Result<M, TrainError> {
        pairs(&module)?;
        let all = parameters(&module).into_iter();
        let frozen = all.filter(|p| p.role == Role::LoraA && p.trainable);
        let paths = frozen.map(|p| p.path).collect();
        Ok(module.set_require_grad_group(ParamGroup::from_paths(paths), false))
    }

    /// AdamW for the whole module, with the corrected gradient for every `B` that is trained.
    ///
    /// # Errors
    ///
    /// As [`freeze`](Self::freeze).
    pub fn optimizer<M: Module>(
        module: &M,
        config: &AdamWConfig,
    ) -> Result<ModuleOptimizer, TrainError> {
        let mut optimizer = config.init();
        let clipping = optimizer.grad_clipping().cloned();
        for (path, correction) in pairs(module)? {
            let group = ParamGroup::from_path(path);
            let adamw = config.build();
            let one = Self { adamw, correction };
            optimizer = optimizer.with_group(group, one, clipping.clone());
        }
        Ok(optimizer)
    }
}

/// The path of each `B` that is trained, with the correction of its gradient.
fn pairs<M: Module>(module: &M) -> Result<Vec<(String, Tensor<2>)>, TrainError> {
    let all = parameters(module);
    if let Some(magnitude) = all
        .iter()
        .find(|p| p.role == Role::Magnitude && p.trainable)
    {
        return Err(refused(
            format!("true with DoRA ({})", magnitude.name),
            "false, or adapters without DoRA",
        ));
    }
    let trained: Vec<&ParameterInfo> = all
        .iter()
        .filter(|p| p.role == Role::LoraB && p.trainable)
        .collect();
    let is_pair = |a: &ParameterInfo, b: &ParameterInfo| {
        (a.base_path(), &a.adapter) == (b.base_path(), &b.adapter)
    };
    let of_trained =
        |p: &ParameterInfo| p.role == Role::LoraA && trained.iter().any(|b| is_pair(p, b));
    if trained.is_empty() {
        return Err(refused(
            "true for a model that trains no adapter".into(),
            "false, or a model with LoRA adapters",
        ));
    }
    let device = device_of(module);
    let mut pairs = Vec::new();
    for (a, data) in values(module, of_trained) {
        let name = a.adapter.as_deref().unwrap_or_default();
        let scaling = module.adapter_config(name)?.scaling_for(a.module())?;
        let correction = correction(&data, scaling, &device).ok_or_else(|| {
            refused(
                format!("true for an adapter whose {} is zero or not finite", a.name),
                "false, or adapters with another A: B alone would never have an effect",
            )
        })?;
        let b = trained.iter().find(|b| is_pair(&a, b));
        pairs.extend(b.map(|b| (b.path.clone(), correction)));
    }
    Ok(pairs)
}

fn refused(value: String, expected: &'static str) -> TrainError {
    TrainError::Setting {
        field: "lora_fa",
        value,
        expected,
    }
}

/// `1/s² · (A·Aᵀ + δ·I)⁺` of `A` as PEFT has it, `[r, in]`; none if `A` is zero or not finite.
fn correction(a: &TensorData, scaling: f64, device: &Device) -> Option<Tensor<2>> {
    let rank = a.shape()[0];
    let values: Vec<f64> = a.iter::<f64>().collect();
    let a = DMatrix::from_row_slice(rank, values.len() / rank, &values);
    let gram = &a * a.transpose() + DMatrix::identity(rank, rank) * 1e-8;
    if a.iter().all(|v| *v == 0.0) || gram.iter().any(|v| !v.is_finite()) {
        return None;
    }
    // What PyTorch takes for zero in a matrix of f32.
    let largest = gram.symmetric_eigenvalues().max();
    let inverse = gram
        .pseudo_inverse(largest * rank as f64 * f64::from(f32::EPSILON))
        .ok()?;
    // Row by row or column by column: it is symmetric.
    let values: Vec<f32> = inverse
        .iter()
        .map(|v| (v / scaling.powi(2)) as f32)
        .collect();
    let correction = TensorData::new(values, [rank, rank]);
    Some(Tensor::from_data(correction, device).without_autodiff())
}

impl Optimizer for LoraFa {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let shape = grad.shape();
        let correction = self.correction.clone().to_device(&grad.device());
        let [rank, _] = correction.dims();
        let matrix = grad.reshape([rank, shape.num_elements() / rank]);
        let corrected = correction.matmul(matrix).reshape(shape);
        self.adamw.step(lr, tensor, corrected, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        AdamW::to_device(state, device)
    }
}
