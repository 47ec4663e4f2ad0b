//! Which modules a file has in full, beside the factors.

use std::collections::{BTreeMap, BTreeSet};

use crate::Bias;
use crate::inject::is_below;
use crate::state::ParameterInfo;

/// The outermost modules whose parameters are all in the file.
pub(super) fn saved_modules(
    names: &BTreeMap<&str, &str>,
    adapted: &BTreeMap<String, [usize; 2]>,
    base: &[ParameterInfo],
    bias: Bias,
) -> Vec<String> {
    let mut saved = BTreeSet::new();
    for info in base.iter().filter(|p| names.contains_key(p.name.as_str())) {
        let in_place = bias != Bias::None && info.name.rsplit('.').next() == Some("bias");
        let module = info.module();
        if module.is_empty() || adapted.contains_key(module) {
            continue;
        }
        let whole = |outer: &&str| {
            let mut inside = base.iter().filter(|p| is_below(p.module(), outer));
            !adapted.keys().any(|path| is_below(path, outer))
                && inside.all(|p| names.contains_key(p.name.as_str()))
        };
        let ends = module.match_indices('.').map(|(end, _)| end);
        let mut around = ends.chain([module.len()]).map(|end| &module[..end]);
        match around.find(whole) {
            Some(outer) => saved.insert(outer.to_string()),
            // Trained in place, or a module of which something is missing: attaching says what.
            None => !in_place && saved.insert(module.to_string()),
        };
    }
    saved.into_iter().collect()
}
