use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Distribution, Tensor};

use super::{FactorizeConfig, FactorizedLinear, without_base};
use crate::{
    DEFAULT_ADAPTER, LoraConfig, LoraError, LoraLinear, LoraLinearConfig, LoraModule,
    ParameterReport, TargetModules, default_device,
};

#[derive(Module, Debug)]
struct Net {
    up: LoraLinear,
    /// Burn's own, which sees the product of the factors.
    plain: Linear,
    head: LoraLinear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let net = Self {
            up: LoraLinearConfig::new(6, 9).init(device),
            plain: LinearConfig::new(9, 5).init(device),
            head: LoraLinearConfig::new(5, 2).init(device),
        };
        crate::state::initialize(&net);
        net
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.head.forward(self.plain.forward(self.up.forward(x)))
    }
}

fn inputs(device: &Device) -> Tensor<2> {
    Tensor::random([4, 6], Distribution::Normal(0.0, 1.0), device)
}

#[track_caller]
fn assert_close(a: Tensor<2>, b: Tensor<2>, near: f32) {
    let difference = (a - b).abs().max().into_scalar::<f32>();
    assert!(difference < near, "{difference}");
}

#[test]
fn at_full_rank_nothing_is_lost_and_at_less_the_counts_are_the_factors() {
    let device = default_device().autodiff();
    device.seed(1);
    let net = Net::new(&device);
    let x = inputs(&device);
    let full = FactorizeConfig::new(9).factorize(net.clone()).unwrap();
    assert_close(full.forward(x.clone()), net.forward(x.clone()), 1e-5);

    let thin = FactorizeConfig::new(3).factorize(net.clone()).unwrap();
    let report = ParameterReport::of(&thin);
    // The head has two outputs, so its rank is 2.
    assert_eq!(report.lora, 3 * (6 + 9) + 3 * (9 + 5) + 2 * (5 + 2));
    assert_eq!(report.total(), report.lora + 9 + 5 + 2);
    let planned = FactorizeConfig::new(3).plan(&net).unwrap();
    assert_eq!(
        planned
            .iter()
            .map(super::FactorizedWeight::count)
            .sum::<usize>(),
        report.lora
    );
    // A plain model, with the same outputs.
    let plain = thin.clone().merge_and_unload().unwrap();
    assert_close(plain.forward(x.clone()), thin.forward(x), 1e-5);
    assert_eq!(plain.up.weight.dims(), [6, 9]);
    assert!(plain.adapter_names().is_empty());
}

#[test]
fn no_product_of_that_rank_is_closer() {
    let device = default_device();
    device.seed(2);
    let layer = LoraLinearConfig::new(8, 7).with_bias(false).init(&device);
    let thin = FactorizedLinear::from_linear(&layer, 3).unwrap();
    let weight = layer.weight.val();
    let error = |c: Tensor<2>, f: Tensor<2>| {
        let rest = weight.clone() - c.matmul(f);
        rest.powi_scalar(2).sum().into_scalar::<f32>()
    };
    let best = error(thin.c.val(), thin.f.val());
    assert!(best > 0.0);
    for _ in 0..8 {
        let normal = Distribution::Normal(0.0, 0.05);
        let c = thin.c.val() + Tensor::random([8, 3], normal, &device);
        let f = thin.f.val() + Tensor::random([3, 7], normal, &device);
        assert!(error(c, f) > best);
    }
    let x = Tensor::random([2, 3, 8], Distribution::Default, &device);
    let flat = |x: Tensor<3>| x.reshape([6, 7]);
    let plain = thin.to_linear().forward(x.clone());
    assert_close(flat(thin.forward(x)), flat(plain), 1e-5);
    assert!(FactorizedLinear::from_linear(&layer, 0).is_err());
}

#[test]
fn the_factors_are_trained() {
    let device = default_device().autodiff();
    device.seed(3);
    let net = FactorizeConfig::new(2)
        .factorize(Net::new(&device))
        .unwrap();
    let gradients = net.forward(inputs(&device)).sum().backward();
    let adapters = net
        .up
        .weight
        .reparameterization::<crate::LoraAdapters>()
        .unwrap();
    let factors = adapters.get(DEFAULT_ADAPTER).unwrap();
    for factor in [&factors.a, &factors.b] {
        let gradient = factor.grad(&gradients).unwrap();
        assert!(gradient.abs().sum().into_scalar::<f32>() > 0.0);
    }
    assert!(net.up.bias.unwrap().grad(&gradients).is_some());
}

#[test]
fn factors_go_through_pefts_folder() {
    let device = default_device();
    device.seed(4);
    let net = Net::new(&device);
    let x = inputs(&device);
    let thin = FactorizeConfig::new(3).factorize(net.clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("factors");
    thin.save_adapter(DEFAULT_ADAPTER, &path, false).unwrap();
    let over = net.load_adapter(DEFAULT_ADAPTER, &path).unwrap();
    let loaded = without_base(over, DEFAULT_ADAPTER).unwrap();
    assert_close(loaded.forward(x.clone()), thin.forward(x.clone()), 1e-6);
    assert_eq!(
        ParameterReport::of(&loaded).total(),
        ParameterReport::of(&thin).total()
    );
    // Without its factors a layer has its bias alone.
    let bias = |net: Net| net.disable_adapters().unwrap().up.forward(x.clone());
    let rows = loaded
        .up
        .bias
        .as_ref()
        .unwrap()
        .val()
        .unsqueeze::<2>()
        .repeat_dim(0, 4);
    assert_close(bias(loaded), rows, 1e-9);
}

#[test]
fn merged_factors_are_a_weight_and_come_out_again() {
    let device = default_device();
    device.seed(5);
    let thin = FactorizeConfig::new(3)
        .factorize(Net::new(&device))
        .unwrap();
    let x = inputs(&device);
    let expected = thin.forward(x.clone());
    let merged = thin.merge().unwrap();
    assert_close(merged.forward(x.clone()), expected.clone(), 1e-5);
    assert_eq!(merged.up.weight.val().dims(), [6, 9]);
    let unmerged = merged.unmerge().unwrap();
    assert_close(unmerged.forward(x), expected, 1e-6);
    assert_eq!(unmerged.up.weight.base().dims(), [0, 0]);
}

#[test]
fn what_cannot_be_factorized_is_an_error() {
    let device = default_device();
    let net = Net::new(&device);
    let error = |config: FactorizeConfig| config.factorize(net.clone()).unwrap_err().to_string();
    assert!(error(FactorizeConfig::new(0)).contains("rank"));
    let none = FactorizeConfig::new(2).with_target_modules(Some(["query"].into()));
    assert!(error(none).contains("query"));
    let only = FactorizeConfig::new(2)
        .with_target_modules(Some(["up", "head"].into()))
        .with_exclude_modules(Some(["head"].into()));
    let thin = only.factorize(net.clone()).unwrap();
    assert_eq!(ParameterReport::of(&thin).lora, 2 * (6 + 9));

    let again = FactorizeConfig::new(2).factorize(thin.clone()).unwrap_err();
    assert!(matches!(again, LoraError::Factorized { .. }), "{again}");
    let config = LoraConfig::new().with_target_modules(TargetModules::from(["up"]));
    let adapter = thin.clone().add_adapter("second", &config).unwrap_err();
    assert!(matches!(adapter, LoraError::Factorized { .. }), "{adapter}");
    let adapted = config.inject(net.clone()).unwrap();
    let error = FactorizeConfig::new(2).factorize(adapted).unwrap_err();
    assert!(matches!(error, LoraError::AdapterExists { .. }), "{error}");
    assert!(matches!(
        without_base(net, "default"),
        Err(LoraError::NoAdapter { .. })
    ));
}
