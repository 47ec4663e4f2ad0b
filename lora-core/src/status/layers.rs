//! Collecting the state of every module that has adapters.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor};
use indexmap::IndexMap;

use super::{AdapterStatus, Agreement, LayerStatus};
use crate::adapters::attachments::Attachments;
use crate::state::{Location, ParameterInfo, Role, parameters};

/// The modules with adapters or copies, in the module's order.
pub(super) fn of<M: Module>(module: &M, attachments: &Attachments) -> Vec<LayerStatus> {
    let mut visitor = Collect::default();
    module.visit(&mut visitor);
    let states = States::of(attachments);
    let parameters: Vec<Parameter> = parameters(module)
        .into_iter()
        .zip(visitor.tensors)
        .map(|(info, (dtype, device))| Parameter {
            dtype,
            device,
            info,
        })
        .collect();
    let bases = parameters.iter().filter(|p| p.info.role == Role::Base);
    let bases: BTreeMap<&str, &Parameter> = bases.map(|p| (p.info.path.as_str(), p)).collect();
    let mut layers: IndexMap<String, LayerStatus> = IndexMap::new();
    for parameter in &parameters {
        let base_path = parameter.info.base_path();
        let (Some(name), Some(state)) = (&parameter.info.adapter, states.get(base_path)) else {
            continue;
        };
        let path = state.layer(&parameter.info);
        let layer = layers.entry(path).or_insert_with_key(|path| LayerStatus {
            kind: visitor.kinds.get(path).cloned().unwrap_or_default(),
            path: path.clone(),
            enabled: true,
            adapters: Vec::new(),
            dtypes: Vec::new(),
            devices: Vec::new(),
        });
        layer.enabled &= state.enabled;
        if let Some(base) = bases.get(base_path) {
            base.add_to(&mut layer.dtypes, &mut layer.devices);
        }
        let trainable = parameter.info.trainable.into();
        let known = layer.adapters.iter().position(|known| known.name == *name);
        let index = known.unwrap_or_else(|| {
            layer.adapters.push(AdapterStatus {
                name: name.clone(),
                active: state.active.contains(name),
                merged: state.merged.contains(name),
                trainable,
                rank: state.ranks.get(name).copied(),
                dtypes: Vec::new(),
                devices: Vec::new(),
            });
            layer.adapters.len() - 1
        });
        let adapter = &mut layer.adapters[index];
        adapter.trainable = Agreement::of([adapter.trainable, trainable]);
        parameter.add_to(&mut adapter.dtypes, &mut adapter.devices);
    }
    layers.into_values().collect()
}

/// A parameter with where and what its value is.
struct Parameter {
    info: ParameterInfo,
    /// Unknown before it is initialized.
    dtype: Option<DType>,
    device: String,
}

impl Parameter {
    fn add_to(&self, dtypes: &mut Vec<DType>, devices: &mut Vec<String>) {
        dtypes.extend(self.dtype.filter(|dtype| !dtypes.contains(dtype)));
        if !devices.contains(&self.device) {
            devices.push(self.device.clone());
        }
    }
}

/// What is attached to one parameter, without the numbers.
struct State {
    enabled: bool,
    active: Vec<String>,
    merged: Vec<String>,
    ranks: BTreeMap<String, usize>,
    /// The outermost module that `modules_to_save` means, for a parameter with copies.
    saved: Option<String>,
}

impl State {
    /// The path of the module that is listed for a parameter.
    fn layer(&self, info: &ParameterInfo) -> String {
        let saved = self.saved.as_deref();
        saved.unwrap_or_else(|| info.module()).to_string()
    }
}

/// The states of all parameters that something is attached to, by their paths.
struct States(BTreeMap<String, State>);

impl States {
    fn of(attachments: &Attachments) -> Self {
        let mut states = Self(BTreeMap::new());
        let mut saved_names = Vec::new();
        let adapted = attachments.lora();
        for (path, all) in adapted.filter(|(_, all)| all.names().next().is_some()) {
            let active = all.names().filter(|name| all.is_active(name));
            let ranks = all.names().filter_map(|name| {
                let rank = all.get(name)?.rank();
                Some((name.to_string(), rank))
            });
            let state = State {
                enabled: all.is_enabled(),
                active: active.map(String::from).collect(),
                merged: all.merged().to_vec(),
                ranks: ranks.collect(),
                saved: None,
            };
            states.0.insert(path.to_string(), state);
            let configs = all.names().filter_map(|name| all.config(name));
            saved_names.extend(configs.flat_map(|config| config.saved_module_names()));
        }
        for copied in attachments.saved() {
            let path = copied.path;
            let module = path.rsplit_once('.').map_or("", |(module, _)| module);
            let state = State {
                enabled: copied.enabled,
                active: copied.active.into_iter().map(String::from).collect(),
                merged: Vec::new(),
                ranks: BTreeMap::new(),
                saved: crate::adapter_file::saved_root(module, &saved_names).map(String::from),
            };
            states.0.insert(path.to_string(), state);
        }
        states
    }

    fn get(&self, path: &str) -> Option<&State> {
        self.0.get(path)
    }
}

/// The types of all modules of the base by path, and what each parameter is.
#[derive(Default)]
struct Collect {
    location: Location,
    kinds: BTreeMap<String, String>,
    tensors: Vec<(Option<DType>, String)>,
    /// The names of devices met: asking for all of a machine's takes a while.
    devices: Vec<(Device, String)>,
}

impl Collect {
    fn device(&mut self, device: Device) -> String {
        let known = self.devices.iter().find(|(known, _)| *known == device);
        if let Some((_, name)) = known {
            return name.clone();
        }
        let name = crate::device::name(&device);
        self.devices.push((device, name.clone()));
        name
    }
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, container: &str) {
        // A module's type is what its parts call the container they are in.
        let kind = match container.split_once(':') {
            Some(("Struct" | "Enum", name)) => Some(name),
            Some(_) => None,
            None => Some(container),
        };
        if let Some(kind) = kind {
            let path = self.location.path();
            self.kinds.entry(path).or_insert_with(|| kind.to_string());
        }
        self.location.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.location.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let dtype = param.is_initialized().then(|| param.base().dtype());
        let device = self.device(param.lazy_device());
        self.tensors.push((dtype, device));
    }
}
