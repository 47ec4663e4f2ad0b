//! Fields that are set and have no effect.

use super::config::GenerationConfig;

/// The fields that differ from their defaults and that this kind of generation does not use, each
/// with what would use it. They are no errors: files set sampling's fields whatever the caller does.
pub(super) fn unused(config: &GenerationConfig) -> Vec<(&'static str, &'static str)> {
    let default = GenerationConfig::default();
    let mut fields = Vec::new();
    if !config.do_sample {
        let set = [
            ("temperature", config.temperature != default.temperature),
            ("top_k", config.top_k != default.top_k),
            ("top_p", config.top_p != default.top_p),
            ("seed", config.seed.is_some()),
        ];
        fields.extend(set.map(|(field, set)| (field, "do_sample", set)));
    }
    if config.num_beams == 1 {
        let penalty = config.length_penalty != default.length_penalty;
        let stopping = config.early_stopping != default.early_stopping;
        fields.push(("length_penalty", "num_beams", penalty));
        fields.push(("early_stopping", "num_beams", stopping));
    }
    let set = fields.into_iter().filter(|(_, _, set)| *set);
    set.map(|(field, user, _)| (field, user)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::EarlyStopping;

    #[test]
    fn fields_without_effect_are_found() {
        let all = GenerationConfig {
            temperature: 0.5,
            top_k: None,
            top_p: 0.9,
            seed: Some(1),
            length_penalty: 0.8,
            early_stopping: EarlyStopping::True,
            ..GenerationConfig::default()
        };
        let names = |config: &GenerationConfig| -> Vec<&str> {
            unused(config).into_iter().map(|(field, _)| field).collect()
        };
        let sampling = ["temperature", "top_k", "top_p", "seed"];
        let beams = ["length_penalty", "early_stopping"];
        assert_eq!(names(&all), [&sampling[..], &beams].concat());
        let sampled = GenerationConfig {
            do_sample: true,
            ..all.clone()
        };
        assert_eq!(names(&sampled), beams);
        let searched = GenerationConfig {
            num_beams: 2,
            ..all
        };
        assert_eq!(names(&searched), sampling);
        assert!(unused(&GenerationConfig::default()).is_empty());
    }
}
