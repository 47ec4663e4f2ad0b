//! Numbers that are not finite, which JSON has as `null`.

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer};

/// A number, NaN for `null`.
pub(crate) fn as_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Option::deserialize(deserializer).map(|value: Option<f64>| value.unwrap_or(f64::NAN))
}

/// Numbers by name, NaN for `null`.
pub(crate) fn as_nans<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<IndexMap<String, f64>, D::Error> {
    let values: IndexMap<String, Option<f64>> = IndexMap::deserialize(deserializer)?;
    let known = |(name, value): (String, Option<f64>)| (name, value.unwrap_or(f64::NAN));
    Ok(values.into_iter().map(known).collect())
}
