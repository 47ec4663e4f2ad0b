//! The calls on the adapters of a whole model.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Bool, FloatDType, Tensor};

use super::attachments::{collect, edit};
use super::mixed_batch;
use super::requirements::{
    no_adapter, one_copy_each, require, require_any, require_swappable, require_unmerged,
};
use super::update::{Reconfigure, Update};
use crate::import::{BurnLora, Loralib};
use crate::init::residual::{require_none, settle};
use crate::init::{conversion, eva};
use crate::merge::{Merge, Unmerge};
use crate::{Combination, LoraConfig, LoraError, ModelStatus, adapter_file, weighted};

/// Adapters of any Burn module: PEFT's calls on a model.
///
/// A module is a value in Burn, so a call that changes it takes it and gives it back; a clone
/// shares its tensors and costs next to nothing. Names of adapters have no dots.
///
/// ```
/// use burn::module::Module;
/// use burn::tensor::Tensor;
/// use lora_core::{LoraConfig, LoraLinear, LoraLinearConfig, LoraModule, default_device};
///
/// #[derive(Module, Debug)]
/// struct Model {
///     query: LoraLinear,
/// }
///
/// let device = default_device();
/// let model = Model { query: LoraLinearConfig::new(4, 6).init(&device) };
/// let config = LoraConfig::new().with_r(2).with_target_modules(["query"]);
///
/// // The first adapter is active at once, the next ones wait for `set_active`.
/// let model = model.add_adapter("formal", &config)?.add_adapter("brief", &config)?;
/// assert_eq!(model.adapter_names(), ["formal", "brief"]);
/// assert_eq!(model.active_adapters(), ["formal"]);
///
/// let model = model.set_active(&["formal", "brief"])?.set_scale("brief", 0.5)?;
/// let x = Tensor::<2>::ones([1, 4], &device);
/// let plain = model.with_adapters_disabled(|base| base.query.forward(x.clone()))?;
///
/// // B starts at zero: neither adapter has an effect yet.
/// let difference = (model.query.forward(x) - plain).abs().max();
/// assert_eq!(difference.into_scalar::<f32>(), 0.0);
///
/// let merged = model.delete_adapter("brief")?.merge_and_unload()?;
/// assert!(merged.adapter_names().is_empty());
/// # Ok::<(), lora_core::LoraError>(())
/// ```
pub trait LoraModule: Module {
    /// Adds an adapter: PEFT's `add_adapter`. The first is active and trained, and freezes the
    /// base; a later one is neither active nor trained until [`set_active`](Self::set_active).
    ///
    /// # Errors
    ///
    /// As [`LoraConfig::inject`]; a name that is taken or has a dot; `bias` beside another adapter.
    fn add_adapter(self, name: &str, config: &LoraConfig) -> Result<Self, LoraError> {
        config.inject_as(self, name)
    }

    /// Adds an adapter that is combined from present ones, each with a weight that may be negative:
    /// PEFT's `add_weighted_adapter`. It is neither active nor trained until
    /// [`set_active`](Self::set_active), and those it comes from can be deleted.
    ///
    /// The weights multiply the updates `scaling·A·B`, so the new adapter has a scaling of 1.
    /// [`CombinationType`](crate::CombinationType) says how they are combined; a single adapter is
    /// always combined as `linear`, as in PEFT. A weight that only some of the adapters have is
    /// combined from those. Random pruning takes the device's random numbers: seed it for the same
    /// result again.
    ///
    /// The configuration is the first adapter's with the targets of all. It differs from PEFT's
    /// where that would lose something: each weight has the rank it needs, with `rank_pattern`, in
    /// place of zeros up to the largest; rsLoRA's factor is not applied to the result once more;
    /// no target is left out because the first adapter excludes it. The new adapter has a copy of
    /// each module that one of the others trains in full, as trained, where PEFT starts from the
    /// base's.
    ///
    /// ```
    /// # use burn::module::Module;
    /// # use lora_core::{LoraConfig, LoraLinear, LoraLinearConfig, LoraModule, default_device};
    /// use lora_core::{Combination, CombinationType};
    /// # #[derive(Module, Debug)]
    /// # struct Model {
    /// #     query: LoraLinear,
    /// # }
    /// # let device = default_device();
    /// # let model = Model { query: LoraLinearConfig::new(4, 6).init(&device) };
    /// # let config = LoraConfig::new().with_r(2).with_target_modules(["query"]);
    /// # let model = model.add_adapter("formal", &config)?.add_adapter("brief", &config)?;
    ///
    /// let ties = Combination::new(CombinationType::Ties).with_density(0.5);
    /// let adapters = [("formal", 1.0), ("brief", 0.5)];
    /// let model = model.add_weighted_adapter("mixed", &adapters, &ties)?.set_active(&["mixed"])?;
    /// # assert_eq!(model.adapter_names(), ["formal", "brief", "mixed"]);
    /// # Ok::<(), lora_core::LoraError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LoraError::Combination`]: no adapters, a weight that is not finite, a density that is
    /// missing or not above 0 and at most 1, a setting the type has no use for, an adapter with
    /// DoRA, two adapters with a copy of one parameter. [`LoraError::CombinedRanks`] if factors of
    /// different ranks would have to be added up. [`LoraError::NoAdapter`]; as
    /// [`add_adapter`](Self::add_adapter) for the new name and for `lora_dropout`;
    /// [`LoraError::StartTaken`] for an adapter that took its start out of the base;
    /// [`LoraError::NoSvd`].
    fn add_weighted_adapter(
        self,
        name: &str,
        adapters: &[(&str, f64)],
        combination: &Combination,
    ) -> Result<Self, LoraError> {
        let combined = |name: &str| adapters.iter().any(|(adapter, _)| *adapter == name);
        require_none(&self, "add_weighted_adapter", combined)?;
        weighted::add(self, name, adapters, combination)
    }

    /// Adds the adapter of a folder that PEFT or [`save_adapter`](Self::save_adapter) wrote.
    ///
    /// ```no_run
    /// # use lora_core::{LoraError, LoraModule};
    /// # fn load<M: burn::module::Module>(model: M) -> Result<M, LoraError> {
    /// model.load_adapter("reviews", "path/to/adapter")
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`add_adapter`](Self::add_adapter) (but one matching target is enough, as in PEFT);
    /// [`LoraError::Keys`] with every missing and unexpected key, [`LoraError::Shape`],
    /// [`LoraError::Dtype`], [`LoraError::Safetensors`], [`LoraError::Io`].
    fn load_adapter(self, name: &str, folder: impl AsRef<Path>) -> Result<Self, LoraError> {
        let config = LoraConfig::from_file(folder.as_ref())?;
        let module = config.inject_leniently_as(self, name, |plan, module| {
            adapter_file::require_ranks(module, plan, folder.as_ref())
        })?;
        adapter_file::load(module, name, &config, folder.as_ref())
    }

    /// Adds the adapter of a [loralib](https://github.com/microsoft/LoRA) checkpoint, with the
    /// modules that were trained in full. `config` has what is not in the file, α first of all;
    /// rank and targets are read off it. [`Loralib`] has more of the details, and takes GPT-2's
    /// merged layers and other names.
    ///
    /// ```no_run
    /// # use lora_core::{LoraConfig, LoraError, LoraModule};
    /// # fn load<M: burn::module::Module>(roberta: M) -> Result<M, LoraError> {
    /// let config = LoraConfig::new().with_lora_alpha(16.0);
    /// let model = roberta.load_loralib("mnli", "roberta_base_lora_mnli.bin", &config)?;
    /// model.save_adapter("mnli", "mnli-adapter", false)?; // PEFT's folder
    /// # Ok(model)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Loralib::open`] and [`Loralib::attach`].
    fn load_loralib(
        self,
        name: &str,
        path: impl AsRef<Path>,
        config: &LoraConfig,
    ) -> Result<Self, LoraError> {
        Loralib::open(path)?.attach(self, name, config)
    }

    /// Adds the adapter of a record of a module with Burn's own `apply_lora`. `config` has what is
    /// not in the record, the `alpha` given to [`burn::module::Lora`] first of all; rank and targets
    /// are read off it. The module has to be the base that was adapted: see [`BurnLora`].
    ///
    /// # Errors
    ///
    /// Those of [`BurnLora::open`] and [`BurnLora::attach`].
    fn load_burn_lora(
        self,
        name: &str,
        path: impl AsRef<Path>,
        config: &LoraConfig,
    ) -> Result<Self, LoraError> {
        BurnLora::open(path)?.attach(self, name, config)
    }

    /// Puts the adapter of a folder in the place of the adapter `name`, whose modules and ranks it
    /// must have: PEFT's `hotswap_adapter`. Nothing else changes, the active adapters included.
    ///
    /// # Errors
    ///
    /// As [`load_adapter`](Self::load_adapter), and [`LoraError::NoAdapter`];
    /// [`LoraError::AdapterMerged`]; [`LoraError::ConfigValue`] if the two differ in `lora_dropout`
    /// or `bias`, which are not the weights' alone, or one takes a start out of the base that the
    /// other does not.
    fn hotswap_adapter(self, name: &str, folder: impl AsRef<Path>) -> Result<Self, LoraError> {
        let before = self.adapter_config(name)?;
        let config = LoraConfig::from_file(folder.as_ref())?;
        require_swappable(name, &before, &config)?;
        require_unmerged(&self, name)?;
        let module = adapter_file::load(self, name, &config, folder.as_ref())?;
        edit(module, &mut Reconfigure::new(name, &config))
    }

    /// Writes the adapter `name` to a folder as PEFT does, with the modules it trains in full.
    ///
    /// # Errors
    ///
    /// [`LoraError::NoAdapter`], [`LoraError::AlreadyExists`] if the folder holds anything and
    /// `overwrite` is false, [`LoraError::Io`].
    fn save_adapter(
        &self,
        name: &str,
        folder: impl AsRef<Path>,
        overwrite: bool,
    ) -> Result<(), LoraError> {
        let config = self.adapter_config(name)?;
        adapter_file::save(self, name, &config, folder.as_ref(), overwrite)
    }

    /// As [`save_adapter`](Self::save_adapter), but for an adapter that took its start out of the
    /// base (PiSSA, OLoRA): what is written is plain LoRA of twice the rank, for the original base.
    /// It can be switched, combined and loaded beside other adapters. PEFT's
    /// `save_pretrained(path_initial_model_for_weight_conversion=…)`; the start is known here, so
    /// there is no folder to keep.
    ///
    /// ```
    /// # use burn::module::Module;
    /// # use lora_core::{InitLoraWeights, LoraConfig, LoraLinear, LoraLinearConfig, LoraModule};
    /// # #[derive(Module, Debug)]
    /// # struct Model {
    /// #     query: LoraLinear,
    /// # }
    /// # let device = lora_core::default_device();
    /// # let model = Model { query: LoraLinearConfig::new(4, 6).init(&device) };
    /// # let folder = tempfile::tempdir().unwrap();
    /// let config = LoraConfig::new().with_r(2).with_target_modules(["query"]);
    /// let config = config.with_init_lora_weights(InitLoraWeights::Pissa);
    /// let model = config.inject(model)?;
    /// // … train …
    /// model.save_adapter_as_lora("default", folder.path(), false)?;
    ///
    /// let original = model.unload()?;
    /// let model = original.load_adapter("converted", folder.path())?;
    /// assert_eq!(model.adapter_config("converted")?.r, 4);
    /// # Ok::<(), lora_core::LoraError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`save_adapter`](Self::save_adapter); [`LoraError::NotConvertible`] if the adapter did not
    /// change the base, or not by a low-rank part (LoftQ), or has `use_rslora` with `rank_pattern`
    /// or `alpha_pattern`; [`LoraError::BaseReplaced`].
    fn save_adapter_as_lora(
        &self,
        name: &str,
        folder: impl AsRef<Path>,
        overwrite: bool,
    ) -> Result<(), LoraError> {
        conversion::save_as_lora(self, name, folder.as_ref(), overwrite)
    }

    /// Gives the adapter `name`, which has `init_lora_weights = "eva"`, its start: EVA (Paischer et
    /// al. 2024), PEFT's `initialize_lora_eva_weights`.
    ///
    /// Runs `forward` on the batches until the principal components of the adapted layers' inputs
    /// have converged ([`EvaConfig`](crate::EvaConfig)), or there are no more; PEFT goes through the
    /// data again and again, which is `batches.cycle()`. `A` becomes the components, `B` is zero.
    /// With `rho` above 1 the ranks are shared out by what components explain: the adapter's
    /// `rank_pattern` and `alpha_pattern` say how, and a layer that gets no rank loses the adapter.
    ///
    /// `forward` gets the model in validation mode and with its adapters disabled, so batches
    /// belong on the device without autodiff. It returns the positions that count, `[batch,
    /// sequence]`, such as [`EvaConfig::positions`](crate::EvaConfig::positions) gives, or `None`
    /// for all. The first batch is run twice.
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::tensor::{Distribution, Tensor};
    /// use lora_core::{
    ///     InitLoraWeights, LoraConfig, LoraLinear, LoraLinearConfig, LoraModule, default_device,
    /// };
    ///
    /// #[derive(Module, Debug)]
    /// struct Model {
    ///     up: LoraLinear,
    ///     down: LoraLinear,
    /// }
    ///
    /// let device = default_device();
    /// let model = Model {
    ///     up: LoraLinearConfig::new(4, 6).init(&device),
    ///     down: LoraLinearConfig::new(6, 4).init(&device),
    /// };
    /// let config = LoraConfig::new()
    ///     .with_r(2)
    ///     .with_target_modules("all-linear")
    ///     .with_init_lora_weights(InitLoraWeights::Eva);
    /// let batch = |_| Tensor::<2>::random([16, 4], Distribution::Normal(0.0, 1.0), &device);
    /// let model = config.inject(model)?.initialize_eva(
    ///     "default",
    ///     (0..20).map(batch),
    ///     |model, x| {
    ///         model.down.forward(model.up.forward(x));
    ///         None
    ///     },
    /// )?;
    /// let config = model.adapter_config("default")?;
    /// assert_eq!(config.rank_for("up")? + config.rank_for("down")?, 4);
    /// # Ok::<(), lora_core::LoraError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LoraError::NoAdapter`], [`LoraError::AdapterMerged`]; [`LoraError::ConfigValue`] for an
    /// adapter with another initialisation; [`LoraError::Init`] if there is no batch, a layer's
    /// inputs cannot be seen (Burn's `Linear`: use [`LoraLinear`](crate::LoraLinear)), are too few,
    /// not finite, or do not fit the positions.
    fn initialize_eva<T: Clone>(
        self,
        name: &str,
        batches: impl IntoIterator<Item = T>,
        forward: impl FnMut(&Self, T) -> Option<Tensor<2, Bool>>,
    ) -> Result<Self, LoraError> {
        eva::initialize(self, name, batches, forward)
    }

    /// The names of all adapters, in the order they were added.
    fn adapter_names(&self) -> Vec<String> {
        let attachments = collect(self);
        let mut all: Vec<(usize, &str)> = attachments.lora().flat_map(|(_, a)| a.added()).collect();
        all.sort_unstable();
        let mut names: Vec<String> = Vec::new();
        for (_, name) in all {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_string());
            }
        }
        names
    }

    /// The adapters that are chosen to take part in the forward pass.
    fn active_adapters(&self) -> Vec<String> {
        let attachments = collect(self);
        let active = |name: &String| attachments.lora().any(|(_, all)| all.is_active(name));
        self.adapter_names().into_iter().filter(active).collect()
    }

    /// The configuration that the adapter `name` was made by.
    ///
    /// # Errors
    ///
    /// [`LoraError::NoAdapter`].
    fn adapter_config(&self, name: &str) -> Result<LoraConfig, LoraError> {
        let attachments = collect(self);
        let mut configs = attachments.lora().filter_map(|(_, all)| all.config(name));
        configs
            .next()
            .cloned()
            .ok_or_else(|| no_adapter(self, name))
    }

    /// What state the adapters are in, module by module and as a whole, and what is irregular:
    /// PEFT's `get_layer_status` and `get_model_status`. A module without adapters has an empty one.
    ///
    /// ```
    /// # use burn::module::Module;
    /// # use lora_core::{LoraConfig, LoraLinear, LoraLinearConfig, LoraModule, default_device};
    /// # #[derive(Module, Debug)]
    /// # struct Model {
    /// #     query: LoraLinear,
    /// # }
    /// # let device = default_device();
    /// # let model = Model { query: LoraLinearConfig::new(4, 6).init(&device) };
    /// let config = LoraConfig::new().with_r(2).with_target_modules(["query"]);
    /// let model = model.add_adapter("formal", &config)?.add_adapter("brief", &config)?;
    /// let status = model.status();
    /// assert_eq!(status.active, ["formal"]);
    /// assert_eq!(status.layers[0].adapter("brief").and_then(|brief| brief.rank), Some(2));
    /// println!("{status}");
    /// # Ok::<(), lora_core::LoraError>(())
    /// ```
    fn status(&self) -> ModelStatus {
        ModelStatus::of(self)
    }

    /// Makes `names` the active adapters, and the only ones that are trained: PEFT's
    /// `set_adapter`. Their updates are added up.
    ///
    /// An adapter that takes its start out of the base
    /// ([`InitLoraWeights`](crate::InitLoraWeights)) gives it back while it is not active: the
    /// others are then adapters of the original. In PEFT the start stays out.
    ///
    /// # Errors
    ///
    /// [`LoraError::BaseReplaced`]; [`LoraError::NoAdapter`]; [`LoraError::SavedByBoth`] if two of them have a copy of one
    /// module (`modules_to_save`).
    fn set_active(self, names: &[&str]) -> Result<Self, LoraError> {
        require(&self, names)?;
        one_copy_each(&collect(&self), names)?;
        settle(edit(self, &mut Update::SetActive(names))?, None)
    }

    /// Leaves every adapter out, and puts the originals of the modules trained in full back, until
    /// [`enable_adapters`](Self::enable_adapters). Merged adapters are taken out first, and what
    /// adapters took out of the base is put back.
    ///
    /// # Errors
    ///
    /// [`LoraError::NotInjected`], [`LoraError::BaseReplaced`].
    fn disable_adapters(self) -> Result<Self, LoraError> {
        settle(edit(self.unmerge()?, &mut Update::SetEnabled(false))?, None)
    }

    /// Undoes [`disable_adapters`](Self::disable_adapters). What was merged before is not merged.
    ///
    /// # Errors
    ///
    /// [`LoraError::NotInjected`].
    fn enable_adapters(self) -> Result<Self, LoraError> {
        require_any(&self)?;
        settle(edit(self, &mut Update::SetEnabled(true))?, None)
    }

    /// What `f` gives for this module with its adapters disabled, as in PEFT's
    /// `with model.disable_adapter():`.
    ///
    /// # Errors
    ///
    /// [`LoraError::NotInjected`].
    fn with_adapters_disabled<T>(&self, f: impl FnOnce(&Self) -> T) -> Result<T, LoraError> {
        Ok(f(&self.clone().disable_adapters()?))
    }

    /// This module for a batch in which each row names its adapter, or [`BASE_ADAPTER`] for none:
    /// PEFT's `adapter_names`. A module that lacks a row's adapter leaves that row to the base.
    ///
    /// The rows of one adapter are computed together, in one product for each of its factors, and
    /// rows of the base cost nothing beyond the base. The result is a clone that shares all tensors;
    /// it is for forward passes over batches of this size. Its active adapters and what is trained
    /// are as before, and any call that changes adapters ends the choice of rows. Gradients reach
    /// an adapter from its own rows, if it is trained
    /// ([`set_adapter_require_grad`](Self::set_adapter_require_grad)).
    ///
    /// Of a module that adapters train in full (`modules_to_save`) each row takes its own adapter's
    /// copy, or the original, if it is a [`LoraLinear`](crate::LoraLinear) or
    /// [`LoraEmbedding`](crate::LoraEmbedding), which see the rows before they read their
    /// parameters. Any other module, a normalization say, asks each parameter for its value, and
    /// there is one of it: there the rows have to agree. PEFT, too, mixes copies of linear layers
    /// and embeddings (and convolutions), but only where every adapter named has one.
    ///
    /// The leading axis of every adapted layer's input has to be the batch, alone or folded with
    /// axes behind it (`[batch · sequence, d_in]`): vectors in another order would go through other
    /// rows' adapters.
    ///
    /// ```
    /// # use burn::module::Module;
    /// # use burn::tensor::Tensor;
    /// # use lora_core::{LoraConfig, LoraLinear, LoraLinearConfig, LoraModule, default_device};
    /// use lora_core::BASE_ADAPTER;
    /// # #[derive(Module, Debug)]
    /// # struct Model {
    /// #     query: LoraLinear,
    /// # }
    /// # let device = default_device();
    /// # let model = Model { query: LoraLinearConfig::new(4, 6).init(&device) };
    /// # let config = LoraConfig::new().with_r(2).with_target_modules(["query"]);
    /// # let config = config.with_init_lora_weights(lora_core::InitLoraWeights::Random);
    /// # let model = model.add_adapter("formal", &config)?.add_adapter("brief", &config)?;
    ///
    /// let rows = ["brief", BASE_ADAPTER, "formal", "brief"];
    /// let x = Tensor::<2>::ones([4, 4], &device);
    /// let mixed = model.for_rows(&rows)?.query.forward(x.clone());
    ///
    /// let brief = model.set_active(&["brief"])?.query.forward(x);
    /// let difference = (mixed - brief).slice(3..4).abs().max();
    /// assert!(difference.into_scalar::<f32>() < 1e-6);
    /// # Ok::<(), lora_core::LoraError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LoraError::NoRows`], [`LoraError::NoAdapter`], [`LoraError::NotInjected`]; an adapter took
    /// its start out of the base ([`LoraError::StartTaken`]); adapters are
    /// merged ([`LoraError::AdapterMerged`]) or disabled ([`LoraError::AdaptersDisabled`]).
    ///
    /// Unless all rows name the same adapter, also: one of those named is in a module that only
    /// sees its composed weight, such as Burn's `Linear`
    /// ([`LoraError::MixedBatchUnsupported`]); the rows would need different values of such a
    /// module's parameter, of which an adapter has its own copy (`modules_to_save`), or of one that
    /// a tied module reads too ([`LoraError::MixedBatchOfCopies`]).
    ///
    /// # Panics
    ///
    /// The forward pass panics, as Burn's do on shapes that do not fit, if an adapted layer's input
    /// has a number of vectors that is no multiple of the batch; and so does reading a parameter of
    /// a `LoraLinear` or `LoraEmbedding` as a whole (`weight.val()`) if rows differ in it.
    ///
    /// [`BASE_ADAPTER`]: crate::BASE_ADAPTER
    fn for_rows(&self, names: &[&str]) -> Result<Self, LoraError> {
        require_none(self, "for_rows", |_| true)?;
        mixed_batch::for_rows(self, names)
    }

    /// Takes the adapter `name` off, and its copies of modules with it. What it took out of the
    /// base is put back, bit for bit. If no other is active then, the first by name of those that
    /// are left is, as in PEFT.
    ///
    /// # Errors
    ///
    /// [`LoraError::NoAdapter`], or it is merged ([`LoraError::AdapterMerged`]);
    /// [`LoraError::BaseReplaced`].
    fn delete_adapter(self, name: &str) -> Result<Self, LoraError> {
        require(&self, &[name])?;
        require_unmerged(&self, name)?;
        let alone = self.active_adapters() == [name];
        let module = edit(settle(self, Some(name))?, &mut Update::Delete(name))?;
        match module.adapter_names().into_iter().min() {
            Some(next) if alone => module.set_active(&[next.as_str()]),
            _ => Ok(module),
        }
    }

    /// Scales the adapter `name` by `factor` times what its configuration says: 0 switches its
    /// update off, 1 is as trained. The update of an adapter that took its start out of the base
    /// includes that start.
    ///
    /// # Errors
    ///
    /// [`LoraError::NoAdapter`], or it is merged ([`LoraError::AdapterMerged`]).
    fn set_scale(self, name: &str, factor: f64) -> Result<Self, LoraError> {
        let config = self.adapter_config(name)?;
        require_unmerged(&self, name)?;
        edit(self, &mut Reconfigure::new(name, &config).scaled(factor))
    }

    /// Sets whether the adapter `name` is trained, its copies of modules included. Burn puts it
    /// into effect on an autodiff device.
    ///
    /// # Errors
    ///
    /// [`LoraError::NoAdapter`].
    fn set_adapter_require_grad(self, name: &str, require_grad: bool) -> Result<Self, LoraError> {
        require(&self, &[name])?;
        edit(self, &mut Update::SetRequireGrad(name, require_grad))
    }

    /// Adds the active adapters into their weights, `W + scaling·A·B` (LoRA, section 4.1), until
    /// [`unmerge`](Self::unmerge). The sum is made in f32 whatever the weights' type is.
    ///
    /// The weights as they were are kept for unmerging, so this takes their memory once more;
    /// [`merge_and_unload`](Self::merge_and_unload) does not.
    ///
    /// # Errors
    ///
    /// [`LoraError::NotInjected`], or [`LoraError::NotFinite`] if a merged weight would hold NaN or
    /// infinity.
    fn merge(self) -> Result<Self, LoraError> {
        require_any(&self)?;
        Merge::new(None).apply(self)
    }

    /// As [`merge`](Self::merge), with adapters of choice.
    ///
    /// # Errors
    ///
    /// As [`merge`](Self::merge), and [`LoraError::NoAdapter`].
    fn merge_adapters(self, names: &[&str]) -> Result<Self, LoraError> {
        require(&self, names)?;
        Merge::new(Some(names)).apply(self)
    }

    /// Takes merged adapters out of the weights, which are bit for bit what they were.
    ///
    /// # Errors
    ///
    /// [`LoraError::NotInjected`].
    fn unmerge(self) -> Result<Self, LoraError> {
        require_any(&self)?;
        settle(edit(self, &mut Unmerge)?, None)
    }

    /// Adds the active adapters into their weights and takes all adapters off. Modules trained in
    /// full stay as the active adapter trained them.
    ///
    /// # Errors
    ///
    /// As [`merge`](Self::merge).
    fn merge_and_unload(self) -> Result<Self, LoraError> {
        require_any(&self)?;
        Merge::new(None).unloading().apply(self)
    }

    /// As [`merge_and_unload`](Self::merge_and_unload), with every parameter of the result in
    /// `dtype`; the sums are made in f32.
    ///
    /// # Errors
    ///
    /// As [`merge`](Self::merge).
    fn merge_and_unload_as(self, dtype: FloatDType) -> Result<Self, LoraError> {
        require_any(&self)?;
        Merge::new(None).unloading().with_dtype(dtype).apply(self)
    }

    /// Takes all adapters off and leaves the base as it was, bit for bit.
    ///
    /// # Errors
    ///
    /// [`LoraError::NotInjected`], [`LoraError::BaseReplaced`].
    fn unload(self) -> Result<Self, LoraError> {
        Merge::new(Some(&[])).unloading().apply(self.unmerge()?)
    }
}

impl<M: Module> LoraModule for M {}
