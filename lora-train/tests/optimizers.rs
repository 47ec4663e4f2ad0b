//! LoRA+ and LoRA-FA: the steps that PEFT's optimizers take, and whole runs.

use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Tensor, TensorData};
use lora_core::state::{ParameterInfo, Role, load_state, parameters, state};
use lora_core::tensor_file::TensorFile;
use lora_core::{Bias, InitLoraWeights, LoraConfig, default_device};
use lora_models::bert::{BertConfig, SequenceClassification};
use lora_models::tokenizer::train_byte_level_bpe;
use lora_train::data::{Example, Label, TokenizedDataset};
use lora_train::{
    LoraFa, LoraPlus, LoraPlusRates, Method, Progress, TrainError, Trainer, TrainingConfig,
};

/// The model and the settings of scripts/make_lora_plus_cases.py.
#[derive(Module, Debug)]
struct Model {
    embed: Embedding,
    query: Linear,
    value: Linear,
    norm: LayerNorm,
    classifier: Linear,
}

const STEPS: usize = 3;
const LR: f64 = 1e-2;
const RATES: LoraPlusRates = LoraPlusRates {
    a: LR,
    ratio: 8.0,
    embedding: 3e-3,
};

fn model() -> Model {
    let device = default_device().autodiff();
    Model {
        embed: EmbeddingConfig::new(5, 4).init(&device),
        query: LinearConfig::new(4, 4).init(&device),
        value: LinearConfig::new(4, 4).init(&device),
        norm: LayerNormConfig::new(4).init(&device),
        classifier: LinearConfig::new(4, 3).init(&device),
    }
}

fn lora() -> LoraConfig {
    LoraConfig::new().with_r(2).with_lora_alpha(6.0)
}

fn case(name: &str) -> TensorFile {
    TensorFile::open(format!("tests/peft/{name}.safetensors")).unwrap()
}

/// `model` with the values that the case starts from.
fn at_start(model: Model, case: &TensorFile) -> Model {
    load_state(model, |info| {
        let owned = info.role != Role::Base || info.name.ends_with("bias");
        match owned {
            true => case.read(&format!("{}/start", info.name), &info.shape),
            false => Ok(None),
        }
    })
    .unwrap()
}

/// The case's gradients of a step, for every parameter that has one.
fn gradients(model: &Model, case: &TensorFile, step: usize) -> GradientsParams {
    struct Register<'a> {
        all: std::vec::IntoIter<ParameterInfo>,
        case: &'a TensorFile,
        step: usize,
        gradients: GradientsParams,
    }
    impl ModuleVisitor for Register<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let info = self.all.next().unwrap();
            let key = format!("{}/gradient.{}", info.name, self.step);
            let data = self.case.read(&key, &info.shape).unwrap();
            let Some(data) = data.filter(|_| info.trainable) else {
                return;
            };
            let gradient = Tensor::<D>::from_data(data, &default_device());
            let gradient = match info.transposed {
                true => gradient.transpose(),
                false => gradient,
            };
            self.gradients.register(param.id, gradient);
        }
    }
    let mut register = Register {
        all: parameters(model).into_iter(),
        case,
        step,
        gradients: GradientsParams::new(),
    };
    model.visit(&mut register);
    register.gradients
}

/// Takes the case's steps and compares every parameter that it has after each.
fn assert_steps(
    mut model: Model,
    case: &TensorFile,
    mut optimizer: ModuleOptimizer,
    mut scheduler: ModuleLrScheduler,
) -> Model {
    model = at_start(model, case);
    for step in 0..STEPS {
        let gradients = gradients(&model, case, step);
        model = optimizer.step(scheduler.step(), model, gradients);
        let names: Vec<String> = case.names();
        let mut expected: Vec<&str> = names
            .iter()
            .filter_map(|name| name.strip_suffix(&format!("/step.{step}")))
            .collect();
        let owned = |info: &ParameterInfo| info.role != Role::Base || info.trainable;
        for (name, data) in state(&model, owned) {
            let key = format!("{name}/step.{step}");
            let theirs = case.read(&key, &data.shape().to_vec()).unwrap().unwrap();
            for (ours, theirs) in data.iter::<f32>().zip(theirs.iter::<f32>()) {
                assert!((ours - theirs).abs() < 1e-6, "{key}: {ours} {theirs}");
            }
            expected.retain(|expected| *expected != name);
        }
        assert!(expected.is_empty(), "not compared: {expected:?}");
    }
    model
}

fn adamw() -> AdamWConfig {
    AdamWConfig::new().with_epsilon(1e-8)
}

mod lora_plus {
    use super::*;

    fn assert_case(name: &str, config: LoraConfig) -> LoraPlus {
        let model = config.inject(model()).unwrap();
        let groups = LoraPlus::of(&model).unwrap();
        let optimizer = groups.optimizer(&adamw().with_weight_decay(0.1));
        let scheduler = groups.scheduler(RATES, |rate| rate);
        assert_steps(model, &case(name), optimizer, scheduler);
        groups
    }

    #[test]
    fn steps_are_pefts() {
        let config = lora()
            .with_target_modules(["embed", "query"])
            .with_modules_to_save(["norm", "classifier"])
            .with_bias(Bias::LoraOnly);
        let groups = assert_case("lora_plus", config);
        assert_eq!(groups.b, ["query.weight.lora.default.b"]);
        let no_decay = [
            "query.bias",
            "norm.gamma.modules_to_save.default",
            "norm.beta.modules_to_save.default",
            "classifier.bias.modules_to_save.default",
        ];
        assert_eq!(groups.b_no_decay, no_decay);
        let embedding = ["embed.weight.lora.default.a", "embed.weight.lora.default.b"];
        assert_eq!(groups.embedding, embedding);
    }

    #[test]
    fn steps_with_dora_are_pefts() {
        let config = lora().with_target_modules(["embed", "query"]);
        let groups = assert_case("lora_plus_dora", config.with_use_dora(true));
        assert_eq!(groups.b.len(), 3);
        assert!(groups.b_no_decay.is_empty());
    }

    #[test]
    fn a_ratio_of_one_is_plain_training() {
        let model = lora().with_target_modules(["query"]).inject(model());
        let model = at_start(model.unwrap(), &case("lora_plus"));
        let groups = LoraPlus::of(&model).unwrap();
        let rates = LoraPlusRates {
            ratio: 1.0,
            ..RATES
        };
        let mut scheduler = groups.scheduler(rates, |rate| rate);
        let gradients = || gradients(&model, &case("lora_plus"), 0);
        let mut plus = groups.optimizer(&adamw());
        let plus = plus.step(scheduler.step(), model.clone(), gradients());
        let plain = adamw().init().step(LR, model.clone(), gradients());
        assert_eq!(state(&plus, |_| true), state(&plain, |_| true));
    }

    #[test]
    fn gradients_are_clipped_in_every_group() {
        use burn::optim::grad_clipping::GradientClippingConfig;
        let config = lora().with_target_modules(["query"]);
        let model = config.with_bias(Bias::LoraOnly).inject(model()).unwrap();
        let model = at_start(model, &case("lora_plus"));
        let clipped = GradientClippingConfig::Value(0.0);
        // Without decay, a gradient that is clipped to nothing changes nothing.
        let adamw = adamw()
            .with_weight_decay(0.0)
            .with_grad_clipping(Some(clipped));
        let groups = LoraPlus::of(&model).unwrap();
        let mut scheduler = groups.scheduler(RATES, |rate| rate);
        let gradients = gradients(&model, &case("lora_plus"), 0);
        assert_eq!(gradients.len(), 3);
        let mut optimizer = groups.optimizer(&adamw);
        let after = optimizer.step(scheduler.step(), model.clone(), gradients);
        assert_eq!(state(&after, |_| true), state(&model, |_| true));
    }

    #[test]
    fn a_model_without_adapters_is_refused() {
        let error = LoraPlus::of(&model()).unwrap_err().to_string();
        assert!(
            error.contains("`loraplus_lr_ratio` is set for a model"),
            "{error}"
        );
    }
}

mod lora_fa {
    use super::*;

    fn refused(config: LoraConfig) -> String {
        let model = config.inject(model()).unwrap();
        LoraFa::freeze(model).unwrap_err().to_string()
    }

    #[test]
    fn steps_are_pefts() {
        let config = lora()
            .with_target_modules(["query", "value"])
            .with_rank_pattern("value", 3)
            .with_modules_to_save(["classifier"]);
        let case = case("lora_fa");
        let model = at_start(config.inject(model()).unwrap(), &case);
        let model = LoraFa::freeze(model).unwrap();
        let trained = parameters(&model).into_iter().filter(|p| p.trainable);
        let trained: Vec<String> = trained.map(|p| p.name).collect();
        assert_eq!(
            trained,
            [
                "query.lora_B.weight",
                "value.lora_B.weight",
                "classifier.weight",
                "classifier.bias"
            ]
        );
        let adamw = adamw().with_epsilon(1e-12).with_weight_decay(0.0);
        let optimizer = LoraFa::optimizer(&model, &adamw).unwrap();
        assert_steps(model, &case, optimizer, ModuleLrScheduler::new(LR));
    }

    /// With A of fewer inputs than its rank, A·Aᵀ cannot be inverted.
    #[test]
    fn the_corrected_gradient_is_the_nearest_to_that_of_full_training() {
        for (d_in, rank) in [(6, 2), (2, 4)] {
            #[derive(Module, Debug)]
            struct One {
                dense: Linear,
            }
            let device = default_device().autodiff();
            let model = One {
                dense: LinearConfig::new(d_in, 3).init(&device),
            };
            let config = LoraConfig::new()
                .with_r(rank)
                .with_lora_alpha(3.0 * rank as f64);
            let model = config.with_target_modules(["dense"]).inject(model);
            let model = LoraFa::freeze(model.unwrap()).unwrap();
            let x = Tensor::<2>::random([5, d_in], burn::tensor::Distribution::Default, &device);
            let loss = model.dense.forward(x.clone()).square().sum();
            // The gradient of the whole weight, and what moving B by -1 · gradient would do.
            let y = model.dense.forward(x.clone());
            let full = x.inner().transpose().matmul(y.inner().mul_scalar(2.0));
            let adapters = model
                .dense
                .weight
                .reparameterization::<lora_core::LoraAdapters>();
            let adapter = adapters.unwrap().get("default").unwrap().clone();
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            // In its first step, with these, Adam moves by the gradient itself.
            let adamw = adamw().with_weight_decay(0.0).with_epsilon(1e8);
            let mut optimizer = LoraFa::optimizer(&model, &adamw).unwrap();
            let after = optimizer.step(1e8, model, gradients);
            let adapters = after
                .dense
                .weight
                .reparameterization::<lora_core::LoraAdapters>();
            let moved = adapters.unwrap().get("default").unwrap().delta().inner();
            // Least squares: what is left over is orthogonal to the columns of A.
            let left = full.clone() + moved;
            let a = adapter.a.val().inner();
            let along: f32 = a.transpose().matmul(left.clone()).abs().max().into_scalar();
            let largest: f32 = full.abs().max().into_scalar();
            assert!(
                along < 1e-4 * largest,
                "{d_in}, {rank}: {along} of {largest}"
            );
        }
    }

    #[test]
    fn what_would_never_learn_is_refused() {
        let error = LoraFa::freeze(model()).unwrap_err().to_string();
        assert!(
            error.contains("`lora_fa` is true for a model that trains no adapter"),
            "{error}"
        );
        let error = refused(lora().with_target_modules(["embed"]));
        assert!(error.contains("embed.lora_embedding_A is zero"), "{error}");
        let error = refused(lora().with_target_modules(["query"]).with_use_dora(true));
        assert!(error.contains("query.lora_magnitude_vector"), "{error}");
        // An embedding's A that is not zero can stay as it is.
        let random = lora().with_init_lora_weights(InitLoraWeights::Random);
        let model = random.with_target_modules(["embed"]).inject(model());
        LoraFa::freeze(model.unwrap()).unwrap();
    }
}

mod runs {
    use super::*;

    fn tiny() -> BertConfig {
        BertConfig {
            vocab_size: 300,
            hidden_size: 16,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 32,
            max_position_embeddings: 34,
            ..BertConfig::roberta_base()
        }
    }

    type State = Vec<(String, TensorData)>;

    /// The factors before and after a run.
    fn run(method: &Method, config: &TrainingConfig) -> Result<(State, State), TrainError> {
        let texts = ["a good film", "a bad film"];
        let tokenizer = train_byte_level_bpe(texts.into_iter(), 300, 1).unwrap();
        let examples = [0, 1].map(|class| Example {
            text: texts[class].to_string(),
            pair: None,
            label: Label::Class(class),
        });
        let data = TokenizedDataset::encode(&examples, &tokenizer, &tiny(), 16).unwrap();
        let model = SequenceClassification::new(&tiny(), &default_device());
        let model = method.prepare(model).unwrap();
        let factors = |model: &SequenceClassification| state(model, |info| info.is_lora());
        let before = factors(&model);
        let trained = Trainer::new(config.clone())
            .progress(Progress::Silent)
            .train(model, &data, &data)?;
        Ok((before, factors(&trained.model)))
    }

    fn method() -> Method {
        Method::lora(LoraConfig::new().with_r(2), &tiny())
    }

    fn config() -> TrainingConfig {
        TrainingConfig::new()
            .with_epochs(2)
            .with_warmup_ratio(0.0)
            .with_weight_decay(0.0)
    }

    /// The largest change of the factors whose names contain `part`.
    fn change((before, after): &(State, State), part: &str) -> f32 {
        let pairs = before
            .iter()
            .zip(after)
            .filter(|((name, _), _)| name.contains(part));
        let changes = pairs.flat_map(|((_, before), (_, after))| {
            let values = before.iter::<f32>().zip(after.iter::<f32>());
            values.map(|(a, b)| (a - b).abs()).collect::<Vec<_>>()
        });
        changes.fold(0.0, f32::max)
    }

    #[test]
    fn lora_fa_trains_b_alone() {
        let states = run(&method(), &config().with_lora_fa(true)).unwrap();
        assert_eq!(change(&states, "lora_A"), 0.0);
        assert!(change(&states, "lora_B") > 1e-5);
    }

    #[test]
    fn lora_plus_moves_b_by_the_ratio() {
        // Adam's steps are close to the learning rate: 1 + 1/2 of it over two steps.
        let rate = config().learning_rate as f32;
        let plain = run(&method(), &config()).unwrap();
        assert!((change(&plain, "lora_B") / rate - 1.5).abs() < 0.2);
        let plus = config().with_loraplus_lr_ratio(Some(16.0));
        let plus = run(&method(), &plus).unwrap();
        let moved = change(&plus, "lora_B") / rate;
        assert!((moved / 16.0 - 1.5).abs() < 0.2, "{moved}");
        assert!(change(&plus, "lora_A") < 2.0 * rate);
    }

    #[test]
    fn methods_without_adapters_are_refused() {
        for config in [
            config().with_lora_fa(true),
            config().with_loraplus_lr_ratio(Some(16.0)),
        ] {
            for method in [Method::Full, Method::Head] {
                let error = run(&method, &config).unwrap_err();
                assert!(matches!(&error, TrainError::Setting { .. }), "{error}");
            }
        }
    }
}
