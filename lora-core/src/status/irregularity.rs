//! What is not the same in all modules.

use std::fmt;

use burn::tensor::DType;
use indexmap::IndexMap;
use serde::Serialize;

use super::{AdapterStatus, Agreement, LayerStatus};

/// What modules can differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// Adapters are enabled in some modules and disabled in others.
    Enabled,
    /// An adapter is active in some of its modules and not in others.
    Active,
    /// An adapter is merged in some of its modules and not in others.
    Merged,
    /// Some of an adapter's parameters are trained and others are not.
    Trainable,
    /// Weights or factors are on several devices.
    Device,
    /// Weights or factors have several types.
    Dtype,
}

/// Something that is not the same in all modules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Irregularity {
    /// What it is.
    pub aspect: Aspect,
    /// The adapter it is about; `None` if it is about the model.
    pub adapter: Option<String>,
    /// Each value there is, with the modules that have it; an adapter's factors are
    /// `<module>.<adapter>`.
    pub values: IndexMap<String, Vec<String>>,
}

impl fmt::Display for Irregularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.adapter {
            Some(adapter) => write!(f, "adapter {adapter:?} is ")?,
            None => f.write_str(match self.aspect {
                Aspect::Device => "there are parameters on ",
                Aspect::Dtype => "there are parameters of type ",
                _ => "adapters are ",
            })?,
        }
        for (number, (value, places)) in self.values.iter().enumerate() {
            let before = match number {
                0 => "",
                n if n + 1 == self.values.len() => " and ",
                _ => ", ",
            };
            write!(f, "{before}{value} in {}", summary(places))?;
        }
        Ok(())
    }
}

fn summary(places: &[String]) -> String {
    match places {
        [one] => one.clone(),
        [one, other] => format!("{one} and {other}"),
        [first, .., last] => format!("{} places ({first} … {last})", places.len()),
        [] => String::new(),
    }
}

/// Everything that differs.
pub(super) fn find<'a>(adapters: &[String], layers: &'a [LayerStatus]) -> Vec<Irregularity> {
    let mut found = Vec::new();
    let mut add = |aspect, adapter: Option<&String>, pairs: Vec<(String, String)>| {
        let mut values: IndexMap<String, Vec<String>> = IndexMap::new();
        for (value, place) in pairs {
            values.entry(value).or_default().push(place);
        }
        if values.len() > 1 {
            found.push(Irregularity {
                aspect,
                adapter: adapter.cloned(),
                values,
            });
        }
    };
    let word = |holds, yes: &str, no: &str| if holds { yes } else { no }.to_string();
    let enabled = layers.iter().map(|layer| {
        let value = word(layer.enabled, "enabled", "disabled");
        (value, layer.path.clone())
    });
    add(Aspect::Enabled, None, enabled.collect());
    for name in adapters {
        let of = |layer: &'a LayerStatus| Some((layer.adapter(name)?, &layer.path));
        let own: Vec<(&AdapterStatus, &String)> = layers.iter().filter_map(of).collect();
        let active = own.iter().map(|(status, path)| {
            let value = word(status.active, "active", "not active");
            (value, path.to_string())
        });
        add(Aspect::Active, Some(name), active.collect());
        // Copies of modules are not merged, they take the original's place.
        let merged = own.iter().filter(|(status, _)| status.rank.is_some());
        let merged = merged.map(|(status, path)| {
            let value = word(status.merged, "merged", "not merged");
            (value, path.to_string())
        });
        add(Aspect::Merged, Some(name), merged.collect());
        let trained = own.iter().flat_map(|(status, path)| {
            let values = match status.trainable {
                Agreement::Yes => &["trained"][..],
                Agreement::No => &["frozen"],
                Agreement::Irregular => &["trained", "frozen"],
            };
            let pairs = values
                .iter()
                .map(|value| (value.to_string(), path.to_string()));
            pairs.collect::<Vec<_>>()
        });
        add(Aspect::Trainable, Some(name), trained.collect());
    }
    let devices = places(layers, |devices, _| devices.to_vec());
    add(Aspect::Device, None, devices);
    let dtypes = places(layers, |_, dtypes| {
        dtypes.iter().map(|dtype| format!("{dtype:?}")).collect()
    });
    add(Aspect::Dtype, None, dtypes);
    found
}

/// What `values` makes of the devices and types of each module's base and of each of its adapters,
/// with their names.
fn places(
    layers: &[LayerStatus],
    values: impl Fn(&[String], &[DType]) -> Vec<String>,
) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for layer in layers {
        let mut add = |path: String, devices: &[String], dtypes: &[DType]| {
            let values = values(devices, dtypes).into_iter();
            pairs.extend(values.map(|value| (value, path.clone())));
        };
        add(layer.path.clone(), &layer.devices, &layer.dtypes);
        for adapter in &layer.adapters {
            let path = format!("{}.{}", layer.path, adapter.name);
            add(path, &adapter.devices, &adapter.dtypes);
        }
    }
    pairs
}
