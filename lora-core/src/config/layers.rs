//! `layers_to_transform` and `layers_pattern`: adapters in some of the layers only.

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use super::LoraConfig;
use super::target_modules::{ModulePattern, regex};
use crate::LoraError;

/// The numbers of the layers to adapt: PEFT's `list[int]` or `int`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LayerIndices {
    /// One layer.
    One(usize),
    /// Several layers; an empty list means all.
    Many(Vec<usize>),
}

impl From<usize> for LayerIndices {
    fn from(layer: usize) -> Self {
        Self::One(layer)
    }
}

impl<const N: usize> From<[usize; N]> for LayerIndices {
    fn from(layers: [usize; N]) -> Self {
        Self::Many(layers.to_vec())
    }
}

/// A name or several: PEFT's `list[str]` or `str`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One name.
    One(String),
    /// Several names.
    Many(Vec<String>),
}

impl From<&str> for OneOrMany {
    fn from(name: &str) -> Self {
        Self::One(name.to_string())
    }
}

impl OneOrMany {
    /// The names; an empty one is none, as in PEFT.
    fn names(&self) -> &[String] {
        match self {
            Self::One(name) if name.is_empty() => &[],
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

/// Whether a module lies in one of the layers to adapt, by PEFT's rules.
pub(crate) struct LayerFilter {
    layers: Vec<usize>,
    patterns: Vec<Regex>,
}

impl LayerFilter {
    /// `None` if the configuration does not choose layers.
    pub(crate) fn new(config: &LoraConfig) -> Result<Option<Self>, LoraError> {
        let layers = match &config.layers_to_transform {
            None => return Ok(None),
            Some(LayerIndices::Many(layers)) if layers.is_empty() => return Ok(None),
            Some(LayerIndices::Many(layers)) => layers.clone(),
            Some(LayerIndices::One(layer)) => vec![*layer],
        };
        let names = config
            .layers_pattern
            .as_ref()
            .map_or(&[][..], OneOrMany::names);
        let named = |name: &String| {
            let pattern = format!(r"^(?:|.*?\.){name}\.(?P<idx>\d+)\.");
            regex(&pattern, name, "layers_pattern")
        };
        // Without a pattern it is the first number in the path, below the root's own lists.
        let patterns = match names {
            [] => vec![regex(r"^.*?\.[^.]*\.(?P<idx>\d+)\.", "", "layers_pattern")?],
            names => names.iter().map(named).collect::<Result<_, _>>()?,
        };
        Ok(Some(Self { layers, patterns }))
    }

    /// Whether the module at `path` is in one of the layers.
    pub(crate) fn allows(&self, path: &str) -> bool {
        let index = self.patterns.iter().find_map(|pattern| {
            let captures = pattern.captures(path).ok().flatten()?;
            captures.name("idx")?.as_str().parse::<usize>().ok()
        });
        index.is_some_and(|index| self.layers.contains(&index))
    }
}

impl LoraConfig {
    /// The combinations that PEFT refuses, too.
    pub(super) fn validate_layers(&self) -> Result<(), LoraError> {
        let bad = |field, value: String, expected| {
            Err(LoraError::ConfigValue {
                field,
                value,
                expected,
            })
        };
        if let (None, Some(pattern)) = (&self.layers_to_transform, &self.layers_pattern)
            && !pattern.names().is_empty()
        {
            let value = pattern.names().join(", ");
            return bad("layers_pattern", value, "`layers_to_transform` with it");
        }
        let by_regex = self
            .target_modules
            .as_ref()
            .is_some_and(|targets| matches!(targets.0, ModulePattern::Regex(_)));
        match &self.layers_to_transform {
            Some(layers) if by_regex => bad(
                "layers_to_transform",
                format!("{layers:?} beside a string in `target_modules`"),
                "`target_modules` as a list, or the layers in its regular expression",
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(config: &LoraConfig, path: &str) -> bool {
        LayerFilter::new(config).unwrap().unwrap().allows(path)
    }

    #[test]
    fn the_number_after_the_pattern_decides() {
        let config = LoraConfig::new()
            .with_layers_to_transform([0, 2])
            .with_layers_pattern("layer");
        assert!(allows(
            &config,
            "roberta.encoder.layer.2.attention.self.query"
        ));
        assert!(!allows(
            &config,
            "roberta.encoder.layer.1.attention.self.query"
        ));
        assert!(!allows(
            &config,
            "roberta.encoder.block.2.attention.self.query"
        ));
        assert!(!allows(&config, "pooler.dense"));
        assert!(allows(&config, "layer.0.dense"));
    }

    #[test]
    fn without_a_pattern_it_is_the_first_number() {
        let config = LoraConfig::new().with_layers_to_transform(1);
        assert!(allows(&config, "model.layers.1.experts.0.up"));
        assert!(!allows(&config, "model.layers.0.experts.1.up"));
        let empty = config.with_layers_pattern("");
        assert!(empty.validate().is_ok() && allows(&empty, "model.layers.1.up"));
        assert!(LoraConfig::new().with_layers_pattern("").validate().is_ok());
    }

    #[test]
    fn what_peft_refuses_is_refused() {
        let error = |config: LoraConfig| config.validate().unwrap_err().to_string();
        let pattern = LoraConfig::new().with_layers_pattern("h");
        assert!(error(pattern).contains("`layers_pattern` is h"));
        let regex = LoraConfig::new()
            .with_target_modules(".*query")
            .with_layers_to_transform(1);
        assert!(error(regex).contains("`layers_to_transform`"));
        assert!(LayerFilter::new(&LoraConfig::new()).unwrap().is_none());
    }
}
