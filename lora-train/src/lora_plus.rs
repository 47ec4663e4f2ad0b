//! LoRA+: a higher learning rate for `B` than for `A`.

use burn::lr_scheduler::LrScheduler;
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::module::{Module, ParamGroup};
use burn::optim::{AdamWConfig, ModuleOptimizer};
use lora_core::state::{ParameterInfo, Role, parameters};

use crate::TrainError;

/// The parameter groups of LoRA+ ([Hayou et al. 2024](https://arxiv.org/abs/2402.12354), section
/// 4): PEFT's `create_loraplus_optimizer`.
///
/// | group | parameters | learning rate | weight decay |
/// |---|---|---|---|
/// | A | whatever is in no other group: `A`, matrices trained in full | the base rate | yes |
/// | B | `B`, and vectors: DoRA's magnitudes | the base rate times the ratio | yes |
/// | B without decay | biases, and layer norms | the base rate times the ratio | no |
/// | embedding | both factors of adapted embeddings | a rate of their own | yes |
///
/// Burn chooses a parameter's optimizer and learning rate by its
/// [`ParamGroup`](burn::module::ParamGroup); a group here is a list of paths, so it fits the module
/// that it was made of.
///
/// ```
/// use burn::module::Module;
/// use burn::optim::AdamWConfig;
/// use lora_core::{LoraConfig, LoraLinear, LoraLinearConfig, default_device};
/// use lora_train::{LoraPlus, LoraPlusRates};
///
/// # #[derive(Module, Debug)]
/// # struct Model {
/// #     query: LoraLinear,
/// # }
/// # let device = default_device().autodiff();
/// # let model = Model { query: LoraLinearConfig::new(4, 4).init(&device) };
/// let config = LoraConfig::new().with_r(2).with_target_modules(["query"]);
/// let model = config.inject(model)?;
/// let groups = LoraPlus::of(&model)?;
/// let mut optimizer = groups.optimizer(&AdamWConfig::new());
/// let rates = LoraPlusRates { a: 1e-4, ratio: 16.0, embedding: 1e-6 };
/// let mut schedule = groups.scheduler(rates, |rate| rate); // a rate is a constant schedule
/// # use burn::optim::GradientsParams;
/// # let loss = model.query.weight.val().sum();
/// # let gradients = GradientsParams::from_grads(loss.backward(), &model);
/// let model = optimizer.step(schedule.step(), model, gradients);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoraPlus {
    /// The paths of group B.
    pub b: Vec<String>,
    /// The paths of group B without decay.
    pub b_no_decay: Vec<String>,
    /// The paths of group embedding.
    pub embedding: Vec<String>,
}

/// The learning rates of LoRA+.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraPlusRates {
    /// The base rate, that of `A`.
    pub a: f64,
    /// The rate of `B` divided by that of `A`: PEFT's `loraplus_lr_ratio`. The paper recommends
    /// about 16, and more for harder tasks.
    pub ratio: f64,
    /// The rate of adapted embeddings: PEFT's `loraplus_lr_embedding`, by default 1e-6.
    pub embedding: f64,
}

enum Group {
    A,
    B,
    BNoDecay,
    Embedding,
}

impl LoraPlus {
    /// The groups of `module`'s trainable parameters.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] for `loraplus_lr_ratio` if no `B` is among them.
    pub fn of<M: Module>(module: &M) -> Result<Self, TrainError> {
        let mut groups = Self {
            b: Vec::new(),
            b_no_decay: Vec::new(),
            embedding: Vec::new(),
        };
        let mut adapted = false;
        for info in parameters(module).into_iter().filter(|p| p.trainable) {
            adapted |= info.role == Role::LoraB;
            match group_of(&info) {
                Group::A => {}
                Group::B => groups.b.push(info.path),
                Group::BNoDecay => groups.b_no_decay.push(info.path),
                Group::Embedding => groups.embedding.push(info.path),
            }
        }
        match adapted {
            true => Ok(groups),
            false => Err(TrainError::Setting {
                field: "loraplus_lr_ratio",
                value: "set for a model that trains no adapter".into(),
                expected: "it left out, or a model with LoRA adapters",
            }),
        }
    }

    /// AdamW, without weight decay where there is none.
    pub fn optimizer(&self, config: &AdamWConfig) -> ModuleOptimizer {
        let optimizer = config.init();
        let clipping = optimizer.grad_clipping().cloned();
        let no_decay = config.clone().with_weight_decay(0.0).build();
        optimizer.with_group(
            ParamGroup::from_paths(self.b_no_decay.clone()),
            no_decay,
            clipping,
        )
    }

    /// The learning rate of each group over time: `schedule` of the group's own highest rate.
    pub fn scheduler<S: LrScheduler + 'static>(
        &self,
        rates: LoraPlusRates,
        schedule: impl Fn(f64) -> S,
    ) -> ModuleLrScheduler {
        let b = [self.b.as_slice(), &self.b_no_decay].concat();
        ModuleLrScheduler::new(schedule(rates.a))
            .with_group(ParamGroup::from_paths(b), schedule(rates.a * rates.ratio))
            .with_group(
                ParamGroup::from_paths(self.embedding.clone()),
                schedule(rates.embedding),
            )
    }
}

/// PEFT's rules, in its order.
fn group_of(info: &ParameterInfo) -> Group {
    let of_embedding =
        info.name.ends_with("lora_embedding_A") || info.name.ends_with("lora_embedding_B");
    if of_embedding {
        return Group::Embedding;
    }
    if info.role != Role::LoraB && info.shape.len() != 1 {
        return Group::A;
    }
    match info.owner == "LayerNorm" || info.name.contains("bias") {
        true => Group::BNoDecay,
        false => Group::B,
    }
}
