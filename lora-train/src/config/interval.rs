//! How often something is done in a training run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How often something is done in a training run: Hugging Face's `eval_strategy` and `eval_steps` in
/// one.
///
/// In a configuration file it is `"epoch"`, `"never"` or a number of steps.
///
/// ```
/// use lora_train::Interval;
///
/// assert_eq!("epoch".parse(), Ok(Interval::Epoch));
/// assert_eq!("250".parse(), Ok(Interval::Steps(250)));
/// assert!("0".parse::<Interval>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// After each epoch, and after the last step.
    Epoch,
    /// Every so many steps of the optimizer, and after the last one.
    Steps(usize),
    /// Only after the last step.
    Never,
}

impl Interval {
    /// Whether it is due after `step`, counted from 1.
    pub(crate) fn is_due(self, step: usize, ends_epoch: bool, ends_run: bool) -> bool {
        ends_run
            || match self {
                Self::Epoch => ends_epoch,
                Self::Steps(steps) => step.is_multiple_of(steps.max(1)),
                Self::Never => false,
            }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch => f.write_str("epoch"),
            Self::Steps(steps) => write!(f, "{steps}"),
            Self::Never => f.write_str("never"),
        }
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("epoch", _) => Ok(Self::Epoch),
            ("never", _) => Ok(Self::Never),
            (_, Ok(steps)) if steps > 0 => Ok(Self::Steps(steps)),
            _ => Err(format!(
                "{text:?} is no interval, expected \"epoch\", \"never\" or a number of steps"
            )),
        }
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Steps(steps) => serializer.serialize_u64(*steps as u64),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(steps) => steps.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_is_always_due() {
        let due = |interval: Interval| -> Vec<usize> {
            let step = |step: usize| interval.is_due(step, step.is_multiple_of(4), step == 10);
            (1..=10).filter(|index| step(*index)).collect()
        };
        assert_eq!(due(Interval::Epoch), [4, 8, 10]);
        assert_eq!(due(Interval::Steps(3)), [3, 6, 9, 10]);
        assert_eq!(due(Interval::Never), [10]);
    }

    #[test]
    fn json_has_a_word_or_a_number() {
        for (interval, json) in [
            (Interval::Epoch, "\"epoch\""),
            (Interval::Never, "\"never\""),
            (Interval::Steps(20), "20"),
        ] {
            assert_eq!(serde_json::to_string(&interval).unwrap(), json);
            assert_eq!(serde_json::from_str::<Interval>(json).unwrap(), interval);
        }
        for bad in ["\"sometimes\"", "0", "-1", "1.5"] {
            assert!(serde_json::from_str::<Interval>(bad).is_err(), "{bad}");
        }
    }
}
