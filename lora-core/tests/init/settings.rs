//! Settings of initialisations that cannot be used, or have no effect.

use lora_core::{EvaConfig, InitLoraWeights, LoftQConfig, LoraConfig};

use super::{Layers, starting};

#[test]
fn settings_that_cannot_be_used_are_errors() {
    let refused = |config: LoraConfig| config.inject(Layers::base()).unwrap_err().to_string();
    for init in [InitLoraWeights::Pissa, InitLoraWeights::Olora] {
        let error = refused(starting(init).with_rank_pattern("first", 11));
        assert!(error.contains("`r` is 11 for first"), "{error}");
    }
    let error = refused(starting(InitLoraWeights::Pissa).with_lora_alpha(-1.0));
    assert!(
        error.contains("`lora_alpha`") && error.contains("positive"),
        "{error}"
    );
    let error = refused(starting(InitLoraWeights::LoftQ));
    assert!(error.contains("`loftq_config` is absent"), "{error}");
    let loftq = |config| refused(starting(InitLoraWeights::LoftQ).with_loftq_config(config));
    let error = loftq(LoftQConfig::new().with_loftq_bits(3));
    assert!(error.contains("`loftq_config.loftq_bits` is 3"), "{error}");
    let error = loftq(LoftQConfig::new().with_loftq_iter(0));
    assert!(error.contains("`loftq_config.loftq_iter` is 0"), "{error}");

    let parse = |text: &str| LoraConfig::from_json(text).unwrap_err().to_string();
    let error = parse(r#"{"eva_config": {"rho": 0.5}}"#);
    assert!(error.contains("`eva_config.rho` is 0.5"), "{error}");
    let error = parse(r#"{"eva_config": {"tau": 1.5}}"#);
    assert!(error.contains("`eva_config.tau` is 1.5"), "{error}");
    let error = parse(r#"{"eva_config": {"sigma": 1}}"#);
    assert!(error.contains("sigma"), "{error}");
    let error = parse(r#"{"loftq_config": {"loftq_bit": 4}}"#);
    assert!(error.contains("loftq_bit"), "{error}");
    let error = parse(r#"{"init_lora_weights": "corda"}"#);
    assert!(
        error.contains("corda") && error.contains("pissa_niter"),
        "{error}"
    );
}

#[test]
fn settings_without_effect_are_warned_of() {
    let base = Layers::base();
    let warnings = |config: &LoraConfig| config.plan(&base).unwrap().warnings.join("\n");
    let config = starting(InitLoraWeights::Kaiming);
    assert_eq!(warnings(&config), "");
    let config = config
        .with_eva_config(EvaConfig::new())
        .with_loftq_config(LoftQConfig::new());
    let all = warnings(&config);
    assert!(
        all.contains("`eva_config`") && all.contains("`loftq_config`"),
        "{all}"
    );
    let config = starting(InitLoraWeights::Olora).with_use_rslora(true);
    assert_eq!(warnings(&config), "");
    let all = warnings(&config.with_alpha_pattern("first", 3.0));
    assert!(all.contains("cannot be saved as plain LoRA"), "{all}");
    let loftq = starting(InitLoraWeights::LoftQ).with_loftq_config(LoftQConfig::new());
    assert!(warnings(&loftq).contains("scaled by 1.5"));
    assert_eq!(warnings(&loftq.with_lora_alpha(4.0)), "");
}
