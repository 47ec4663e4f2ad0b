//! A field that is one number or a list of them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a token id or a list of them")]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

pub(super) fn serialize<S: Serializer>(
    ids: &Option<Vec<u32>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let ids = ids.as_ref().map(|ids| match ids[..] {
        [id] => OneOrMany::One(id),
        _ => OneOrMany::Many(ids.clone()),
    });
    ids.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<u32>>, D::Error> {
    let ids = Option::<OneOrMany>::deserialize(deserializer)?;
    Ok(ids.map(|ids| match ids {
        OneOrMany::One(id) => vec![id],
        OneOrMany::Many(ids) => ids,
    }))
}
