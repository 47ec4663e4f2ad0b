//! The calls on the adapters of a whole model.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{FloatDType, Tensor};

use super::LoraAdapters;
use super::attachments::{Edit, collect, edit};
use crate::merge::{Merge, Unmerge};
use crate::modules_to_save::SavedCopies;
use crate::{LoraConfig, LoraError, adapter_file};

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
        let module = config.inject_leniently_as(self, name)?;
        adapter_file::load(module, name, &config, folder.as_ref())
    }

    /// Puts the adapter of a folder in the place of the adapter `name`, whose modules and ranks it
    /// must have: PEFT's `hotswap_adapter`. Nothing else changes, the active adapters included.
    ///
    /// # Errors
    ///
    /// As [`load_adapter`](Self::load_adapter), and [`LoraError::NoAdapter`].
    fn hotswap_adapter(self, name: &str, folder: impl AsRef<Path>) -> Result<Self, LoraError> {
        require(&self, &[name])?;
        let config = LoraConfig::from_file(folder.as_ref())?;
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

    /// The names of all adapters, in the order they were added.
    fn adapter_names(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (_, adapters) in collect(self).lora() {
            for name in adapters.names() {
                if !found.iter().any(|known| known == name) {
                    found.push(name.to_string());
                }
            }
        }
        found
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

    /// Makes `names` the active adapters, and the only ones that are trained: PEFT's
    /// `set_adapter`. Their updates are added up.
    ///
    /// # Errors
    ///
    /// [`LoraError::NoAdapter`]; [`LoraError::SavedByBoth`] if two of them have a copy of one
    /// module (`modules_to_save`).
    fn set_active(self, names: &[&str]) -> Result<Self, LoraError> {
        require(&self, names)?;
        let attachments = collect(&self);
        one_copy_each(attachments.saved::<1>(), names)?;
        one_copy_each(attachments.saved::<2>(), names)?;
        one_copy_each(attachments.saved::<3>(), names)?;
        one_copy_each(attachments.saved::<4>(), names)?;
        edit(self, &mut Update::SetActive(names))
    }

    /// Leaves every adapter out, and puts the originals of the modules trained in full back, until
    /// [`enable_adapters`](Self::enable_adapters). Merged adapters are taken out first.
    ///
    /// # Errors
    ///
    /// [`LoraError::NotInjected`].
    fn disable_adapters(self) -> Result<Self, LoraError> {
        edit(self.unmerge()?, &mut Update::SetEnabled(false))
    }

    /// Undoes [`disable_adapters`](Self::disable_adapters). What was merged before is not merged.
    ///
    /// # Errors
    ///
    /// [`LoraError::NotInjected`].
    fn enable_adapters(self) -> Result<Self, LoraError> {
        require_any(&self)?;
        edit(self, &mut Update::SetEnabled(true))
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

    /// Takes the adapter `name` off, and its copies of modules with it.
    ///
    /// # Errors
    ///
    /// [`LoraError::NoAdapter`], or it is merged ([`LoraError::AdapterMerged`]).
    fn delete_adapter(self, name: &str) -> Result<Self, LoraError> {
        require(&self, &[name])?;
        require_unmerged(&self, name)?;
        edit(self, &mut Update::Delete(name))
    }

    /// Scales the adapter `name` by `factor` times what its configuration says: 0 switches its
    /// update off, 1 is as trained.
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
        edit(self, &mut Unmerge)
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

    /// Takes all adapters off and leaves the base as it was.
    ///
    /// # Errors
    ///
    /// [`LoraError::NotInjected`].
    fn unload(self) -> Result<Self, LoraError> {
        Merge::new(Some(&[])).unloading().apply(self.unmerge()?)
    }
}

impl<M: Module> LoraModule for M {}

pub(crate) fn require_any<M: Module>(module: &M) -> Result<(), LoraError> {
    match collect(module).lora().next() {
        Some(_) => Ok(()),
        None => Err(LoraError::NotInjected),
    }
}

pub(crate) fn require<M: Module>(module: &M, names: &[&str]) -> Result<(), LoraError> {
    let present = module.adapter_names();
    let absent = names
        .iter()
        .find(|name| !present.iter().any(|p| p == *name));
    match absent {
        None => Ok(()),
        Some(name) => Err(no_adapter(module, name)),
    }
}

fn no_adapter<M: Module>(module: &M, name: &str) -> LoraError {
    LoraError::NoAdapter {
        adapter: name.to_string(),
        present: module.adapter_names(),
    }
}

fn require_unmerged<M: Module>(module: &M, name: &str) -> Result<(), LoraError> {
    let attachments = collect(module);
    let merged = attachments
        .lora()
        .any(|(_, all)| all.merged().iter().any(|n| n == name));
    match merged {
        false => Ok(()),
        true => Err(LoraError::AdapterMerged {
            adapter: name.to_string(),
        }),
    }
}

fn one_copy_each<'a, const D: usize>(
    copies: impl Iterator<Item = (&'a str, &'a SavedCopies<D>)>,
    names: &[&str],
) -> Result<(), LoraError> {
    for (path, copies) in copies {
        let owners: Vec<&str> = copies.names().filter(|name| names.contains(name)).collect();
        if owners.len() > 1 {
            return Err(LoraError::SavedByBoth {
                parameter: path.to_string(),
                adapters: owners.into_iter().map(String::from).collect(),
            });
        }
    }
    Ok(())
}

/// Changes of state that need no numbers.
enum Update<'a> {
    SetActive(&'a [&'a str]),
    SetEnabled(bool),
    SetRequireGrad(&'a str, bool),
    Delete(&'a str),
}

impl Edit for Update<'_> {
    fn lora(
        &mut self,
        _path: &str,
        base: Param<Tensor<2>>,
        adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        let adapters = adapters.map(|mut adapters| {
            match self {
                Self::SetActive(names) => adapters.activate(names),
                Self::SetEnabled(enabled) => adapters.enable(*enabled),
                Self::SetRequireGrad(name, require_grad) => {
                    adapters.update(name, |adapter| adapter.set_require_grad(*require_grad));
                }
                Self::Delete(name) => adapters.remove(name),
            }
            adapters
        });
        (base, adapters.filter(|adapters| !adapters.is_empty()))
    }

    fn saved<const D: usize>(
        &mut self,
        _path: &str,
        base: Param<Tensor<D>>,
        copies: Option<SavedCopies<D>>,
    ) -> (Param<Tensor<D>>, Option<SavedCopies<D>>) {
        let copies = copies.map(|mut copies| {
            match self {
                Self::SetActive(names) => copies.activate(names),
                Self::SetEnabled(enabled) => copies.enable(*enabled),
                Self::SetRequireGrad(name, require_grad) => {
                    copies.train_copy(name, *require_grad);
                }
                Self::Delete(name) => copies.remove(name),
            }
            copies
        });
        (base, copies.filter(|copies| !copies.is_empty()))
    }
}

/// Gives an adapter the configuration's scaling, times a factor.
struct Reconfigure<'a> {
    name: &'a str,
    config: &'a LoraConfig,
    factor: f64,
}

impl<'a> Reconfigure<'a> {
    fn new(name: &'a str, config: &'a LoraConfig) -> Self {
        Self {
            name,
            config,
            factor: 1.0,
        }
    }

    fn scaled(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }
}

impl Edit for Reconfigure<'_> {
    fn lora(
        &mut self,
        path: &str,
        base: Param<Tensor<2>>,
        mut adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        let module = path.rsplit_once('.').map_or("", |(module, _)| module);
        if let Some(adapters) = &mut adapters
            && let Ok(scaling) = self.config.scaling_for(module)
        {
            adapters.reconfigure(self.name, self.config, scaling * self.factor);
        }
        (base, adapters)
    }
}
