//! The state of one module's adapters.

use burn::tensor::DType;
use serde::Serialize;

use super::Agreement;

/// The heads of the table's columns.
pub(super) const COLUMNS: [&str; 10] = [
    "module", "type", "adapter", "enabled", "active", "merged", "trained", "rank", "dtype",
    "device",
];

/// A module that has adapters, or that adapters train copies of (`modules_to_save`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerStatus {
    /// The module's path. Of a module trained in full it is the outermost that `modules_to_save`
    /// means, as in PEFT.
    pub path: String,
    /// The module's type: `LoraLinear`, `Embedding`, ….
    pub kind: String,
    /// Whether its adapters are enabled.
    pub enabled: bool,
    /// Its adapters, in the order they were added.
    pub adapters: Vec<AdapterStatus>,
    /// The types of the base's weights; those that are not initialized yet are left out.
    pub dtypes: Vec<DType>,
    /// The devices of the base's weights: `flex`, `cuda:1`, ….
    pub devices: Vec<String>,
}

/// One adapter in one module.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterStatus {
    /// The adapter's name.
    pub name: String,
    /// Whether it is chosen to take part in the forward pass.
    pub active: bool,
    /// Whether it is merged into the weight.
    pub merged: bool,
    /// Whether its parameters are configured to train.
    pub trainable: Agreement,
    /// The rank; `None` for a copy of a module that is trained in full.
    pub rank: Option<usize>,
    /// The types of its parameters.
    pub dtypes: Vec<DType>,
    /// The devices of its parameters.
    pub devices: Vec<String>,
}

impl LayerStatus {
    /// What it says of the adapter `name`, if it has it.
    pub fn adapter(&self, name: &str) -> Option<&AdapterStatus> {
        self.adapters.iter().find(|adapter| adapter.name == name)
    }

    /// A line of the table for each adapter; the module is named in the first only.
    pub(super) fn lines(&self) -> impl Iterator<Item = [String; COLUMNS.len()]> {
        let adapters = self.adapters.iter().enumerate();
        adapters.map(|(number, adapter)| {
            let once = |text: &str| if number == 0 { text } else { "" }.to_string();
            let yes_or_no = |holds| if holds { "yes" } else { "no" }.to_string();
            // A copy takes the original's place: there is nothing to merge.
            let merged = match adapter.rank {
                Some(_) => yes_or_no(adapter.merged),
                None => "-".to_string(),
            };
            let trained = match adapter.trainable {
                Agreement::Irregular => "partly".to_string(),
                agreement => yes_or_no(agreement == Agreement::Yes),
            };
            let dtypes: Vec<String> = adapter.dtypes.iter().map(|t| format!("{t:?}")).collect();
            [
                once(&self.path),
                once(&self.kind),
                adapter.name.clone(),
                yes_or_no(self.enabled),
                yes_or_no(adapter.active),
                merged,
                trained,
                adapter.rank.map_or("full".to_string(), |r| r.to_string()),
                dtypes.join(", "),
                adapter.devices.join(", "),
            ]
        })
    }
}
