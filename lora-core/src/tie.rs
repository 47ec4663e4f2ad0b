//! Tied weights: one weight that two modules use.
//!
//! Burn knows two kinds. Either one parameter stands at two paths of a module, with one
//! [`ParamId`]; or it stands at one path and the model's forward reads it a
//! second time, as a masked language model's decoder reads the token embeddings. The first is seen
//! by the ids. The second is in the model's code only, so the model has to [`declare`] it.
//!
//! An adapter on one side of a tie would untie it, so [`LoraConfig::inject`] refuses that.
//!
//! [`LoraConfig::inject`]: crate::LoraConfig::inject

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

use crate::LoraError;
use crate::state::Location;

/// What a declared tie calls its container, before the path of the weight.
const CONTAINER: &str = "Tied:";

/// Declares, in a module's [`visit`](Module::visit), that its part `name` uses the weight at
/// `weight`, a path below the same module, though it has no parameter of its own.
///
/// Visitors see a part without parameters; [`LoraConfig::inject`](crate::LoraConfig::inject) learns
/// that `name` and the owner of `weight` are tied, and refuses an adapter on either. An optional
/// part of the model that owns its weight after all (a decoder that is not tied) is not declared.
///
/// ```
/// # use burn::module::{Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper};
/// use burn::module::ModuleVisitor;
/// # use burn::tensor::Device;
/// use lora_core::{LoraConfig, LoraEmbedding, LoraEmbeddingConfig, default_device, tie};
///
/// #[derive(Clone, Debug)]
/// struct LanguageModel {
///     tokens: LoraEmbedding, // `forward` also reads its weight to predict the next token
/// }
///
/// impl Module for LanguageModel {
///     fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
///         visitor.enter_module("tokens", "Struct:LanguageModel");
///         self.tokens.visit(visitor);
///         visitor.exit_module("tokens", "Struct:LanguageModel");
///         tie::declare(visitor, "decoder", "tokens.weight");
///     }
///     // and the other methods as ever
/// #     fn collect_devices(&self, devices: Devices) -> Devices { self.tokens.collect_devices(devices) }
/// #     fn fork(self, device: &Device) -> Self { Self { tokens: self.tokens.fork(device) } }
/// #     fn to_device(self, device: &Device) -> Self { Self { tokens: self.tokens.to_device(device) } }
/// #     fn train(self) -> Self { Self { tokens: self.tokens.train() } }
/// #     fn valid(&self) -> Self { Self { tokens: self.tokens.valid() } }
/// #     fn materialize(self) -> Self { Self { tokens: self.tokens.materialize() } }
/// #     fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
/// #         mapper.enter_module("tokens", "Struct:LanguageModel");
/// #         let tokens = self.tokens.map(mapper);
/// #         mapper.exit_module("tokens", "Struct:LanguageModel");
/// #         Self { tokens }
/// #     }
/// }
/// # impl ModuleDisplay for LanguageModel {}
/// # impl ModuleDisplayDefault for LanguageModel {
/// #     fn content(&self, content: burn::module::Content) -> Option<burn::module::Content> {
/// #         content.optional()
/// #     }
/// # }
///
/// let tokens = LoraEmbeddingConfig::new(10, 4).init(&default_device());
/// for target in ["tokens", "decoder"] {
///     let config = LoraConfig::new().with_target_modules([target]);
///     let model = LanguageModel { tokens: tokens.clone() };
///     let error = config.inject(model).unwrap_err().to_string();
///     assert!(error.contains("`modules_to_save`"), "{error}");
/// }
/// ```
pub fn declare<V: ModuleVisitor>(visitor: &mut V, name: &str, weight: &str) {
    let container = format!("{CONTAINER}{weight}");
    visitor.enter_module(name, &container);
    visitor.exit_module(name, &container);
}

/// The ties of a module's base.
pub(crate) struct Ties {
    declared: Vec<Declared>,
    /// The paths of each parameter that stands at several.
    repeated: Vec<Vec<String>>,
}

/// A module that uses another's weight and has none of its own.
struct Declared {
    module: String,
    /// The path of the parameter.
    weight: String,
}

impl Declared {
    /// The path of the module that owns the weight.
    fn owner(&self) -> &str {
        self.weight.rsplit_once('.').map_or("", |(owner, _)| owner)
    }
}

impl Ties {
    /// Looks for the ties in `module`.
    ///
    /// # Errors
    ///
    /// [`LoraError::UnknownTie`]: a declared tie is with a parameter that does not exist.
    pub(crate) fn of<M: Module>(module: &M) -> Result<Self, LoraError> {
        let mut visitor = Collect::default();
        module.visit(&mut visitor);
        let Collect { declared, ids, .. } = visitor;
        for tie in &declared {
            if !ids.values().flatten().any(|path| *path == tie.weight) {
                return Err(LoraError::UnknownTie {
                    module: tie.module.clone(),
                    weight: tie.weight.clone(),
                });
            }
        }
        let repeated = ids.into_values().filter(|paths| paths.len() > 1);
        Ok(Self {
            declared,
            repeated: repeated.collect(),
        })
    }

    /// The paths of the modules that use another's weight.
    pub(crate) fn declared(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().map(|tie| tie.module.as_str())
    }

    /// A module that uses the weight at `parameter`, a path that is another's.
    pub(crate) fn user_of(&self, parameter: &str) -> Option<&str> {
        let mut declared = self.declared.iter();
        let tie = declared.find(|tie| tie.weight == parameter)?;
        Some(&tie.module)
    }

    /// Fails if `field` means a module that uses another's weight, which it leaves alone.
    pub(crate) fn require_not_meant(
        &self,
        field: &'static str,
        means: impl Fn(&str) -> bool,
        leaves: impl Fn(&str) -> bool,
    ) -> Result<(), LoraError> {
        let mut declared = self.declared.iter();
        match declared.find(|tie| means(&tie.module) && leaves(tie.owner())) {
            None => Ok(()),
            Some(tie) => Err(LoraError::Tied {
                field,
                module: tie.module.clone(),
                other: tie.owner().to_string(),
                owner: tie.owner().to_string(),
            }),
        }
    }

    /// Fails if `field` means a parameter that stands at a second path too.
    pub(crate) fn require_one_path(
        &self,
        field: &'static str,
        parameter: &str,
    ) -> Result<(), LoraError> {
        let mut repeated = self.repeated.iter();
        let Some(paths) = repeated.find(|paths| paths.iter().any(|path| path == parameter)) else {
            return Ok(());
        };
        let others = paths.iter().filter(|path| *path != parameter);
        Err(LoraError::RepeatedParameter {
            field,
            parameter: parameter.to_string(),
            others: others.cloned().collect(),
        })
    }

    /// Fails if an adapter on `parameter` would be on one side of a tie.
    pub(crate) fn require_untied(&self, parameter: &str) -> Result<(), LoraError> {
        self.require_one_path("target_modules", parameter)?;
        match self.declared.iter().find(|tie| tie.weight == parameter) {
            None => Ok(()),
            Some(tie) => Err(LoraError::Tied {
                field: "target_modules",
                module: tie.owner().to_string(),
                other: tie.module.clone(),
                owner: tie.owner().to_string(),
            }),
        }
    }
}

#[derive(Default)]
struct Collect {
    location: Location,
    declared: Vec<Declared>,
    ids: BTreeMap<ParamId, Vec<String>>,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.location.enter(name, container);
        if let Some(weight) = container.strip_prefix(CONTAINER) {
            let module = self.location.path();
            let before = module.strip_suffix(name).unwrap_or_default();
            self.declared.push(Declared {
                weight: format!("{before}{weight}"),
                module,
            });
        }
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.location.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.location.is_attached() {
            let paths = self.ids.entry(param.id).or_default();
            paths.push(self.location.path());
        }
    }
}
