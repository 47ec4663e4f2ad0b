//! Spectra by layer, and similarities as heat maps.

use std::collections::BTreeMap;

use super::{Anatomy, ModuleAnatomy};
use crate::chart::{
    Area, DrawResult, Ends, HeatMap, Ink, LineChart, Mark, PALETTE, Series, XAxis, standalone,
};

type Picture = Result<String, Box<dyn std::error::Error>>;

const WIDTH: u32 = 1000;
const LINES: u32 = 340;
const MAP: u32 = 240;
/// Heat maps side by side.
const ACROSS: usize = 4;

/// Effective ranks and norms as lines, and the singular values, each over the largest of its module, as
/// shades: a row for each layer.
pub(super) fn spectra(anatomy: &Anatomy) -> Picture {
    let kinds = kinds(&anatomy.modules);
    let maps: Vec<HeatMap> = kinds
        .iter()
        .map(|(kind, modules)| spectrum(kind, modules))
        .collect();
    let lines = [
        lines(&kinds, "Effective rank", "directions", |m| m.effective_rank),
        lines(&kinds, "Norm of the update", "‖ΔW‖", |m| m.norm),
    ];
    let legend = lines[0].legend_height(WIDTH / 2);
    let top = LINES + legend;
    let below = maps.len().div_ceil(ACROSS) as u32 * MAP;
    standalone((WIDTH, top + below), |root| {
        let (upper, lower) = root.split_vertically(top);
        let (left, right) = upper.split_horizontally(WIDTH / 2);
        lines[0].draw(&left)?;
        lines[1].draw(&right)?;
        draw_maps(&maps, &lower)
    })
}

/// A heat map for each module that both adapters have, and one of directions at random.
pub(super) fn similarities(anatomy: &Anatomy) -> Picture {
    let map = |title: String, values: &Vec<Vec<f64>>| HeatMap {
        title,
        rows: Ends {
            name: "first i".to_string(),
            first: 1,
            last: values.len(),
        },
        columns: Ends {
            name: "first j of the other".to_string(),
            first: 1,
            last: values.first().map_or(0, Vec::len),
        },
        highest: 1.0,
        values: values.clone(),
    };
    let found = anatomy.similarities.iter();
    let mut maps: Vec<HeatMap> = found
        .clone()
        .map(|found| map(short(&found.module), &found.a))
        .collect();
    let random = found
        .take(1)
        .map(|found| map("at random".to_string(), &found.random));
    maps.extend(random);
    let height = maps.len().div_ceil(ACROSS) as u32 * MAP;
    standalone((WIDTH, height), |root| draw_maps(&maps, root))
}

fn draw_maps(maps: &[HeatMap], area: &Area<'_>) -> DrawResult {
    let cells = area.split_evenly((maps.len().div_ceil(ACROSS).max(1), ACROSS));
    for (map, cell) in maps.iter().zip(&cells) {
        map.draw(cell)?;
    }
    Ok(())
}

/// The modules of each kind, with their layers: those whose paths differ by the layer's number alone.
fn kinds(modules: &[ModuleAnatomy]) -> BTreeMap<String, Vec<(usize, &ModuleAnatomy)>> {
    let mut kinds: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for module in modules {
        let (layer, kind) = layer_and_kind(&module.module);
        kinds.entry(kind).or_default().push((layer, module));
    }
    for modules in kinds.values_mut() {
        modules.sort_by_key(|(layer, _)| *layer);
    }
    kinds
}

/// The first number in a module's path, and what follows it; without a number, layer 0 and the path.
fn layer_and_kind(path: &str) -> (usize, String) {
    let parts: Vec<&str> = path.split('.').collect();
    let numbered = parts
        .iter()
        .enumerate()
        .find_map(|(place, part)| Some((place, part.parse().ok()?)));
    match numbered {
        Some((place, layer)) if place + 1 < parts.len() => (layer, parts[place + 1..].join(".")),
        _ => (0, path.to_string()),
    }
}

/// A name that fits above a heat map.
fn short(path: &str) -> String {
    let (layer, kind) = layer_and_kind(path);
    let mut last: Vec<&str> = kind.rsplit('.').take(2).collect();
    last.reverse();
    format!("{layer}: {}", last.join("."))
}

fn lines(
    kinds: &BTreeMap<String, Vec<(usize, &ModuleAnatomy)>>,
    title: &str,
    y_label: &str,
    value: impl Fn(&ModuleAnatomy) -> f64,
) -> LineChart {
    let series = kinds
        .iter()
        .enumerate()
        .map(|(index, (kind, modules))| Series {
            name: kind.clone(),
            points: modules
                .iter()
                .map(|(layer, module)| (*layer as f64, value(module)))
                .collect(),
            ink: Ink::Series(index % PALETTE.len()),
            width: 2,
            mark: Some(Mark::of(index)),
        });
    LineChart {
        title: title.to_string(),
        x_axis: XAxis::Layer,
        y_label: y_label.to_string(),
        from_zero: true,
        highest: None,
        series: series.collect(),
    }
}

fn spectrum(kind: &str, modules: &[(usize, &ModuleAnatomy)]) -> HeatMap {
    let most = modules
        .iter()
        .map(|(_, module)| module.singular_values.len());
    let most = most.max().unwrap_or_default();
    let row = |(_, module): &(usize, &ModuleAnatomy)| {
        let largest = module.singular_values.first().copied().unwrap_or_default();
        let value = |i: usize| match module.singular_values.get(i) {
            Some(value) if largest > 0.0 => value / largest,
            _ => f64::NAN,
        };
        (0..most).map(value).collect()
    };
    let layer = |place: Option<&(usize, &ModuleAnatomy)>| place.map_or(0, |(layer, _)| *layer);
    let mut last: Vec<&str> = kind.rsplit('.').take(2).collect();
    last.reverse();
    HeatMap {
        title: format!("σᵢ / σ₁ of {}", last.join(".")),
        rows: Ends {
            name: "layer".to_string(),
            first: layer(modules.first()),
            last: layer(modules.last()),
        },
        columns: Ends {
            name: "i".to_string(),
            first: 1,
            last: most,
        },
        highest: 1.0,
        values: modules.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_layer_and_a_kind() {
        let query = "roberta.encoder.layer.11.attention.self.query";
        assert_eq!(
            layer_and_kind(query),
            (11, "attention.self.query".to_string())
        );
        assert_eq!(short(query), "11: self.query");
        assert_eq!(
            layer_and_kind("h.3.attn.c_attn.0"),
            (3, "attn.c_attn.0".to_string())
        );
        assert_eq!(layer_and_kind("classifier"), (0, "classifier".to_string()));
        assert_eq!(layer_and_kind("layers.2"), (0, "layers.2".to_string()));
    }
}
