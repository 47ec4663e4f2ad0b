//! What state a model's adapters are in: PEFT's `get_model_status` and `get_layer_status`.

mod irregularity;
mod layer;
mod layers;

use std::fmt;

use burn::module::Module;
use indexmap::IndexMap;
use serde::{Serialize, Serializer};

pub use irregularity::{Aspect, Irregularity};
pub use layer::{AdapterStatus, LayerStatus};

use crate::LoraModule;
use crate::adapters::attachments::{Attachments, collect};
use crate::state::{ParameterInfo, parameters};

/// Whether something holds of everything that is asked.
///
/// Serialized as PEFT does: `true`, `false` or `"irregular"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// It holds everywhere.
    Yes,
    /// It holds nowhere.
    No,
    /// It holds of some and not of others.
    Irregular,
}

impl Agreement {
    fn of(all: impl IntoIterator<Item = Self>) -> Self {
        let mut all = all.into_iter();
        let first = all.next().unwrap_or(Self::No);
        match all.all(|next| next == first) {
            true => first,
            false => Self::Irregular,
        }
    }
}

impl From<bool> for Agreement {
    fn from(holds: bool) -> Self {
        match holds {
            true => Self::Yes,
            false => Self::No,
        }
    }
}

impl Serialize for Agreement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Yes => serializer.serialize_bool(true),
            Self::No => serializer.serialize_bool(false),
            Self::Irregular => serializer.serialize_str("irregular"),
        }
    }
}

/// The adapters of a model and of each of its modules: [`LoraModule::status`].
///
/// Its `Display` is a table with a line for each adapter of each module, then the model as a whole,
/// then whatever is irregular.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelStatus {
    /// The modules that have adapters or are trained in full, in the module's order.
    pub layers: Vec<LayerStatus>,
    /// All adapters.
    pub adapters: Vec<String>,
    /// Those that are active in some module.
    pub active: Vec<String>,
    /// Those that are merged into some weight.
    pub merged: Vec<String>,
    /// Whether the adapters are enabled.
    pub enabled: Agreement,
    /// Whether each adapter is trained, its copies of modules included.
    pub trainable: IndexMap<String, Agreement>,
    /// What the rows of a mixed batch name ([`LoraModule::for_rows`]), in place of the active ones.
    pub rows: Option<Vec<String>>,
    /// The number of parameters that are trained.
    pub trainable_parameters: usize,
    /// The number of all parameters, as PEFT counts them: the frozen original of a module that is
    /// trained in full counts beside each copy.
    pub total_parameters: usize,
    /// What is not the same in all modules and likely not meant.
    ///
    /// A module that lacks an adapter is none, and neither are copies of modules, which are never
    /// merged; PEFT says `irregular` there.
    pub irregularities: Vec<Irregularity>,
}

impl ModelStatus {
    pub(crate) fn of<M: Module>(module: &M) -> Self {
        let attachments = collect(module);
        let layers = layers::of(module, &attachments);
        let adapters = module.adapter_names();
        let in_any = |holds: fn(&AdapterStatus) -> bool| {
            let names = adapters.iter().filter(|name| {
                let mut statuses = layers.iter().filter_map(|layer| layer.adapter(name));
                statuses.any(holds)
            });
            names.cloned().collect()
        };
        let trainable = adapters.iter().map(|name| {
            let statuses = layers.iter().filter_map(|layer| layer.adapter(name));
            let agreement = Agreement::of(statuses.map(|status| status.trainable));
            (name.clone(), agreement)
        });
        let parameters = parameters(module);
        let trained = parameters.iter().filter(|p| p.trainable);
        Self {
            active: in_any(|status| status.active),
            merged: in_any(|status| status.merged),
            enabled: Agreement::of(layers.iter().map(|layer| layer.enabled.into())),
            trainable: trainable.collect(),
            rows: rows(&attachments),
            trainable_parameters: trained.map(ParameterInfo::count).sum(),
            total_parameters: parameters.iter().map(ParameterInfo::count).sum(),
            irregularities: irregularity::find(&adapters, &layers),
            adapters,
            layers,
        }
    }
}

fn rows(attachments: &Attachments) -> Option<Vec<String>> {
    let mut batches = attachments.lora().filter_map(|(_, all)| all.batch());
    batches.next().map(|batch| batch.row_names())
}

impl fmt::Display for ModelStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.layers.is_empty() {
            return f.write_str("no adapters");
        }
        write_table(f, &self.layers)?;
        let or_none = |names: &[String]| match names {
            [] => "none".to_string(),
            names => names.join(", "),
        };
        writeln!(f, "adapters: {}", or_none(&self.adapters))?;
        writeln!(f, "active: {}", or_none(&self.active))?;
        writeln!(f, "merged: {}", or_none(&self.merged))?;
        if self.enabled == Agreement::No {
            writeln!(f, "disabled: the base is computed alone")?;
        }
        if let Some(rows) = &self.rows {
            writeln!(f, "rows of the batch: {}", rows.join(", "))?;
        }
        write!(
            f,
            "trained parameters: {} of {}",
            self.trainable_parameters, self.total_parameters
        )?;
        for irregularity in &self.irregularities {
            write!(f, "\nirregular: {irregularity}")?;
        }
        Ok(())
    }
}

/// The layers as a table, each column as wide as its widest entry.
fn write_table(f: &mut fmt::Formatter<'_>, layers: &[LayerStatus]) -> fmt::Result {
    let mut lines = vec![layer::COLUMNS.map(String::from)];
    lines.extend(layers.iter().flat_map(LayerStatus::lines));
    let width = |column: usize| {
        let entries = lines.iter().map(|line| line[column].chars().count());
        entries.max().unwrap_or_default()
    };
    let widths: [usize; layer::COLUMNS.len()] = std::array::from_fn(width);
    for line in &lines {
        let entries = line.iter().zip(widths);
        let padded: Vec<String> = entries.map(|(entry, w)| format!("{entry:<w$}")).collect();
        writeln!(f, "{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}
